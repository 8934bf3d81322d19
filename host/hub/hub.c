#include "hub/hub.h"

#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"
#include "hub/access.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "hub/resume.h"
#include "hub/session_trace.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"
#include "hub/trace.h"
#include "hub/watching.h"
#include "hub/session_conn.h"

static void hub_on_more_victims(void *arg)
{
	hub_end_victims(arg);
}

/* --- what conns tell -------------------------------------------------------------------------- */

/* For delivery: a message, with so many bytes in front of it that are not of it. */
static inline void hub_submit(struct session *s, enum frame_opcode opcode, uint8_t *data,
			      size_t len, uint8_t skip)
{
	struct hub_event e = {
		.kind = EVENT_MESSAGE,
		.message = {.bytes = data,
			    .len = len,
			    .binary = opcode == FRAME_BINARY,
			    .skip = skip},
	};
	delivery_submit(s->mount, s, &e);
}

/* Of its own, so that the message of everybody else stays in registers. */
static __attribute__((noinline)) void hub_on_counted(struct session *s, enum frame_opcode opcode,
						     uint8_t *data, size_t len)
{
	struct mount *m = s->mount;
	uint8_t *whole = data;
	if (!resume_take(m->hub, s, opcode == FRAME_BINARY, &data, &len))
		return;
	if (m->handler->wants & EVENT_BIT(EVENT_MESSAGE))
		hub_submit(s, opcode, data, len, (uint8_t)(data - whole));
	else
		resume_settled(m->hub, s, true);
}

static void hub_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *data, size_t len)
{
	struct session *s = session_of(c);
	if (s->shard == SESSION_RESUMES)
		hub_on_counted(s, opcode, data, len);
	else if (s->mount->handler->wants & EVENT_BIT(EVENT_MESSAGE))
		hub_submit(s, opcode, data, len, 0);
}

/* Instead of hub_on_message, while somebody looks. */
static void hub_on_traced_message(struct conn *c, enum frame_opcode opcode, uint8_t *data,
				  size_t len)
{
	trace_message(session_of(c), len);
	hub_on_message(c, opcode, data, len);
}

static void hub_trace_messages(struct hub *hub, bool on)
{
	if (hub->conn_ops != NULL)
		hub->conn_ops->message = on ? hub_on_traced_message : hub_on_message;
}

static struct budget *hub_budget(struct conn *c)
{
	return session_mount_of(c)->budget;
}

static void hub_on_dropped(struct conn *c, uint32_t n)
{
	hub_dropped(session_of(c), n);
}

static void hub_on_unsent(struct conn *c, enum conn_sent sent, uint32_t messages)
{
	struct session *s = session_of(c);
	slow_consumer_unsent(s, sent, messages);
	hub_end_victims(s->mount->hub);
}

/* Of the memory that all hold some was given back. */
static void hub_on_relieved(void *ctx)
{
	hub_end_victims(ctx);
}

static void hub_log_end(struct session *s, enum conn_end end, const char *why)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	bool limit = end == CONN_END_LIMIT, protocol = end == CONN_END_PROTOCOL;
	LOG(s->mount->hub->log, limit || protocol ? LOG_NOTICE : LOG_INFO,
	    limit      ? LOG_LIMIT
	    : protocol ? LOG_CONN_PROTOCOL
		       : LOG_CONN_TRANSPORT,
	    why, LOG_STR("mount", s->mount->path), LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
	    LOG_STR("remote", session_remote_text(s, remote)));
}

/* For the access log. */
static const char *hub_who_ended(enum conn_end end)
{
	static const char *const who[] =
		{[CONN_END_CLOSE] = "client",	   [CONN_END_PROTOCOL] = "protocol",
		 [CONN_END_TRANSPORT] = "network", [CONN_END_EOF] = "client",
		 [CONN_END_IDLE] = "idle",	   [CONN_END_LIMIT] = "limit"};
	return who[end];
}

/* Errors of protocol and transport raise `error`, then `close`. An end of the stream without a
 * close frame is no error: it is how clients go that do not say goodbye. */
static void hub_on_ended(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			 size_t len, const char *why)
{
	struct session *s = session_of(c);
	struct mount *m = s->mount;
	struct hub_event e = {
		.kind = EVENT_ERROR,
		.error = {.kind = end == CONN_END_PROTOCOL ? EVENT_ERROR_PROTOCOL
				  : end == CONN_END_LIMIT  ? EVENT_ERROR_LIMIT
							   : EVENT_ERROR_TRANSPORT,
			  .text = span_of(why)},
	};
	if (s->ended || resume_leave(m->hub, s, end, code))
		return;
	access_ended_by(s, hub_who_ended(end));
	hub_end_session(s, code, (struct span){reason, len});
	if (end != CONN_END_CLOSE && end != CONN_END_EOF) {
		hub_log_end(s, end, why);
		delivery_submit(m, s, &e);
	}
	delivery_close(m, s);
}

