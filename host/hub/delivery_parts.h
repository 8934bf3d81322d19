/* delivery_parts: what the parts of delivery share. delivery_lane.c is what waits, delivery.c what
 * is handled and committed. */
#ifndef TOVA_HUB_DELIVERY_PARTS_H
#define TOVA_HUB_DELIVERY_PARTS_H

#include "base/check.h"
#include "hub/delivery.h"

/* s NULL: the mount's own. */
static inline struct lane *delivery_lane(struct mount *m, struct session *s)
{
	return s != NULL ? &s->lane : &m->lane;
}

/* It has something that may be given. */
static inline void delivery_make_ready(struct mount *m, struct lane *lane)
{
	if (lane->ready)
		return;
	lane->ready = true;
	lane->ready_next = NULL;
	if (m->ready_last != NULL)
		m->ready_last->ready_next = lane;
	else
		m->ready_first = lane;
	m->ready_last = lane;
}

/* One of so many is looked at. */
static inline void delivery_stamp(struct mount *m, struct event_held *h)
{
	if (m->meters != NULL && meters_sample(&m->meters->events))
		h->received = meters_stamp();
}

static inline struct event_held *delivery_pop(struct lane *lane)
{
	struct event_held *h = lane_pop(lane);
	if (h != NULL) {
		CHECK(lane->waiting >= h->size);
		lane->waiting -= (uint32_t)h->size;
	}
	return h;
}

/* The next lane that is ready, which it is no more; or NULL. */
struct lane *delivery_next_ready(struct mount *m);
/* The event is kept, behind all others of its lane; next: before all that have not been given yet.
 * False without memory: it is lost, which is logged, and its connection ends. */
bool delivery_wait(struct mount *m, struct session *s, const struct hub_event *e, bool next);
/* Of one that has left its lane. Whoever was paused because its events wait is read from again when
 * they are few. */
void delivery_free(struct mount *m, struct event_held *h);

#endif
