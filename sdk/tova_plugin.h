/* tova_plugin.h: the interface between tova-host and a plugin. This file is all a plugin needs;
 * C99, usable from C++.
 *
 * Change log of the interface. Same major number and no newer minor than the host's is the whole
 * rule.
 *	1.0  first version
 *	1.1  tova_request: claims, subject, secure
 *	1.2  tova_set_if; tova_stats: slow, dropped, rate_dropped, refused, limited
 *	1.3  quote, subject; tova_query and tova_reply: asker; tova_after, tova_sendf,
 *	     tova_broadcastf, tova_broadcastf_to, tova_with_key
 *	1.4  on_save, keep, kept
 *	1.5  on_away, on_back, join_history, TOVA_UNKEPT, TOVA_QUERY_HISTORY and what answers it;
 *	     join_if, leave_all, broadcast_among, close_room, info, about; TOVA_QUERY_USERS;
 *	     tova_reply: members, users
 *	1.6  watch, unwatch, on_join, on_leave; prolong; room_state, set_room, mount_data;
 *	     TOVA_ROOM_STATE, mount_size; TOVA_QUERY_ROOM_STATE; tova_reply: room_state; info in
 *	     on_upgrade; TOVA_TRACEPARENT, TOVA_TRACESTATE
 *
 * A plugin is a shared library that exports one constant struct:
 *
 *     #include "tova_plugin.h"
 *
 *     static int on_message(tova_mount *m, tova_ws ws, const tova_payload *msg)
 *     {
 *             return tova_send_payload(m, ws, msg);
 *     }
 *     TOVA_PLUGIN = { TOVA_PLUGIN_HEAD("echo", "1.0"), .on_message = on_message };
 *
 * Rules that hold everywhere:
 * - Callbacks of a mount run one at a time, on one thread. Each returns 0, or anything else for
 * failure; tova_fail() gives the failure a text. All callbacks are optional: an event that nobody
 * handles costs nothing.
 * - Commands given during a callback commit together, in order, when it returns 0. When it fails,
 * none of them happens, the connection's data is as before, and on_error is called for the same
 * connection, which stays open.
 * - A command that is wrong in itself (a bad room name, text that is not UTF-8, an exceeded limit)
 * returns an error code and makes the callback fail, whatever it returns. A command that names a
 * connection which is gone is counted and does nothing.
 * - What is handed to a callback is borrowed until it returns. What is handed to the host is copied
 * before the call returns. Nobody frees the other's memory.
 * - No function of the host calls the plugin back before it returns.
 * - Functions are marked [loop]: only inside a callback of that mount (another thread gets
 * TOVA_E_THREAD), or [any-thread].
 */
#ifndef TOVA_PLUGIN_H
#define TOVA_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOVA_ABI_MAJOR 1
#define TOVA_ABI_MINOR 6

/* --- values ----------------------------------------------------------------------------------- */

/* A connection: 128 opaque bits, never reused, unique across hosts. All zero: none. Copy and
 * compare freely, keep as long as you like: one that is gone is recognised. It is a name and no
 * secret: who knows one can guess others. */
typedef struct tova_ws {
	uint64_t hi, lo;
} tova_ws;

#ifdef __cplusplus
#define TOVA_NONE (tova_ws{0, 0})
#else
#define TOVA_NONE ((tova_ws){0, 0})
#endif
#define TOVA_WS_TEXT 23 /* bytes of a connection as text, with the NUL */

static inline int tova_ws_eq(tova_ws a, tova_ws b)
{
	return a.hi == b.hi && a.lo == b.lo;
}

enum tova_result {
	TOVA_OK = 0,
	TOVA_E_ROOM = -1,   /* room name: UTF-8, 1 to 255 bytes, no NUL */
	TOVA_E_UTF8 = -2,   /* text that is not UTF-8 */
	TOVA_E_LIMIT = -3,  /* larger than a limit allows */
	TOVA_E_ARG = -4,    /* another argument is out of range */
	TOVA_E_THREAD = -5, /* called from another thread than the mount's */
	TOVA_E_STATE = -6,  /* not allowed in this callback, or outside of any */
	TOVA_E_MEMORY = -7,
};

enum tova_kind { TOVA_TEXT = 1, TOVA_BINARY = 2 };

enum tova_payload_flags {
	/* Since 1.5, of broadcast_to: the room does not remember it (--history). Use
	 * tova_unkept() */
	TOVA_UNKEPT = 1u << 0,
};

/* Bytes with a kind. In messages that the host hands over, data[len] is a NUL that does not count,
 * so text is a C string too. They are not yours to write to: text that is passed on just as it came
 * is not checked again. */
typedef struct tova_payload {
	size_t size; /* sizeof(tova_payload) */
	const void *data;
	size_t len;	/* bytes */
	uint32_t kind;	/* enum tova_kind */
	uint32_t flags; /* enum tova_payload_flags; others are reserved */
	/* conflation key, UTF-8 of 1 to 255 bytes, or NULL: with --slow-policy conflate the newest
	 * of a key stays */
	const char *key;
	size_t key_len;
} tova_payload;

typedef struct tova_pair {
	const char *name, *value; /* NUL-terminated */
} tova_pair;

/* The request that opened a connection, as CGI would give it. Strings end in NUL; a missing one is
 * "" (never NULL) unless said. */
typedef struct tova_request {
	size_t size;
	const char *method;
	const char *mount;	 /* path of the mount that serves it, "/" or "/chat" */
	const char *path;	 /* percent-decoded, UTF-8 */
	const char *query;	 /* behind the '?', not decoded */
	const char *host;	 /* the Host header */
	const char *remote_addr; /* numeric address; "unix" for a Unix socket */
	const char *local_addr;
	uint16_t remote_port, local_port;
	const char *tls_version;  /* "TLSv1.3"; NULL without TLS */
	const char *tls_cipher;	  /* NULL without TLS */
	const char *tls_subject;  /* subject of the client's certificate; NULL without one */
	const tova_pair *headers; /* as they came, in order; names in the client's spelling */
	size_t n_headers;
	const tova_pair *cookies;
	size_t n_cookies;
	const char *const *subprotocols; /* offered by the client, in its order */
	size_t n_subprotocols;
	/* what the token says (--jwt-key), a JSON object; NULL where none is asked for. Use
	 * tova_claims() */
	const char *claims;
	const char *subject; /* its "sub"; NULL without. Use tova_subject() */
	/* 1: the client speaks TLS, with the host or with a proxy that is trusted to say so. Use
	 * tova_is_secure() */
	uint32_t secure;
} tova_request;