const struct conn_ops hub_conn_ops = {
	.upgrade = admission_upgrade,
	.message = hub_on_message,
	.budget = hub_budget,
	.ended = hub_on_ended,
	.dropped = hub_on_dropped,
	.withdrawn = admission_withdrawn,
	.unanswered = admission_unanswered,
	.gave_up = slow_consumer_gave_up,
	.memory_limit = slow_consumer_memory_limit,
	.relieved = hub_on_relieved,
	.unsent = hub_on_unsent,
	.slow = slow_consumer_began,
	.drained = resume_on_drained,
	.uncounted = access_uncounted,
};

/* --- what the parts of the hub tell ----------------------------------------------------------- */

static void hub_on_token_over(struct session *s)
{
	access_ended_by(s, "token");
	hub_close_session(s, CLOSE_POLICY, SPAN("the token has expired"), false);
}

static const struct hub_ops hub_ops = {
	.ended = delivery_close,
	.timer = delivery_submit,
	.token_over = hub_on_token_over,
	.trace_messages = hub_trace_messages,
};

/* --- the hub ---------------------------------------------------------------------------------- */

/* Those that are over go at the end of the turn, so that nobody on the stack meets one freed. */
static void hub_on_turn(void *arg)
{
	struct hub *hub = arg;
	CHECK_IS(hub, CHECK_HUB);
	struct session *s;
	if (resumes_have_work(&hub->resumes))
		resumes_on_turn(hub);
	if (hub->watching_due)
		watching_on_turn(hub);
	while ((s = hub->over) != NULL) {
		CHECK(s->magic == CHECK_SESSION && s->ended && s->local == 0);
		hub->over = s->over_next;
		resume_free(hub, s);
		session_free(&s);
	}
}

static void hub_on_watching_later(void *arg)
{
	struct hub *hub = arg;
	hub->watching_due = true; /* at the end of this turn */
}

bool hub_init(struct hub *hub, struct loop *loop)
{
	*hub = (struct hub){.magic = CHECK_HUB,
			    .ops = &hub_ops,
			    .loop = loop,
			    .log = loop->log,
			    .started_ms = loop_now(loop),
			    .timers.clock = -1};
	budgets_init(&hub->budgets);
	resumes_init(&hub->resumes, hub);
	histories_init(&hub->histories, hub);
	room_states_init(&hub->room_states, hub);
	loop_timer_init(loop, &hub->more_victims, hub_on_more_victims, hub);
	loop_timer_init(loop, &hub->watching_later, hub_on_watching_later, hub);
	hub->hook = (struct loop_hook){.run = hub_on_turn, .arg = hub};
	loop_add_hook(loop, &hub->hook);
	slotmap_init(&hub->sessions, 0);
	while (hub->host_id == 0) {
		if (!random_bytes(&hub->host_id, sizeof hub->host_id))
			return false;
		hub->host_id &= HUB_HOST_ID_MASK;
	}
	return random_bytes(&hub->key, sizeof hub->key) &&
	       random_bytes(&hub->resumes.tokens.key, sizeof hub->resumes.tokens.key) &&
	       timers_init(&hub->timers, loop, &hub->key);
}

void hub_drop_sessions(struct hub *hub)
{
	struct session *s;
	struct event_held *h;
	uint32_t cursor = 0;
	for (struct mount *m = hub->mounts; m != NULL; m = m->next)
		gate_drop_all(m);
	while ((s = slotmap_next(&hub->sessions, &cursor)) != NULL) {
		if (!s->ended)
			hub_end_session(s, CLOSE_GOING_AWAY, (struct span){0});
		while ((h = lane_pop(&s->lane)) != NULL)
			event_held_free(&h);
		event_free_all(&s->lane.current);
		hub_session_over(s);
	}
	for (struct mount *m = hub->mounts; m != NULL; m = m->next) {
		m->ready_first = m->ready_last = NULL;
		mount_drop_groups(m);
	}
}

void hub_free(struct hub *hub)
{
	CHECK(hub->sessions.count == 0);
	while (hub->mounts != NULL) {
		struct mount *m = hub->mounts;
		hub->mounts = m->next;
		mount_free(&m);
	}
	timers_free(&hub->timers);
	budgets_free(&hub->budgets);
	loop_timer_cancel(&hub->more_victims);
	loop_timer_cancel(&hub->watching_later);
	hub->watching_due = false;
	hub_on_turn(hub);
	resumes_free(&hub->resumes);
	histories_free(&hub->histories);
	room_states_free(&hub->room_states);
	loop_remove_hook(hub->loop, &hub->hook);
	slotmap_free(&hub->sessions);
	free(hub->victims);
}

void hub_add_mount(struct hub *hub, struct mount *m)
{
	CHECK(m->hub == hub && m->next == NULL);
	struct mount **at = &hub->mounts;
	while (*at != NULL && strlen((*at)->path) >= strlen(m->path))
		at = &(*at)->next;
	m->next = *at;
	*at = m;
}
