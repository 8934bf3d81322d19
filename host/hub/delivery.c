#include <stddef.h>
#include <stdlib.h>

#include "base/check.h"
#include "hub/access.h"
#include "hub/apply.h"
#include "hub/condition.h"
#include "hub/delivery_parts.h"
#include "hub/hub.h"
#include "hub/prolong.h"
#include "hub/session_trace.h"
#include "hub/state.h"
#include "hub/trace.h"
#include "hub/watching.h"
#include "net/conn.h"

static struct session *delivery_session_of(struct mount *m, struct lane *lane)
{
	return lane == &m->lane ? NULL
				: (struct session *)((char *)lane - offsetof(struct session, lane));
}

/* --- one event -------------------------------------------------------------------------------- */

/* A failure raises `error` for the connection, next of all its events. What can not be raised is
 * logged. */
static void delivery_failed(struct mount *m, const struct hub_event *e, struct span why)
{
	char id[SESSION_ID_TEXT];
	bool raise = e->session != NULL && !e->session->ended && e->kind != EVENT_ERROR &&
		     e->kind != EVENT_CLOSE && (m->handler->wants & EVENT_BIT(EVENT_ERROR)) != 0;
	m->hub->loop->stats.failures++;
	m->faults.failures++;
	LOG(m->hub->log, raise ? LOG_INFO : LOG_WARN, LOG_HANDLER, "the handler failed",
	    LOG_STR("mount", m->path), LOG_STR("event", event_name(e->kind)),
	    LOG_STR("conn", hub_session_text(e->session, id)), LOG_TRACE_ID(e->session), LOG_SPAN("error", why));
	struct hub_event error = {.kind = EVENT_ERROR,
				  .session = e->session,
				  .error = {.kind = EVENT_ERROR_HANDLER, .text = why}};
	if (raise)
		delivery_wait(m, e->session, &error, true);
}

/* The close event is the last: earlier ones are settled, which is what the peer's close frame waits
 * for. */
static inline void delivery_before(struct mount *m, struct hub_event *e)
{
	if (e->sequence == 0)
		e->sequence = ++delivery_lane(m, e->session)->sequence;
	if (e->kind == EVENT_CLOSE && !m->handler->ops->answers_until_closed)
		hub_echo_close(e->session);
}

/* A client that counts its messages learns which were settled. */
static inline void delivery_count(const struct mount *m, const struct hub_event *e, bool ok)
{
	if (e->kind == EVENT_MESSAGE && e->session->shard == SESSION_RESUMES)
		resume_settled(m->hub, e->session, ok);
}

/* What it is conditional on. Of its own, so that the common case has room. */
static __attribute__((noinline)) void delivery_judge(struct mount *m, struct commit *c)
{
	state_check(m, c);
	prolong_check(m, c);
	watching_check(m, c);
	condition_check(m, c);
	history_check(m, c);
	room_state_check(m, c, m->settling);
	m->hub->loop->stats.room_state_conflicts += c->error == COMMIT_E_ROOM_STATE;
}

/* It was made from an old version of a room's state: is its event given again? Then the room stays in
 * the arena, for delivery_again. */
static __attribute__((noinline)) bool delivery_undo(struct mount *m, struct commit *c)
{
	struct event_held *h = m->settling;
	if (h == NULL)
		return false;
	if (h->conflicts == ROOM_STATE_TRIES) {
		c->error = COMMIT_E_ROOM_STATE_TRIES;
		return false;
	}
	h->again = true;
	return true;
}

/* Commits or drops; the event is settled by that, whichever it is, unless it is given again:
 * h->again. */
