/* pool_fly: what is with a worker, within its window, and how it is settled. */
#include "base/check.h"
#include "handler/worker/link.h"
#include "handler/worker/route.h"
#include "hub/admission.h"
#include "hub/delivery.h"

static void pool_fly_settle_upgrade(struct pool *p, struct event_held *e,
				    enum handler_result result, struct span why)
{
	static const struct event_answer accepted;
	char text[1024];
	snprintf(text, sizeof text, "%.*s", (int)why.n, why.n > 0 ? why.p : "");
	admission_answered(p->base.mount, e, &accepted, result == HANDLER_DONE ? NULL : text);
}

void pool_settle(struct pool *p, struct event_held *e, enum handler_result result, struct span why)
{
	if (e->lane == NULL)
		pool_fly_settle_upgrade(p, e, result, why);
	else
		delivery_settle(p->base.mount, e, result, why);
}

void pool_settle_empty(struct pool *p, struct event_held *e, enum handler_result result,
		       struct span why)
{
	commit_begin(&p->base.mount->commit, e->event.session);
	pool_settle(p, e, result, why);
}

static bool pool_fly_has_window(const struct worker *w, const struct event_held *e)
{
	return w->n_flying == 0 ||
	       (w->n_flying < POOL_WINDOW && w->bytes_flying + e->size <= POOL_WINDOW_BYTES &&
		!link_is_full(w));
}

/* By the newest hello: what nobody wants is settled without a word. */
static bool pool_fly_is_wanted(const struct pool *p, const struct event_held *e)
{
	return !p->known || (p->base.wants & EVENT_BIT(e->event.kind)) != 0;
}

void pool_fly(struct worker *w, struct event_held *e)
{
	CHECK(e->magic == CHECK_EVENT && w->state == WORKER_READY);
	e->with = w;
	e->event.attempt++;
	TAILQ_INSERT_TAIL(&w->flying, e, link);
	w->bytes_flying += e->size;
	e->since = w->n_flying++ == 0 ? pool_now(w->pool) : 0;
	e->given = e->received != 0 ? meters_stamp() : 0;
	e->run = 1;
	link_deliver(w, e);
	if (w->runs > 1 && w->pipe != NULL && e->lane != NULL)
		delivery_follow(w->pool->base.mount, e);
}

/* A run lies within one message, so that whoever handles it knows all of it, and one behind the
 * other. */
bool pool_follow(struct handler *h, struct event_held *last, struct event_held *e)
{
	struct worker *w = last->with;
	CHECK(w == NULL || w->magic == CHECK_WORKER);
	if (w == NULL || !w->open || last->number != w->number || last->run >= w->runs ||
	    e->size > POOL_RUN_BYTES)
		return false;
	if (pool_now(w->pool) < w->pool->runs_from)
		return false;
	/* it has to be told what the one before it has left there */
	if (w->out.room_states && session_first_room(e->event.session) != NULL)
		return false;
	if (w->alone || !route_takes(w) || !pool_fly_is_wanted(pool_of(h), e) ||
	    !pool_fly_has_window(w, e) || !link_has_room(w, e))
		return false;
	e->with = w;
	e->event.attempt++;
	e->run = last->run + 1;
	e->since = 0;
	e->given = e->received != 0 ? meters_stamp() : 0;
	TAILQ_INSERT_TAIL(&w->flying, e, link);
	w->bytes_flying += e->size;
	w->n_flying++;
	link_deliver(w, e);
	return true;
}

/* Workers begin events in the order in which they were given them. So the first one is being
 * handled, and so is each in front of one that was settled; what follows another in a run is begun
 * when that is settled. */
static void pool_fly_begin_clock(struct event_held *e, uint64_t now)
{
	if (e != NULL && e->since == 0 && pool_is_first(e))
		e->since = now;
}

void pool_take_back(struct worker *w, struct event_held *e)
{
	if (w->streamed == e)
		link_forget(w);
	uint64_t now = pool_now(w->pool);
	for (struct event_held *f = TAILQ_PREV(e, event_queue, link); f != NULL && f->since == 0;
	     f = TAILQ_PREV(f, event_queue, link))
		pool_fly_begin_clock(f, now);
	CHECK(e->with == w && w->n_flying > 0 && w->bytes_flying >= e->size);
	TAILQ_REMOVE(&w->flying, e, link);
	w->n_flying--;
	w->bytes_flying -= e->size;
	w->newest = e->number > w->newest ? e->number : w->newest;
	w->alone = false;
	e->with = NULL;
	if (e->next != NULL && e->next->with == w)
		e->next->since = now;
	pool_fly_begin_clock(TAILQ_FIRST(&w->flying), now);
}

void pool_heard_late(struct worker *w, uint64_t number)
{
	struct event_held *e = TAILQ_FIRST(&w->flying);
	if (e != NULL && e->number > number && e->number > w->newest)
		e->since = pool_now(w->pool);
	if (number > w->newest && number <= w->number)
		w->newest = number;
}

void pool_withdraw(struct handler *h, struct event_held *e, bool handled)
{
	struct worker *w = e->with;
	struct pool *p = pool_of(h);
	/* Where connections often set each other's state, runs would have most events handled
	 * twice. */
	if (handled && w->state == WORKER_READY)
		p->runs_from = pool_now(p) + POOL_RUN_REST_MS;
	CHECK(w->magic == CHECK_WORKER && w->n_flying > 0 && w->bytes_flying >= e->size);
	TAILQ_REMOVE(&w->flying, e, link);
	w->n_flying--;
	w->bytes_flying -= e->size;
	e->event.attempt -= !handled;
	e->with = NULL;
}

bool pool_skip(struct pool *p, struct event_held *e)
{
	bool gone = e->lane == NULL && e->event.conn == NULL;
	if (!gone && pool_fly_is_wanted(p, e))
		return false;
	pool_settle_empty(p, e, HANDLER_DONE, (struct span){0});
	return true;
}

void pool_pump(struct worker *w)
{
	struct event_held *e;
	while (w->state == WORKER_READY && !w->alone && !w->isolating &&
	       (e = TAILQ_FIRST(&w->queue)) != NULL && pool_fly_has_window(w, e)) {
		TAILQ_REMOVE(&w->queue, e, link);
		if (!pool_skip(w->pool, e))
			pool_fly(w, e);
	}
}
