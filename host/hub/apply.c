#include "hub/apply.h"

#include <stdlib.h>

#include "base/check.h"
#include "hub/access.h"
#include "hub/apply_room.h"
#include "hub/delivery.h"
#include "hub/prolong.h"
#include "hub/resume.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"
#include "hub/watching.h"
#include "hub/session_conn.h"

static inline void apply_out(struct hub *hub, struct conn *c, struct out_message *o, bool own)
{
	enum conn_sent sent = conn_send(c, o, own);
	if (sent == CONN_FULL || sent == CONN_NO_MEMORY)
		slow_consumer_refused(hub, session_of(c), o, sent, own);
}

/* What the queue of a slow connection is to know of the message; false without memory. */
static bool apply_note(const struct mount *m, const struct slice *frame, uint64_t key, bool own)
{
	if (m->slow == SLOW_POLICY_CLOSE)
		return true;
	uint64_t note = own ? OUTQ_NOTES_KEEP : m->slow == SLOW_POLICY_CONFLATE ? key : 0;
	return note == 0 || chunk_note(frame, note);
}

/* Whom a broadcast leaves out, and whose own event it answers. */
struct apply_cast {
	struct out_message out;
	struct conn *exclude, *own; /* or NULL */
	/* the same, and what follows, for those of resume.h */
	const struct session *excluded, *answers;
	struct resume_cast kept;
	uint64_t began; /* micros; 0: it is not looked at */
	uint32_t size;
};

/* Whoever pushes is told how many a message is for. r: whose members they are; NULL: the mount's
 * connections. */
static void apply_count(struct mount *m, const struct commit *c, const struct command *command,
			const struct session *exclude, const struct room *r)
{
	bool less = exclude != NULL &&
		    (r == NULL ? exclude->settled
			       : room_has(&m->rooms, commit_text(c, command), exclude));
	m->receivers += (r == NULL ? m->n_sessions : r->n) - less;
}

static inline void apply_cast_init(struct apply_cast *cast, struct hub *hub, struct mount *m,
				   const struct commit *c, const struct command *command,
				   const struct room *r)
{
	out_message_init(&cast->out, &command->frame, true);
	cast->out.slow = m->slow;
	/* without memory for a key there is one message more that is not given up */
	apply_note(m, &command->frame, command->key, false);
	const struct session *exclude =
		command->exclude != 0 ? hub_find_session(hub, m, command->exclude) : NULL;
	if (m->counts)
		apply_count(m, c, command, exclude, r);
	cast->excluded = exclude;
	cast->answers = c->answers;
	cast->size = r == NULL ? m->n_sessions : r->n;
	cast->began = m->meters != NULL && meters_sample(&m->meters->casts) ? meters_micros() : 0;
	resume_cast_init(&cast->kept, &command->frame, &cast->out, command->key);
	cast->exclude = exclude != NULL ? exclude->conn : NULL;
	cast->own = c->answers != NULL ? c->answers->conn : NULL;
}

/* Sends it to all of another loop's. False without memory to tell it. */
static bool apply_cast_far(struct conn_group *group, uint32_t n, const struct apply_cast *cast)
{
	return n == 0 || conn_group_broadcast(group, n, &cast->out, cast->exclude, cast->own);
}

/* To those that keep what they are sent, behind all others: from here on it is not to be given up
 * by other loops. */
static void apply_cast_kept(struct hub *hub, struct apply_cast *cast, struct session *s)
{
	if (s != cast->excluded)
		resume_send(hub, s, &cast->kept, s == cast->answers);
}

static void apply_cast_free(const struct mount *m, struct apply_cast *cast)
{
	if (cast->began != 0)
		meters_cast(m->meters, cast->size, cast->began);
	resume_cast_free(&cast->kept);
	out_message_free(&cast->out);
}

static void apply_cast_lost(struct hub *hub, struct conn *c, struct apply_cast *cast)
{
	if (c != cast->exclude)
		slow_consumer_refused(hub, session_of(c), &cast->out, CONN_NO_MEMORY,
				      c == cast->own);
}

static void apply_broadcast(struct hub *hub, struct mount *m, const struct commit *c,
			    const struct command *command)
{
	struct apply_cast cast;
	apply_cast_init(&cast, hub, m, c, command, NULL);
	const struct mount_shard *here = &m->shards[0];
	for (uint32_t i = 1; i <= hub->n_far; i++)
		if (!apply_cast_far(m->shards[i].group, m->shards[i].n, &cast))
			for (uint32_t k = 0; k < m->shards[i].n; k++)
				apply_cast_lost(hub, m->shards[i].conns[k], &cast);
	for (uint32_t i = 0; i < here->n; i++)
		if (here->conns[i] != cast.exclude)
			apply_out(hub, here->conns[i], &cast.out, here->conns[i] == cast.own);
	for (uint32_t i = 0; i < m->resumes.n; i++)
		apply_cast_kept(hub, &cast, m->resumes.sessions[i]);
	apply_cast_free(m, &cast);
}

/* Whom a broadcast among several rooms is for, one by one; those that keep what they are sent
 * behind all others. */