typedef struct tova_close {
	size_t size;
	uint16_t code;	    /* RFC 6455 7.4; 1005: a close frame without a code, 1006: none came */
	const char *reason; /* UTF-8, ends in NUL */
	size_t reason_len;
	const char *const *rooms; /* that the connection was in and has left */
	size_t n_rooms;
} tova_close;

enum tova_error_kind {
	TOVA_ERROR_HANDLER = 1,	  /* a callback of this plugin failed */
	TOVA_ERROR_PROTOCOL = 2,  /* the peer broke the protocol; on_close follows */
	TOVA_ERROR_TRANSPORT = 3, /* the connection broke; on_close follows */
	/* it sent more than --rate-limit allows: the text says how much was dropped; or on_close
	   follows */
	TOVA_ERROR_LIMIT = 4,
};

typedef struct tova_error {
	size_t size;
	uint32_t kind; /* enum tova_error_kind */
	const char *text;
	size_t text_len;
} tova_error;

/* A timer has a name within its connection, or within the mount when ws is TOVA_NONE. Setting one
 * that exists with the same id, delay and period changes nothing; with others it is replaced.
 * Timers of a connection go with it. The host keeps timers: they survive a reload. */
typedef struct tova_timer {
	size_t size;
	tova_ws ws;
	const char *name;  /* UTF-8, 1 to 255 bytes, no NUL */
	uint64_t id;	   /* yours; handed back */
	uint64_t delay_ms; /* to the first call */
	/* from the first call on; a time that passes while a call of it waits is left out; 0:
	 * once */
	uint64_t period_ms;
} tova_timer;

enum tova_query_kind {
	TOVA_QUERY_COUNT = 1,	    /* how many members has a room */
	TOVA_QUERY_MEMBERS = 2,	    /* and which */
	TOVA_QUERY_ROOMS = 3,	    /* rooms of a connection */
	TOVA_QUERY_CONNECTIONS = 4, /* connections of the mount */
	TOVA_QUERY_STATS = 5,	    /* counters of the host */
	TOVA_QUERY_HISTORY = 6,	    /* since 1.5: what a room remembers */
	TOVA_QUERY_USERS = 7,	    /* since 1.5: users in a room, each once */
	TOVA_QUERY_ROOM_STATE = 8,  /* since 1.6: what is kept with a room */
};

typedef struct tova_query {
	size_t size;
	uint32_t kind;	  /* enum tova_query_kind */
	const char *room; /* COUNT, MEMBERS, HISTORY, USERS, ROOM_STATE */
	size_t room_len;
	tova_ws ws;  /* ROOMS */
	uint64_t id; /* yours; handed back with the answer */
	/* Since 1.3: yours, too: for whom you ask */
	tova_ws asker;
	/* Since 1.5, HISTORY: those behind this offset, oldest first; TOVA_NEWEST: the newest */
	uint64_t since;
	uint32_t limit; /* HISTORY: so many at most; 0: 100 */
} tova_query;

#define TOVA_NEWEST UINT64_MAX

/* Since 1.5. What somebody who joins is sent of what the room remembers: everything as it was, also
 * what was excluded from him then. Between the last of it and the first message that is broadcast
 * to the room afterwards nothing is missing, and nothing comes twice. */
enum tova_history_how {
	TOVA_HISTORY_LAST = 1,		/* the last so many */
	TOVA_HISTORY_SINCE_OR_LAST = 2, /* those behind an offset; if some are forgotten the last */
	TOVA_HISTORY_SINCE_OR_FAIL = 3, /* or else the callback fails */
};
typedef struct tova_history {
	size_t size;
	uint32_t how;	/* enum tova_history_how */
	uint32_t last;	/* how many; with SINCE_OR_LAST 0: all there are */
	uint64_t since; /* an offset; 0: from the beginning, of any epoch */
	uint64_t epoch; /* of that */
} tova_history;

/* Since 1.5. A message that a room remembers. */
typedef struct tova_remembered {
	uint64_t offset; /* its number in the room, from 1, within the epoch */
	uint64_t at_ms;	 /* when it came, since 1970 */
	tova_payload payload;
} tova_remembered;

/* Since 1.5. What has to be true when a join is done, or else the callback fails. */
typedef struct tova_conditions {
	size_t size;
	uint32_t max;	    /* members that the room has then, at most; 0: any number */
	uint32_t users_max; /* users, of whom one may have several connections there */
	uint32_t first;	    /* 1: nobody else is there */
	uint32_t replace;   /* 1: the others are ended, with code 4409 */
} tova_conditions;

/* Since 1.5. Several rooms, of whose members each is meant once, and who is left out of them. A
 * list has at most 256 entries; names end in NUL. */
typedef struct tova_among {
	size_t size;
	const char *const *rooms; /* none: all connections of the mount */
	size_t n_rooms;
	const tova_ws *exclude;
	size_t n_exclude;
	const char *const *exclude_users;
	size_t n_exclude_users;
	const char *const *exclude_rooms; /* their members */
	size_t n_exclude_rooms;
} tova_among;

/* Since 1.5. Of whoever is in a room; NULL: nothing is known. */
typedef struct tova_member {
	tova_ws ws;
	const char *user, *info;
} tova_member;
typedef struct tova_room_user {
	const char *name;
	uint64_t connections; /* that he has in the room */
} tova_room_user;

/* Since 1.6. Somebody has come into a room that is watched, or has gone from it: each user once,
 * however many connections he has there; who is nobody in particular counts by his connection.
 * Texts end in NUL. */
typedef struct tova_presence {
	size_t size;
	const char *room;
	size_t room_len;
	const char *user; /* as TOVA_USER; "" for nobody in particular */
	size_t user_len;
	const char *info; /* what is said of the connection `ws` */
	size_t info_len;
	tova_ws ws;	/* with which he has come, or has gone as the last; it may be gone by now */
	uint32_t users; /* of whom on_join has told and on_leave has not, this one told */
} tova_presence;

/* Of watch, where nothing is said: five seconds. */
#define TOVA_GRACE UINT32_MAX

/* Since 1.6. What is kept with a room. */
typedef struct tova_room_state {
	size_t size;
	const char *room; /* ends in NUL */
	const void *data; /* len bytes, and a NUL behind them that does not count */
	size_t len;
	uint64_t version; /* what set_room needs; 0: nothing is kept */
} tova_room_state;

/* Of set_room: whatever there is is replaced. */
#define TOVA_ANY_VERSION UINT64_MAX

/* Since 1.5. What `about` tells. */
enum tova_about {
	TOVA_USER = 1,	 /* whose connection it is: as `info` has said, or the token's "sub" */
	TOVA_INFO = 2,	 /* what `info` has said of it */
	TOVA_CLAIMS = 3, /* what its token says (--jwt-key), a JSON object */
	/* which distributed trace the event belongs to (--trace-sample, W3C Trace Context): what a
	 * request that its handler makes elsewhere says in these headers; NULL with a host that
	 * does not know them */
	TOVA_TRACEPARENT = 4,
	TOVA_TRACESTATE = 5,
};