static inline __attribute__((always_inline)) bool delivery_commit_or_drop(struct mount *m,
									  const struct hub_event *e,
									  bool ok, struct span why)
{
	struct commit *c = &m->commit;
	if (ok && c->error == COMMIT_OK && room_limits_is_limited(&m->hub->room_limits))
		room_limits_check(m, c);
	if (ok && c->judged)
		delivery_judge(m, c);
	if (ok && __builtin_expect(c->error != COMMIT_OK, 0)) {
		if (c->error == COMMIT_E_ROOM_STATE && delivery_undo(m, c))
			return false;
		why = span_of(commit_error_text(c->error));
		ok = false;
	}
	if (e->kind == EVENT_OPEN)
		mount_settle(m, e->session);
	if (e->kind == EVENT_TIMER)
		c->answers = NULL;
	if (ok) {
		m->hub->loop->stats.commits++;
		if (c->applied != NULL)
			c->applied(c->applied_ctx, e);
		if (c->n > 0)
			apply_commit(m->hub, m, c);
	} else {
		commit_drop(c);
		delivery_failed(m, e, why);
	}
	c->origin = NULL;
	if (e->session != NULL && e->session->watched)
		access_event(e->session, e, ok);
	delivery_count(m, e, ok);
	return ok;
}

/* The same, told to whoever looks on. Of its own, so that the common case has room. */
static __attribute__((noinline)) bool delivery_conclude_traced(struct mount *m,
							       const struct hub_event *e, bool ok,
							       struct span why)
{
	uint32_t commands = m->commit.n;
	if (ok)
		trace_settled(m, e, true, false, commands, why);
	ok = delivery_commit_or_drop(m, e, ok, why);
	if (!ok && why.p == NULL)
		why = span_of(commit_error_text(m->commit.error));
	trace_settled(m, e, ok, true, commands, why);
	return ok;
}

static inline __attribute__((always_inline)) bool delivery_conclude(struct mount *m,
								    const struct hub_event *e,
								    bool ok, struct span why)
{
	return __builtin_expect(m->hub->traces != NULL, 0) ? delivery_conclude_traced(m, e, ok, why)
							   : delivery_commit_or_drop(m, e, ok, why);
}

static inline bool delivery_looks(struct mount *m, const struct event_held *held)
{
	return held != NULL ? held->received != 0 : meters_sample(&m->meters->events);
}

/* Not a third copy of it where a clock costs as much. */
static __attribute__((noinline)) bool delivery_conclude_apart(struct mount *m,
							      const struct hub_event *e, bool ok,
							      struct span why)
{
	return delivery_conclude(m, e, ok, why);
}

/* Has it handled and committed, and looks at the clock. */
static __attribute__((noinline)) bool delivery_measure(struct mount *m, struct hub_event *e,
						       const struct event_held *held)
{
	struct span why = {0};
	enum event_kind kind = e->kind;
	uint32_t received = held != NULL ? held->received : 0;
	uint64_t began = meters_micros();
	bool ok = m->handler->ops->deliver(m->handler, e, &m->commit, &why) == HANDLER_DONE;
	uint64_t ended = meters_micros();
	ok = delivery_conclude_apart(m, e, ok, why);
	meters_handled(m->meters, kind, received, began, ended);
	return ok;
}

/* --- commits that wait for other hosts: gate.h ------------------------------------------------- */

/* Is what is in m->commit to be parked? */
static bool delivery_waits(struct mount *m, struct commit *c)
{
	const struct gate *gate = m->hub->gate;
	if (c->error != COMMIT_OK)
		return false;
	enum gate_verdict verdict = gate->look(gate->ctx, m, c);
	return verdict != GATE_REFUSE && (verdict == GATE_WAIT || m->parked.first != NULL);
}

/* Of a handler that has settled it at once: its lane is kept by a place that nothing overtakes. */
static struct event_held *delivery_hold_place(struct mount *m, const struct hub_event *e)
{
	struct lane *lane = delivery_lane(m, e->session);
	struct event_held *h = calloc(1, sizeof *h);
	if (h == NULL)
		return NULL;
	h->magic = CHECK_EVENT;
	h->size = sizeof *h;
	h->parked = true;
	h->lane = lane;
	h->event.kind = e->kind;
	h->event.session = e->session;
	h->event.sequence = e->sequence;
	budget_add_event(m->budget, h->size);
	lane->waiting += (uint32_t)h->size;
	lane_push_front(lane, h);
	return h;
}

