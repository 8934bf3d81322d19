#include "hub/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "hub/hub.h"
#include "ws/frame.h"

#define TIMER_NS_PER_MS 1000000u
#define TIMER_NS_PER_S 1000000000u
/* Those that are due together are told for so long, then the rest of the loop has a turn. */
#define TIMERS_SLICE_NS (4 * TIMER_NS_PER_MS)
#define TIMERS_KEPT 64 /* places that are kept when there is none left */

struct timer {
	struct timer *next, **at; /* of its owner's, and what points at it there */
	struct hash_link link;
	struct mount *mount;
	struct session *session; /* NULL: the mount's */
	uint64_t due;		 /* ns of CLOCK_MONOTONIC */
	uint64_t order;
	uint64_t id, delay_ms, period_ms;
	uint32_t place; /* in the heap */
	uint32_t waits; /* events of it that wait for the handler, or are with it */
	char name[];
};

static uint64_t timer_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * TIMER_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* --- the heap --------------------------------------------------------------------------------- */

static bool timer_before(const struct timer *a, const struct timer *b)
{
	return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void timers_put(struct timers *all, uint32_t place, struct timer *t)
{
	all->heap[place] = t;
	t->place = place;
}

static void timers_up(struct timers *all, uint32_t place, struct timer *t)
{
	for (uint32_t above; place > 0 && timer_before(t, all->heap[above = (place - 1) / 2]);
	     place = above)
		timers_put(all, place, all->heap[above]);
	timers_put(all, place, t);
}

static void timers_down(struct timers *all, uint32_t place, struct timer *t)
{
	uint32_t below;
	while ((below = 2 * place + 1) < all->n) {
		if (below + 1 < all->n && timer_before(all->heap[below + 1], all->heap[below]))
			below++;
		if (!timer_before(all->heap[below], t))
			break;
		timers_put(all, place, all->heap[below]);
		place = below;
	}
	timers_put(all, place, t);
}

/* It is due at another time than before. */
static void timers_move(struct timers *all, struct timer *t)
{
	CHECK(t->place < all->n);
	if (t->place > 0 && timer_before(t, all->heap[(t->place - 1) / 2]))
		timers_up(all, t->place, t);
	else
		timers_down(all, t->place, t);
}

/* --- the table -------------------------------------------------------------------------------- */

static struct timers *timer_all(const struct mount *mount)
{
	return &mount->hub->timers;
}

static uint64_t timer_hash(const struct mount *mount, const struct session *session,
			   struct span name)
{
	uint64_t owner = session != NULL ? (uintptr_t)session : (uintptr_t)mount;
	struct hash_key key = *timer_all(mount)->key;
	key.k0 ^= owner;
	return hash_bytes(&key, name.p, name.n);
}

static struct timer *timer_find(const struct mount *mount, const struct session *session,
				struct span name)
{
	const struct timers *all = timer_all(mount);
	if (all->n == 0 ||
	    (session != NULL && (session->more == NULL || session->more->timers == NULL)))
		return NULL;
	struct hash_link *at = hash_table_first(&all->table, timer_hash(mount, session, name));
	for (; at != NULL; at = hash_link_next(at)) {
		struct timer *t = HASH_ENTRY(at, struct timer, link);
		if (t->mount == mount && t->session == session && span_eq(span_of(t->name), name))
			return t;
	}
	return NULL;
}

/* Room for one more in both. */
static bool timers_reserve(struct timers *all)
{
	if (all->n == all->cap_heap) {
		uint32_t cap = all->cap_heap == 0 ? 16 : 2 * all->cap_heap;
		struct timer **wider = realloc(all->heap, cap * sizeof *wider);
		if (wider == NULL)
			return false;
		all->heap = wider;
		all->cap_heap = cap;
	}
	return hash_table_reserve(&all->table);
}

/* What a crowd of them needed is not kept for ever. */
static void timers_rest(struct timers *all)
{
	if (all->n > 0 || all->cap_heap <= TIMERS_KEPT)
		return;
	free(all->heap);
	hash_table_free(&all->table);
	all->heap = NULL;
	all->cap_heap = 0;
}

/* --- the clock -------------------------------------------------------------------------------- */

/* Sets it for whoever is due first. One that rings for nobody costs a turn, and nothing else: it is
 * not set back. */
static void timers_wind(struct timers *all)
{
	uint64_t due = all->n > 0 ? all->heap[0]->due : 0;
	if (due == 0 || (all->rings != 0 && all->rings <= due))
		return;
	const struct itimerspec when = {
		.it_value = {.tv_sec = (time_t)(due / TIMER_NS_PER_S),
			     .tv_nsec = (long)(due % TIMER_NS_PER_S)},
	};
	timerfd_settime(all->clock, TFD_TIMER_ABSTIME, &when,
			NULL); /* fails for no time that is none */
	all->rings = due;
}

static void timer_on_time(struct timer *t, uint64_t now);

static void timers_on_ring(void *arg)
{
	struct timers *all = arg;
	CHECK_IS(all, CHECK_TIMERS);
	uint64_t began = timer_now(), now = began, times;
	ssize_t n = read(all->clock, &times, sizeof times);
	(void)n; /* nothing to read: it was set anew meanwhile */
	all->rings = 0;
	while (all->n > 0 && all->heap[0]->due <= now && now - began < TIMERS_SLICE_NS) {
		timer_on_time(all->heap[0], now);
		now = timer_now();
	}
	timers_wind(all);
}

bool timers_init(struct timers *timers, struct loop *loop, const struct hash_key *key)
{
	*timers = (struct timers){.magic = CHECK_TIMERS,
				  .clock = timerfd_create(CLOCK_MONOTONIC,
							  TFD_NONBLOCK | TFD_CLOEXEC),
				  .key = key};
	if (timers->clock < 0)
		return false;
	loop_watch_init(loop, &timers->watch, timers->clock, false, timers_on_ring, timers);
	if (loop_watch_set(&timers->watch, true))
		return true;
	close(timers->clock);
	timers->clock = -1;
	errno = ENOMEM;
	return false;
}

void timers_free(struct timers *timers)
{
	CHECK(timers->n == 0);
	if (timers->clock < 0)
		return;
	loop_watch_set(&timers->watch, false);
	close(timers->clock);
	free(timers->heap);
	hash_table_free(&timers->table);
	*timers = (struct timers){.clock = -1};
}

/* --- one -------------------------------------------------------------------------------------- */

static struct timer **timer_list(struct mount *mount, struct session *session)
{
	return session != NULL ? &session->more->timers : &mount->timers;
}

static void timer_link(struct timers *all, struct timer *t)
{
	CHECK(all->n < all->cap_heap);
	struct timer **list = timer_list(t->mount, t->session);
	t->next = *list;
	t->at = list;
	if (t->next != NULL)
		t->next->at = &t->next;
	*list = t;
	hash_table_add(&all->table, &t->link, timer_hash(t->mount, t->session, span_of(t->name)));
	timers_up(all, all->n++, t);
}

static void timer_remove(struct timer *t)
{
	struct timers *all = timer_all(t->mount);
	CHECK(all->n > t->place && all->heap[t->place] == t && *t->at == t);
	hash_table_remove(&all->table, &t->link);
	*t->at = t->next;
	if (t->next != NULL)
		t->next->at = t->at;
	struct timer *last = all->heap[--all->n];
	if (last != t) {
		timers_put(all, t->place, last);
		timers_move(all, last);
	}
	free(t);
	timers_rest(all);
}

void timer_waits(struct mount *mount, struct session *session, struct span name, bool waits)
{
	struct timer *t = timer_find(mount, session, name);
	if (t == NULL)
		return;
	if (waits)
		t->waits++;
	else if (t->waits > 0) /* it may be an event of one that had this name before */
		t->waits--;
}

/* --- the end of a session --------------------------------------------------------------------- */

#define TIMER_END_NAME "" /* no handler's timer can have it */
/* the clock on the wall may be set meanwhile: it is looked at again */
#define TIMER_END_LOOK_MS (3600u * 1000)

static uint64_t timer_until(uint64_t ends)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	uint64_t left = ends > (uint64_t)now.tv_sec ? ends - (uint64_t)now.tv_sec : 0;
	if (left == 0)
		return 0;
	uint64_t into = (uint64_t)now.tv_nsec / TIMER_NS_PER_MS;
	return left > TIMER_END_LOOK_MS / 1000 ? TIMER_END_LOOK_MS : left * 1000 - into;
}