/* Counters since the host started, over all mounts. */
typedef struct tova_stats {
	size_t size;
	uint64_t uptime_ms;
	uint64_t connections, rooms;	    /* now */
	uint64_t messages_in, messages_out; /* WebSocket messages */
	uint64_t bytes_in, bytes_out;	    /* on sockets */
	/* Since 1.2: */
	/* connections for which messages are being given up now, since they read too slowly */
	uint64_t slow;
	uint64_t dropped;      /* messages that a receiver does not get for that */
	uint64_t rate_dropped; /* messages and pings not taken, for --rate-limit */
	/* upgrades refused; connections and upgrades refused for the limits of their address */
	uint64_t refused, limited;
} tova_stats;

/* The answer to a query: committed state, as of one moment between two events. */
typedef struct tova_reply {
	size_t size;
	uint32_t kind;
	uint64_t id;
	/* of what is listed; COUNT and MEMBERS of an unknown room, ROOMS of a gone connection: 0 */
	uint64_t count;
	const tova_ws *connections; /* MEMBERS, CONNECTIONS */
	const char *const *rooms;   /* ROOMS */
	const tova_stats *stats;    /* STATS */
	/* Since 1.3: what the query had; it may be gone meanwhile. Use tova_asker() */
	tova_ws asker;
	/* Since 1.5, HISTORY: `count` of them. Use tova_messages() */
	const tova_remembered *messages;
	uint64_t epoch, first, last; /* what the room has: offsets; 0: nothing */
	uint32_t complete;	     /* none of those asked for is forgotten */
	uint32_t more;		     /* some follow that did not fit */
	/* Since 1.5: MEMBERS, who each of the connections is; USERS: `count` of them, by name. Use
	 * tova_members() and tova_users() */
	const tova_member *members;
	const tova_room_user *users;
	/* Since 1.6: ROOM_STATE. Use tova_replied_room_state() */
	const tova_room_state *room_state;
} tova_reply;

/* What is being handled. ws and sequence never change when an event is delivered again, so a
 * handler that writes to a database of its own can make that write idempotent with them. */
typedef struct tova_event {
	size_t size;
	tova_ws ws;	   /* TOVA_NONE for events of the mount */
	uint64_t sequence; /* counts the connection's events from 1 */
	uint32_t attempt;  /* from 1; in the host's process always 1 */
} tova_event;

enum tova_level { TOVA_LOG_ERROR, TOVA_LOG_WARN, TOVA_LOG_NOTICE, TOVA_LOG_INFO, TOVA_LOG_DEBUG };

/* --- the host's side -------------------------------------------------------------------------- */

typedef struct tova_host tova_host;

/* One plugin at one mount. `user` is the plugin's own, for what start() makes and stop() frees. */
typedef struct tova_mount {
	const tova_host *host;
	void *user;
} tova_mount;

/* Functions are only ever appended; one is there if it lies within `size`. */
struct tova_host {
	uint32_t abi_major, abi_minor;
	size_t size;
	const char *version; /* of the program, for people */

	/* Commands [loop]. Return TOVA_OK or an error code, see the rules at the top. */
	int (*send)(tova_mount *m, tova_ws ws, const tova_payload *p);
	int (*join)(tova_mount *m, tova_ws ws, const char *room, size_t room_len);
	int (*leave)(tova_mount *m, tova_ws ws, const char *room, size_t room_len);
	int (*broadcast)(tova_mount *m, const tova_payload *p, tova_ws exclude);
	int (*broadcast_to)(tova_mount *m, const char *room, size_t room_len, const tova_payload *p,
			    tova_ws exclude);
	/* code: 1000, 1001, 1003, 1007 to 1014 or 3000 to 4999, or 0 for none; reason at most 123
	 * bytes of UTF-8. */
	int (*close)(tova_mount *m, tova_ws ws, uint16_t code, const char *reason,
		     size_t reason_len);
	/* Replaces another connection's data by len bytes, at most the plugin's data_size; the rest
	 * is zeroed. In a worker process that connection may have an event under way meanwhile,
	 * whose callback was given the data from before: if it changes that, its change replaces
	 * this one, unseen. Where that matters use set_if, there and here. */
	int (*set)(tova_mount *m, tova_ws ws, const void *data, size_t len);
	int (*set_timer)(tova_mount *m, const tova_timer *t);
	int (*cancel_timer)(tova_mount *m, tova_ws ws, const char *name);
	/* Asks; on_reply answers later. A query of a callback that fails is not asked. */
	int (*query)(tova_mount *m, const tova_query *q);

	/* The event at hand [loop]. */
	/* Data of the connection whose event this is: data_size bytes, zeroed at first, kept with
	 * the connection, yours to change; changes are undone if the callback fails. NULL where
	 * there is none. Aligned for any type; valid until the callback returns. */
	void *(*data)(tova_mount *m);
	int (*event)(tova_mount *m, tova_event *event_r);
	/* Sets the text of this callback's failure and returns a value to return (never 0). */
	int (*fail)(tova_mount *m, const char *text, size_t len);

	/* The answer to an upgrade [loop, only in on_upgrade]. */
	/* Chooses one of the offered subprotocols (TOVA_E_ARG for another). */
	int (*subprotocol)(tova_mount *m, const char *name);
	/* Adds a header line to the answer, whichever it is. */
	int (*header)(tova_mount *m, const char *name, const char *value);
	/* Refuses with an HTTP status of 300 to 599 and a body (type may be NULL for text/plain;
	 * charset=utf-8). */
	int (*refuse)(tova_mount *m, unsigned status, const char *type, const char *body,
		      size_t body_len);

	/* [any-thread] */
	void (*log)(tova_mount *m, uint32_t level, const char *text, size_t len);
	/* Asks for an on_wake on the mount's thread. Calls that come before it runs are answered by
	 * one. Allowed until stop() returns. */
	void (*wake)(tova_mount *m);
	/* A setting (--plugin-set KEY=VALUE), its declared default, or NULL. Valid until stop()
	 * returns. */
	const char *(*setting)(tova_mount *m, const char *key);
	void (*ws_text)(tova_ws ws, char text_r[TOVA_WS_TEXT]);
	/* 0, or TOVA_E_ARG if the text is no connection's. */
	int (*ws_parse)(const char *text, size_t len, tova_ws *ws_r);

