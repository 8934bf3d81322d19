#include "hub/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/random.h"
#include "hub/access.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "hub/resume.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"
#include "hub/trace.h"
#include "hub/session_conn.h"

#define HUB_VICTIMS 64 /* that are ended in one turn */
#define HUB_AGE_STEP_MS 100

/* --- sessions that end ------------------------------------------------------------------------ */

/* A reason is text, in which a NUL is a character like others. */
const char *hub_session_text(const struct session *s, char text[SESSION_ID_TEXT])
{
	if (s == NULL)
		return NULL;
	session_id_text((struct session_id){.host = s->mount->hub->host_id, .local = s->local},
			text);
	return text;
}

const char *hub_session_path(const struct session *s)
{
	return s->more != NULL && s->more->path != NULL ? s->more->path : s->mount->path;
}

/* Since the start, as it fits into a session's note. */
static uint32_t hub_steps(const struct hub *hub)
{
	return (uint32_t)((loop_now(hub->loop) - hub->started_ms) / HUB_AGE_STEP_MS);
}

uint64_t hub_session_age_ms(const struct session *s)
{
	const struct hub *hub = s->mount->hub;
	uint32_t opened = slotmap_note(&hub->sessions, s->local);
	return (uint64_t)(hub_steps(hub) - opened) * HUB_AGE_STEP_MS;
}

void hub_session_opened(struct session *s)
{
	struct hub *hub = s->mount->hub;
	slotmap_set_note(&hub->sessions, s->local, hub_steps(hub));
}

static void hub_keep_reason(struct session *s, struct span reason)
{
	struct session_more *more = reason.n > 0 ? session_more(s) : NULL;
	if (more == NULL || (more->reason = malloc(reason.n + 1)) == NULL)
		return;
	memcpy(more->reason, reason.p, reason.n);
	more->reason[reason.n] = '\0';
	more->reason_len = (uint16_t)reason.n;
}

void hub_echo_close(struct session *s)
{
	if (s->conn == NULL)
		return;
	if (s->shard == SESSION_RESUMES)
		resume_flush(s->mount->hub, s);
	conn_echo_close(s->conn);
}

static void hub_count_close(struct close_counts *all, uint16_t code)
{
	unsigned i = 0;
	while (i < all->n && all->codes[i].code != code)
		i++;
	if (i == CLOSE_COUNTS) {
		all->others++;
		return;
	}
	all->codes[i].code = code;
	all->codes[i].n++;
	all->n = i == all->n ? i + 1 : all->n;
}

/* From here on nobody finds the session. It is over once its close event was handled. */
static void hub_end_session(struct session *s, uint16_t code, struct span reason)
{
	struct mount *m = s->mount;
	CHECK(!s->ended);
	hub_keep_reason(s, reason);
	s->ended = true;
	room_leave_all(&m->rooms, s);
	mount_remove(m, s);
	s->close_code = code;
	resume_end(m->hub, s);
	user_limits_leave(m, s);
	if (s->more != NULL)
		timer_free_all(&s->more->timers);
	CHECK(m->hub->loop->stats.connections > 0);
	m->hub->loop->stats.connections--;
	hub_count_close(&m->hub->closes, code);
	slow_consumer_end(m->hub, s);
	access_end(s, code, reason);
	char id[SESSION_ID_TEXT];
	LOG(m->hub->log, LOG_DEBUG, LOG_CONN_CLOSE, "connection ended", LOG_STR("mount", m->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_U64("code", code),
	    LOG_SPAN("reason", reason), LOG_U64("dropped", slow_consumer_dropped(s)));
}

void hub_close_session(struct session *s, uint16_t code, struct span reason, bool urgent)
{
	CHECK(s->magic == CHECK_SESSION && loop_is_own(s->mount->hub->loop));
	if (s->ended)
		return;
	struct mount *m = s->mount;
	resume_close(m->hub, s, code == 0 ? CLOSE_NONE : code, reason);
	hub_end_session(s, code == 0 ? CLOSE_NONE : code, reason);
	if (s->conn != NULL)
		conn_close(s->conn, code, reason.p, reason.n, urgent);
	delivery_close(m, s);
}

/* Who is over is no victim any more: so there are never more of them than sessions, for which there
 * is room, and none that is freed. */
static void hub_forget_victim(struct hub *hub, const struct session *s)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < hub->n_victims; i++)
		if (hub->victims[i] != s)
			hub->victims[kept++] = hub->victims[i];
	hub->n_victims = kept;
}

void hub_session_over(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	struct hub *hub = s->mount->hub;
	struct mount *m = s->mount;
	CHECK(s->ended && s->local != 0);
	if (s->victim)
		hub_forget_victim(hub, s);
	if (m->handler->ops->forget != NULL)
		m->handler->ops->forget(m->handler, s);
	s->paused = false;
	access_forget(s);
	room_forget_all(s);
	slotmap_remove(&hub->sessions, s->local);
	s->local = 0;
	if (s->conn != NULL)
		session_detach(s);
	CHECK(s->rooms.list == NULL && s->conn == NULL && s->route == NULL);
	s->over_next = hub->over;
	hub->over = s;
	if (hub->sessions.count == 0 && hub->emptied != NULL)
		hub->emptied(hub->emptied_ctx);
}

/* --- who reads too slowly --------------------------------------------------------------------- */

