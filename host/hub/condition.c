#include "hub/condition.h"

#include <stdlib.h>

#include "hub/hub.h"
#include "hub/room_users.h"

/* What the commands before a join say of one session. */
struct condition_step {
	const struct session *session;
	uint32_t index; /* of the command */
	bool moves, in; /* whether it is a member */
	bool renames;	/* whose it is */
	struct span user;
};

/* A room as a join finds it. */
struct condition_room {
	const struct mount *mount;
	const struct commit *commit;
	const struct room *room; /* as it is before the commit; NULL: nobody is in it */
	struct span name;
	struct condition_step *steps;
	uint32_t n;
	uint32_t *closers; /* commands that end who is in it */
	uint32_t n_closers;
};

/* --- what earlier commands do ----------------------------------------------------------------- */

static int condition_by_session(const void *left, const void *right)
{
	const struct condition_step *a = left, *b = right;
	if (a->session != b->session)
		return (uintptr_t)a->session < (uintptr_t)b->session ? -1 : 1;
	return (a->index > b->index) - (a->index < b->index);
}

/* Of each session one step is left, which says what all of its say. */
static void condition_fold(struct condition_room *r)
{
	uint32_t kept = 0;
	qsort(r->steps, r->n, sizeof *r->steps, condition_by_session);
	for (uint32_t i = 0; i < r->n; i++) {
		struct condition_step next = r->steps[i];
		const struct condition_step *last = kept > 0 ? &r->steps[kept - 1] : NULL;
		bool same = last != NULL && last->session == next.session;
		if (same && !next.moves) {
			next.moves = last->moves;
			next.in = last->in;
		}
		if (same && !next.renames) {
			next.renames = last->renames;
			next.user = last->user;
		}
		r->steps[kept - same] = next;
		kept += !same;
	}
	r->n = kept;
}

/* Does the command, which ends members of the room, leave this one out? Who is in which other room
 * is looked at as it was before the commit. */
static bool condition_spares(const struct condition_room *r, uint32_t closer,
			     const struct session *s)
{
	const struct command *command = &r->commit->commands[closer];
	struct selection of;
	if (command->kind == COMMAND_JOIN)
		return command->target == s->local;
	selection_read(&of, r->commit->arena + command->more.text);
	bool spared = selection_leaves_out(&of, s);
	for (uint32_t i = 0; i < of.except_rooms.n && !spared; i++)
		spared = room_has(&r->mount->rooms, of.except_rooms.v[i], s);
	return spared;
}

static bool condition_was_in(const struct condition_room *r, const struct session *s)
{
	bool in = r->room != NULL && room_has(&r->mount->rooms, r->name, s);
	for (uint32_t i = 0; i < r->n_closers && in; i++)
		in = condition_spares(r, r->closers[i], s);
	return in;
}

static void condition_close(struct condition_room *r, uint32_t closer)
{
	condition_fold(r);
	r->closers[r->n_closers++] = closer;
	for (uint32_t i = 0; i < r->n; i++)
		r->steps[i].in = r->steps[i].in && condition_spares(r, closer, r->steps[i].session);
}

static bool condition_closes(const struct condition_room *r, const struct command *command)
{
	struct selection of;
	bool names = false;
	selection_read(&of, r->commit->arena + command->more.text);
	for (uint32_t i = 0; i < of.rooms.n && !names; i++)
		names = span_eq(of.rooms.v[i], r->name);
	return names;
}

static void condition_add(struct condition_room *r, uint32_t index)
{
	const struct commit *c = r->commit;
	const struct command *command = &c->commands[index];
	bool of_room = command->kind == COMMAND_JOIN || command->kind == COMMAND_LEAVE;
	bool leaves = command->kind == COMMAND_LEAVE_ALL || command->kind == COMMAND_CLOSE;
	bool renames = command->kind == COMMAND_INFO && command->more.is_set;
	if (command->kind == COMMAND_CLOSE_ROOM && condition_closes(r, command))
		condition_close(r, index);
	if (!(of_room && span_eq(commit_text(c, command), r->name)) && !leaves && !renames)
		return;
	const struct session *s = hub_find_session(r->mount->hub, r->mount, command->target);
	if (s == NULL)
		return;
	r->steps[r->n++] = (struct condition_step){.session = s,
						   .index = index,
						   .moves = !renames,
						   .in = command->kind == COMMAND_JOIN,
						   .renames = renames};
	if (renames)
		r->steps[r->n - 1].user = (struct span){(const char *)c->arena + command->more.text,
							command->more.len};
	if (command->kind == COMMAND_JOIN && commit_conditions_of(c, command).replace)
		condition_close(r, index);
}