	/* Since 1.2 [loop]. As set, for a connection whose data is these if_len bytes (the rest
	 * zeroes) when the callback commits. If somebody else has set it to something else
	 * meanwhile the callback fails: nothing of it is done. For the event's own connection that
	 * is the data as the event was given it, whatever the callback has changed. */
	int (*set_if)(tova_mount *m, tova_ws ws, const void *data, size_t len, const void *if_data,
		      size_t if_len);
	/* Since 1.3 [loop]. The text as JSON has it, in quotes, with a NUL behind it; valid until
	 * the callback returns. NULL for text that is not UTF-8 or too long: the callback fails
	 * then. */
	const char *(*quote)(tova_mount *m, const char *text, size_t len);
	/* Since 1.3 [loop]. The "sub" of the token with which the event's connection came
	 * (--jwt-key), valid until the callback returns; NULL without one, and in events of the
	 * mount. */
	const char *(*subject)(tova_mount *m);
	/* Since 1.4 [loop, only in on_save]. Keeps a copy of these bytes, at most 16 MiB, for the
	 * library that follows, instead of what was kept before. */
	int (*keep)(tova_mount *m, const void *data, size_t len);
	/* Since 1.4 [loop, only in start]. What the library before this one has kept, and its
	 * length; NULL: nothing. Valid until start returns. */
	const void *(*kept)(tova_mount *m, size_t *len_r);
	/* Since 1.5 [loop]. As join; the connection is sent what the room remembers
	 * (--history). */
	int (*join_history)(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			    const tova_history *want);
	/* Since 1.5 [loop]. As join, where it finds what it asks for when the callback commits. */
	int (*join_if)(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
		       const tova_conditions *conditions);
	/* Since 1.5 [loop]. All rooms that it is in. */
	int (*leave_all)(tova_mount *m, tova_ws ws);
	/* Since 1.5 [loop]. As broadcast_to and broadcast, and as close for each of them; of
	 * close_room there is at least one room. */
	int (*broadcast_among)(tova_mount *m, const tova_among *among, const tova_payload *p);
	int (*close_room)(tova_mount *m, const tova_among *among, uint16_t code, const char *reason,
			  size_t reason_len);
	/* Since 1.5 [loop]. Says who a connection is: what others in the mount may know of it, at
	 * most 1,024 bytes of UTF-8, and as whom it counts among users, 1 to 255 bytes. NULL: as it
	 * was; no bytes: nothing, and the token's "sub" again. Since 1.6 also in on_upgrade, with
	 * TOVA_NONE: of the connection that is asked for. */
	int (*info)(tova_mount *m, tova_ws ws, const char *info, size_t info_len, const char *user,
		    size_t user_len);
	/* Since 1.5 [loop]. Of the event's connection, in any callback: enum tova_about. NULL:
	 * nothing is known. Valid until the callback returns. */
	const char *(*about)(tova_mount *m, uint32_t what);
	/* Since 1.6 [loop]. on_join and on_leave are called for that room from here on, first of
	 * all for those who are in it. A user whose last connection there was lost counts as there
	 * for grace_ms (at most 3,600,000; or TOVA_GRACE), so that he may load his page again
	 * unnoticed. Watching a room that is watched sets its grace only. The mount watches, not
	 * this library: a reload changes nothing. Of at most 65,536 rooms. */
	int (*watch)(tova_mount *m, const char *room, size_t room_len, uint32_t grace_ms);
	/* Since 1.6 [loop]. Nobody of that room is told of any more. if_empty: 1: only if nobody is
	 * there when the callback commits: whoever has come meanwhile is told of. */
	int (*unwatch)(tova_mount *m, const char *room, size_t room_len, uint32_t if_empty);
	/* Since 1.6 [loop]. A fresh token (JWT) for the one that the connection came with, with
	 * which it does not end then. One that is not good, or of another "sub", fails the callback
	 * when it commits. */
	int (*prolong)(tova_mount *m, tova_ws ws, const char *token, size_t token_len);
	/* Since 1.6 [loop]. The room that the event's connection has joined first, and what is kept
	 * there, as it is when the event is given; for plugins with TOVA_ROOM_STATE. Of one that
	 * has ended it is the room that it was in then. TOVA_E_STATE: it is in none, or the event
	 * has no connection. What it points at is valid until the callback returns. */
	int (*room_state)(tova_mount *m, tova_room_state *state_r);
	/* Since 1.6 [loop]. Keeps at most 65,536 bytes with a room, instead of what is kept there
	 * with that version (0: nothing); no bytes: nothing any more. If the room has another
	 * version when the callback commits, none of its commands is done. In a worker process the
	 * event is given again then, with what there is by that time, ten times at most; in the
	 * host nobody sets a room meanwhile, so an old version is the plugin's own: the callback
	 * fails. */
	int (*set_room)(tova_mount *m, const char *room, size_t room_len, const void *data,
			size_t len, uint64_t version);
	/* Since 1.6 [loop]. What the plugin keeps for its mount: mount_size bytes, zeroed at first,
	 * yours to change in callbacks of events (in on_upgrade only to read): changes are undone
	 * if the callback fails. NULL in others. Kept by the host over a reload into the same size.
	 * With
	 * --isolate all worker processes have the same: where one was faster the event of the other
	 * is given again, as with set_room. */
	void *(*mount_data)(tova_mount *m);
};

/* --- the plugin's side ------------------------------------------------------------------------ */

enum tova_plugin_flags {
	/* Connection data holds pointers: it can not travel to a worker process, nor into another
	   size at reload without migrate(). */
	TOVA_LOCAL_DATA = 1u << 0,
	/* Since 1.6. Events come with what is kept with the first room of their connection: see
	   room_state. */
	TOVA_ROOM_STATE = 1u << 1,
};

/* A setting the plugin knows. With a list, the host refuses others at start; name NULL ends the
 * list. One that is called file names a file which the plugin reads in start(): a reload starts the
 * plugin anew when that has changed, too. */
typedef struct tova_setting_spec {
	const char *name;
	const char *fallback; /* value when it is not set, or NULL */
	const char *text;     /* what it is, for --check */
} tova_setting_spec;

