/* suspect: events at which workers have died, which are delivered alone. */
#ifndef TOVA_HANDLER_WORKER_SUSPECT_H
#define TOVA_HANDLER_WORKER_SUSPECT_H

#include "handler/worker/pool.h"

/* --- suspect_queue.c -------------------------------------------------------------------------- */

/* Events of a connection that have to be settled before it has a record. */
#define SUSPECT_RECORD 4

/* It is with nobody: it will be delivered alone. */
void suspect_add(struct pool *p, struct event_held *e);
/* Is it to be kept from others, as workers die and its connection is not known? */
bool suspect_is_newcomer(const struct pool *p, const struct event_held *e);
/* The next one, off its queue; there is one. */
struct event_held *suspect_take(struct pool *p);

/* --- suspect.c -------------------------------------------------------------------------------- */

/* Delivers those that were added, as far as there is a worker for them. */
void suspect_run(struct pool *p);
/* Its worker has died of it, or it is overdue. */
void suspect_blame(struct pool *p, struct event_held *e);
/* n: it may be of one of so many events that were under way; alone: that one was to be. */
void suspect_died(struct pool *p, struct worker *w, uint32_t n, bool alone);
/* The link of a worker elsewhere has ended, with its events still there. Did others, too? */
bool suspect_lost(struct pool *p, const struct worker *w);
/* Nothing else was under way with it there. together: as others ended, too. */
void suspect_doubt(struct pool *p, struct event_held *e, bool together);
/* A worker has settled it. */
void suspect_settled(struct pool *p, struct event_held *e);
/* New workers serve: what has killed the old ones may not kill them. */
void suspect_renew(struct pool *p);
/* Every tick; now: of loop_now. */
void suspect_tick(struct pool *p, uint64_t now);

#endif
