#include "hub/watching.h"

#include "base/check.h"
#include "hub/hub.h"
#include "hub/watch.h"

void watching_check(const struct mount *m, struct commit *c)
{
	uint64_t n = m->rooms.watches != NULL ? m->rooms.watches->table.n : 0;
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++) {
		const struct command *command = &c->commands[i];
		n += command->kind == COMMAND_WATCH &&
		     watch_find(m->rooms.watches, commit_text(c, command)) == NULL;
		if (n > WATCHES_MAX)
			commit_spoil_at(c, COMMIT_E_WATCHES, i);
	}
}

/* Those who are there come first. */
static bool watching_new(struct mount *m, struct span room, uint32_t grace_ms)
{
	struct room *r = room_find(&m->rooms, room);
	struct room_users *users = r != NULL ? room_users_of(r) : NULL;
	struct watch *w = r == NULL || users != NULL
				  ? watch_begin(m->rooms.watches, room, users, grace_ms)
				  : NULL;
	bool ok = w != NULL;
	for (uint32_t i = 0; ok && r != NULL && i < r->n; i++)
		ok = watch_add(w, room_session(r, i), identity_user(room_session(r, i)));
	if (!ok && w != NULL)
		watch_end(m->rooms.watches, room);
	return ok;
}

static void watching_begin(struct mount *m, struct span room, uint32_t grace_ms)
{
	struct hub *hub = m->hub;
	struct watch *w = watch_find(m->rooms.watches, room);
	if (w != NULL) {
		w->grace_ms = grace_ms;
		return;
	}
	if (m->rooms.watches == NULL)
		m->rooms.watches =
			watches_new(hub->loop, &hub->key, hub->host_id, &hub->watching_due);
	bool full = m->rooms.watches != NULL && m->rooms.watches->table.n >= WATCHES_MAX;
	if (m->rooms.watches == NULL || full || !watching_new(m, room, grace_ms))
		LOG(hub->log, LOG_ERROR, LOG_HANDLER,
		    full ? "as many rooms are watched as may be: one more is not"
			 : "no memory: a room is not watched",
		    LOG_STR("mount", m->path), LOG_SPAN("room", room));
}

void watching_apply(struct mount *m, const struct commit *c, const struct command *command)
{
	struct span room = commit_text(c, command);
	const struct watch *w = watch_find(m->rooms.watches, room);
	if (command->kind == COMMAND_WATCH)
		watching_begin(m, room, command->grace_ms);
	else if (w == NULL)
		m->hub->loop->stats.unknown_rooms++;
	else if (command->code == 0 || w->table.n == 0) /* else somebody has come meanwhile */
		watch_end(m->rooms.watches, room);
}

const struct room_users *watching_users(const struct mount *m, struct span room)
{
	static const struct room_users nobody;
	struct room *r = room_find(&m->rooms, room);
	const struct watch *w = r == NULL ? watch_find(m->rooms.watches, room) : NULL;
	return r != NULL ? room_users_of(r) : w != NULL ? w->users : &nobody;
}

void watching_count(struct mount *m, int by)
{
	struct watches *all = m->rooms.watches;
	CHECK(by > 0 || all->under_way > 0);
	all->under_way += (uint32_t)by;
	if (by < 0 && watches_wait(all))
		m->hub->watching_due = true;
}
