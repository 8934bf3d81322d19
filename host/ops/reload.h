/* reload: the settings and handlers are read again, and whoever asked is told what became of it:
 * tova-ctl and programs that deploy, by the control socket and over HTTP.
 *
 * Workers come up later than the settings are read, so an answer waits for all that it tells of.
 * Nothing waits longer than --ready-timeout, or twice that behind workers that were coming already.
 */
#ifndef TOVA_OPS_RELOAD_H
#define TOVA_OPS_RELOAD_H

#include "handler/worker/worker.h"
#include "hub/hub.h"

#define RELOADS_MAX 64 /* that are asked for and not answered, at once */

/* What became of a mount's handler. */
enum reload_outcome {
	RELOAD_UNCHANGED, /* it is what is asked for: it was left alone */
	RELOAD_REPLACED,
	RELOAD_NEXT, /* each connection starts what there is then */
	RELOAD_COMING,
	RELOAD_FAILED, /* the old one goes on */
};

/* On the loop, once, in a turn after that in which it was asked for. ok: all is as it was asked
 * for. members: of JSON, each with a comma before it: "changed" and "waiting_for_a_restart"
 * (numbers of options; where the settings were read), "mounts":[{"mount":…,"outcome":"unchanged",
 * "replaced", "next connection" or "failed"[,"error":…]},…], and, if not ok, "error", a sentence.
 */
typedef void reload_answer(void *ctx, bool ok, struct span members);

struct reload; /* one that is asked for */

struct reloads {
	uint16_t magic; /* CHECK_RELOADS */
	struct hub *hub;
	LIST_HEAD(, reload) waits;
	unsigned n;
	struct loop_timer begin;
	/* Does it: reload_wrong, or reload_read and then reload_mount for each mount. only: that
	 * mount's handler alone, by the settings that are in effect; NULL: all. */
	void (*run)(void *ctx, const struct mount *only, struct reload *r);
	void *ctx;
};

/* The hub is borrowed; run is called on its loop, with ctx. */
void reloads_init(struct reloads *all, struct hub *hub,
		  void (*run)(void *ctx, const struct mount *only, struct reload *r), void *ctx);
/* Those that wait are not answered any more. */
void reloads_free(struct reloads *all);

/* Begins in the next turn. NULL: there will be an answer; else a sentence why not. */
const char *reload_begin(struct reloads *all, const struct mount *only, reload_answer *answer,
			 void *ctx);
/* Whoever asked has gone; what was begun goes on. */
void reload_forget(struct reloads *all, const void *ctx);

/* For whoever does it; r may be NULL: nobody asked (HUP). What a mount tells stands at the mount,
 * too (mount->deploy). */
void reload_wrong(struct reload *r, const char *why);
void reload_read(struct reload *r, uint64_t changed, uint64_t waiting);
/* why: of RELOAD_FAILED. awaited: of RELOAD_COMING, see worker_shared.reloaded. */
void reload_mount(struct reload *r, struct mount *m, enum reload_outcome outcome, const char *why,
		  uint64_t awaited);
/* worker_shared.reloaded, with all as ctx. */
void reload_on_workers(void *all, struct mount *m, uint64_t number, const char *why);

#endif
