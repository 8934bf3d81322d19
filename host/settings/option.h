/* option: the one table that declares every option of tova-host.
 *
 * A row makes an option exist everywhere: on the command line, in the config file (same name), as a
 * field of struct settings, in
 * --help, --check, the man page and the README's table.
 */
#ifndef TOVA_SETTINGS_OPTION_H
#define TOVA_SETTINGS_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bucket.h"
#include "base/environment.h"

enum option_type {
	OPTION_FLAG,   /* bool, takes no value */
	OPTION_NUMBER, /* uint64_t */
	OPTION_SIZE,   /* uint64_t, bytes; k, m and g are powers of 1024 */
	OPTION_TIME,   /* uint64_t, milliseconds; ms, s, m or h; a bare number is seconds */
	/* uint64_t: N/TIME, so many may happen in that time; the range is that of N; see
	   option_rate */
	OPTION_RATE,
	OPTION_ENUM,	/* unsigned, the place in its choices */
	OPTION_TEXT,	/* char *, NULL unless given */
	OPTION_PATH,	/* char *, NULL unless given, never empty */
	OPTION_LIST,	/* struct settings_list, comma separated, repeatable */
	OPTION_PATHS,	/* struct settings_list, one at a time, never empty, repeatable */
	OPTION_LISTEN,	/* struct settings_listens, repeatable */
	OPTION_HANDLER, /* [MOUNT=]VALUE, repeatable: a mount of struct settings */
	OPTION_PAIR,	/* [MOUNT:]KEY=VALUE, repeatable: settings of a mount's handler */
	/* [MOUNT=]VALUE, repeatable: char * in each mount; an empty VALUE takes back for one mount
	   what all have; a size where there is a range */
	OPTION_SCOPED,
};

enum option_group {
	OPTION_MOUNT, /* in the config file it stands in a group of `mount` */
	OPTION_HANDLERS,
	OPTION_NETWORK,
	OPTION_DEFLATE,
	OPTION_LIMITS,
	OPTION_TIMES,
	OPTION_OPERATING,
	OPTION_LOGGING,
	OPTION_COMMAND, /* on the command line only */
	OPTION_HIDDEN,	/* the same, and --help does not tell */
	OPTION_GROUP_COUNT,
};

/* When a value that the config file has now takes the place of the one that runs. */
enum option_when {
	OPTION_WHEN_NONE, /* of no row: somebody forgot to say */
	OPTION_WHEN_HUP,  /* at once: on HUP */
	/* for worker processes and scripts that start from then on; HUP replaces those of
	 * --worker */
	OPTION_WHEN_WORKER,
	OPTION_WHEN_RESTART, /* with a restart of the host */
	/* it is no setting, but said on the command line to the program that starts */
	OPTION_WHEN_START,
};

#define OPTION_K 1024ull
#define OPTION_M (1024ull * 1024)
#define OPTION_G (1024ull * 1024 * 1024)
#define OPTION_S 1000ull
#define OPTION_H (3600ull * 1000)

/* clang-format off */
/* field, type, name, short or 0, argument, group, when, least, most, default (as it would be typed)
 * or NULL, choices or NULL, text. `text` ends without a full stop; range, choices and default are
 * added to it. The choices of a number say what 0 means, which is then allowed beside the range. */
