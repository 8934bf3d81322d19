#include "handler/worker/pool.h"

#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"
#include "hub/access.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "ws/frame.h"

static uint64_t pool_now(const struct pool *p)
{
	return loop_now(p->base.mount->hub->loop);
}

void pool_reloaded(struct pool *p, uint64_t number, const char *why)
{
	if (p->shared.reloaded != NULL)
		p->shared.reloaded(p->shared.reloaded_ctx, p->base.mount, number, why);
}

/* --- settling --------------------------------------------------------------------------------- */

static void pool_settle_upgrade(struct pool *p, struct event_held *e, enum handler_result result,
				struct span why)
{
	static const struct event_answer accepted;
	char text[1024];
	snprintf(text, sizeof text, "%.*s", (int)why.n, why.n > 0 ? why.p : "");
	admission_answered(p->base.mount, e, &accepted, result == HANDLER_DONE ? NULL : text);
}

void pool_settle(struct pool *p, struct event_held *e, enum handler_result result, struct span why)
{
	if (e->lane == NULL)
		pool_settle_upgrade(p, e, result, why);
	else
		delivery_settle(p->base.mount, e, result, why);
}

/* Settled without having been delivered, or by the host's own decision. */
static void pool_settle_empty(struct pool *p, struct event_held *e, enum handler_result result,
			      struct span why)
{
	commit_begin(&p->base.mount->commit, e->event.session);
	pool_settle(p, e, result, why);
}

void pool_forget(struct handler *h, struct session *s)
{
	route_forget(s);
	route_key_release(pool_of(h), s);
}

/* --- windows ---------------------------------------------------------------------------------- */

static bool pool_has_window(const struct worker *w, const struct event_held *e)
{
	return w->n_flying == 0 ||
	       (w->n_flying < POOL_WINDOW && w->bytes_flying + e->size <= POOL_WINDOW_BYTES &&
		!link_is_full(w));
}

/* By the newest hello: what nobody wants is settled without a word. */
static bool pool_is_wanted(const struct pool *p, const struct event_held *e)
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
	if (w->alone || !route_takes(w) || !pool_is_wanted(pool_of(h), e) ||
	    !pool_has_window(w, e) || !link_has_room(w, e))
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
static void pool_begin_clock(struct event_held *e, uint64_t now)
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
		pool_begin_clock(f, now);
	CHECK(e->with == w && w->n_flying > 0 && w->bytes_flying >= e->size);
	TAILQ_REMOVE(&w->flying, e, link);
	w->n_flying--;
	w->bytes_flying -= e->size;
	w->newest = e->number > w->newest ? e->number : w->newest;
	w->alone = false;
	e->with = NULL;
	if (e->next != NULL && e->next->with == w)
		e->next->since = now;
	pool_begin_clock(TAILQ_FIRST(&w->flying), now);
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

/* An upgrade whose client has gone, or an event that nobody wants, needs no worker. */
bool pool_skip(struct pool *p, struct event_held *e)
{
	bool gone = e->lane == NULL && e->event.conn == NULL;
	if (!gone && pool_is_wanted(p, e))
		return false;
	pool_settle_empty(p, e, HANDLER_DONE, (struct span){0});
	return true;
}

void pool_pump(struct worker *w)
{
	struct event_held *e;
	while (w->state == WORKER_READY && !w->alone && !w->isolating &&
	       (e = TAILQ_FIRST(&w->queue)) != NULL && pool_has_window(w, e)) {
		TAILQ_REMOVE(&w->queue, e, link);
		if (!pool_skip(w->pool, e))
			pool_fly(w, e);
	}
}

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

static void pool_assign(struct pool *p)
{
	struct event_queue waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct event_held *e;
	if (TAILQ_EMPTY(&p->unassigned) || route_choose(p) == NULL)
		return;
	TAILQ_CONCAT(&waiting, &p->unassigned, link);
	while ((e = TAILQ_FIRST(&waiting)) != NULL) {
		TAILQ_REMOVE(&waiting, e, link);
		pool_give(&p->base, e);
	}
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

#define POOL_LETTER_ID (SESSION_ID_TEXT + 24)

/* CONN:SEQ; what belongs to no connection has a name of its own in the place of one, as numbers
 * begin anew with the host. */
static const char *pool_letter_id(const struct event_held *e, char id[POOL_LETTER_ID])
{
	struct session_id name;
	char text[SESSION_ID_TEXT];
	/* it is no secret, it only has to be another one each time */
	if (!random_bytes(&name, sizeof name))
		name = (struct session_id){.host = loop_clock(), .local = (uint64_t)(uintptr_t)e};
	session_id_text(name, text);
	hub_session_text(e->event.session, text);
	snprintf(id, POOL_LETTER_ID, "%s:%llu", text, (unsigned long long)e->event.sequence);
	return id;
}

/* The event as it would be delivered, with what led here. */
static char *pool_letter(struct pool *p, const struct event_held *e)
{
	struct codec_out o = {.n = 0};
	struct iovec parts[CODEC_PARTS];
	struct timespec now;
	char id[POOL_LETTER_ID];
	clock_gettime(CLOCK_REALTIME, &now);
	codec_object(&o, "dead_letter");
	codec_member_uint(&o, "time", (uint64_t)now.tv_sec);
	codec_member_text(&o, "mount", span_of(p->base.mount->path));
	codec_member_uint(&o, "blame", e->blame);
	codec_member_text(&o, "event", span_of(event_name(e->event.kind)));
	codec_member_text(&o, "id", span_of(pool_letter_id(e, id)));
	if (codec_failed(&o)) {
		codec_free(&o);
		return NULL;
	}
	codec_dead_event(&o, e);
	codec_object_end(&o);
	codec_parts(&o, parts);
	/* without the batch's bracket */
	char *line = codec_failed(&o) ? NULL : strndup(o.text.p + 1, o.text.n - 1);
	codec_free(&o);
	return line;
}

static void pool_on_buried(void *ctx, void *item)
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

void pool_condemn(struct pool *p, struct event_held *e)
{
	struct hub *hub = p->base.mount->hub;
	struct session *s = e->event.session;
	char id[SESSION_ID_TEXT];
	LOG(hub->log, LOG_ERROR, LOG_QUARANTINE, "an event was quarantined: its workers died of it",
	    LOG_STR("mount", p->base.mount->path), LOG_STR("event", event_name(e->event.kind)),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_U64("seq", e->event.sequence),
	    LOG_U64("attempts", e->event.attempt));
	hub->loop->stats.quarantined++;
	char *line = pool_letter(p, e);
	TAILQ_INSERT_TAIL(&p->dead, e, link);
	if (line == NULL) {
		LOG(hub->log, LOG_ERROR, LOG_QUARANTINE, "no memory for the dead letter");
		pool_on_buried(p, e);
		return;
	}
	deadletter_write(p->shared.deadletter, line, pool_on_buried, p, e);
}

/* --- giving again ----------------------------------------------------------------------------- */

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
	while ((e = TAILQ_FIRST(&queue)) != NULL) {
		TAILQ_REMOVE(&queue, e, link);
		pool_give(&p->base, e);
	}
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
