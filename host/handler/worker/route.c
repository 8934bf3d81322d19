/* route: which worker has a connection. It stays there as long as that does well by it; nothing of
 * a connection lives in a worker, so it can be dealt again whenever none of its events is under
 * way. */
#include "base/check.h"
#include "handler/worker/route.h"

#define ROUTE_LATE_MS 100   /* with one event: another worker is better for whoever is new */
#define ROUTE_STUCK_MS 1000 /* and for whom it has already */
#define ROUTE_LOOK 2000	    /* connections that are looked at in a tick */
#define ROUTE_DEAL 200	    /* and dealt again */

static uint64_t route_now(const struct pool *p)
{
	return loop_now(p->base.mount->hub->loop);
}

/* Has it been busy with one event for so long? */
static bool route_is_late(const struct worker *w, uint64_t now, uint64_t ms)
{
	const struct event_held *e = TAILQ_FIRST(&w->flying);
	return e != NULL && e->since != 0 && now - e->since >= ms;
}

/* One that is not stuck; the one with the fewest connections; among equals the one with the least
 * to do. */
static bool route_is_better(const struct worker *a, const struct worker *b, uint64_t now)
{
	bool late = route_is_late(a, now, ROUTE_LATE_MS);
	if (late != route_is_late(b, now, ROUTE_LATE_MS))
		return !late;
	return a->n_sessions != b->n_sessions ? a->n_sessions < b->n_sessions
					      : a->n_flying < b->n_flying;
}

struct worker *route_choose(const struct pool *p)
{
	struct worker *w, *best = NULL;
	uint64_t now = route_now(p);
	TAILQ_FOREACH (w, &p->workers, link)
		if (route_takes(w) && (best == NULL || route_is_better(w, best, now)))
			best = w;
	return best;
}

void route_unref(struct worker **w_p)
{
	struct worker *w = *w_p;
	*w_p = NULL;
	CHECK_IS(w, CHECK_WORKER);
	CHECK(w->n_sessions > 0);
	w->n_sessions--;
	if (w->state == WORKER_GONE && w->n_sessions == 0)
		TAILQ_INSERT_TAIL(&w->pool->graves, w, link);
}

void route_forget(struct session *s)
{
	struct worker *w = s->route;
	s->route = NULL;
	if (w != NULL)
		route_unref(&w);
}

static void route_set(struct session *s, struct worker *w)
{
	route_forget(s);
	CHECK(w->magic == CHECK_WORKER && w->state != WORKER_GONE);
	s->route = w;
	w->n_sessions++;
}

static bool route_is_crowded(const struct worker *w)
{
	return w->n_sessions > w->pool->fair;
}

/* Does w do worse by a connection than that other one would? */
static bool route_may_change(const struct worker *w, uint64_t now)
{
	return w->isolating || route_is_crowded(w) || route_is_late(w, now, ROUTE_STUCK_MS);
}

static bool route_changes(const struct worker *w, const struct worker *other, uint64_t now)
{
	if (other == NULL || other == w)
		return false;
	return w->isolating || (route_is_crowded(w) && other->n_sessions + 1 < w->n_sessions) ||
	       (route_is_late(w, now, ROUTE_STUCK_MS) && !route_is_late(other, now, ROUTE_LATE_MS));
}

/* Only one is left, which is being emptied for suspects: events wait for it. */
static struct worker *route_last_resort(const struct pool *p)
{
	struct worker *w;
	TAILQ_FOREACH (w, &p->workers, link)
		if (route_serves(w))
			return w;
	return NULL;
}

struct worker *route_of(struct pool *p, struct session *s)
{
	struct worker *w = s != NULL ? s->route : NULL, *best;
	uint64_t now = route_now(p);
	bool has = w != NULL && w->state == WORKER_READY;
	if (s != NULL && p->route != WORKER_ROUTE_CONNECTION && route_by_key(p, s, &best)) {
		if (best != w)
			route_set(s, best);
		return best;
	}
	if (has && !route_may_change(w, now))
		return w;
	best = route_choose(p);
	if (has && !route_changes(w, best, now))
		return w;
	if (best == NULL)
		best = route_last_resort(p);
	if (s != NULL && best != NULL)
		route_set(s, best);
	else if (s != NULL)
		route_forget(s);
	return best;
}

/* --- dealing again ---------------------------------------------------------------------------- */

/* Returns whether somebody has more than that. */
static bool route_measure(struct pool *p)
{
	const struct worker *w;
	uint64_t sessions = 0, takers = 0;
	bool crowded = false;
	TAILQ_FOREACH (w, &p->workers, link)
		if (route_takes(w)) {
			sessions += w->n_sessions;
			takers++;
		}
	p->fair =
		takers > 1 ? (uint32_t)(sessions / takers + sessions / takers / 8 + 1) : UINT32_MAX;
	TAILQ_FOREACH (w, &p->workers, link)
		crowded = crowded || (route_takes(w) && route_is_crowded(w));
	return crowded;
}

/* Whoever is first after a restart gets all that come back at once, and a worker that was started
 * again nobody. Those that send something are dealt again with that; here are those that do not, a
 * few at a time. */
void route_deal(struct pool *p)
{
	struct mount *m = p->base.mount;
	uint64_t now = route_now(p);
	unsigned dealt = 0;
	if (!route_measure(p))
		return;
	for (unsigned i = 0; i < ROUTE_LOOK && i < m->n_sessions && dealt < ROUTE_DEAL; i++) {
		struct session *s = mount_session(m, p->dealing++ % m->n_sessions);
		struct worker *w = s->route, *best;
		if (w == NULL || w->state != WORKER_READY || s->lane.current != NULL ||
		    (p->route != WORKER_ROUTE_CONNECTION && s->more->route_key != 0) ||
		    !route_is_crowded(w))
			continue;
		best = route_choose(p);
		if (!route_changes(w, best, now))
			continue;
		route_set(s, best);
		dealt++;
	}
}