#define OPTIONS(X) \
	X(plugin, HANDLER, "plugin", 'p', "[MOUNT=]FILE.so", MOUNT, HUP, 0, 0, NULL, NULL, \
	  "a plugin handles the connections below this path; without MOUNT: of every path") \
	X(plugin_set, PAIR, "plugin-set", 0, "[MOUNT:]KEY=VALUE", MOUNT, HUP, 0, 0, NULL, NULL, \
	  "a setting for the plugin of this mount; without MOUNT: for every plugin") \
	X(worker, HANDLER, "worker", 'w', "[MOUNT=]COMMAND", MOUNT, WORKER, 0, 0, NULL, NULL, \
	  "worker processes handle the connections below this path: the host starts this shell " \
	  "command and starts it again when it dies") \
	X(attach, HANDLER, "attach", 'a', "[MOUNT=]URL", MOUNT, RESTART, 0, 0, NULL, NULL, \
	  "workers that are started elsewhere handle them: the nng URL at which they dial in, " \
	  "ipc:///PATH, tcp://ADDR:PORT or tls+tcp://ADDR:PORT; a mount may have this beside " \
	  "--worker, and beside any other handler for those who only push and ask") \
	X(script, HANDLER, "script", 'x', "[MOUNT=]COMMAND", MOUNT, WORKER, 0, 0, NULL, NULL, \
	  "each connection below this path gets a process of its own: this shell command, with " \
	  "lines on stdin and stdout") \
	X(script_dir, HANDLER, "script-dir", 0, "[MOUNT=]DIR", MOUNT, WORKER, 0, 0, NULL, NULL, \
	  "each connection below this path gets the program of this folder that its path names, " \
	  "MOUNT/NAME or MOUNT/FOLDER/NAME, which needs the right to be executed") \
	X(workers, SCOPED, "workers", 0, "[MOUNT=]N", HANDLERS, WORKER, 1, 1000, "1", NULL, \
	  "processes of this --worker, or plugin with --isolate; without MOUNT: of each") \
	X(route, SCOPED, "route", 0, "[MOUNT=]KEY", HANDLERS, HUP, 0, 0, "connection", \
	  "connection|path|user|room", \
	  "which connections go to the same worker process as long as it lives: each by itself, " \
	  "those with the same path, of the same user (a token's sub), or whose first room is " \
	  "the same") \
	X(max_events, SCOPED, "max-events", 0, "[MOUNT=]N", HANDLERS, HUP, 0, 1000000000000, "0", \
	  NULL, \
	  "events after which a worker process is replaced by a new one, which nobody notices " \
	  "(0: never); without MOUNT: at every path") \
	X(max_rss, SCOPED, "max-rss", 0, "[MOUNT=]SIZE", HANDLERS, HUP, 0, 1024 * OPTION_G, "0", \
	  NULL, \
	  "resident memory beyond which it is (0: any); it is looked at once a second") \
	X(isolate, FLAG, "isolate", 0, NULL, HANDLERS, RESTART, 0, 0, NULL, NULL, \
	  "run plugins in worker processes, where a crash costs no connection") \
	X(handler_timeout, TIME, "handler-timeout", 0, "TIME", HANDLERS, HUP, 100, OPTION_H, \
	  "30s", NULL, \
	  "a worker that takes longer for an event is ended, and the event delivered again; so " \
	  "is one that has no event and does not answer for so long (at least 10 s)") \
	X(ready_timeout, TIME, "ready-timeout", 0, "TIME", HANDLERS, HUP, 100, OPTION_H, "30s", \
	  NULL, \
	  "a worker process must have said hello, and its on_start have ended, by then") \
	X(start_attempts, NUMBER, "start-attempts", 0, "N", HANDLERS, HUP, 1, 1000, "5", \
	  "any number", \
	  "a worker process that was started so often, while nothing has ever served its mount, " \
	  "ends the host with exit code 1") \
	X(upgrade_timeout, TIME, "upgrade-timeout", 0, "TIME", HANDLERS, HUP, 100, OPTION_H, \
	  "10s", NULL, \
	  "a worker must have accepted or refused an upgrade by then; after it the client gets " \
	  "503") \
	X(hold_bytes, SCOPED, "hold-bytes", 0, "[MOUNT=]SIZE", HANDLERS, HUP, 64 * OPTION_K, \
	  64 * OPTION_G, "64m", NULL, \
	  "memory for what clients of a mount have sent and its handler has not settled: " \
	  "messages received in part, events that wait or are with a worker; beyond it its " \
	  "clients are not read from, and new ones get 503; without MOUNT: of each mount") \
	X(hold_total, SIZE, "hold-total", 0, "SIZE", HANDLERS, HUP, 64 * OPTION_K, \
	  1024 * OPTION_G, "0", "the sum of --hold-bytes", \
	  "memory for that of all mounts together; half of it is divided among them by their " \
	  "--hold-bytes, so that each has a share which no other takes") \
	X(max_attempts, NUMBER, "max-attempts", 0, "N", HANDLERS, HUP, 1, 1000, "3", NULL, \
	  "an event at which so many workers died or hung is set aside, and its connection goes " \
	  "on") \
	X(dead_letter, PATH, "dead-letter", 0, "FILE", HANDLERS, HUP, 0, 0, NULL, NULL, \
	  "append the events that were set aside to this file") \
	X(attach_cert, PATH, "attach-cert", 0, "FILE", HANDLERS, HUP, 0, 0, NULL, NULL, \
	  "certificate chain (PEM) for workers that attach at a tls+tcp:// URL") \
	X(attach_key, PATH, "attach-key", 0, "FILE", HANDLERS, HUP, 0, 0, NULL, NULL, \
	  "private key of --attach-cert (PEM)") \
	X(attach_client_ca, PATH, "attach-client-ca", 0, "FILE", HANDLERS, HUP, 0, 0, NULL, NULL, \
	  "workers that attach at a tls+tcp:// URL need a certificate that one of these (PEM) " \
	  "has signed") \
	X(attach_token, PATHS, "attach-token", 0, "[SCOPE[@MOUNT]=]FILE", HANDLERS, HUP, 0, 0, \
	  NULL, NULL, \
	  "who attaches must say the token in this file, and may then publish (send, broadcast, " \
	  "broadcast_to), read (ask), or is admin (all, and may be a worker), as with " \
	  "--api-token; FILE alone is admin, everywhere; where other machines can dial in this " \
	  "is needed, or --attach-client-ca") \
	X(script_lines, SCOPED, "script-lines", 0, "[MOUNT=]FORM", HANDLERS, WORKER, 0, 0, "text", \
	  "text|json", \
	  "what a line is, to and from scripts: a text message as it stands (one with line ends " \
	  "is several lines, and each counts in --rate-limit), or a JSON string, or " \
	  "{\"bin\":\"BASE64\"} for a binary message") \
	X(script_binary, FLAG, "script-binary", 0, NULL, HANDLERS, WORKER, 0, 0, NULL, NULL, \
	  "messages go to and come from scripts as 4 bytes of length, big-endian, and their " \
	  "bytes, instead of lines; what scripts say is sent as binary messages") \
	X(passenv, LIST, "passenv", 0, "NAME,...", HANDLERS, WORKER, 0, 0, NULL, NULL, \
	  "variables of the host's own environment that workers and scripts get beside " \
	  ENVIRONMENT_GIVEN "; NAME* means all that begin " \
	  "so; what is said of a request (REMOTE_USER, HTTPS, SSL_*, ...) never comes from there") \
	X(max_scripts, NUMBER, "max-scripts", 0, "N", HANDLERS, HUP, 1, 1000000, "1000", NULL, \
	  "most processes of scripts at one time; beyond it upgrades get 503") \
	X(script_rate, NUMBER, "script-rate", 0, "N", HANDLERS, HUP, 1, 1000000, "100", NULL, \
	  "most processes of scripts that are started in a second; beyond it upgrades get 503") \
	X(listen, LISTEN, "listen", 'l', \
	  "ADDR:PORT|PORT|unix:PATH|systemd:NAME[,tls[=NAME]|,plain][,proxy]", NETWORK, RESTART, \
	  0, 0, "127.0.0.1:8080", \
	  NULL, \
	  "where to accept connections; an IPv6 address as [::1]:8080, and [::]:8080 takes IPv4, " \
	  "too, unless an IPv4 address of that port is given as well; port 0 takes any free one, " \
	  "and a PORT alone is of all addresses; systemd:NAME takes the sockets of that name " \
	  "from a .socket unit; with --tls-cert a TCP address speaks TLS unless it says ,plain, " \
	  "and a Unix socket if it says ,tls; with ,tls=NAME, repeatable, it shows only the " \
	  "certificates for these names; with ,proxy a header of the PROXY protocol (v1 or v2) " \
	  "comes first, from one of --trusted-proxy") \
	X(unix_mode, ENUM, "unix-mode", 0, "MODE", NETWORK, RESTART, 0, 0, "660", "600|660|666", \
	  "who may connect to the Unix sockets of --listen: the host's user, also its group (a " \
	  "proxy in it, see --group), or everybody") \
	X(threads, NUMBER, "threads", 't', "N", NETWORK, RESTART, 1, 64, "1", "one per core", \
	  "I/O loops, each with a thread of its own and a share of the connections") \
	X(tls_cert, PATHS, "tls-cert", 0, "FILE", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "speak TLS with this certificate and its chain (PEM); of several the one with the name " \
	  "that a client asks for is shown, else the first") \
	X(tls_key, PATHS, "tls-key", 0, "FILE", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "private key (PEM) of each --tls-cert, in their order; without it the keys are in the " \
	  "same files") \
	X(tls_client_ca, PATH, "tls-client-ca", 0, "FILE", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "clients need a certificate that one of these (PEM) has signed and that none of the " \
	  "CRLs in the file names") \
	X(tls_min, ENUM, "tls-min", 0, "VERSION", NETWORK, HUP, 0, 0, "1.2", "1.2|1.3", \
	  "oldest version of TLS that clients may speak") \
	X(backlog, NUMBER, "backlog", 0, "N", NETWORK, RESTART, 1, 65535, "1024", NULL, \
	  "connections that the kernel may hold before they are accepted") \
	X(origin, LIST, "origin", 0, "LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "pages of these origins may connect, such as " \
	  "https://example.com,https://*.example.com,moz-extension://*,file:// or null, or * for " \
	  "all; without it: those of the same host; a request without Origin is no browser and " \
	  "passes") \
	X(host, LIST, "host", 0, "LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "names under which this host is reached, such as example.com,*.example.com,[::1], " \
	  "without ports: a request that asks for another (Host) gets 421, also from a page " \
	  "whose own name was pointed at this machine; without it: any name") \
	X(subprotocol, SCOPED, "subprotocol", 0, "[MOUNT=]LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "subprotocols of which the host chooses the first that a client offers (* any) where " \
	  "the handler has chosen none: scripts, relay.so and echo.so never do, and a browser " \
	  "that offers some and gets none ends the connection") \
	X(jwt_key, SCOPED, "jwt-key", 0, "[MOUNT=]FILE", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "upgrades need a JSON Web Token that this key verifies: RSA or P-256 public keys (PEM; " \
	  "RS256, ES256), or a secret of at least 32 bytes (HS256); without MOUNT: at every " \
	  "path; MOUNT= without a file: not at this one") \
	X(jwt_from, SCOPED, "jwt-from", 0, "[MOUNT=]LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "where a token may be: header (Authorization: Bearer), subprotocol (tova.jwt.TOKEN), " \
	  "cookie=NAME, query=NAME; without it: header,subprotocol") \
	X(jwt_audience, SCOPED, "jwt-audience", 0, "[MOUNT=]LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "a token's audience (aud) must be or hold one of these; without it: there must be none") \
	X(jwt_issuer, SCOPED, "jwt-issuer", 0, "[MOUNT=]LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "a token's issuer (iss) must be one of these; without it: any") \
	X(jwt_leeway, TIME, "jwt-leeway", 0, "TIME", NETWORK, HUP, 0, OPTION_H, "10s", NULL, \
	  "how much another machine's clock may differ where tokens begin (nbf) and end (exp)") \
	X(jwt_no_expiry, FLAG, "jwt-no-expiry", 0, NULL, NETWORK, HUP, 0, 0, NULL, NULL, \
	  "take tokens without an expiry (exp), too; with one, its connection is closed with " \
	  "1008 when it is over") \
	X(trusted_proxy, LIST, "trusted-proxy", 0, "LIST", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "proxies whose word about their clients counts: addresses, networks such as " \
	  "10.0.0.0/8, or unix for those at Unix sockets; from others such headers are headers " \
	  "like any") \
	X(forwarded, ENUM, "forwarded", 0, "KIND", NETWORK, HUP, 0, 0, "x-forwarded", \
	  "x-forwarded|rfc7239|off", \
	  "headers in which they say so: X-Forwarded-For, -Proto and -Host, or Forwarded; name " \
	  "those that your proxy sets, as it passes on what clients wrote into others") \
	X(io_uring, NUMBER, "io-uring", 0, "N", NETWORK, HUP, 0, 1000000, "8", "never", \
	  "when so many connections have output in a turn, one system call sends it, where the " \
	  "kernel has io_uring") \
	X(static_dir, PATH, "static", 0, "DIR", NETWORK, HUP, 0, 0, NULL, NULL, \
	  "serve the files of this folder to plain GET requests") \
	X(devconsole, FLAG, "devconsole", 0, NULL, NETWORK, HUP, 0, 0, NULL, NULL, \
	  "answer plain requests for the path of a mount, where --static has no file, with a " \
	  "page that connects to it and shows what is sent and received; for development") \
	X(control, PATH, "control", 0, "PATH", NETWORK, RESTART, 0, 0, NULL, NULL, \
	  "Unix socket for tova-ctl, which only this user may open (by default tova.sock in " \
	  "$XDG_RUNTIME_DIR or /run, which the host does without if it can not have it)") \
	X(control_group, TEXT, "control-group", 0, "GROUP", NETWORK, RESTART, 0, 0, NULL, NULL, \
	  "members of this group (a name or a number) may send, broadcast and broadcast_to over " \
	  "the control socket, and nothing else") \
	X(user, TEXT, "user", 0, "USER", NETWORK, RESTART, 0, 0, NULL, NULL, \
	  "become this user (a name or a number) once ports, keys and files are open; workers " \
	  "and scripts run as that user; for root only") \
	X(group, TEXT, "group", 0, "GROUP", NETWORK, RESTART, 0, 0, NULL, NULL, \
	  "and this group instead of the user's own; there are no others then") \
	X(deflate, FLAG, "deflate", 0, NULL, DEFLATE, HUP, 0, 0, NULL, NULL, \
	  "compress messages for clients that can (permessage-deflate, RFC 7692)") \
	X(deflate_level, NUMBER, "deflate-level", 0, "N", DEFLATE, HUP, 1, 9, "3", NULL, \
	  "effort: 1 is quick, 9 is small") \
	X(deflate_min, SIZE, "deflate-min", 0, "SIZE", DEFLATE, HUP, 1, OPTION_G, "256", NULL, \
	  "shorter messages are sent as they are") \
	X(deflate_window, NUMBER, "deflate-window", 0, "BITS", DEFLATE, HUP, 9, 15, "15", NULL, \
	  "how far compression refers back, 2^BITS bytes, at most") \
	X(deflate_takeover, ENUM, "deflate-takeover", 0, "WHICH", DEFLATE, HUP, 0, 0, "none", \
	  "none|in|out|both", \
	  "refer back to earlier messages of the connection, too, in what clients send (in) or " \
	  "get (out): smaller, but each connection keeps memory for it") \
	X(deflate_memory, SIZE, "deflate-memory", 0, "SIZE", DEFLATE, HUP, OPTION_M, \
	  64 * OPTION_G, "64m", NULL, \
	  "memory for compression; when it is used up new connections do without " \
	  "--deflate-takeover, and clients that refer back to earlier messages though they were " \
	  "told not to are closed with 1007") \
	X(max_message, SIZE, "max-message", 0, "SIZE", LIMITS, HUP, OPTION_K, OPTION_G, "16m", \
	  NULL, \
	  "largest message of a client; a larger one closes its connection with 1009") \
	X(max_head, SIZE, "max-head", 0, "SIZE", LIMITS, HUP, OPTION_K, OPTION_M, "16k", NULL, \
	  "largest head of a request") \
	X(max_headers, NUMBER, "max-headers", 0, "N", LIMITS, HUP, 1, 100, "100", NULL, \
	  "most headers of a request") \
	X(max_queue, SIZE, "max-queue", 0, "SIZE", LIMITS, HUP, OPTION_K, OPTION_G, "1m", NULL, \
	  "most output that waits for one slow client") \
	X(slow_policy, SCOPED, "slow-policy", 0, "[MOUNT=]POLICY", LIMITS, HUP, 0, 0, "close", \
	  "close|drop-oldest|conflate", \
	  "what --max-queue leads to: the client is closed with 1013, or the oldest messages " \
	  "that wait for it are given up, or those whose key a newer one has; of this mount, or " \
	  "of every mount") \
	X(resume, SCOPED, "resume", 0, "[MOUNT=]TIME", LIMITS, HUP, 0, 24 * OPTION_H, "0", NULL, \
	  "a client that speaks tova.v1 and loses its socket may come back for its session so " \
	  "long, and misses nothing (0: not at all); without MOUNT: at every path") \
	X(resume_queue, SIZE, "resume-queue", 0, "SIZE", LIMITS, HUP, OPTION_K, 64 * OPTION_M, \
	  "256k", NULL, \
	  "what is kept for one such client until it confirms it; beyond it the oldest is " \
	  "forgotten, and a client that comes back for that is told") \
	X(resume_messages, NUMBER, "resume-messages", 0, "N", LIMITS, HUP, 1, 100000, "1000", \
	  NULL, \
	  "and so many messages of it; all that is kept is at most a quarter of --max-buffered") \
	X(history, SCOPED, "history", 0, "[MOUNT=]N[/TIME]", LIMITS, HUP, 0, 0, NULL, NULL, \
	  "each room remembers the last N messages that were broadcast to it, none older than " \
	  "TIME, for who joins later and asks for them; 1 to 100000, 1s to 720h; without MOUNT: " \
	  "at every path; MOUNT= without a number: not at this one") \
	X(history_bytes, SIZE, "history-bytes", 0, "SIZE", LIMITS, HUP, 64 * OPTION_K, \
	  64 * OPTION_G, "64m", NULL, \
	  "memory for what all rooms remember; beyond it the oldest messages go of the room that " \
	  "has been silent for longest") \
	X(room_state_bytes, SIZE, "room-state-bytes", 0, "SIZE", LIMITS, HUP, 64 * OPTION_K, \
	  64 * OPTION_G, "64m", NULL, \
	  "memory for the states that handlers keep with rooms; a set_room beyond it fails its " \
	  "event") \
	X(room_state_time, TIME, "room-state-time", 0, "TIME", LIMITS, HUP, 0, 720 * OPTION_H, \
	  "1h", NULL, \
	  "a state that a handler keeps with a room outlives the last member of the room, and " \
	  "the last set_room, so long (0: not at all)") \
	X(max_buffered, SIZE, "max-buffered", 0, "SIZE", LIMITS, HUP, 64 * OPTION_K, \
	  1024 * OPTION_G, "1g", "no limit", \
	  "most memory for what waits for slow clients and for messages that clients have sent " \
	  "in part, over all connections; beyond it the connection that holds most gives way") \
	X(max_connections, NUMBER, "max-connections", 0, "N", LIMITS, HUP, 1, 100000000, "0", \
	  "as many as descriptors allow", \
	  "most connections at one time; more wait until one of them ends") \
	X(max_rooms, NUMBER, "max-rooms", 0, "N", LIMITS, HUP, 1, 1000000, "0", "any number", \
	  "most rooms that one connection is in; a join beyond fails its event") \
	X(max_mount_rooms, NUMBER, "max-mount-rooms", 0, "N", LIMITS, HUP, 1, 1000000000, "0", \
	  "any number", \
	  "most rooms of each mount; a join beyond fails its event") \
	X(max_room_name, NUMBER, "max-room-name", 0, "N", LIMITS, HUP, 1, 255, "255", NULL, \
	  "longest name of a room, in bytes; a join beyond fails its event") \
	X(max_per_address, NUMBER, "max-per-address", 0, "N", LIMITS, HUP, 1, 1000000, "0", \
	  "any number", \
	  "most connections of one address at one time; more get 429") \
	X(limit_user, SCOPED, "limit-user", 0, "[MOUNT=]N", LIMITS, HUP, 0, 1000000, "0", NULL, \
	  "most connections of one user, as the sub of its token says, at one time, those that " \
	  "are away among them (0: any number); more get 429; without MOUNT: at each path") \
	X(rate_limit, SCOPED, "rate-limit", 0, "[MOUNT=]N/TIME[,drop|,close]", LIMITS, HUP, 0, 0, \
	  NULL, NULL, \
	  "most messages and pings of a connection in a time, such as 100/1s; more are dropped, " \
	  "which its handler is told (,drop), or with ,close end it with 1008; without MOUNT: at " \
	  "every path; MOUNT= without a rate: not at this one") \
	X(handshake_rate, RATE, "handshake-rate", 0, "N/TIME", LIMITS, HUP, 1, 1000000, "0", \
	  "any number", \
	  "most connections that one address may begin in a time, such as 20/10s; more get 429") \
	X(address_prefix, NUMBER, "address-prefix", 0, "N", LIMITS, RESTART, 16, 128, "64", NULL, \
	  "IPv6 addresses that begin with the same bits count as one") \
	X(handshake_timeout, TIME, "handshake-timeout", 0, "TIME", TIMES, HUP, 100, OPTION_H, \
	  "10s", NULL, \
	  "a connection must have sent its whole request by then") \
	X(idle_timeout, TIME, "idle-timeout", 0, "TIME", TIMES, HUP, OPTION_S, 168 * OPTION_H, \
	  "120s", "never", \
	  "a connection that is silent for so long, pings unanswered, is ended") \
	X(ping_interval, TIME, "ping-interval", 0, "TIME", TIMES, HUP, OPTION_S, OPTION_H, "25s", \
	  "only as --idle-timeout needs it", \
	  "a connection that is silent is pinged at least so often, and at least three times " \
	  "within --idle-timeout, so that no proxy takes it for dead") \
	X(close_timeout, TIME, "close-timeout", 0, "TIME", TIMES, HUP, 100, OPTION_H, "5s", NULL, \
	  "how long answers to earlier messages, and then the close handshake may take; longer " \
	  "only while the peer takes what was sent") \
	X(drain, TIME, "drain", 0, "TIME", TIMES, HUP, 0, OPTION_H, "5s", NULL, \
	  "connections are closed one by one over this time when the host stops, at least one " \
	  "each 20 ms") \
	X(plugin_slow, TIME, "plugin-slow", 0, "TIME", TIMES, HUP, 1, OPTION_H, "1s", NULL, \
	  "a plugin's callback that takes longer is logged") \
	X(api, LISTEN, "api", 0, "ADDR:PORT|unix:PATH[,tls[=NAME]][,proxy]", OPERATING, RESTART, \
	  0, 0, NULL, NULL, \
	  "where to take requests of the HTTP API, as --listen has addresses; one that other " \
	  "machines can reach needs --api-token, and speaks TLS where --tls-cert is given unless " \
	  "it says ,plain; one of this machine speaks TLS only if it says ,tls") \
	X(admin, LISTEN, "admin", 0, "ADDR:PORT|unix:PATH[,tls[=NAME]][,proxy]", OPERATING, \
	  RESTART, 0, 0, NULL, NULL, \
	  "likewise, for what people and monitoring need beside the API") \
	X(api_token, PATHS, "api-token", 0, "SCOPE[@MOUNT]=FILE", OPERATING, HUP, 0, 0, NULL, \
	  NULL, \
	  "who says the token in this file (Authorization: Bearer) may publish (send, broadcast, " \
	  "broadcast_to), read (every GET), or is admin (all), at this mount or everywhere; 16 " \
	  "to 512 characters, of which a line end at the end is none; without any, everybody may " \
	  "who reaches an address of --api or --admin, each user of this machine at least") \
	X(api_host, LIST, "api-host", 0, "LIST", OPERATING, HUP, 0, 0, NULL, NULL, \
	  "names under which --api and --admin are reached beside localhost and numeric " \
	  "addresses, as --host has them; a request that asks for another gets 421, also from a " \
	  "page whose own name was pointed at this machine") \
	X(api_max_body, SIZE, "api-max-body", 0, "SIZE", OPERATING, HUP, OPTION_K, 64 * OPTION_M, \
	  "1m", NULL, \
	  "largest body of a request at --api and --admin; a larger one gets 413") \
	X(api_connections, NUMBER, "api-connections", 0, "N", OPERATING, RESTART, 1, 10000, "100", \
	  NULL, \
	  "most connections at --api, and as many at --admin, which are not counted in " \
	  "--max-connections; beyond it the one that has waited longest for a request gives way") \
	X(cluster, PATHS, "cluster", 0, "URL", OPERATING, RESTART, 0, 0, NULL, NULL, \
	  "share rooms with the other hosts at this Redis server (experimental, see " \
	  "host/cluster/README.md): redis://[USER@]HOST[:PORT][/DB] or " \
	  "unix://[USER@]/PATH[?db=DB]") \
	X(cluster_id, TEXT, "cluster-id", 0, "NAME", OPERATING, RESTART, 0, 0, NULL, NULL, \
	  "name of this host among them, which no other has; without it: a random one") \
	X(cluster_prefix, TEXT, "cluster-prefix", 0, "TEXT", OPERATING, RESTART, 0, 0, NULL, NULL, \
	  "what the names of channels and keys there begin with (without it: tova:); hosts with " \
	  "another are another cluster") \
	X(cluster_password, PATH, "cluster-password", 0, "FILE", OPERATING, RESTART, 0, 0, NULL, \
	  NULL, \
	  "the password for it is in this file, of which a line end at the end is none") \
	X(cluster_optional, FLAG, "cluster-optional", 0, NULL, OPERATING, RESTART, 0, 0, NULL, \
	  NULL, "start though it can not be reached") \
	X(cluster_away, ENUM, "cluster-away", 0, "HOW", OPERATING, RESTART, 0, 0, "hold", \
	  "hold|local", \
	  "while it can not be reached events that broadcast are held, as when no worker is " \
	  "ready, or each host serves its own clients alone") \
	X(health, PATH, "health", 0, "PATH", OPERATING, HUP, 0, 0, NULL, NULL, \
	  "answer plain requests for exactly this path at --listen with 200 if the host would " \
	  "take a client, else 503, and the reasons; for load balancers") \
	X(log_format, ENUM, "log-format", 0, "FORMAT", LOGGING, HUP, 0, 0, "text", "text|json", \
	  "form of the log's lines") \
	X(log_level, ENUM, "log-level", 0, "LEVEL", LOGGING, HUP, 0, 0, "info", \
	  "error|warn|notice|info|debug", \
	  "least important lines that are logged") \
	X(log_file, PATH, "log-file", 0, "FILE", LOGGING, HUP, 0, 0, NULL, NULL, \
	  "append the log to this file instead of stderr; USR1 opens it again") \
	X(access_log, PATH, "access-log", 0, "FILE", LOGGING, HUP, 0, 0, NULL, NULL, \
	  "append a line for each connection that ends to this file (- is standard output): " \
	  "whose it was, what it sent and was sent, how it ended; HUP and USR1 open it again") \
	X(trace_sample, SCOPED, "trace-sample", 0, "[MOUNT=]FRACTION", LOGGING, HUP, 0, 0, NULL, \
	  NULL, \
	  "takes part in distributed traces (W3C traceparent): each connection belongs to the " \
	  "trace that its request names, or to a new one, and handlers are told; of so many (0 " \
	  "to 1, such as 0.01) each event is a span, written down and kept; without MOUNT: at " \
	  "every path; MOUNT= without a number: not at this one") \
	X(trace_file, PATH, "trace-file", 0, "FILE", LOGGING, HUP, 0, 0, NULL, NULL, \
	  "append a line for each point that events of sampled connections reach to this file (- " \
	  "is standard output); HUP and USR1 open it again") \
	X(config, PATH, "config", 'c', "FILE", COMMAND, START, 0, 0, NULL, NULL, \
	  "read this file first; it knows the same names, and a group per mount; the command " \
	  "line wins") \
	X(check, FLAG, "check", 0, NULL, COMMAND, START, 0, 0, NULL, NULL, \
	  "say what is wrong, or print the settings in effect as a config file, and exit") \
	X(emit_lua, PATH, "emit-lua", 0, "FILE.tova", COMMAND, START, 0, 0, NULL, NULL, \
	  "print the Lua that a .tova program becomes, or all that is wrong with it, and exit") \
	X(help, FLAG, "help", 'h', NULL, COMMAND, START, 0, 0, NULL, NULL, \
	  "print this help and exit") \
	X(version, FLAG, "version", 'V', NULL, COMMAND, START, 0, 0, NULL, NULL, \
	  "print the version, what it can do and its libraries, and exit") \
	X(help_man, FLAG, "help-man", 0, NULL, HIDDEN, START, 0, 0, NULL, NULL, \
	  "print the options for the manual page") \
	X(help_markdown, FLAG, "help-markdown", 0, NULL, HIDDEN, START, 0, 0, NULL, NULL, \
	  "print the options as a table of the README") \
	X(help_log_kinds, FLAG, "help-log-kinds", 0, NULL, HIDDEN, START, 0, 0, NULL, NULL, \
	  "print the kinds of the log's lines as a table of the README")