static void delivery_free_place(struct mount *m, struct event_held *h)
{
	struct lane *lane = h->lane;
	CHECK(h->parked && delivery_pop(lane) == h);
	budget_sub_event(m->budget, h->size);
	event_held_free(&h);
}

/* Without memory the event fails. */
static bool delivery_park(struct mount *m, const struct hub_event *e)
{
	struct event_held *h = NULL;
	if (!delivery_waits(m, &m->commit))
		return false;
	if (e->kind == EVENT_TIMER)
		m->commit.answers = NULL;
	if (e->kind != EVENT_UPGRADE && (h = delivery_hold_place(m, e)) == NULL) {
		commit_spoil(&m->commit, COMMIT_E_MEMORY);
		return false;
	}
	void (*applied)(void *ctx, const struct hub_event *e) = m->commit.applied;
	void *applied_ctx = m->commit.applied_ctx;
	m->commit.applied = NULL;
	if (gate_park(m, &m->commit, e->kind != EVENT_UPGRADE ? e : NULL, h)) {
		/* what a callback has changed of what it keeps is what the next one works on */
		if (applied != NULL)
			applied(applied_ctx, e);
		return true;
	}
	if (h != NULL)
		delivery_free_place(m, h);
	commit_spoil(&m->commit, COMMIT_E_MEMORY);
	return false;
}

/* The rest of delivery_handle for an event that is wanted, where there is a gate. */
static __attribute__((noinline)) bool delivery_handle_gated(struct mount *m, struct hub_event *e,
							    const struct event_held *held)
{
	struct span why = {0};
	enum event_kind kind = e->kind;
	bool looks = m->meters != NULL && delivery_looks(m, held);
	uint64_t began = looks ? meters_micros() : 0;
	bool ok = m->handler->ops->deliver(m->handler, e, &m->commit, &why) == HANDLER_DONE;
	uint64_t ended = looks ? meters_micros() : 0;
	bool parked = ok && delivery_park(m, e);
	if (!parked)
		ok = delivery_conclude_apart(m, e, ok, why);
	if (looks)
		meters_handled(m->meters, kind, held != NULL ? held->received : 0, began, ended);
	if (kind == EVENT_CLOSE && !parked)
		hub_session_over(e->session);
	hub_end_victims(m->hub);
	m->running = false;
	return ok;
}

/* held: the event waited in it; NULL: it did not. */
static bool delivery_handle(struct mount *m, struct hub_event *e, const struct event_held *held)
{
	struct span why = {0};
	bool ok = true;
	CHECK(!m->running || e->kind == EVENT_UPGRADE);
	m->running = true;
	delivery_before(m, e);
	e->attempt = 1;
	if (m->handler->wants & EVENT_BIT(e->kind)) {
		commit_begin(&m->commit, e->session);
		m->hub->loop->stats.events++;
		if (__builtin_expect(m->hub->traces != NULL, 0))
			trace_given(m, e, "plugin");
		if (__builtin_expect(m->hub->gate != NULL, 0))
			return delivery_handle_gated(m, e, held);
		if (m->meters != NULL && delivery_looks(m, held)) {
			ok = delivery_measure(m, e, held);
		} else {
			ok = m->handler->ops->deliver(m->handler, e, &m->commit, &why) ==
			     HANDLER_DONE;
			ok = delivery_conclude(m, e, ok, why);
		}
	} else if (e->kind == EVENT_OPEN) {
		mount_settle(m, e->session);
	} else {
		delivery_count(m, e, true);
	}
	if (e->kind == EVENT_CLOSE)
		hub_session_over(e->session);
	if (m->hub->n_victims > 0)
		hub_end_victims(m->hub);
	m->running = false;
	return ok;
}

