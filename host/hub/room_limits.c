#include "hub/room_limits.h"

#include <stdlib.h>

#include "hub/hub.h"

/* A join or a leave of a session that is there. */
struct room_limits_step {
	const struct session *session;
	struct span room;
	uint32_t index; /* of its command */
	bool join;
};

static bool room_limits_moves(const struct command *command)
{
	return command->kind == COMMAND_JOIN || command->kind == COMMAND_LEAVE ||
	       command->kind == COMMAND_LEAVE_ALL;
}

static int room_limits_compare_names(struct span a, struct span b)
{
	int differ = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return differ != 0 ? differ : (a.n > b.n) - (a.n < b.n);
}

static int room_limits_by_session(const void *left, const void *right)
{
	const struct room_limits_step *a = left, *b = right;
	if (a->session != b->session)
		return (uintptr_t)a->session < (uintptr_t)b->session ? -1 : 1;
	int differ = room_limits_compare_names(a->room, b->room);
	return differ != 0 ? differ : (a->index > b->index) - (a->index < b->index);
}

static int room_limits_by_room(const void *left, const void *right)
{
	return room_limits_compare_names(((const struct room_limits_step *)left)->room,
					 ((const struct room_limits_step *)right)->room);
}

/* Each session's rooms afterwards: of what is said of one room the last counts. */
static bool room_limits_sessions_ok(const struct mount *m, struct room_limits_step *steps,
				    uint32_t n, uint32_t most)
{
	int64_t rooms = 0;
	qsort(steps, n, sizeof *steps, room_limits_by_session);
	for (uint32_t i = 0; i < n; i++) {
		const struct room_limits_step *now = &steps[i],
					      *next = i + 1 < n ? &steps[i + 1] : NULL;
		if (i == 0 || now[-1].session != now->session)
			rooms = room_count(&now->session->rooms);
		bool same = next != NULL && next->session == now->session;
		if (same && room_limits_compare_names(next->room, now->room) == 0)
			continue;
		rooms += (int)now->join - (int)room_has(&m->rooms, now->room, now->session);
		/* Whoever is above it already (a reload) may leave, and stay. */
		if (!same && rooms > most && rooms > room_count(&now->session->rooms))
			return false;
	}
	return true;
}

/* Rooms that are empty afterwards are not looked for: they count until they are gone. */
static bool room_limits_mount_ok(const struct mount *m, struct room_limits_step *steps, uint32_t n,
				 uint32_t most)
{
	uint64_t rooms = m->rooms.table.n, before = rooms;
	qsort(steps, n, sizeof *steps, room_limits_by_room);
	for (uint32_t i = 0; i < n; i++) {
		bool again =
			i > 0 && room_limits_compare_names(steps[i - 1].room, steps[i].room) == 0;
		rooms += !again && room_find(&m->rooms, steps[i].room) == NULL;
	}
	return rooms <= most || rooms == before;
}

/* It leaves each of those that it is in; what it has joined in this commit counts all the same. */
static uint32_t room_limits_leave_all(const struct session *s, uint32_t index,
				      struct room_limits_step *steps)
{
	uint32_t n = room_count(&s->rooms);
	for (uint32_t i = 0; i < n; i++)
		steps[i] = (struct room_limits_step){s, span_of(room_name(&s->rooms, i)), index,
						     false};
	return n;
}

static uint32_t room_limits_collect(const struct mount *m, const struct commit *c,
				    struct room_limits_step *steps, bool leaves)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct command *command = &c->commands[i];
		const struct session *s = room_limits_moves(command)
						  ? hub_find_session(m->hub, m, command->target)
						  : NULL;
		bool join = command->kind == COMMAND_JOIN;
		if (s != NULL && command->kind == COMMAND_LEAVE_ALL)
			n += leaves ? room_limits_leave_all(s, i, steps + n) : 0;
		else if (s != NULL && (join || leaves))
			steps[n++] = (struct room_limits_step){s, commit_text(c, command), i, join};
	}
	return n;
}

/* Could any limit be exceeded, if all joins were new ones? */
static bool room_limits_may_exceed(const struct mount *m, const struct commit *c, uint32_t joins)
{
	const struct room_limits *q = &m->hub->room_limits;
	bool exceeds = q->mount_rooms > 0 && (uint64_t)m->rooms.table.n + joins > q->mount_rooms;
	for (uint32_t i = 0; i < c->n && !exceeds && q->rooms > 0; i++) {
		const struct command *command = &c->commands[i];
		const struct session *s = command->kind == COMMAND_JOIN
						  ? hub_find_session(m->hub, m, command->target)
						  : NULL;
		exceeds = s != NULL && (uint64_t)room_count(&s->rooms) + joins > q->rooms;
	}
	return exceeds;
}

/* Most steps that there can be. */
static size_t room_limits_most(const struct mount *m, const struct commit *c)
{
	size_t n = c->n;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct session *s =
			c->commands[i].kind == COMMAND_LEAVE_ALL
				? hub_find_session(m->hub, m, c->commands[i].target)
				: NULL;
		n += s != NULL ? room_count(&s->rooms) : 0;
	}
	return n;
}

void room_limits_check(const struct mount *m, struct commit *c)
{
	const struct room_limits *q = &m->hub->room_limits;
	uint32_t joins = 0;
	for (uint32_t i = 0; i < c->n; i++) {
		joins += c->commands[i].kind == COMMAND_JOIN;
		if (c->commands[i].kind == COMMAND_JOIN && q->name > 0 &&
		    c->commands[i].text_len > q->name) {
			commit_spoil_at(c, COMMIT_E_ROOM_NAME, i);
			return;
		}
	}
	if (joins == 0 || !room_limits_may_exceed(m, c, joins))
		return;
	struct room_limits_step *steps = malloc(room_limits_most(m, c) * sizeof *steps);
	if (steps == NULL)
		commit_spoil_at(c, COMMIT_E_MEMORY, COMMIT_WHOLE);
	else if (q->rooms > 0 &&
		 !room_limits_sessions_ok(m, steps, room_limits_collect(m, c, steps, true),
					  q->rooms))
		commit_spoil_at(c, COMMIT_E_ROOMS, COMMIT_WHOLE);
	else if (q->mount_rooms > 0 &&
		 !room_limits_mount_ok(m, steps, room_limits_collect(m, c, steps, false),
				       q->mount_rooms))
		commit_spoil_at(c, COMMIT_E_MOUNT_ROOMS, COMMIT_WHOLE);
	free(steps);
}