static void apply_broadcast_among(struct hub *hub, struct mount *m, const struct commit *c,
				  const struct command *command)
{
	struct selection among;
	struct selection_walk walk;
	struct session *s;
	struct apply_cast cast;
	uint64_t receivers = m->receivers;
	selection_read(&among, (const uint8_t *)commit_text(c, command).p);
	for (uint32_t i = 0; m->history != NULL && command->code == 0 && i < among.rooms.n; i++)
		if (!selection_names_has(&among.rooms, i, among.rooms.v[i]))
			m->kept = history_keep(m, among.rooms.v[i], &command->frame, command->key);
	selection_walk_begin(&walk, &among, m);
	hub->loop->stats.unknown_rooms += walk.unknown;
	apply_cast_init(&cast, hub, m, c, command, NULL);
	cast.size = 0;
	while ((s = selection_walk_next(&walk)) != NULL) {
		cast.size++;
		receivers += m->counts;
		if (s->shard != SESSION_RESUMES)
			apply_out(hub, s->conn, &cast.out, s->conn == cast.own);
	}
	selection_walk_again(&walk);
	while (m->resumes.n > 0 && (s = selection_walk_next(&walk)) != NULL)
		if (s->shard == SESSION_RESUMES)
			apply_cast_kept(hub, &cast, s);
	selection_walk_end(&walk);
	apply_cast_free(m, &cast);
	m->receivers = receivers;
}

static void apply_broadcast_to(struct hub *hub, struct mount *m, const struct commit *c,
			       const struct command *command)
{
	if (m->history != NULL && command->code == 0)
		m->kept = history_keep(m, commit_text(c, command), &command->frame, command->key);
	struct room *r = room_find(&m->rooms, commit_text(c, command));
	if (r == NULL) {
		hub->loop->stats.unknown_rooms++;
		return;
	}
	struct apply_cast cast;
	apply_cast_init(&cast, hub, m, c, command, r);
	for (uint32_t i = 1; r->elsewhere != NULL && i <= hub->n_far; i++)
		if (!apply_cast_far(r->elsewhere[i].group, r->elsewhere[i].shard.n, &cast))
			for (uint32_t k = 0; k < r->elsewhere[i].shard.n; k++)
				apply_cast_lost(hub, r->elsewhere[i].shard.members[k].conn, &cast);
	for (uint32_t i = 0; i < r->here.n; i++) {
		struct conn *to = r->here.members[i].conn;
		if (to != cast.exclude)
			apply_out(hub, to, &cast.out, to == cast.own);
	}
	for (uint32_t i = 0; r->elsewhere != NULL && i < r->elsewhere[0].shard.n; i++)
		apply_cast_kept(hub, &cast, r->elsewhere[0].shard.members[i].session);
	apply_cast_free(m, &cast);
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
	CHECK(data.n <= m->data_size);
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
	CHECK(text.n < sizeof name);
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
			  .limit = command->query.limit,
			  .id = command->query.id,
			  .asker = {command->query.asker[0], command->query.asker[1]},
			  .session = command->target,
			  .room = commit_text(c, command)},
	};
	delivery_queue(m, NULL, &e);
}

/* --- what a room remembers -------------------------------------------------------------------- */

/* A message to one of resume.h. Of its own, so that the common case has room. */
static __attribute__((noinline)) void apply_send_kept(struct hub *hub, struct session *s,
						      const struct slice *frame, uint64_t key,
						      bool own)
{
	struct out_message o;
	struct resume_cast kept;
	out_message_init(&o, frame, false);
	resume_cast_init(&kept, frame, &o, key);
	resume_send(hub, s, &kept, own);
	resume_cast_free(&kept);
	out_message_free(&o);
}

static inline __attribute__((always_inline)) void apply_send_frame(struct hub *hub,
								   struct session *s,
								   const struct slice *frame,
								   uint64_t key, bool own)
{
	struct out_message o;
	out_message_init(&o, frame, false);
	o.slow = s->mount->slow;
	if (apply_note(s->mount, frame, key, own))
		apply_out(hub, s->conn, &o, own);
	else
		slow_consumer_refused(hub, s, &o, CONN_NO_MEMORY, own);
	out_message_free(&o);
}

/* Where messages are given up each receiver has notes of its own, so a frame of its own. */
static void apply_remembered(struct hub *hub, struct session *s, const struct kept_message *message,
			     bool own)
{
	struct slice frame = message->frame;
	if (s->shard == SESSION_RESUMES) {
		apply_send_kept(hub, s, &frame, message->key, own);
		return;
	}
	if (s->mount->slow == SLOW_POLICY_CLOSE) {
		apply_send_frame(hub, s, &frame, 0, own);
		return;
	}
	if (!chunk_alloc(&hub->loop->chunks, message->frame.len, &frame)) {
		s->no_memory = true;
		hub_mark_victim(hub, s);
		return;
	}
	memcpy(slice_bytes(&frame), slice_bytes(&message->frame), frame.len);
	apply_send_frame(hub, s, &frame, message->key, own);
	slice_unref(&frame);
}