/* --- handlers that settle later --------------------------------------------------------------- */

/* Its last event. */
static struct hub_event delivery_close_of(struct session *s)
{
	return (struct hub_event){
		.kind = EVENT_CLOSE,
		.session = s,
		.close = {.code = s->close_code,
			  .reason = session_close_reason(s),
			  .rooms = &s->rooms},
	};
}

/* The next event of a lane: one that waits, or behind all others the session's close, for which
 * memory was set aside. */
static struct event_held *delivery_take(struct mount *m, struct lane *lane)
{
	struct session *s = delivery_session_of(m, lane);
	struct event_held *h = delivery_pop(lane);
	if (h != NULL || s == NULL || !s->ended || s->closing)
		return h;
	CHECK(s->more != NULL && lane->current == NULL);
	s->closing = true;
	h = &((struct session_more_async *)s->more)->close_event;
	*h = (struct event_held){.magic = CHECK_EVENT,
				 .size = sizeof *h,
				 .lane = lane,
				 .embedded = true};
	h->event = delivery_close_of(s);
	delivery_stamp(m, h);
	budget_add_event(m->budget, h->size);
	return h;
}

/* A close that is the first event of its session is that of one whose open was lost for want of
 * memory: nobody knows of it. */
static bool delivery_is_wanted(const struct mount *m, const struct hub_event *e)
{
	return (m->handler->wants & EVENT_BIT(e->kind)) != 0 &&
	       (e->kind != EVENT_CLOSE || e->sequence > 1);
}

/* What the handler does not want is settled on the way. */
static void delivery_pass_over(struct mount *m, struct event_held *h)
{
	struct session *s = h->event.session;
	bool last = h->event.kind == EVENT_CLOSE;
	if (h->event.kind == EVENT_OPEN)
		mount_settle(m, s);
	delivery_count(m, &h->event, true);
	delivery_free(m, h);
	if (last)
		hub_session_over(s);
}

void delivery_follow(struct mount *m, struct event_held *h)
{
	CHECK_IS(h, CHECK_EVENT);
	const struct handler_ops *ops = m->handler->ops;
	struct lane *lane = h->lane;
	struct event_held *next;
	/* each of a sampled session is a span of its own, which a run has no place for */
	if (ops->follow == NULL || lane->current != h || h->single ||
	    (h->event.session != NULL && h->event.session->sampled) ||
	    h->event.kind != EVENT_MESSAGE || m->hub->gate != NULL)
		return;
	while ((next = lane_first(lane)) != NULL && next->event.kind == EVENT_MESSAGE &&
	       !next->single) {
		next->event.sequence = lane->sequence + 1;
		if (!ops->follow(m->handler, h->run_last, next)) {
			next->event.sequence = 0;
			return;
		}
		lane->sequence++;
		m->hub->loop->stats.events++;
		delivery_pop(lane);
		h->run_last->next = next;
		h->run_last = next;
	}
}

/* Gives the handler the lane's next event, and those behind it as long as each is settled at once.
 * A lane whose session is over by that is still there until the end of the turn. While a commit is
 * being applied the lane waits for its end: an event that is settled at once has a commit of its
 * own. */
static void delivery_pump(struct mount *m, struct lane *lane)
{
	struct event_held *h;
	if (m->running) {
		delivery_make_ready(m, lane);
		return;
	}
	if (lane->pumping)
		return;
	lane->pumping = true;
	while (lane->current == NULL && (h = delivery_take(m, lane)) != NULL) {
		delivery_before(m, &h->event);
		if (delivery_is_wanted(m, &h->event)) {
			lane->current = h->run_last = h;
			m->hub->loop->stats.events++;
			m->handler->ops->give(m->handler, h);
		} else {
			delivery_pass_over(m, h);
		}
	}
	if (lane->current != NULL)
		delivery_follow(m, lane->current);
	lane->pumping = false;
}

