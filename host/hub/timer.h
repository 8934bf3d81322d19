/* timer: the handlers' named timers, kept by the host so that they outlive whoever set them.
 *
 * All of a hub's stand in one heap, by when they are due, and in one table, by owner and name: a
 * hundred thousand cost the same to set, cancel and fire as one. They have a clock of their own
 * (timerfd), since what a handler calls 20 ms is to be that, and a period counts from the timer's
 * schedule and not from when its last event came.
 */
#ifndef TOVA_HUB_TIMER_H
#define TOVA_HUB_TIMER_H

#include "base/hash.h"
#include "base/hash_table.h"
#include "hub/event.h"
#include "net/loop.h"

struct hub;
struct mount;
struct session;
struct timer;

struct timers {
	uint16_t magic;		 /* CHECK_TIMERS */
	struct loop_watch watch; /* of the clock */
	int clock;		 /* -1: none */
	uint64_t rings;		 /* when it does: ns of CLOCK_MONOTONIC; 0: not set */
	const struct hash_key *key;
	struct timer **heap;	 /* the first is due first */
	struct hash_table table; /* by owner and name */
	uint32_t n, cap_heap;
	/* counts those that were set: of two that are due together the older goes first */
	uint64_t order;
};

/* `key` stays the caller's. False with errno when there is no descriptor or no memory. */
bool timers_init(struct timers *timers, struct loop *loop, const struct hash_key *key);
/* All timers were freed. */
void timers_free(struct timers *timers);

/* Setting one that exists with the same id, delay and period changes nothing; any other way it
 * starts anew. session NULL: the mount's. False without memory. */
bool timer_set(struct mount *mount, struct session *session, const struct event_timer *timer);
/* False: there is none of that name. */
bool timer_cancel(struct mount *mount, struct session *session, struct span name);
/* Closes the session when this time has come (seconds since 1970; 0: never). False without memory.
 */
bool timer_set_end(struct mount *mount, struct session *session, uint64_t ends);
/* An event of this timer waits for its handler, or does not any more: one with a period is not told
 * again before that, or what a short period makes would pile up behind a slow handler. */
void timer_waits(struct mount *mount, struct session *session, struct span name, bool waits);
/* The list hangs at a mount or a session. */
void timer_free_all(struct timer **list);

#endif