static void timer_on_end(struct timer *t, uint64_t now)
{
	uint64_t left = timer_until(t->id);
	/* one that is away ends when nobody comes back, who will need another token */
	if (left == 0 && t->session->conn == NULL)
		left = TIMER_END_LOOK_MS;
	if (left == 0) { /* which takes its timers, this one among them */
		t->mount->hub->ops->token_over(t->session);
		return;
	}
	t->due = now + left * TIMER_NS_PER_MS;
	timers_move(timer_all(t->mount), t);
}

bool timer_set_end(struct mount *mount, struct session *session, uint64_t ends)
{
	if (ends == 0) {
		timer_cancel(mount, session, span_of(TIMER_END_NAME));
		return true;
	}
	uint64_t left = timer_until(ends);
	const struct event_timer end = {.name = TIMER_END_NAME,
					.id = ends,
					.delay_ms = left > 0 ? left : 1};
	return timer_set(mount, session, &end);
}

/* --- the handlers' ---------------------------------------------------------------------------- */

/* The next time of its schedule that has not passed: what a loop that was held up has missed is not
 * made up for. */
static void timer_next_period(struct timer *t, uint64_t now)
{
	uint64_t period = t->period_ms * TIMER_NS_PER_MS;
	t->due += (now - t->due) / period * period + period;
	/* of those that are due together none is always first */
	t->order = timer_all(t->mount)->order++;
	timers_move(timer_all(t->mount), t);
}