/* --- many ------------------------------------------------------------------------------------- */

/* The next event of a lane; the one that comes behind all others is a session's close. */
static void delivery_handle_next(struct mount *m, struct lane *lane)
{
	struct event_held *h = lane_first(lane);
	if (h != NULL && h->parked)
		return;
	h = delivery_pop(lane);
	if (h == NULL) {
		struct session *s = delivery_session_of(m, lane);
		struct hub_event e = delivery_close_of(s);
		delivery_handle(m, &e, NULL);
		return;
	}
	/* behind the others, so that none starves */
	if (lane_first(lane) != NULL || (h->event.session != NULL && h->event.session->ended))
		delivery_make_ready(m, lane);
	delivery_handle(m, &h->event, h);
	delivery_free(m, h);
}

/* Delivers what waits. */
static void delivery_run(struct mount *m)
{
	struct lane *lane;
	while (!m->running && (lane = delivery_next_ready(m)) != NULL) {
		if (handler_is_async(m->handler))
			delivery_pump(m, lane);
		else
			delivery_handle_next(m, lane);
	}
}

/* The event that has the turn in the room now, for which the one that had it is done, or waits. */
void delivery_yield(struct mount *m, struct event_held *h)
{
	struct event_held *next = room_state_next(m, h);
	if (next != NULL)
		m->handler->ops->give(m->handler, next);
}

/* Once more, with the state as it is by then. It is nobody's fault. */
static void delivery_again(struct mount *m, struct event_held *h)
{
	struct commit *c = &m->commit;
	char room[RULES_NAME_MAX];
	struct span name = commit_text(c, &c->commands[c->wrong]);
	memcpy(room, name.p, name.n);
	name.p = room;
	commit_drop(c);
	c->origin = NULL;
	h->again = false;
	h->single = true;
	h->conflicts++;
	delivery_end_run(m, h, true);
	m->running = false;
	if (!room_state_has_turn(m, h, name))
		delivery_yield(m, h);
	if (room_state_wait(m, h, name))
		m->handler->ops->give(m->handler, h);
	delivery_run(m);
}

static inline __attribute__((always_inline)) void
delivery_settle_now(struct mount *m, struct event_held *h, enum handler_result result,
		    struct span why)
{
	struct lane *lane = h->lane;
	struct session *s = h->event.session;
	bool last = h->event.kind == EVENT_CLOSE;
	CHECK(lane != NULL && lane->current == h && !m->running);
	m->running = true;
	/* What follows an event that failed was not handled; what follows one whose commands are
	 * refused here may have been. */
	if (result == HANDLER_FAILED)
		delivery_end_run(m, h, false);
	m->settling = h;
	bool ok = delivery_conclude(m, &h->event, result == HANDLER_DONE, why);
	m->settling = NULL;
	if (h->again) {
		delivery_again(m, h);
		return;
	}
	if (!ok)
		delivery_end_run(m, h, true);
	if (h->received != 0)
		meters_settled(m->meters, h);
	if ((lane->current = h->next) != NULL)
		lane->current->run_last = h->run_last;
	hub_end_victims(m->hub);
	m->running = false;
	if (h->turn)
		delivery_yield(m, h);
	delivery_free(m, h);
	if (last)
		hub_session_over(s);
	else
		delivery_pump(m, lane);
	/* A client that has sent several messages at once gets their answers together, instead of a
	 * system call for each; if it is still there. */
	if (s != NULL && !last && s->conn != NULL)
		conn_cork(s->conn, lane->current != NULL);
	delivery_run(m);
}

