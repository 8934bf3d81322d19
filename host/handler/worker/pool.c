#include "handler/worker/pool.h"

#include "base/check.h"
#include "handler/worker/link.h"
#include "handler/worker/route.h"
#include "handler/worker/suspect.h"
#include "hub/access.h"
#include "hub/delivery.h"
#include "ws/frame.h"

void pool_reloaded(struct pool *p, uint64_t number, const char *why)
{
	if (p->shared.reloaded != NULL)
		p->shared.reloaded(p->shared.reloaded_ctx, p->base.mount, number, why);
}

void pool_forget(struct handler *h, struct session *s)
{
	route_forget(s);
	route_key_release(pool_of(h), s);
}

void pool_run(struct pool *p)
{
	struct worker *w;
	if (p->stopped)
		return;
	suspect_run(p);
	pool_assign(p);
	TAILQ_FOREACH (w, &p->workers, link)
		pool_pump(w);
}

/* --- quarantine ------------------------------------------------------------------------------- */

void pool_on_buried(void *ctx, void *item)
{
	struct pool *p = ctx;
	struct event_held *e = item;
	CHECK_IS(p, CHECK_POOL);
	if (p->stopped)
		return;
	CHECK_IS(e, CHECK_EVENT);
	struct session *s = e->event.session;
	TAILQ_REMOVE(&p->dead, e, link);
	bool open = e->event.kind == EVENT_OPEN;
	pool_settle_empty(p, e, HANDLER_FAILED,
			  SPAN("the event was quarantined: its handler died of it each time"));
	if (open && !s->ended)
		access_ended_by(s, "handler");
	if (open && !s->ended)
		hub_close_session(s, CLOSE_INTERNAL,
				  SPAN("the handler can not open this connection"), false);
	pool_run(p);
}

/* What followed it waits for its turn. */
static void pool_end_run(struct pool *p, struct event_held *e, bool death)
{
	for (struct event_held *f = e->next; death && f != NULL && pool_is_first(e); f = f->next)
		f->suspect = true;
	delivery_end_run(p->base.mount, e, true);
}

void pool_redeliver(struct worker *w, enum pool_end end)
{
	bool death = end != POOL_LEFT;
	struct pool *p = w->pool;
	struct event_queue flying = TAILQ_HEAD_INITIALIZER(flying),
			   queue = TAILQ_HEAD_INITIALIZER(queue);
	struct event_held *e;
	uint32_t n = w->n_flying;
	bool together = end == POOL_LOST && suspect_lost(p, w), alone = w->alone;
	TAILQ_FOREACH (e, &w->flying, link)
		pool_end_run(p, e, death);
	TAILQ_CONCAT(&flying, &w->flying, link);
	TAILQ_CONCAT(&queue, &w->queue, link);
	w->bytes_flying = 0;
	w->alone = false;
	if (death)
		suspect_died(p, w, together ? 0 : n, alone && !together);
	else if (p->isolating == w)
		p->isolating = NULL;
	p->base.mount->hub->loop->stats.redelivered += w->n_flying;
	p->base.mount->faults.redelivered += w->n_flying;
	w->n_flying = 0;
	while ((e = TAILQ_FIRST(&flying)) != NULL) {
		TAILQ_REMOVE(&flying, e, link);
		e->with = NULL;
		delivery_yield(p->base.mount, e);
		if (end == POOL_LOST && n == 1)
			suspect_doubt(p, e, together);
		else if (death && n == 1)
			suspect_blame(p, e);
		else if (death || e->blame > 0)
			suspect_add(p, e);
		else
			pool_give(&p->base, e);
	}
	pool_give_all(p, &queue);
}
