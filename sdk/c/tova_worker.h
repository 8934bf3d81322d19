/* tova_worker.h: a worker for tova-host as a program of its own, in C.
 *
 * A worker is written like a plugin (tova_plugin.h): the same callbacks, the same functions, the
 * same rules. Instead of being loaded it is handed to tova_worker_run(), which dials in at the host
 * and speaks the worker protocol (PROTOCOL.md):
 *
 *     #include "tova_worker.h"
 *
 *     static int on_message(tova_mount *m, tova_ws ws, const tova_payload *msg)
 *     {
 *             return tova_send_payload(m, ws, msg);
 *     }
 *     static const tova_plugin worker = { TOVA_PLUGIN_HEAD("echo", "1.0"), .on_message = on_message
 * };
 *
 *     int main(void)
 *     {
 *             return tova_worker_run(&worker, NULL);
 *     }
 *
 *     cc -o echo echo.c $(pkg-config --cflags --libs tova-worker)
 *     tova-host --worker ./echo
 *
 * What a callback commands is sent with its acknowledgement when it returns 0, all or nothing;
 * otherwise the event is refused, which raises on_error. This file adds what only a program of its
 * own can do: commits at any time and from any thread, and events that are settled later than their
 * callback returns.
 */
#ifndef TOVA_WORKER_H
#define TOVA_WORKER_H

#include "tova_plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is NULL or zero comes from the environment, which the host sets for the workers that it
 * starts. */
typedef struct tova_worker_options {
	size_t size;	   /* sizeof tova_worker_options */
	const char *url;   /* TOVA_URL: ipc://PATH, tcp://ADDRESS:PORT or tls+tcp://NAME:PORT */
	const char *token; /* TOVA_TOKEN */
	const char *mount; /* TOVA_MOUNT; may be missing */
	const char *name;  /* for the host's log; by default the plugin's name and the process id */
	/* TOVA_CA_FILE: whom to trust for tls+tcp, PEM; by default what the system trusts */
	const char *ca_file;
	/* TOVA_CERT_FILE: the worker's own certificate and its key in one file, PEM, where the host
	 * wants one */
	const char *cert_file;
	const tova_pair *settings; /* before those in TOVA_SETTINGS, a JSON object of texts */
	size_t n_settings;
	/* If it is there, a crash writes a last line on standard error that says in which callback,
	 * and calls this, in the signal's handler, before the signal goes its way. */
	void (*on_crash)(void *ctx);
	void *on_crash_ctx;
} tova_worker_options;

/* Serves until the host says that it is enough, or TERM or INT comes. Returns the exit code for the
 * process: 0, or 1 when it failed, or 2 for bad settings, with the reason on standard error. Call
 * it once, from the first thread and before others are started, as it blocks TERM and INT in order
 * to wait for them; then let main return. */
int tova_worker_run(const tova_plugin *worker, const tova_worker_options *options);

/* Commands that answer no event, e.g. from a thread that waits for something else:
 *
 *     tova_mount *p = tova_worker_push(m);
 *     tova_broadcast_to(p, "news", text, TOVA_NONE);
 *     tova_worker_commit(p);
 *
 * [any-thread] p is good for commands, queries, log and setting, and for one thread at a time. NULL
 * without memory. When a link breaks before the host has answered, a push is repeated, and done
 * once. */
tova_mount *tova_worker_push(tova_mount *m);

/* [loop] The event at hand is settled later: by tova_worker_commit() or tova_worker_abort() on what
 * this returns, which like a push may be handed to another thread. Commands and changed data so far
 * belong to it, further ones may be added; what the callback was handed is gone when it returns,
 * which has to be with 0. NULL without memory, or where there is no event of the host's (start,
 * on_reply, on_wake). The connection's next event waits, and the host's --handler-timeout runs. */
tova_mount *tova_worker_defer(tova_mount *m);

/* [any-thread] Ends what tova_worker_push() or tova_worker_defer() returned. Commit: its commands
 * happen together, or the code of the first that was wrong is returned and none of them happens;
 * TOVA_E_LIMIT also when the host does not keep up. Abort: none happens; an event fails with the
 * text that tova_fail() has set. */
int tova_worker_commit(tova_mount *p);
void tova_worker_abort(tova_mount *p);

/* [loop, or on a deferred event] Refuses the event so that it is delivered again after that time,
 * instead of raising an error. Returns a value to return from the callback: return
 * tova_worker_retry(m, 500, "the database is away"); Above 3,600,000 ms, an hour, the event fails
 * and its error says so. */
int tova_worker_retry(tova_mount *m, uint32_t after_ms, const char *why);

#ifdef __cplusplus
}
#endif
#endif