/* Is it parked instead? Of its own, so that the common case has room. */
static __attribute__((noinline)) bool delivery_settle_parks(struct mount *m, struct event_held *h)
{
	CHECK(h->lane != NULL && h->lane->current == h && !h->parked && !m->running);
	if (!delivery_waits(m, &m->commit))
		return false;
	h->parked = gate_park(m, &m->commit, &h->event, h);
	if (!h->parked)
		commit_spoil(&m->commit, COMMIT_E_MEMORY);
	return h->parked;
}

void delivery_settle(struct mount *m, struct event_held *h, enum handler_result result,
		     struct span why)
{
	CHECK(h->magic == CHECK_EVENT && loop_is_own(m->hub->loop));
	if (__builtin_expect(m->hub->gate != NULL, 0) && result == HANDLER_DONE &&
	    delivery_settle_parks(m, h))
		return;
	delivery_settle_now(m, h, result, why);
}

/* Not a second copy of it where a round trip costs as much. */
static __attribute__((noinline)) void delivery_settle_released(struct mount *m,
							       struct event_held *h)
{
	h->parked = false;
	delivery_settle_now(m, h, HANDLER_DONE, (struct span){0});
}

static bool delivery_submit_async(struct mount *m, struct session *s, const struct hub_event *e)
{
	if (!(m->handler->wants & EVENT_BIT(e->kind)) && e->kind != EVENT_OPEN)
		return true;
	if (!delivery_wait(m, s, e, false))
		return false;
	delivery_pump(m, delivery_lane(m, s));
	return true;
}

bool delivery_submit(struct mount *m, struct session *s, struct hub_event *e)
{
	CHECK(loop_is_own(m->hub->loop));
	e->session = s;
	if (handler_is_async(m->handler))
		return delivery_submit_async(m, s, e);
	if (e->kind != EVENT_UPGRADE && (m->running || lane_first(delivery_lane(m, s)) != NULL))
		return delivery_wait(m, s, e, false);
	bool ok = delivery_handle(m, e, NULL);
	if (m->ready_first != NULL)
		delivery_run(m);
	return ok;
}

void delivery_close(struct mount *m, struct session *s)
{
	CHECK(s->magic == CHECK_SESSION && s->ended);
	if (handler_is_async(m->handler)) {
		delivery_pump(m, &s->lane);
		return;
	}
	delivery_make_ready(m, &s->lane);
	delivery_run(m);
}

static uint64_t delivery_nobody(const struct mount *m)
{
	return m->hub->loop->stats.gone + m->hub->loop->stats.unknown_rooms;
}

/* Of a push: it is answered at once, by what is known here. */
static bool delivery_commit_later(struct mount *m)
{
	struct commit *c = &m->commit;
	if (c->judged)
		commit_spoil_at(c, COMMIT_E_PUSH, COMMIT_WHOLE);
	else if (budget_refuses(m->budget))
		commit_spoil_at(c, COMMIT_E_AWAY, COMMIT_WHOLE);
	else if (room_limits_is_limited(&m->hub->room_limits))
		room_limits_check(m, c);
	if (c->error == COMMIT_OK) {
		gate_count(m, c);
		if (gate_park(m, c, NULL, NULL))
			return true;
		commit_spoil_at(c, COMMIT_E_MEMORY, COMMIT_WHOLE);
	}
	commit_drop(c);
	return false;
}

bool delivery_commit(struct mount *m)
{
	uint64_t before = delivery_nobody(m);
	if (m->hub->gate != NULL && delivery_waits(m, &m->commit))
		return delivery_commit_later(m);
	if (m->commit.error == COMMIT_OK && room_limits_is_limited(&m->hub->room_limits))
		room_limits_check(m, &m->commit);
	if (m->commit.judged)
		delivery_judge(m, &m->commit);
	if (m->commit.error != COMMIT_OK) {
		commit_drop(&m->commit);
		return false;
	}
	CHECK(!m->running && loop_is_own(m->hub->loop));
	m->running = true;
	m->hub->loop->stats.commits++;
	m->receivers = 0;
	m->kept = (struct history_place){0};
	m->room_version = 0;
	m->counts = true;
	apply_commit(m->hub, m, &m->commit);
	m->counts = false;
	uint32_t nobody = (uint32_t)(delivery_nobody(m) - before);
	hub_end_victims(m->hub);
	m->running = false;
	delivery_run(m);
	m->nobody = nobody;
	return true;
}

