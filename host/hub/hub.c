#include "hub/hub.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/random.h"
#include "hub/admission.h"
#include "hub/delivery.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"

#define HUB_VICTIMS 64 /* that are ended in one turn */

/* --- sessions that end ------------------------------------------------------------------------ */

/* A reason is text, in which a NUL is a character like others. */
static void hub_keep_reason(struct session *s, struct span reason)
{
	struct session_more *more = reason.n > 0 ? session_more(s) : NULL;
	if (more == NULL || (more->reason = malloc(reason.n + 1)) == NULL)
		return;
	memcpy(more->reason, reason.p, reason.n);
	more->reason[reason.n] = '\0';
	more->reason_len = (uint16_t)reason.n;
}

/* From here on nobody finds the session. It is over once its close event was handled. */
static void hub_end_session(struct session *s, uint16_t code, struct span reason)
{
	struct mount *m = s->mount;
	hub_keep_reason(s, reason);
	s->ended = true;
	room_leave_all(&m->rooms, s);
	mount_remove(m, s);
	s->close_code = code;
	if (s->more != NULL)
		timer_free_all(&s->more->timers);
	m->hub->loop->stats.connections--;
	slow_consumer_end(m->hub, s);
	char id[SESSION_ID_TEXT];
	LOG(m->hub->log, LOG_DEBUG, LOG_CONN_CLOSE, "connection ended", LOG_STR("mount", m->path),
	    LOG_STR("conn", (session_id_text(hub_session_id(m->hub, s), id), id)),
	    LOG_U64("code", code), LOG_SPAN("reason", reason),
	    LOG_U64("dropped", slow_consumer_dropped(s)));
}

void hub_close_session(struct session *s, uint16_t code, struct span reason, bool urgent)
{
	CHECK(s->magic == CHECK_SESSION && loop_is_own(s->mount->hub->loop));
	if (s->ended)
		return;
	struct mount *m = s->mount;
	hub_end_session(s, code == 0 ? CLOSE_NONE : code, reason);
	conn_close(session_conn(s), code, reason.p, reason.n, urgent);
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
	if (s->victim)
		hub_forget_victim(hub, s);
	if (m->handler->ops->forget != NULL)
		m->handler->ops->forget(m->handler, s);
	s->paused = false;
	room_forget_all(s);
	slotmap_remove(&hub->sessions, s->local);
	s->local = 0;
	session_detach(s);
	s->over_next = hub->over;
	hub->over = s;
	if (hub->sessions.count == 0 && hub->emptied != NULL)
		hub->emptied(hub->emptied_ctx);
}

/* --- applying --------------------------------------------------------------------------------- */