/* Once is enough: the operator has not asked for what its handler does without. */
static void apply_history_missing(struct mount *m, struct span room)
{
	if (m->said_history_missing)
		return;
	m->said_history_missing = true;
	LOG(m->hub->log, LOG_NOTICE, LOG_HANDLER,
	    "a join asks for what its room remembers, and rooms of this mount remember nothing: "
	    "see --history",
	    LOG_STR("mount", m->path), LOG_SPAN("room", room));
}

/* Between the last of it and the next message of the room there is nothing, since the session is a
 * member by now. */
static void apply_history(struct hub *hub, struct session *s, const struct commit *c,
			  const struct command *command)
{
	struct mount *m = s->mount;
	struct span room = commit_text(c, command);
	struct history_found found = history_find(m, room, &command->want);
	bool own = s == c->answers;
	if (m->history == NULL)
		apply_history_missing(m, room);
	if (s->shard == SESSION_RESUMES)
		resume_tell_history(hub, s, room, &found, own);
	for (uint64_t offset = found.from; offset <= found.to && !s->victim; offset++)
		apply_remembered(hub, s, history_at(&found, offset), own);
}

static void apply_join(struct hub *hub, struct session *s, const struct commit *c,
		       const struct command *command)
{
	struct mount *m = s->mount;
	/* what follows in a run was given without what is kept there */
	if (m->handler->room_states && s->lane.current != NULL && room_count(&s->rooms) == 0)
		delivery_end_run(m, s->lane.current, true);
	if (room_join(&m->rooms, commit_text(c, command), s) == ROOM_NO_MEMORY) {
		s->no_memory = true;
		hub_mark_victim(hub, s); /* better closed than silently not in the room */
		return;
	}
	if (command_is_judged(command))
		apply_replace(m, s, c, command);
	if (command->want.how != HISTORY_WANT_NOTHING)
		apply_history(hub, s, c, command);
}

/* Commands that name a session. */
static void apply_to_session(struct hub *hub, struct mount *m, struct session *s, struct commit *c,
			     const struct command *command)
{
	struct span text = commit_text(c, command);
	m->receivers += m->counts;
	switch (command->kind) {
	case COMMAND_JOIN:
		apply_join(hub, s, c, command);
		break;
	case COMMAND_LEAVE_ALL:
		apply_leave_all(m, s);
		break;
	case COMMAND_INFO:
		apply_info(m, s, c, command);
		break;
	case COMMAND_LEAVE:
		hub->loop->stats.unknown_rooms += !room_leave(&m->rooms, text, s);
		break;
	case COMMAND_CLOSE:
		c->parted = c->parted || s == c->origin;
		access_ended_by(s, m->counts ? "push" : "handler");
		s->dismissed = true;
		hub_close_session(s, command->code, text, false);
		break;
	case COMMAND_SET:
		apply_set(m, s, c, text);
		break;
	case COMMAND_PROLONG:
		prolong_apply(m, s, text);
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
	if (command->kind == COMMAND_INFO) {
		apply_info(m, c->origin, c, command);
		return true;
	}
	if (command->kind != COMMAND_SEND || c->parted)
		return false;
	if (c->origin->shard == SESSION_RESUMES) {
		m->receivers += m->counts;
		apply_send_kept(m->hub, c->origin, &command->frame, command->key, true);
		return c->origin->conn != NULL;
	}
	struct out_message o;
	out_message_init(&o, &command->frame, false);
	enum conn_sent sent = conn_send(session_conn(c->origin), &o, true);
	out_message_free(&o);
	return sent == CONN_SENT;
}

static inline void apply_send_to(struct hub *hub, struct mount *m, struct session *s,
				 const struct command *command, bool own)
{
	m->receivers += m->counts;
	if (s->shard == SESSION_RESUMES)
		apply_send_kept(hub, s, &command->frame, command->key, own);
	else
		apply_send_frame(hub, s, &command->frame, command->key, own);
}

/* Most often it answers the connection whose event it is, which needs no search. */
static inline void apply_send(struct hub *hub, struct mount *m, const struct commit *c,
			      const struct command *command)
{
	struct session *s = c->answers;
	bool own = s != NULL && s->local == command->target && !s->ended;
	if (!own && (s = hub_find_session(hub, m, command->target)) == NULL)
		hub->loop->stats.gone += !apply_to_ended(m, c, command);
	else
		apply_send_to(hub, m, s, command, own);
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
	else if (command->kind == COMMAND_BROADCAST_AMONG)
		apply_broadcast_among(hub, m, c, command);
	else if (command->kind == COMMAND_CLOSE_ROOM)
		apply_close_room(hub, m, c, command);
	else if (command->kind == COMMAND_SET_ROOM)
		room_state_set(m, c, command);
	else if (command->kind == COMMAND_QUERY)
		apply_query(m, c, command);
	else if (command->kind >= COMMAND_WATCH)
		watching_apply(m, c, command);
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

void apply_commit(struct hub *hub, struct mount *m, struct commit *c)
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