/* Fields are only ever appended; the host reads none that lies beyond `size`. */
typedef struct tova_plugin {
	uint32_t abi_major; /* TOVA_ABI_MAJOR */
	uint32_t abi_minor; /* lowest minor of the host that this plugin can work with */
	size_t size;	    /* sizeof(tova_plugin) */
	const char *name, *version;
	uint32_t flags;	    /* enum tova_plugin_flags */
	uint32_t data_size; /* bytes of data kept with each connection, at most 4096 */
	const tova_setting_spec *settings; /* NULL: any setting is taken */

	/* Before anything else; may set timers and m->user. Failing means that the host does not
	 * start, or keeps the old library. */
	int (*start)(tova_mount *m);
	/* After everything else: join your threads, free m->user. Commands are refused here. */
	void (*stop)(tova_mount *m);
	/* Before the 101: accept by returning 0, refuse with tova_refuse(). Failure: 500. The
	 * connection has no id yet. */
	int (*on_upgrade)(tova_mount *m, const tova_request *request);
	int (*on_open)(tova_mount *m, tova_ws ws, const tova_request *request);
	int (*on_message)(tova_mount *m, tova_ws ws, const tova_payload *message);
	/* Exactly once for each on_open. The connection has left its rooms; commands that name it
	 * do nothing any more. */
	int (*on_close)(tova_mount *m, tova_ws ws, const tova_close *why);
	/* A failure in here is logged, never raised again. */
	int (*on_error)(tova_mount *m, tova_ws ws, const tova_error *error);
	int (*on_timer)(tova_mount *m, const tova_timer *timer);
	int (*on_reply)(tova_mount *m, const tova_reply *reply);
	int (*on_wake)(tova_mount *m);
	/* At a reload into another data_size, once for each connection, before other callbacks:
	 * fill tova_data(m) from what the old library kept. Failing keeps the old library. Commands
	 * are refused here. */
	int (*migrate)(tova_mount *m, tova_ws ws, const void *old_data, size_t old_size,
		       const char *old_version);
	/* Since 1.4. At a reload, before the start() of the library that may follow: hand over what
	 * the mount knows, with tova_keep(); the next one's start() finds it with tova_kept(). If
	 * that one is not taken, this one goes on. Failing: nothing is handed over. Commands are
	 * refused here. Not in a worker process: the next one is another process. */
	int (*on_save)(tova_mount *m);
	/* Since 1.5. A client that may come back (tova.v1, --resume) has lost its socket: the
	 * connection stays in its rooms, and what it is sent waits for it. code: 1001 if the client
	 * has said that it goes, else 1006. on_back follows, or on_close. */
	int (*on_away)(tova_mount *m, tova_ws ws, uint16_t code);
	/* Since 1.5. It has come back on another socket, with this request; without an on_away
	 * before it where the loss was not noticed, or the client was back before that was told. */
	int (*on_back)(tova_mount *m, tova_ws ws, const tova_request *request);
	/* Since 1.6. Who has come into a room that is watched, and who has gone from it, of each
	 * user one after the other; after the commit that caused it, and as events of the mount.
	 * Whoever has come and gone before he could be told of is not told of. */
	int (*on_join)(tova_mount *m, const tova_presence *who);
	int (*on_leave)(tova_mount *m, const tova_presence *who);
	/* Since 1.6. Bytes that are kept for the mount, at most 65,536: see mount_data. */
	uint32_t mount_size;
} tova_plugin;

#if defined(_WIN32)
#error "tova plugins are ELF shared objects"
#endif
/* Defines the exported struct. */
#ifdef __cplusplus
#define TOVA_PLUGIN \
	extern "C" __attribute__((visibility("default"))) const tova_plugin tova_plugin_entry
#else
#define TOVA_PLUGIN \
	extern const tova_plugin tova_plugin_entry; \
	__attribute__((visibility("default"))) const tova_plugin tova_plugin_entry
#endif
/* Its first fields. In C++20 designated initializers may follow it; before that, list the fields in
 * order. */
#define TOVA_PLUGIN_HEAD(NAME, VERSION) \
	.abi_major = TOVA_ABI_MAJOR, .abi_minor = TOVA_ABI_MINOR, .size = sizeof(tova_plugin), \
	.name = (NAME), .version = (VERSION)

/* --- wrappers, so that a plugin reads like the specification ---------------------------------- */

static inline tova_payload tova_text_n(const char *text, size_t len)
{
	tova_payload p;
	memset(&p, 0, sizeof p);
	p.size = sizeof p;
	p.data = text;
	p.len = len;
	p.kind = TOVA_TEXT;
	return p;
}

static inline tova_payload tova_binary(const void *data, size_t len)
{
	tova_payload p = tova_text_n((const char *)data, len);
	p.kind = TOVA_BINARY;
	return p;
}

/* Text with a conflation key. */
static inline tova_payload tova_keyed(const char *text, const char *key)
{
	tova_payload p = tova_text_n(text, strlen(text));
	p.key = key;
	p.key_len = key != NULL ? strlen(key) : 0;
	return p;
}

/* The same with a conflation key: for binary ones, and for what came in. */
static inline tova_payload tova_with_key(tova_payload p, const char *key)
{
	p.size = sizeof p;
	p.key = key;
	p.key_len = key != NULL ? strlen(key) : 0;
	return p;
}

/* The same message, which a room does not remember: a typing notice, a position. */
static inline tova_payload tova_unkept(tova_payload p)
{
	p.flags |= TOVA_UNKEPT;
	return p;
}

/* Text that ends in NUL. */
static inline int tova_send(tova_mount *m, tova_ws ws, const char *text)
{
	tova_payload p = tova_text_n(text, strlen(text));
	return m->host->send(m, ws, &p);
}

static inline int tova_send_payload(tova_mount *m, tova_ws ws, const tova_payload *p)
{
	return m->host->send(m, ws, p);
}

static inline int tova_join(tova_mount *m, tova_ws ws, const char *room)
{
	return m->host->join(m, ws, room, strlen(room));
}

/* TOVA_E_ARG: the host is older than 1.5. */
static inline int tova_join_history(tova_mount *m, tova_ws ws, const char *room,
				    const tova_history *want)
{
	if (m->host->size < offsetof(tova_host, join_history) + sizeof m->host->join_history)
		return TOVA_E_ARG;
	return m->host->join_history(m, ws, room, strlen(room), want);
}

/* And is sent the last messages that the room remembers. */
static inline int tova_join_last(tova_mount *m, tova_ws ws, const char *room, uint32_t last)
{
	tova_history want;
	memset(&want, 0, sizeof want);
	want.size = sizeof want;
	want.how = TOVA_HISTORY_LAST;
	want.last = last;
	return tova_join_history(m, ws, room, &want);
}

/* And is sent those behind an offset; how: TOVA_HISTORY_SINCE_OR_LAST or _FAIL. */
static inline int tova_join_since(tova_mount *m, tova_ws ws, const char *room, uint64_t since,
				  uint64_t epoch, uint32_t how)
{
	tova_history want;
	memset(&want, 0, sizeof want);
	want.size = sizeof want;
	want.how = how;
	want.since = since;
	want.epoch = epoch;
	return tova_join_history(m, ws, room, &want);
}

static inline int tova_leave(tova_mount *m, tova_ws ws, const char *room)
{
	return m->host->leave(m, ws, room, strlen(room));
}

/* --- since 1.5; TOVA_E_ARG, or NULL, from a host that is older ------------------------------- */

static inline int tova_has_1_5_(tova_mount *m)
{
	return m->host->size >= offsetof(tova_host, about) + sizeof m->host->about;
}