void delivery_apply(struct mount *m, struct commit *c)
{
	CHECK(!m->running && loop_is_own(m->hub->loop));
	m->running = true;
	apply_commit(m->hub, m, c);
	hub_end_victims(m->hub);
	m->running = false;
	delivery_run(m);
}

void delivery_commit_start(struct mount *m, struct commit *c)
{
	if (m->hub->gate != NULL && delivery_waits(m, c) && gate_park(m, c, NULL, NULL))
		return;
	if (c->error == COMMIT_OK) {
		delivery_apply(m, c);
		return;
	}
	LOG(m->hub->log, LOG_ERROR, LOG_HANDLER, "what a handler commands at its start is not done",
	    LOG_STR("mount", m->path), LOG_STR("error", commit_error_text(c->error)));
	commit_drop(c);
}

/* --- the gate opens ---------------------------------------------------------------------------- */

bool delivery_check_first(struct mount *m)
{
	struct gate_parked *p = m->parked.first;
	struct commit own = m->commit;
	if (p->checked)
		return p->commit.error == COMMIT_OK;
	p->checked = true;
	m->commit = p->commit; /* where they look for whose it is */
	if (room_limits_is_limited(&m->hub->room_limits))
		room_limits_check(m, &m->commit);
	if (m->commit.judged)
		delivery_judge(m, &m->commit);
	p->commit = m->commit;
	m->commit = own;
	return p->commit.error == COMMIT_OK;
}

/* A push, whose limits or conditions may not be what they were when it was answered. */
static void delivery_release_push(struct mount *m)
{
	if (m->commit.error == COMMIT_OK && room_limits_is_limited(&m->hub->room_limits))
		room_limits_check(m, &m->commit);
	if (m->commit.error != COMMIT_OK) {
		LOG(m->hub->log, LOG_WARN, LOG_HANDLER,
		    "a push that waited for other hosts is dropped", LOG_STR("mount", m->path),
		    LOG_STR("error", commit_error_text(m->commit.error)));
		commit_drop(&m->commit);
		return;
	}
	m->hub->loop->stats.commits++;
	delivery_apply(m, &m->commit);
}

/* Of a handler that settles at once. */
static void delivery_release_held(struct mount *m, struct gate_parked *p)
{
	struct event_held *h = p->held;
	struct lane *lane = h->lane;
	struct session *s = p->event.session;
	CHECK(h->parked && lane_first(lane) == h && !m->running);
	delivery_free_place(m, h);
	m->running = true;
	delivery_conclude_apart(m, &p->event, true, (struct span){0});
	hub_end_victims(m->hub);
	m->running = false;
	if (p->event.kind == EVENT_CLOSE) {
		hub_session_over(s);
		return;
	}
	if (s != NULL && s->paused && lane->waiting <= HUB_LANE_MAX / 2)
		hub_unpause(s);
	if (lane_first(lane) != NULL || (s != NULL && s->ended))
		delivery_make_ready(m, lane);
}

void delivery_release(struct mount *m)
{
	CHECK(!m->running && loop_is_own(m->hub->loop));
	struct gate_parked *p = gate_take(m);
	void (*run)(void *ctx, bool drop) = p->run;
	p->run = NULL;
	if (run != NULL) {
		run(p->ctx, false);
	} else if (p->held == NULL) {
		delivery_release_push(m);
	} else if (handler_is_async(m->handler)) {
		delivery_settle_released(m, p->held);
	} else {
		delivery_release_held(m, p);
	}
	gate_free(m, &p);
	delivery_run(m);
}
