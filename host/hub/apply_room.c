#include "hub/apply_room.h"

#include <stdlib.h>

#include "hub/access.h"
#include "hub/delivery.h"
#include "hub/watch.h"

/* Sessions that are to be ended. Rooms change by that, so they are collected before. */
struct apply_ends {
	struct session **v;
	uint32_t n, cap;
};

static bool apply_room_ends_add(struct apply_ends *ends, struct session *s)
{
	if (ends->n == ends->cap) {
		uint32_t cap = ends->cap == 0 ? 64 : 2 * ends->cap;
		struct session **wider = realloc(ends->v, cap * sizeof(struct session *));
		if (wider == NULL)
			return false;
		ends->v = wider;
		ends->cap = cap;
	}
	ends->v[ends->n++] = s;
	return true;
}

static void apply_room_end_all(struct mount *m, struct apply_ends *ends, uint16_t code,
			       struct span reason, const char *room)
{
	for (uint32_t i = 0; i < ends->n; i++) {
		access_ended_by(ends->v[i], m->counts ? "push" : "handler");
		ends->v[i]->dismissed = true;
		hub_close_session(ends->v[i], code, reason, false);
	}
	if (ends->n > 0)
		LOG(m->hub->log, LOG_INFO, LOG_HANDLER, "connections of a room are closed",
		    LOG_STR("mount", m->path), LOG_STR("room", room), LOG_U64("code", code),
		    LOG_U64("connections", ends->n));
	free(ends->v);
}

/* Who is not collected is closed for that, later in the turn, and not for nothing. */
static void apply_room_end_or_mark(struct hub *hub, struct apply_ends *ends, struct session *s)
{
	if (apply_room_ends_add(ends, s))
		return;
	s->no_memory = true;
	hub_mark_victim(hub, s);
}

void apply_replace(struct mount *m, struct session *s, const struct commit *c,
		   const struct command *command)
{
	struct apply_ends ends = {.n = 0};
	const struct room *r = room_find(&m->rooms, commit_text(c, command));
	if (r == NULL || !commit_conditions_of(c, command).replace)
		return;
	for (uint32_t i = 0; i < r->n; i++)
		if (room_session(r, i) != s)
			apply_room_end_or_mark(m->hub, &ends, room_session(r, i));
	char name[RULES_NAME_MAX + 1];
	memcpy(name, r->name, r->len + 1u); /* it may be the last that goes */
	apply_room_end_all(m, &ends, APPLY_REPLACED, SPAN("replaced by another connection"), name);
}

void apply_close_room(struct hub *hub, struct mount *m, struct commit *c,
		      const struct command *command)
{
	struct apply_ends ends = {.n = 0};
	struct selection of;
	struct selection_walk walk;
	struct session *s;
	char name[RULES_NAME_MAX + 1];
	selection_read(&of, c->arena + command->more.text);
	memcpy(name, of.rooms.v[0].p, of.rooms.v[0].n);
	name[of.rooms.v[0].n] = '\0';
	selection_walk_begin(&walk, &of, m);
	hub->loop->stats.unknown_rooms += walk.unknown;
	while ((s = selection_walk_next(&walk)) != NULL) {
		apply_room_end_or_mark(hub, &ends, s);
		c->parted = c->parted || s == c->origin;
	}
	selection_walk_end(&walk);
	if (m->counts)
		m->receivers += ends.n;
	apply_room_end_all(m, &ends, command->code, commit_text(c, command), name);
}

void apply_leave_all(struct mount *m, struct session *s)
{
	room_leave_all(&m->rooms, s);
	room_forget_all(s);
}

static void apply_room_info_failed(struct mount *m, struct session *s)
{
	s->no_memory = true;
	hub_mark_victim(m->hub, s);
}

/* A copy of whose it is now, and of whose it will be: both are counted for a moment. */
static void apply_room_user(struct mount *m, struct session *s, struct span info, struct span user)
{
	char now[RULES_NAME_MAX + 1];
	const char *before = identity_user(s);
	char *kept = before != NULL ? strdup(before) : NULL;
	if (user.n > 0)
		memcpy(now, user.p, user.n);
	now[user.n] = '\0';
	const char *after = user.n > 0 ? now : identity_subject(s);
	after = after != NULL && after[0] != '\0' ? after : NULL;
	if ((before != NULL && kept == NULL) || !watch_come_everywhere(s, after)) {
		apply_room_info_failed(m, s);
	} else if (!identity_set(s, info, user)) {
		watch_go_everywhere(s, after);
		apply_room_info_failed(m, s);
	} else {
		watch_go_everywhere(s, kept);
	}
	free(kept);
}

void apply_info(struct mount *m, struct session *s, const struct commit *c,
		const struct command *command)
{
	struct span none = {NULL, 0}, info = commit_text(c, command);
	struct span user = {(const char *)c->arena + command->more.text, command->more.len};
	/* What follows in a run was given without it; see apply_set. */
	if (handler_is_async(m->handler) && c->answers != s && s->lane.current != NULL)
		delivery_end_run(m, s->lane.current, true);
	if (!command->more.info_is_set)
		info = none;
	/* who has ended is counted in no room any more */
	if (command->more.is_set && !s->ended)
		apply_room_user(m, s, info, user);
	else if (!identity_set(s, info, command->more.is_set ? user : none) && !s->ended)
		apply_room_info_failed(m, s);
}