/* --- who is there ----------------------------------------------------------------------------- */

static bool condition_step_was_in(const struct condition_room *r, const struct condition_step *step)
{
	return condition_was_in(r, step->session);
}

static bool condition_step_is_in(const struct condition_room *r, const struct condition_step *step)
{
	return step->moves ? step->in : condition_step_was_in(r, step);
}

static struct span condition_step_user(const struct condition_step *step)
{
	return !step->renames	   ? span_of(identity_user(step->session))
	       : step->user.n > 0 ? step->user
				   : span_of(identity_subject(step->session));
}

static const struct condition_step *condition_find(const struct condition_room *r,
						   const struct session *s)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->steps[i].session == s)
			return &r->steps[i];
	return NULL;
}

/* Is it there, or said to be elsewhere by a step? */
static bool condition_is_in(const struct condition_room *r, const struct session *s)
{
	const struct condition_step *step = condition_find(r, s);
	return step != NULL ? condition_step_is_in(r, step) : condition_was_in(r, s);
}

/* Without closers nobody is looked at but those that there are steps of. */
static uint32_t condition_members(const struct condition_room *r)
{
	uint32_t n = 0;
	for (uint32_t i = 0; r->room != NULL && r->n_closers > 0 && i < r->room->n; i++)
		n += condition_was_in(r, room_session(r->room, i));
	if (r->n_closers == 0)
		n = r->room != NULL ? r->room->n : 0;
	for (uint32_t i = 0; i < r->n; i++) {
		n += condition_step_is_in(r, &r->steps[i]);
		n -= condition_step_was_in(r, &r->steps[i]);
	}
	return n;
}

/* --- whose they are --------------------------------------------------------------------------- */

/* A connection more or less of a user. */
struct condition_user {
	struct span name;
	int by;
};

static int condition_by_name(const void *left, const void *right)
{
	const struct condition_user *a = left, *b = right;
	int differ = memcmp(a->name.p, b->name.p, a->name.n < b->name.n ? a->name.n : b->name.n);
	return differ != 0 ? differ : (a->name.n > b->name.n) - (a->name.n < b->name.n);
}

struct condition_users {
	struct condition_user *v;
	uint32_t n;
	int64_t anonymous;
};

static void condition_count(struct condition_users *u, struct span name, int by)
{
	if (by == 0)
		return;
	if (name.n == 0)
		u->anonymous += by;
	else
		u->v[u->n++] = (struct condition_user){name, by};
}

/* Connections of that user that are there before the commit. */
static int64_t condition_connections(const struct condition_room *r, struct span name)
{
	const struct room_users *users =
		r->room != NULL && r->n_closers == 0 ? r->room->users : NULL;
	uint32_t after = users != NULL ? room_users_after(users, name) : 0;
	const struct room_user *user = after > 0 ? users->v[after - 1] : NULL;
	return user != NULL && span_eq(span_of(user->name), name) ? user->connections : 0;
}

/* Where some were ended nobody is counted yet, and all that are left are. */
static void condition_count_all(const struct condition_room *r, struct condition_users *u)
{
	for (uint32_t i = 0; r->room != NULL && r->n_closers > 0 && i < r->room->n; i++) {
		const struct session *s = room_session(r->room, i);
		condition_count(u, span_of(identity_user(s)), condition_was_in(r, s));
	}
	for (uint32_t i = 0; i < r->n; i++) {
		const struct condition_step *step = &r->steps[i];
		condition_count(u, span_of(identity_user(step->session)),
				-condition_step_was_in(r, step));
		condition_count(u, condition_step_user(step), condition_step_is_in(r, step));
	}
}