/* clang-format on */

#define OPTION_ID(field, ...) OPTION_ID_##field,
enum option_id { OPTIONS(OPTION_ID) OPTION_COUNT };
#undef OPTION_ID

struct option_row {
	const char *name;
	char letter;
	enum option_type type;
	enum option_group group;
	enum option_when when;
	const char *argument;
	uint64_t least, most;
	const char *initial; /* default, as it would be typed */
	/* OPTION_ENUM, and some of OPTION_SCOPED: "a|b|c"; a number: what 0 means */
	const char *choices;
	const char *text;
};

extern const struct option_row option_table[OPTION_COUNT];

#define OPTION_WHY_MAX 512 /* room for a sentence about what is wrong */

/* Row of this long name (n bytes), or NULL. */
const struct option_row *option_find(const char *name, size_t n);

/* When what the config file says of it anew holds: "at once". */
const char *option_when_text(const struct option_row *row);

/* May it be given more than once? */
bool option_repeatable(const struct option_row *row);

/* OPTION_NUMBER, SIZE, TIME, RATE, and what has choices or is a size of each mount: reads text into
 * *value_r, or says in why what is wrong with it and what was expected. */
bool option_parse(const struct option_row *row, const char *text, uint64_t *value_r,
		  char why[OPTION_WHY_MAX]);
/* OPTION_RATE: the value as what it means. */
struct bucket_rate option_rate(uint64_t value);
/* N/TIME, with ",close" or ",drop" behind it or not: --rate-limit. */
bool option_limit(const char *text, struct bucket_rate *rate_r, bool *close_r);
/* N or N/TIME: --history; 0: nothing. ms 0: of any age. */
bool option_history(const char *text, uint64_t *n_r, uint64_t *ms_r);
/* 0 to 1, with up to six decimals: --trace-sample, as parts of a million. */
bool option_fraction(const char *text, int32_t *parts_r);
/* Is it a size, of which each mount may have its own? */
static inline bool option_is_scoped_number(const struct option_row *row)
{
	return row->type == OPTION_SCOPED && row->most > 0;
}
/* The shortest text that option_parse reads as this value. */
void option_format(const struct option_row *row, uint64_t value, char *dst, size_t cap);

/* --help, the options section of the manual page (man macros), and the README's table. */
void option_print_help(FILE *out);
void option_print_man(FILE *out);
void option_print_markdown(FILE *out);

#endif