static inline int tova_join_if(tova_mount *m, tova_ws ws, const char *room,
			       const tova_conditions *conditions)
{
	return tova_has_1_5_(m) ? m->host->join_if(m, ws, room, strlen(room), conditions)
				: TOVA_E_ARG;
}

/* If the room has at most so many members then. */
static inline int tova_join_max(tova_mount *m, tova_ws ws, const char *room, uint32_t max)
{
	tova_conditions c;
	memset(&c, 0, sizeof c);
	c.size = sizeof c;
	c.max = max;
	return tova_join_if(m, ws, room, &c);
}

/* And ends the others there: one session of a user in a room of his. */
static inline int tova_join_alone(tova_mount *m, tova_ws ws, const char *room)
{
	tova_conditions c;
	memset(&c, 0, sizeof c);
	c.size = sizeof c;
	c.replace = 1;
	return tova_join_if(m, ws, room, &c);
}

static inline int tova_leave_all(tova_mount *m, tova_ws ws)
{
	return tova_has_1_5_(m) ? m->host->leave_all(m, ws) : TOVA_E_ARG;
}

static inline int tova_broadcast_among(tova_mount *m, const tova_among *among, const char *text)
{
	tova_payload p = tova_text_n(text, strlen(text));
	return tova_has_1_5_(m) ? m->host->broadcast_among(m, among, &p) : TOVA_E_ARG;
}

/* One room; exclude: TOVA_NONE for nobody. */
static inline int tova_close_room(tova_mount *m, const char *room, uint16_t code,
				  const char *reason, tova_ws exclude)
{
	tova_among among;
	memset(&among, 0, sizeof among);
	among.size = sizeof among;
	among.rooms = &room;
	among.n_rooms = 1;
	among.exclude = &exclude;
	among.n_exclude = exclude.hi != 0 || exclude.lo != 0;
	return tova_has_1_5_(m) ? m->host->close_room(m, &among, code, reason,
						      reason != NULL ? strlen(reason) : 0)
				: TOVA_E_ARG;
}

/* info, user: NULL: as it was. */
static inline int tova_info(tova_mount *m, tova_ws ws, const char *info, const char *user)
{
	return tova_has_1_5_(m) ? m->host->info(m, ws, info, info != NULL ? strlen(info) : 0, user,
						user != NULL ? strlen(user) : 0)
				: TOVA_E_ARG;
}

/* Of the event's connection: whose it is, what is said of it, what its token says. */
static inline const char *tova_user(tova_mount *m)
{
	return tova_has_1_5_(m) ? m->host->about(m, TOVA_USER) : NULL;
}

static inline const char *tova_event_info(tova_mount *m)
{
	return tova_has_1_5_(m) ? m->host->about(m, TOVA_INFO) : NULL;
}

static inline const char *tova_event_claims(tova_mount *m)
{
	return tova_has_1_5_(m) ? m->host->about(m, TOVA_CLAIMS) : NULL;
}

static inline const char *tova_traceparent(tova_mount *m)
{
	return tova_has_1_5_(m) ? m->host->about(m, TOVA_TRACEPARENT) : NULL;
}

static inline const char *tova_tracestate(tova_mount *m)
{
	return tova_has_1_5_(m) ? m->host->about(m, TOVA_TRACESTATE) : NULL;
}

/* Of an answer: `count` of them; NULL: it lists none. */
static inline const tova_member *tova_members(const tova_reply *r)
{
	return r->size >= offsetof(tova_reply, members) + sizeof r->members ? r->members : NULL;
}

static inline const tova_room_user *tova_users(const tova_reply *r)
{
	return r->size >= offsetof(tova_reply, users) + sizeof r->users ? r->users : NULL;
}

/* --- since 1.6; TOVA_E_ARG, or NULL, from a host that is older ------------------------------- */

static inline int tova_has_1_6_(tova_mount *m)
{
	return m->host->size >= offsetof(tova_host, mount_data) + sizeof m->host->mount_data;
}

static inline int tova_watch_for(tova_mount *m, const char *room, uint32_t grace_ms)
{
	return tova_has_1_6_(m) ? m->host->watch(m, room, strlen(room), grace_ms) : TOVA_E_ARG;
}

static inline int tova_watch(tova_mount *m, const char *room)
{
	return tova_watch_for(m, room, TOVA_GRACE);
}

static inline int tova_unwatch(tova_mount *m, const char *room)
{
	return tova_has_1_6_(m) ? m->host->unwatch(m, room, strlen(room), 0) : TOVA_E_ARG;
}

/* In on_leave, where `users` is 0: nobody is there, unless somebody has come meanwhile. */
static inline int tova_unwatch_empty(tova_mount *m, const char *room)
{
	return tova_has_1_6_(m) ? m->host->unwatch(m, room, strlen(room), 1) : TOVA_E_ARG;
}

static inline int tova_prolong(tova_mount *m, tova_ws ws, const char *token)
{
	return tova_has_1_6_(m) ? m->host->prolong(m, ws, token, strlen(token)) : TOVA_E_ARG;
}

/* What is kept with the room that the event's connection has joined first. */
static inline int tova_get_room(tova_mount *m, tova_room_state *state_r)
{
	memset(state_r, 0, sizeof *state_r);
	state_r->size = sizeof *state_r;
	return tova_has_1_6_(m) ? m->host->room_state(m, state_r) : TOVA_E_ARG;
}

/* Keeps these bytes with a room instead of what has that version. */
static inline int tova_set_room(tova_mount *m, const char *room, const void *data, size_t len,
				uint64_t version)
{
	return tova_has_1_6_(m) ? m->host->set_room(m, room, strlen(room), data, len, version)
				: TOVA_E_ARG;
}

/* Of an answer; NULL: it is another one. */
static inline const tova_room_state *tova_replied_room_state(const tova_reply *r)
{
	return r->size >= offsetof(tova_reply, room_state) + sizeof r->room_state ? r->room_state
										  : NULL;
}

static inline void *tova_mount_data(tova_mount *m)
{
	return tova_has_1_6_(m) ? m->host->mount_data(m) : NULL;
}

/* exclude: TOVA_NONE for nobody. */
static inline int tova_broadcast(tova_mount *m, const char *text, tova_ws exclude)
{
	tova_payload p = tova_text_n(text, strlen(text));
	return m->host->broadcast(m, &p, exclude);
}

static inline int tova_broadcast_payload(tova_mount *m, const tova_payload *p, tova_ws exclude)
{
	return m->host->broadcast(m, p, exclude);
}

static inline int tova_broadcast_to(tova_mount *m, const char *room, const char *text,
				    tova_ws exclude)
{
	tova_payload p = tova_text_n(text, strlen(text));
	return m->host->broadcast_to(m, room, strlen(room), &p, exclude);
}

