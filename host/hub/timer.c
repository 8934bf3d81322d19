#include "hub/timer.h"

#include <stdlib.h>
#include <time.h>

#include "hub/delivery.h"
#include "hub/hub.h"

struct timer {
	struct loop_timer clock;
	struct timer *next;
	struct mount *mount;
	struct session *session; /* NULL: the mount's */
	uint64_t id, delay_ms, period_ms;
	char name[];
};

/* NULL: a session that never had any. */
static struct timer **timer_list(struct mount *mount, struct session *session)
{
	if (session == NULL)
		return &mount->timers;
	return session->more != NULL ? &session->more->timers : NULL;
}

static struct timer **timer_find(struct timer **list, struct span name)
{
	while (*list != NULL && !span_eq(span_of((*list)->name), name))
		list = &(*list)->next;
	return list;
}

static void timer_remove(struct timer **at)
{
	struct timer *t = *at;
	*at = t->next;
	loop_timer_cancel(&t->clock);
	free(t);
}

static bool timer_is_event(const struct timer *t, const struct event_held *h)
{
	return h->event.kind == EVENT_TIMER && strcmp(h->event.timer.name, t->name) == 0;
}

/* Does its last event wait, or does a handler work on it? Without this what a short period makes would pile up behind a slow handler. */
static bool timer_is_told(const struct timer *t)
{
	const struct lane *lane = t->session != NULL ? &t->session->lane : &t->mount->lane;
	bool told = lane->current != NULL && timer_is_event(t, lane->current);
	for (const struct event_held *h = lane_first(lane); h != NULL && !told; h = lane_next(lane, h))
		told = timer_is_event(t, h);
	return told;
}

/* --- the end of a session --------------------------------------------------------------------------------------------------------- */

#define TIMER_END_NAME ""		 /* no handler's timer can have it */
#define TIMER_END_LOOK_MS (3600u * 1000) /* the clock on the wall may be set meanwhile: it is looked at again */

static uint64_t timer_until(uint64_t ends)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t left = ends > (uint64_t)now.tv_sec ? ends - (uint64_t)now.tv_sec : 0;
	if (left == 0)
		return 0;
	uint64_t into = (uint64_t)now.tv_nsec / 1000000;
	return left > TIMER_END_LOOK_MS / 1000 ? TIMER_END_LOOK_MS : left * 1000 - into;
}

static void timer_on_end(struct timer *t)
{
	uint64_t left = timer_until(t->id);
	if (left == 0 || !loop_timer_set(&t->clock, left)) /* which takes its timers, this one among them */
		hub_close_session(t->session, CLOSE_POLICY, SPAN("the token has expired"), false);
}

bool timer_set_end(struct mount *mount, struct session *session, uint64_t ends)
{
	uint64_t left = timer_until(ends);
	const struct event_timer end = {.name = TIMER_END_NAME, .id = ends, .delay_ms = left > 0 ? left : 1};
	return timer_set(mount, session, &end);
}

/* --- the handlers' ------------------------------------------------------------------------------------------------------------------ */

static void timer_on_time(void *arg)
{
	struct timer *t = arg;
	struct mount *mount = t->mount;
	struct session *session = t->session;
	char name[ROOM_NAME_MAX + 1];
	struct hub_event e = {
		.kind = EVENT_TIMER,
		.timer = {.name = name, .id = t->id, .delay_ms = t->delay_ms, .period_ms = t->period_ms},
	};
	if (t->name[0] == '\0') {
		timer_on_end(t);
		return;
	}
	strcpy(name, t->name); /* the handler may cancel it while it is told */
	bool told = t->period_ms > 0 && timer_is_told(t);
	if (t->period_ms > 0)
		loop_timer_set(&t->clock, t->period_ms);
	else
		timer_remove(timer_find(timer_list(mount, session), span_of(name)));
	if (!told)
		delivery_submit(mount, session, &e);
}

bool timer_set(struct mount *mount, struct session *session, const struct event_timer *timer)
{
	if (session != NULL && session_more(session) == NULL)
		return false;
	struct timer **list = timer_list(mount, session), **at = timer_find(list, span_of(timer->name));
	if (*at != NULL) {
		struct timer *t = *at;
		if (t->id == timer->id && t->delay_ms == timer->delay_ms && t->period_ms == timer->period_ms)
			return true;
	}
	struct timer *t = malloc(sizeof *t + strlen(timer->name) + 1);
	if (t == NULL)
		return false;
	if (*at != NULL)
		timer_remove(at);
	t->next = *list;
	t->mount = mount;
	t->session = session;
	t->id = timer->id;
	t->delay_ms = timer->delay_ms;
	t->period_ms = timer->period_ms;
	strcpy(t->name, timer->name);
	loop_timer_init(mount->hub->loop, &t->clock, timer_on_time, t);
	*list = t;
	if (loop_timer_set(&t->clock, t->delay_ms))
		return true;
	timer_remove(list);
	return false;
}

bool timer_cancel(struct mount *mount, struct session *session, struct span name)
{
	struct timer **list = timer_list(mount, session), **at = list != NULL ? timer_find(list, name) : NULL;
	if (at == NULL || *at == NULL)
		return false;
	timer_remove(at);
	return true;
}

void timer_free_all(struct timer **list)
{
	while (*list != NULL)
		timer_remove(list);
}