void hub_mark_victim(struct hub *hub, struct session *s)
{
	if (s->victim)
		return;
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

static inline void hub_send(struct hub *hub, struct conn *c, struct outgoing *o, bool own)
{
	enum conn_sent sent = conn_send(c, o, own);
	if (sent == CONN_FULL || sent == CONN_NO_MEMORY)
		slow_consumer_refused(hub, session_of(c), o, sent, own);
}

/* What the queue of a slow connection is to know of the message; false without memory. */
static bool hub_note(const struct mount *m, const struct command *command, bool own)
{
	uint64_t note = own ? OUTQ_NOTES_KEEP : m->slow == MOUNT_SLOW_CONFLATE ? command->key : 0;
	return m->slow == MOUNT_SLOW_CLOSE || note == 0 || chunk_note(&command->frame, note);
}

static void hub_end_victim(struct hub *hub, struct session *s)
{
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

/* Whom a broadcast leaves out, and whose own event it answers. */
struct hub_cast {
	struct outgoing out;
	struct conn *exclude, *own; /* or NULL */
};

static inline void hub_cast_init(struct hub_cast *cast, struct hub *hub, const struct mount *m,
				 const struct commit *c, const struct command *command)
{
	outgoing_init(&cast->out, &command->frame, true);
	cast->out.slow = m->slow;
	/* without memory for a key there is one message more that is not given up */
	hub_note(m, command, false);
	const struct session *exclude =
		command->exclude != 0 ? hub_find_session(hub, m, command->exclude) : NULL;
	cast->exclude = exclude != NULL ? exclude->conn : NULL;
	cast->own = c->answers != NULL ? c->answers->conn : NULL;
}

/* Sends it to all of another loop's. False without memory to tell it. */
static bool hub_cast_far(struct conn_group *group, uint32_t n, const struct hub_cast *cast)
{
	return n == 0 || conn_group_broadcast(group, n, &cast->out, cast->exclude, cast->own);
}

static void hub_cast_lost(struct hub *hub, struct conn *c, struct hub_cast *cast)
{
	if (c != cast->exclude)
		slow_consumer_refused(hub, session_of(c), &cast->out, CONN_NO_MEMORY,
				      c == cast->own);
}

static void apply_broadcast(struct hub *hub, struct mount *m, const struct commit *c,
			    const struct command *command)
{
	struct hub_cast cast;
	hub_cast_init(&cast, hub, m, c, command);
	const struct mount_shard *here = &m->shards[0];
	for (uint32_t i = 1; i <= hub->n_far; i++)
		if (!hub_cast_far(m->shards[i].group, m->shards[i].n, &cast))
			for (uint32_t k = 0; k < m->shards[i].n; k++)
				hub_cast_lost(hub, m->shards[i].conns[k], &cast);
	for (uint32_t i = 0; i < here->n; i++)
		if (here->conns[i] != cast.exclude)
			hub_send(hub, here->conns[i], &cast.out, here->conns[i] == cast.own);
	outgoing_free(&cast.out);
}

static void apply_broadcast_to(struct hub *hub, struct mount *m, const struct commit *c,
			       const struct command *command)
{
	struct room *r = room_find(&m->rooms, commit_text(c, command));
	if (r == NULL) {
		hub->loop->stats.unknown_rooms++;
		return;
	}
	struct hub_cast cast;
	hub_cast_init(&cast, hub, m, c, command);
	for (uint32_t i = 0; r->elsewhere != NULL && i < hub->n_far; i++)
		if (!hub_cast_far(r->elsewhere[i].group, r->elsewhere[i].shard.n, &cast))
			for (uint32_t k = 0; k < r->elsewhere[i].shard.n; k++)
				hub_cast_lost(hub, r->elsewhere[i].shard.members[k].conn, &cast);
	for (uint32_t i = 0; i < r->here.n; i++) {
		struct conn *to = r->here.members[i].conn;
		if (to != cast.exclude)
			hub_send(hub, to, &cast.out, to == cast.own);
	}
	outgoing_free(&cast.out);
}

/* Workers keep as many bytes as they like, a plugin a struct of one size. */
static void apply_set(struct mount *m, struct session *s, const struct commit *c, struct span data)
{
	if (handler_is_async(m->handler)) {
		/* What follows in a run was given without it: a worker knows what the connection's
		 * own events have set, and no more. */
		if (c->answers != s && s->lane.current != NULL)
			delivery_end_run(m, s->lane.current, true);
		void *copy = data.n > 0 ? malloc(data.n) : NULL;
		if (data.n > 0 && copy == NULL) {
			s->no_memory = true;
			hub_mark_victim(m->hub, s);
			return;
		}
		if (data.n > 0)
			memcpy(copy, data.p, data.n);
		free(s->data);
		s->data = copy;
		s->more->data_len = (uint16_t)data.n;
		return;
	}
	if (s->data == NULL)
		return;
	memcpy(s->data, data.p, data.n);
	memset((char *)s->data + data.n, 0, m->data_size - data.n);
}

__attribute__((noinline)) /* its buffer would make every command guard the stack */
static void
apply_timer(struct mount *m, struct session *s, const struct commit *c,
	    const struct command *command)
{
	char name[RULES_NAME_MAX + 1];
	struct span text = commit_text(c, command);
	struct event_timer t = {
		.name = name,
		.id = command->timer.id,
		.delay_ms = command->timer.delay_ms,
		.period_ms = command->timer.period_ms,
	};
	memcpy(name, text.p, text.n);
	name[text.n] = '\0';
	if (!timer_set(m, s, &t))
		LOG(m->hub->log, LOG_ERROR, LOG_HANDLER, "no memory: a timer is not set",
		    LOG_STR("mount", m->path), LOG_STR("timer", name));
}

static void apply_query(struct mount *m, const struct commit *c, const struct command *command)
{
	struct hub_event e = {
		.kind = EVENT_REPLY,
		.query = {.kind = command->query.kind,
			  .id = command->query.id,
			  .asker = {command->query.asker[0], command->query.asker[1]},
			  .session = command->target,
			  .room = commit_text(c, command)},
	};
	delivery_submit(m, NULL, &e);
}

/* Commands that name a session. */
static void apply_to_session(struct hub *hub, struct mount *m, struct session *s, struct commit *c,
			     const struct command *command)
{
	struct span text = commit_text(c, command);
	switch (command->kind) {
	case COMMAND_JOIN:
		if (room_join(&m->rooms, text, s) == ROOM_NO_MEMORY) {
			s->no_memory = true;
			hub_mark_victim(hub, s); /* better closed than silently not in the room */
		}
		break;
	case COMMAND_LEAVE:
		hub->loop->stats.unknown_rooms += !room_leave(&m->rooms, text, s);
		break;
	case COMMAND_CLOSE:
		c->parted = c->parted || s == c->origin;
		hub_close_session(s, command->code, text, false);
		break;
	case COMMAND_SET:
		apply_set(m, s, c, text);
		break;
	case COMMAND_TIMER:
		apply_timer(m, s, c, command);
		break;
	case COMMAND_CANCEL:
		timer_cancel(m, s, text);
		break;
	}
}

/* A session that has ended while this event of its was under way, or waited: the answer leaves
 * before our close frame, and what is kept for its next events is kept. */
static bool apply_to_ended(struct mount *m, const struct commit *c, const struct command *command)
{
	if (c->origin == NULL || c->origin->local != command->target)
		return false;
	if (command->kind == COMMAND_SET) {
		apply_set(m, c->origin, c, commit_text(c, command));
		return true;
	}
	if (command->kind != COMMAND_SEND || c->parted)
		return false;
	struct outgoing o;
	outgoing_init(&o, &command->frame, false);
	enum conn_sent sent = conn_send(session_conn(c->origin), &o, true);
	outgoing_free(&o);
	return sent == CONN_SENT;
}

static void apply_send_to(struct hub *hub, struct mount *m, struct session *s,
			  const struct command *command, bool own)
{
	struct outgoing o;
	outgoing_init(&o, &command->frame, false);
	o.slow = m->slow;
	if (hub_note(m, command, own))
		hub_send(hub, s->conn, &o, own);
	else
		slow_consumer_refused(hub, s, &o, CONN_NO_MEMORY, own);
	outgoing_free(&o);
}

/* Most often it answers the connection whose event it is, which needs no search. */
static inline void apply_send(struct hub *hub, struct mount *m, const struct commit *c,
			      const struct command *command)
{
	struct session *s = c->answers;
	bool own = s != NULL && s->local == command->target && !s->ended;
	if (own || (s = hub_find_session(hub, m, command->target)) != NULL)
		apply_send_to(hub, m, s, command, own);
	else if (!apply_to_ended(m, c, command))
		hub->loop->stats.gone++;
}

static void apply_command(struct hub *hub, struct mount *m, struct commit *c,
			  const struct command *command)
{
	bool of_mount = (command->kind == COMMAND_TIMER || command->kind == COMMAND_CANCEL) &&
			!command->code;
	if (command->kind == COMMAND_BROADCAST)
		apply_broadcast(hub, m, c, command);
	else if (command->kind == COMMAND_BROADCAST_TO)
		apply_broadcast_to(hub, m, c, command);
	else if (command->kind == COMMAND_QUERY)
		apply_query(m, c, command);
	else if (of_mount && command->kind == COMMAND_TIMER)
		apply_timer(m, NULL, c, command);
	else if (of_mount)
		timer_cancel(m, NULL, commit_text(c, command));
	else {
		struct session *s = hub_find_session(hub, m, command->target);
		if (s != NULL)
			apply_to_session(hub, m, s, c, command);
		else if (!apply_to_ended(m, c, command))
			hub->loop->stats.gone++;
	}
}

void hub_apply(struct hub *hub, struct mount *m, struct commit *c)
{
	hub->loop->stats.commands += c->n;
	hub->loop->delivery++;
	for (uint32_t i = 0; i < c->n; i++) {
		struct command *command = &c->commands[i];
		if (command->kind == COMMAND_SEND)
			apply_send(hub, m, c, command);
		else
			apply_command(hub, m, c, command);
		command_drop(command);
	}
	commit_emptied(c);
	c->parted = false;
	c->origin = NULL;
}

/* --- back-pressure ---------------------------------------------------------------------------- */

void hub_pause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	if (s->paused || s->ended)
		return;
	s->paused = true;
	conn_hold(session_conn(s), true);
}

void hub_unpause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	s->paused = false;
	conn_hold(session_conn(s), false);
}