static inline int tova_broadcast_payload_to(tova_mount *m, const char *room, const tova_payload *p,
					    tova_ws exclude)
{
	return m->host->broadcast_to(m, room, strlen(room), p, exclude);
}

static inline int tova_close_ws(tova_mount *m, tova_ws ws, uint16_t code, const char *reason)
{
	return m->host->close(m, ws, code, reason, reason != NULL ? strlen(reason) : 0);
}

static inline int tova_set(tova_mount *m, tova_ws ws, const void *data, size_t len)
{
	return m->host->set(m, ws, data, len);
}

/* TOVA_E_ARG: the host is older than 1.2. */
static inline int tova_set_if(tova_mount *m, tova_ws ws, const void *data, size_t len,
			      const void *if_data, size_t if_len)
{
	if (m->host->size < offsetof(tova_host, set_if) + sizeof m->host->set_if)
		return TOVA_E_ARG;
	return m->host->set_if(m, ws, data, len, if_data, if_len);
}

/* A timer of one connection; period 0: once. */
static inline int tova_every_ws(tova_mount *m, tova_ws ws, const char *name, uint64_t id,
				uint64_t delay_ms, uint64_t period_ms)
{
	tova_timer t;
	memset(&t, 0, sizeof t);
	t.size = sizeof t;
	t.ws = ws;
	t.name = name;
	t.id = id;
	t.delay_ms = delay_ms;
	t.period_ms = period_ms;
	return m->host->set_timer(m, &t);
}

/* A timer of the mount. */
static inline int tova_every(tova_mount *m, const char *name, uint64_t id, uint64_t delay_ms,
			     uint64_t period_ms)
{
	return tova_every_ws(m, TOVA_NONE, name, id, delay_ms, period_ms);
}

/* Once, after that time, for the mount. */
static inline int tova_after(tova_mount *m, const char *name, uint64_t id, uint64_t delay_ms)
{
	return tova_every_ws(m, TOVA_NONE, name, id, delay_ms, 0);
}

/* The same for one connection, with which it goes. */
static inline int tova_after_ws(tova_mount *m, tova_ws ws, const char *name, uint64_t id,
				uint64_t delay_ms)
{
	return tova_every_ws(m, ws, name, id, delay_ms, 0);
}

static inline int tova_cancel_timer(tova_mount *m, tova_ws ws, const char *name)
{
	return m->host->cancel_timer(m, ws, name);
}

/* asker: for whom; tova_asker() of the answer has it again. */
static inline int tova_query_room_for(tova_mount *m, uint32_t kind, const char *room, tova_ws asker,
				      uint64_t id)
{
	tova_query q;
	memset(&q, 0, sizeof q);
	q.size = sizeof q;
	q.kind = kind;
	q.room = room;
	q.room_len = strlen(room);
	q.id = id;
	q.asker = asker;
	return m->host->query(m, &q);
}

static inline int tova_query_room(tova_mount *m, uint32_t kind, const char *room, uint64_t id)
{
	return tova_query_room_for(m, kind, room, TOVA_NONE, id);
}

/* What a room remembers; since: TOVA_NEWEST, or an offset: compare the epoch that the answer has. A
 * host that is older than 1.5 refuses it. */
static inline int tova_query_history(tova_mount *m, const char *room, uint64_t since,
				     uint32_t limit, tova_ws asker, uint64_t id)
{
	tova_query q;
	memset(&q, 0, sizeof q);
	q.size = sizeof q;
	q.kind = TOVA_QUERY_HISTORY;
	q.room = room;
	q.room_len = strlen(room);
	q.id = id;
	q.asker = asker;
	q.since = since;
	q.limit = limit;
	return m->host->query(m, &q);
}

/* ROOMS with a connection; CONNECTIONS and STATS with TOVA_NONE. */
static inline int tova_query_ws_for(tova_mount *m, uint32_t kind, tova_ws ws, tova_ws asker,
				    uint64_t id)
{
	tova_query q;
	memset(&q, 0, sizeof q);
	q.size = sizeof q;
	q.kind = kind;
	q.ws = ws;
	q.id = id;
	q.asker = asker;
	return m->host->query(m, &q);
}

static inline int tova_query_ws(tova_mount *m, uint32_t kind, tova_ws ws, uint64_t id)
{
	return tova_query_ws_for(m, kind, ws, TOVA_NONE, id);
}

/* TOVA_NONE also from a host that is older than 1.3. */
static inline tova_ws tova_asker(const tova_reply *r)
{
	return r->size >= offsetof(tova_reply, asker) + sizeof r->asker ? r->asker : TOVA_NONE;
}

/* What answers a query of the kind HISTORY, `count` of them; NULL: nothing. */
static inline const tova_remembered *tova_messages(const tova_reply *r)
{
	return r->size >= offsetof(tova_reply, more) + sizeof r->more ? r->messages : NULL;
}

static inline void *tova_data(tova_mount *m)
{
	return m->host->data(m);
}

static inline tova_event tova_current_event(tova_mount *m)
{
	tova_event e;
	memset(&e, 0, sizeof e);
	e.size = sizeof e;
	m->host->event(m, &e);
	return e;
}

/* TOVA_E_STATE also from a host that is older than 1.4. */
static inline int tova_keep(tova_mount *m, const void *data, size_t len)
{
	if (m->host->size < offsetof(tova_host, keep) + sizeof m->host->keep)
		return TOVA_E_STATE;
	return m->host->keep(m, data, len);
}

/* NULL also from a host that is older than 1.4. */
static inline const void *tova_kept(tova_mount *m, size_t *len_r)
{
	*len_r = 0;
	if (m->host->size < offsetof(tova_host, kept) + sizeof m->host->kept)
		return NULL;
	return m->host->kept(m, len_r);
}

static inline int tova_subprotocol(tova_mount *m, const char *name)
{
	return m->host->subprotocol(m, name);
}

static inline int tova_response_header(tova_mount *m, const char *name, const char *value)
{
	return m->host->header(m, name, value);
}

static inline int tova_refuse(tova_mount *m, unsigned status, const char *body)
{
	return m->host->refuse(m, status, NULL, body, strlen(body));
}

static inline const char *tova_setting(tova_mount *m, const char *key)
{
	return m->host->setting(m, key);
}

static inline void tova_wake(tova_mount *m)
{
	m->host->wake(m);
}

static inline const char *tova_ws_text(tova_mount *m, tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	m->host->ws_text(ws, text_r);
	return text_r;
}

static inline int tova_ws_parse(tova_mount *m, const char *text, tova_ws *ws_r)
{
	return m->host->ws_parse(text, strlen(text), ws_r);
}