/* How many users there are; *there_r: is this one? */
static int64_t condition_sum(const struct condition_room *r, struct condition_users *u,
			     struct span user, bool *there_r)
{
	bool counted = r->room != NULL && r->n_closers == 0;
	int64_t n = (counted ? room_users_count(r->room->users) : 0) + u->anonymous;
	*there_r = user.n > 0 && condition_connections(r, user) > 0;
	qsort(u->v, u->n, sizeof *u->v, condition_by_name);
	for (uint32_t i = 0, end; i < u->n; i = end) {
		int64_t before = condition_connections(r, u->v[i].name), after = before;
		for (end = i; end < u->n && span_eq(u->v[end].name, u->v[i].name); end++)
			after += u->v[end].by;
		n += (after > 0) - (before > 0);
		if (user.n > 0 && span_eq(u->v[i].name, user))
			*there_r = after > 0;
	}
	return n;
}

/* Would there be more users than that, if s joined? */
static enum commit_error condition_users_ok(const struct condition_room *r, const struct session *s,
					    uint32_t most)
{
	const struct condition_step *own = condition_find(r, s);
	struct span user = own != NULL ? condition_step_user(own) : span_of(identity_user(s));
	struct condition_users u = {.n = 0};
	bool there, counted = r->room == NULL || room_users_of((struct room *)r->room) != NULL;
	uint32_t most_counted = 2 * r->n + (r->n_closers > 0 && r->room != NULL ? r->room->n : 0);
	u.v = counted ? malloc((most_counted + 1) * sizeof *u.v) : NULL;
	if (u.v == NULL)
		return COMMIT_E_MEMORY;
	condition_count_all(r, &u);
	int64_t n = condition_sum(r, &u, user, &there);
	free(u.v);
	return there || n < most ? COMMIT_OK : COMMIT_E_USERS;
}

/* --- the check -------------------------------------------------------------------------------- */

static enum commit_error condition_judge(const struct condition_room *r, const struct session *s,
					 const struct commit_conditions *asked)
{
	if (asked->replace || condition_is_in(r, s))
		return asked->first && !asked->replace && condition_members(r) > 1 ? COMMIT_E_FIRST
										    : COMMIT_OK;
	uint32_t n = asked->first || asked->max > 0 ? condition_members(r) : 0;
	if (asked->first && n > 0)
		return COMMIT_E_FIRST;
	if (asked->max > 0 && n >= asked->max)
		return COMMIT_E_FULL;
	return asked->users_max > 0 ? condition_users_ok(r, s, asked->users_max) : COMMIT_OK;
}

static void condition_check_one(struct condition_room *r, struct commit *c, uint32_t index)
{
	const struct command *command = &c->commands[index];
	const struct session *s = hub_find_session(r->mount->hub, r->mount, command->target);
	const struct commit_conditions asked = commit_conditions_of(c, command);
	if (s == NULL)
		return;
	r->name = commit_text(c, command);
	r->room = room_find(&r->mount->rooms, r->name);
	r->n = r->n_closers = 0;
	for (uint32_t i = 0; i < index; i++)
		condition_add(r, i);
	condition_fold(r);
	enum commit_error wrong = condition_judge(r, s, &asked);
	if (wrong != COMMIT_OK)
		commit_spoil_at(c, wrong, index);
}

void condition_check(const struct mount *m, struct commit *c)
{
	struct condition_room r = {.mount = m, .commit = c};
	uint32_t judged = 0;
	for (uint32_t i = 0; i < c->n; i++)
		judged += command_is_judged(&c->commands[i]);
	if (judged == 0 || c->error != COMMIT_OK)
		return;
	if (judged > CONDITION_MAX) {
		commit_spoil_at(c, COMMIT_E_LIMIT, COMMIT_WHOLE);
		return;
	}
	r.steps = malloc(c->n * sizeof *r.steps);
	r.closers = malloc(c->n * sizeof *r.closers);
	if (r.steps == NULL || r.closers == NULL)
		commit_spoil_at(c, COMMIT_E_MEMORY, COMMIT_WHOLE);
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++)
		if (command_is_judged(&c->commands[i]))
			condition_check_one(&r, c, i);
	free(r.steps);
	free(r.closers);
}