/* --- what conns tell -------------------------------------------------------------------------- */

static void hub_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *data, size_t len)
{
	struct session *s = session_of(c);
	struct mount *m = s->mount;
	if (!(m->handler->wants & EVENT_BIT(EVENT_MESSAGE)))
		return;
	struct hub_event e = {
		.kind = EVENT_MESSAGE,
		.message = {.bytes = data, .len = len, .binary = opcode == FRAME_BINARY},
	};
	delivery_submit(m, s, &e);
}

static struct budget *hub_budget(struct conn *c)
{
	return session_mount_of(c)->budget;
}

/* A line and an error, once in the time of its mount's rule. */
static void hub_on_dropped(struct conn *c, uint32_t n)
{
	struct session *s = session_of(c);
	struct mount *m = s->mount;
	const struct bucket_rate *rate = &m->rule.rate;
	char text[128], id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	session_id_text(hub_session_id(m->hub, s), id);
	snprintf(text, sizeof text, "dropped %u messages: more than %u in %u ms", (unsigned)n,
		 (unsigned)rate->n, (unsigned)rate->ms);
	LOG(m->hub->log, LOG_NOTICE, LOG_LIMIT, "messages dropped: more than --rate-limit allows",
	    LOG_STR("mount", m->path), LOG_STR("conn", id),
	    LOG_STR("remote", conn_remote_text(c, remote)), LOG_U64("dropped", n));
	struct hub_event e = {.kind = EVENT_ERROR,
			      .error = {.kind = EVENT_ERROR_LIMIT, .text = span_of(text)}};
	if (!s->ended)
		delivery_submit(m, s, &e);
}