void hub_mark_victim(struct hub *hub, struct session *s)
{
	if (s->victim)
		return;
	CHECK(s->local != 0 && hub->n_victims < hub->cap_victims);
	s->victim = true;
	hub->victims[hub->n_victims++] = s;
}

bool hub_reserve(struct hub *hub)
{
	CHECK(loop_is_own(hub->loop));
	if (hub->sessions.count < hub->cap_victims)
		return true;
	uint32_t cap = hub->cap_victims == 0 ? 64 : 2 * hub->cap_victims;
	struct session **wider = realloc(hub->victims, cap * sizeof(struct session *));
	if (wider == NULL)
		return false;
	hub->victims = wider;
	hub->cap_victims = cap;
	return true;
}

static void hub_end_victim(struct hub *hub, struct session *s)
{
	CHECK(s->magic == CHECK_SESSION && s->victim);
	if (s->ended)
		return;
	if (!s->no_memory) {
		slow_consumer_close(hub, s);
		return;
	}
	LOG(hub->log, LOG_ERROR, LOG_HANDLER, "no memory: a connection is closed",
	    LOG_STR("mount", s->mount->path));
	hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
}

/* A broadcast can be too much for thousands at once: their ends, of which each is logged and told
 * to a handler, are not to stop the loop. */
void hub_end_victims(struct hub *hub)
{
	CHECK_IS(hub, CHECK_HUB);
	if (hub->n_victims == 0 || loop_timer_is_set(&hub->more_victims))
		return;
	for (int n = 0; hub->n_victims > 0 && n < HUB_VICTIMS; n++)
		hub_end_victim(hub, hub->victims[--hub->n_victims]);
	if (hub->n_victims > 0)
		loop_timer_set(&hub->more_victims, 1);
}

static void hub_on_more_victims(void *arg)
{
	hub_end_victims(arg);
}

/* --- back-pressure ---------------------------------------------------------------------------- */

void hub_pause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	if (s->paused || s->ended)
		return;
	s->paused = s->conn != NULL;
	if (s->conn != NULL)
		conn_hold(s->conn, true);
}

void hub_unpause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	s->paused = false;
	if (s->conn != NULL)
		conn_hold(s->conn, false);
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

void hub_trace_messages(struct hub *hub, bool on)
{
	if (hub->conn_ops != NULL)
		hub->conn_ops->message = on ? hub_on_traced_message : hub_on_message;
}

static struct budget *hub_budget(struct conn *c)
{
	return session_mount_of(c)->budget;
}

/* A line and an error, once in the time of its mount's rule. */
void hub_dropped(struct session *s, uint32_t n)
{
	struct mount *m = s->mount;
	const struct bucket_rate *rate = &m->rule.rate;
	char text[128], id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	snprintf(text, sizeof text, "dropped %u messages: more than %u in %u ms", (unsigned)n,
		 (unsigned)rate->n, (unsigned)rate->ms);
	LOG(m->hub->log, LOG_NOTICE, LOG_LIMIT, "messages dropped: more than --rate-limit allows",
	    LOG_STR("mount", m->path), LOG_STR("conn", hub_session_text(s, id)),
	    LOG_STR("remote", session_remote_text(s, remote)), LOG_U64("dropped", n));
	struct hub_event e = {.kind = EVENT_ERROR,
			      .error = {.kind = EVENT_ERROR_LIMIT, .text = span_of(text)}};
	if (!s->ended)
		delivery_submit(m, s, &e);
}

static void hub_on_dropped(struct conn *c, uint32_t n)
{
	hub_dropped(session_of(c), n);
}

static void hub_log_end(struct session *s, enum conn_end end, const char *why)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	bool limit = end == CONN_END_LIMIT, protocol = end == CONN_END_PROTOCOL;
	LOG(s->mount->hub->log, limit || protocol ? LOG_NOTICE : LOG_INFO,
	    limit      ? LOG_LIMIT
	    : protocol ? LOG_CONN_PROTOCOL
		       : LOG_CONN_TRANSPORT,
	    why, LOG_STR("mount", s->mount->path), LOG_STR("conn", hub_session_text(s, id)),
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
	.memory_limit = slow_consumer_heavy,
	.relieved = slow_consumer_relieved,
	.unsent = slow_consumer_unsent,
	.slow = slow_consumer_began,
	.drained = resume_on_drained,
	.uncounted = access_uncounted,
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
	while ((s = hub->over) != NULL) {
		CHECK(s->magic == CHECK_SESSION && s->ended && s->local == 0);
		hub->over = s->over_next;
		resume_free(hub, s);
		session_free(&s);
	}
}

bool hub_init(struct hub *hub, struct loop *loop)
{
	*hub = (struct hub){.magic = CHECK_HUB,
			    .loop = loop,
			    .log = loop->log,
			    .started_ms = loop_now(loop),
			    .timers.clock = -1};
	budgets_init(&hub->budgets);
	resumes_init(&hub->resumes, hub);
	histories_init(&hub->histories, hub);
	room_states_init(&hub->room_states, hub);
	loop_timer_init(loop, &hub->more_victims, hub_on_more_victims, hub);
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

struct mount *hub_find_mount(const struct hub *hub, struct span path)
{
	struct mount *m = hub->mounts;
	while (m != NULL && !mount_matches(m, path))
		m = m->next;
	return m;
}
