/* worker: a handler in worker processes, over the worker protocol (sdk/PROTOCOL.md). */
#ifndef TOVA_HANDLER_WORKER_WORKER_H
#define TOVA_HANDLER_WORKER_WORKER_H

#include "auth/api_token.h"
#include "handler/worker/deadletter.h"
#include "handler/process.h"
#include "handler/worker/push.h"
#include "hub/mount.h"

/* Which connections go to the same worker, in the order of the choices of --route. */
enum worker_route {
	WORKER_ROUTE_CONNECTION,
	WORKER_ROUTE_PATH,
	WORKER_ROUTE_USER,
	WORKER_ROUTE_ROOM,
};

struct worker_settings {
	const char *command;	  /* for /bin/sh; NULL: argv, or none are started */
	const char *const *argv;  /* ended by NULL */
	unsigned count;		  /* of processes */
	const char *attach_url;	  /* where workers that others start dial in; NULL: none */
	const char *attach_cert, *attach_key, *attach_client_ca; /* files for a tls+tcp URL */
	const char *settings;  /* for TOVA_SETTINGS: JSON, or NULL */
	const char *digest;    /* of the plugin that argv runs; NULL: it may be another each time */
	const char *directory; /* for the sockets of processes, 0700 */
	uint64_t handler_ms, ready_ms;
	enum worker_route route;
	/* of one process, after which another takes its place: events, resident bytes; 0: never */
	uint64_t max_events, max_rss;
	unsigned max_attempts;
	/* starts of one process after which it is given up, if nobody has ever served the mount; 0:
	 * never */
	unsigned start_attempts;
};

/* What the pools of one host share. */
struct worker_shared {
	struct processes *processes;
	struct deadletter *deadletter;
	struct push_sources *sources;
	const struct api_tokens *tokens; /* of those who attach; NULL or none: nobody needs one */
	/* A process was started --start-attempts times, and nobody has ever served the mount. */
	void (*failed)(void *ctx, const struct mount *m);
	void *failed_ctx;
	/* What worker_reload began is over: the workers of that number serve (why NULL), or those
	 * up to it did not come up. Number 0: the mount is served for the first time. NULL: nobody
	 * asks. */
	void (*reloaded)(void *ctx, struct mount *m, uint64_t number, const char *why);
	void *reloaded_ctx;
};

/* Makes a pool of workers the mount's handler and starts it. Strings of the settings are copied.
 * False with a sentence in why, and *attach_r set if that is about attach_url. */
bool worker_attach(struct mount *m, const struct worker_settings *set,
		   const struct worker_shared *shared, bool *attach_r, char *why, size_t why_cap);
bool worker_is(const struct mount *m);
/* Lets those attach who only push and ask, at a mount that has its handler. False with a sentence
 * in why. */
bool worker_attach_pushers(struct mount *m, const struct worker_settings *set,
			   const struct worker_shared *shared, char *why, size_t why_cap);

/* Clocks and attempts from now on. */
void worker_set_limits(struct mount *m, const struct worker_settings *set);
/* Starts a new generation of processes; when all have said hello they take over, and the old ones
 * finish what they have and leave. If they do not come up the old ones go on. Of the settings the
 * program and the count are used; where a plugin and all that is said to it are the same they are
 * left alone. Returns at once; the log tells, and worker_shared.reloaded with *number_r where they
 * are WORKER_COMING. */
enum worker_reload {
	WORKER_UNCHANGED,
	WORKER_COMING,
	WORKER_NO_MEMORY,
};
enum worker_reload worker_reload(struct mount *m, const struct worker_settings *set,
				 uint64_t *number_r);

/* Reads the certificates for workers that attach over TLS again; true if none do. False with a
 * sentence in why: the old ones go on. */
bool worker_reload_certificates(struct mount *m, const struct worker_settings *set, char *why,
				size_t why_cap);

/* For people: by which option the mount has workers ("plugin" is an isolated one), what they run or
 * where they attach, and how many are ready. */
const char *worker_kind(const struct mount *m);
const char *worker_what(const struct mount *m);
unsigned worker_count(const struct mount *m);
/* Those that take events, are on their way to, finish what they have, and wait to be started again.
 */
struct worker_states {
	unsigned starting, ready, draining, down;
};
struct worker_states worker_states(const struct mount *m);
/* Is there one that takes events, or are they somebody else's to start? */
bool worker_serves(const struct mount *m);

/* For people: one line of JSON for each worker, appended as members of an array. */
struct codec_out;
void worker_describe(const struct mount *m, struct codec_out *o, bool *any);

#endif