static void timer_on_time(struct timer *t, uint64_t now)
{
	struct mount *mount = t->mount;
	struct session *session = t->session;
	char name[RULES_NAME_MAX + 1];
	struct hub_event e = {
		.kind = EVENT_TIMER,
		.timer = {.name = name,
			  .id = t->id,
			  .delay_ms = t->delay_ms,
			  .period_ms = t->period_ms},
	};
	if (t->name[0] == '\0') {
		timer_on_end(t, now);
		return;
	}
	strcpy(name, t->name); /* the handler may cancel it while it is told */
	bool tell = t->period_ms == 0 || t->waits == 0;
	if (t->period_ms > 0)
		timer_next_period(t, now);
	else
		timer_remove(t);
	if (tell)
		mount->hub->ops->timer(mount, session, &e);
}

static struct timer *timer_new(struct mount *mount, struct session *session,
			       const struct event_timer *timer)
{
	size_t len = strlen(timer->name);
	struct timer *t = malloc(sizeof *t + len + 1);
	if (t == NULL)
		return NULL;
	*t = (struct timer){.mount = mount, .session = session};
	memcpy(t->name, timer->name, len + 1);
	return t;
}

/* From here on it counts as one that was set now. */
static void timer_begin(struct timers *all, struct timer *t, const struct event_timer *timer)
{
	t->id = timer->id;
	t->delay_ms = timer->delay_ms;
	t->period_ms = timer->period_ms;
	t->due = timer_now() + timer->delay_ms * TIMER_NS_PER_MS;
	t->order = all->order++;
}

static bool timer_is(const struct timer *t, const struct event_timer *timer)
{
	return t->id == timer->id && t->delay_ms == timer->delay_ms &&
	       t->period_ms == timer->period_ms;
}

bool timer_set(struct mount *mount, struct session *session, const struct event_timer *timer)
{
	struct timers *all = timer_all(mount);
	CHECK(session == NULL || !session->ended);
	if (session != NULL && session_more(session) == NULL)
		return false;
	struct timer *t = timer_find(mount, session, span_of(timer->name));
	if (t != NULL && timer_is(t, timer))
		return true;
	if (t != NULL) {
		timer_begin(all, t, timer);
		timers_move(all, t);
	} else {
		t = timers_reserve(all) ? timer_new(mount, session, timer) : NULL;
		if (t == NULL)
			return false;
		timer_begin(all, t, timer);
		timer_link(all, t);
	}
	timers_wind(all);
	return true;
}

bool timer_cancel(struct mount *mount, struct session *session, struct span name)
{
	struct timer *t = timer_find(mount, session, name);
	if (t == NULL)
		return false;
	timer_remove(t);
	return true;
}

void timer_free_all(struct timer **list)
{
	while (*list != NULL)
		timer_remove(*list);
}
