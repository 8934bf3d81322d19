/* pool_give: to whom an event is given. */
#include "base/check.h"
#include "handler/worker/route.h"
#include "handler/worker/suspect.h"
#include "hub/delivery.h"

void pool_give(struct handler *h, struct event_held *e)
{
	struct pool *p = pool_of(h);
	struct worker *w;
	CHECK_IS(e, CHECK_EVENT);
	e->with = NULL;
	if (e->suspect || (e->event.session != NULL && e->event.session->lane.blame > 0) ||
	    (p->record > 0 && suspect_is_newcomer(p, e))) {
		suspect_add(p, e);
		return;
	}
	w = route_of(p, e->event.session);
	if (w == NULL) {
		TAILQ_INSERT_TAIL(&p->unassigned, e, link);
		return;
	}
	e->with = w;
	TAILQ_INSERT_TAIL(&w->queue, e, link);
	if (TAILQ_FIRST(&w->queue) == e)
		pool_pump(w);
}

void pool_give_all(struct pool *p, struct event_queue *from)
{
	struct event_queue all = TAILQ_HEAD_INITIALIZER(all);
	struct event_held *e;
	TAILQ_CONCAT(&all, from, link);
	while ((e = TAILQ_FIRST(&all)) != NULL) {
		TAILQ_REMOVE(&all, e, link);
		pool_give(&p->base, e);
	}
}

void pool_assign(struct pool *p)
{
	if (!TAILQ_EMPTY(&p->unassigned) && route_choose(p) != NULL)
		pool_give_all(p, &p->unassigned);
}

void pool_retry(struct pool *p, struct event_held *e, uint64_t ms)
{
	delivery_yield(p->base.mount, e);
	e->since = pool_now(p) + (ms < POOL_RETRY_MAX_MS ? ms : POOL_RETRY_MAX_MS);
	TAILQ_INSERT_TAIL(&p->later, e, link);
}

void pool_check_later(struct pool *p, uint64_t now)
{
	struct event_held *e, *next;
	for (e = TAILQ_FIRST(&p->later); e != NULL; e = next) {
		next = TAILQ_NEXT(e, link);
		if (e->since > now)
			continue;
		TAILQ_REMOVE(&p->later, e, link);
		pool_give(&p->base, e);
	}
}