static inline char tova_lower_(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* First value of that name, any case for headers; NULL if there is none. */
static inline const char *tova_header(const tova_request *r, const char *name)
{
	size_t i, k;
	for (i = 0; i < r->n_headers; i++) {
		const char *have = r->headers[i].name;
		for (k = 0; name[k] != '\0' && tova_lower_(have[k]) == tova_lower_(name[k]); k++)
			;
		if (name[k] == '\0' && have[k] == '\0')
			return r->headers[i].value;
	}
	return NULL;
}

/* What the token of a request says, as JSON text, and whose it is; NULL without, also from a host
 * that is older than these. */
static inline const char *tova_claims(const tova_request *r)
{
	return r->size >= offsetof(tova_request, claims) + sizeof r->claims ? r->claims : NULL;
}

static inline const char *tova_request_subject(const tova_request *r)
{
	return r->size >= offsetof(tova_request, subject) + sizeof r->subject ? r->subject : NULL;
}

/* Whose connection is the event's? In any callback; NULL also from a host that is older than
 * 1.3. */
static inline const char *tova_event_subject(tova_mount *m)
{
	if (m->host->size < offsetof(tova_host, subject) + sizeof m->host->subject)
		return NULL;
	return m->host->subject(m);
}

/* tova_subject(X) is one of these two: of a request, or of the event at hand, tova_subject(m). */
#ifdef __cplusplus
}
static inline const char *tova_subject(const tova_request *r)
{
	return tova_request_subject(r);
}
static inline const char *tova_subject(tova_mount *m)
{
	return tova_event_subject(m);
}
extern "C" {
#else
#define tova_subject(X) \
	(__extension__ _Generic((X), tova_mount *: tova_event_subject, \
		       const tova_request *: tova_request_subject, \
		       tova_request *: tova_request_subject)(X))
#endif

/* JSON text, for tova_sendf(m, ws, "{\"said\":%s}", tova_quote(m, said)). Never NULL: of what can
 * not be quoted it is null, and the callback fails. For a host of 1.3 or later. */
static inline const char *tova_quote_n(tova_mount *m, const char *text, size_t len)
{
	const char *quoted = text != NULL ? m->host->quote(m, text, len) : NULL;
	return quoted != NULL ? quoted : "null";
}

static inline const char *tova_quote(tova_mount *m, const char *text)
{
	return tova_quote_n(m, text, text != NULL ? strlen(text) : 0);
}

/* Does the client speak TLS, with the host or with its proxy? 0 also from a host that is older than
 * this. */
static inline int tova_is_secure(const tova_request *r)
{
	return r->size >= offsetof(tova_request, secure) + sizeof r->secure && r->secure != 0;
}

static inline const char *tova_cookie(const tova_request *r, const char *name)
{
	size_t i;
	for (i = 0; i < r->n_cookies; i++)
		if (strcmp(r->cookies[i].name, name) == 0)
			return r->cookies[i].value;
	return NULL;
}

#if defined(__GNUC__)
#define TOVA_PRINTF_(FORMAT, ARGUMENTS) __attribute__((format(printf, FORMAT, ARGUMENTS)))
#else
#define TOVA_PRINTF_(FORMAT, ARGUMENTS)
#endif

/* printf into the failure's text; at most 511 bytes. */
TOVA_PRINTF_(2, 3) static inline int tova_fail(tova_mount *m, const char *format, ...)
{
	char text[512];
	int n;
	va_list args;
	va_start(args, format);
	n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return m->host->fail(m, text,
			     n < 0		       ? 0
			     : (size_t)n < sizeof text ? (size_t)n
						       : sizeof text - 1);
}

#define TOVA_FORMAT_ROOM_ 512 /* what is longer takes memory for a moment */

/* Where it was written: `room`, or memory that is the caller's to free; NULL without memory. */
static inline char *tova_format_(char room[TOVA_FORMAT_ROOM_], tova_payload *p_r,
				 const char *format, va_list args)
{
	char *text = room;
	va_list again;
	int n;
	va_copy(again, args);
	n = vsnprintf(room, TOVA_FORMAT_ROOM_, format, args);
	if (n >= TOVA_FORMAT_ROOM_) {
		text = (char *)malloc((size_t)n + 1);
		if (text != NULL)
			n = vsnprintf(text, (size_t)n + 1, format, again);
	}
	va_end(again);
	if (n < 0 && text != room)
		free(text);
	if (n < 0 || text == NULL)
		return NULL;
	*p_r = tova_text_n(text, (size_t)n);
	return text;
}

/* printf to one connection. What can not be formatted fails the callback, with TOVA_E_ARG. */
TOVA_PRINTF_(3, 4)
static inline int tova_sendf(tova_mount *m, tova_ws ws, const char *format, ...)
{
	char room[TOVA_FORMAT_ROOM_], *text;
	tova_payload p;
	int result;
	va_list args;
	va_start(args, format);
	text = tova_format_(room, &p, format, args);
	va_end(args);
	result = m->host->send(m, ws, text != NULL ? &p : NULL);
	if (text != room)
		free(text);
	return result;
}

/* The same to all connections of the mount; exclude: TOVA_NONE for nobody. */
TOVA_PRINTF_(3, 4)
static inline int tova_broadcastf(tova_mount *m, tova_ws exclude, const char *format, ...)
{
	char room[TOVA_FORMAT_ROOM_], *text;
	tova_payload p;
	int result;
	va_list args;
	va_start(args, format);
	text = tova_format_(room, &p, format, args);
	va_end(args);
	result = m->host->broadcast(m, text != NULL ? &p : NULL, exclude);
	if (text != room)
		free(text);
	return result;
}

/* The same to the members of a room. */
TOVA_PRINTF_(4, 5)
static inline int tova_broadcastf_to(tova_mount *m, const char *name, tova_ws exclude,
				     const char *format, ...)
{
	char room[TOVA_FORMAT_ROOM_], *text;
	tova_payload p;
	int result;
	va_list args;
	va_start(args, format);
	text = tova_format_(room, &p, format, args);
	va_end(args);
	result = m->host->broadcast_to(m, name, strlen(name), text != NULL ? &p : NULL, exclude);
	if (text != room)
		free(text);
	return result;
}

/* printf into the log, with the plugin's name and mount; at most 1,023 bytes. */
TOVA_PRINTF_(3, 4)
static inline void tova_log(tova_mount *m, uint32_t level, const char *format, ...)
{
	char text[1024];
	int n;
	va_list args;
	va_start(args, format);
	n = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	m->host->log(m, level, text,
		     n < 0		       ? 0
		     : (size_t)n < sizeof text ? (size_t)n
					       : sizeof text - 1);
}

#ifdef __cplusplus
}
#endif
#endif