static void hub_log_end(struct session *s, enum conn_end end, const char *why)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	session_id_text(hub_session_id(s->mount->hub, s), id);
	bool limit = end == CONN_END_LIMIT, protocol = end == CONN_END_PROTOCOL;
	LOG(s->mount->hub->log, limit || protocol ? LOG_NOTICE : LOG_INFO,
	    limit      ? LOG_LIMIT
	    : protocol ? LOG_CONN_PROTOCOL
		       : LOG_CONN_TRANSPORT,
	    why, LOG_STR("mount", s->mount->path), LOG_STR("conn", id),
	    LOG_STR("remote", conn_remote_text(session_conn(s), remote)));
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
	if (s->ended)
		return;
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
};

/* --- the hub ---------------------------------------------------------------------------------- */

/* Those that are over go at the end of the turn, so that nobody on the stack meets one freed. */
static void hub_on_turn(void *arg)
{
	struct hub *hub = arg;
	struct session *s;
	while ((s = hub->over) != NULL) {
		hub->over = s->over_next;
		session_free(s);
	}
}

bool hub_init(struct hub *hub, struct loop *loop)
{
	*hub = (struct hub){.loop = loop,
			    .log = loop->log,
			    .started_ms = loop_now(loop),
			    .timers.clock = -1};
	budgets_init(&hub->budgets);
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
			event_held_free(h);
		event_free_all(s->lane.current);
		hub_session_over(s);
	}
	for (struct mount *m = hub->mounts; m != NULL; m = m->next) {
		m->ready_first = m->ready_last = NULL;
		mount_drop_groups(m);
	}
}

void hub_free(struct hub *hub)
{
	while (hub->mounts != NULL) {
		struct mount *m = hub->mounts;
		hub->mounts = m->next;
		mount_free(m);
	}
	timers_free(&hub->timers);
	budgets_free(&hub->budgets);
	loop_timer_cancel(&hub->more_victims);
	hub_on_turn(hub);
	loop_remove_hook(hub->loop, &hub->hook);
	slotmap_free(&hub->sessions);
	free(hub->victims);
}

void hub_add_mount(struct hub *hub, struct mount *m)
{
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
