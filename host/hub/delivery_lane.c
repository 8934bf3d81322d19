/* What waits for a mount's handler, in lanes. */
#include "base/check.h"
#include "hub/delivery_parts.h"
#include "hub/hub.h"
#include "hub/timer.h"
#include "hub/watching.h"
#include "net/conn.h"

#define DELIVERY_TAKEN_MIN 4096 /* bytes of a message that is not copied where it need not be */

struct lane *delivery_next_ready(struct mount *m)
{
	struct lane *lane = m->ready_first;
	if (lane == NULL)
		return NULL;
	CHECK(lane->ready);
	m->ready_first = lane->ready_next;
	if (m->ready_first == NULL)
		m->ready_last = NULL;
	lane->ready = false;
	return lane;
}

/* Without memory the connection ends rather than lose a message in silence. */
static void delivery_lane_lose(struct mount *m, struct session *s, const struct hub_event *e)
{
	LOG(m->hub->log, LOG_ERROR, LOG_HANDLER, "no memory: an event is lost",
	    LOG_STR("mount", m->path), LOG_STR("event", event_name(e->kind)));
	if (s != NULL && !s->ended)
		hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
}

/* A large message is taken over with its memory, where it has some of its own. */
static struct event_held *delivery_lane_hold(struct session *s, const struct hub_event *e)
{
	struct hub_event taken = *e;
	size_t size;
	void *memory = NULL;
	if (s != NULL && s->conn != NULL && e->kind == EVENT_MESSAGE &&
	    e->message.len >= DELIVERY_TAKEN_MIN)
		memory = conn_take(s->conn, &taken.message.bytes, &size);
	if (memory != NULL)
		taken.message.bytes += e->message.skip;
	return memory != NULL ? event_hold_memory(&taken, memory, size) : event_hold(e);
}

/* Whoever submits events of some kinds knows which of them wait, or are being handled. */
static inline bool delivery_is_counted(enum event_kind kind)
{
	return ((EVENT_BIT(EVENT_TIMER) | EVENT_BIT(EVENT_JOIN) | EVENT_BIT(EVENT_LEAVE)) &
		EVENT_BIT(kind)) != 0;
}

static __attribute__((noinline)) void delivery_tell_waits(struct mount *m,
							  const struct hub_event *e, bool waits)
{
	if (e->kind == EVENT_TIMER)
		timer_waits(m, e->session, span_of(e->timer.name), waits);
	else
		watching_count(m, waits ? 1 : -1);
}

bool delivery_wait(struct mount *m, struct session *s, const struct hub_event *e, bool next)
{
	struct event_held *h = delivery_lane_hold(s, e);
	struct lane *lane = delivery_lane(m, s);
	if (h == NULL) {
		delivery_lane_lose(m, s, e);
		return false;
	}
	CHECK(h->lane == NULL);
	h->lane = lane;
	delivery_stamp(m, h);
	budget_add_event(m->budget, h->size);
	lane->waiting += (uint32_t)h->size;
	if (delivery_is_counted(e->kind))
		delivery_tell_waits(m, e, true);
	if (next)
		lane_push_next(lane, h);
	else
		lane_push(lane, h);
	bool async = handler_is_async(m->handler);
	if (!async)
		delivery_make_ready(m, lane);
	if (s != NULL && lane->waiting > HUB_LANE_MAX && (async || m->hub->gate != NULL))
		hub_pause(s);
	return true;
}

void delivery_free(struct mount *m, struct event_held *h)
{
	struct session *s = h->event.session;
	budget_sub_event(m->budget, h->size);
	if (delivery_is_counted(h->event.kind))
		delivery_tell_waits(m, &h->event, false);
	event_held_free(&h);
	if (s != NULL && s->paused && s->lane.waiting <= HUB_LANE_MAX / 2)
		hub_unpause(s);
}

/* Back to where it came from. */
static void delivery_lane_take_back(struct mount *m, struct event_held *h, bool handled)
{
	m->handler->ops->withdraw(m->handler, h, handled);
	h->single = true;
	if (handled) {
		m->hub->loop->stats.redelivered++;
		m->faults.redelivered++;
	} else {
		h->event.sequence = 0;
		h->lane->sequence--;
	}
	CHECK(h->lane->current != h);
	h->lane->waiting += (uint32_t)h->size;
	lane_push_front(h->lane, h);
}

void delivery_end_run(struct mount *m, struct event_held *h, bool handled)
{
	CHECK_IS(h, CHECK_EVENT);
	struct event_held *last_first = NULL, *follower, *next;
	if (h->lane == NULL || h->lane->current != h)
		return;
	for (follower = h->next; follower != NULL; follower = next) {
		next = follower->next;
		follower->next = last_first;
		last_first = follower;
	}
	h->next = NULL;
	h->run_last = h;
	for (follower = last_first; follower != NULL; follower = next) {
		next = follower->next;
		delivery_lane_take_back(m, follower, handled);
	}
}

void delivery_forget(struct mount *m, struct session *s, unsigned kinds)
{
	struct lane *lane = &s->lane;
	const struct event_held *last = lane->last;
	bool more = last != NULL;
	while (more) { /* each goes from the front to the back, but for those */
		struct event_held *h = lane_pop(lane);
		more = h != last;
		if (h->event.sequence > 0 || (kinds & EVENT_BIT(h->event.kind)) == 0) {
			lane_push(lane, h);
			continue;
		}
		lane->waiting -= (uint32_t)h->size;
		delivery_free(m, h);
	}
}

bool delivery_queue(struct mount *m, struct session *s, struct hub_event *e)
{
	CHECK(m->running);
	e->session = s;
	if (handler_is_async(m->handler) && !(m->handler->wants & EVENT_BIT(e->kind)))
		return true;
	if (!delivery_wait(m, s, e, false))
		return false;
	delivery_make_ready(m, delivery_lane(m, s));
	return true;
}
