/* route: which worker has a connection. */
#ifndef TOVA_HANDLER_WORKER_ROUTE_H
#define TOVA_HANDLER_WORKER_ROUTE_H

#include "handler/worker/pool.h"

/* Does the worker take events, as far as its generation goes? One that is still coming waits until
 * all of it are there. */
static inline bool route_serves(const struct worker *w)
{
	return w->state == WORKER_READY &&
	       (w->pool->coming == 0 || w->generation != w->pool->coming);
}
/* And is it not set aside for suspects? */
static inline bool route_takes(const struct worker *w)
{
	return route_serves(w) && !w->isolating;
}
/* The best for whoever comes, or NULL. */
struct worker *route_choose(const struct pool *p);
/* The worker of a connection (NULL: of an event without one), which may be another than before:
 * none of its events is under way. NULL: nobody serves. */
struct worker *route_of(struct pool *p, struct session *s);
/* The session needs none any more. */
void route_forget(struct session *s);
/* For a session, or a link that has ended, that had a reference; the last one buries a worker that
 * has gone. */
void route_unref(struct worker **w_p);
/* Every tick: connections of workers that have too many. */
void route_deal(struct pool *p);

/* --- route_key.c ------------------------------------------------------------------------------ */

/* Those that have a key in common, see --route. False: its connection has none, or nobody serves.
 */
bool route_by_key(struct pool *p, struct session *s, struct worker **w_r);
/* The session has none any more. */
void route_key_release(struct pool *p, struct session *s);
/* The worker has gone: its keys go to others. */
void route_keys_lost(struct pool *p, const struct worker *w);
void route_keys_free(struct hash_table *all);

#endif
