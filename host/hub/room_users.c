#include "hub/room_users.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hub/session.h"

/* Where the name is, or would be. */
static uint32_t room_users_place(const struct room_users *users, const char *name, bool *there_r)
{
	uint32_t from = 0, to = users->n;
	*there_r = false;
	while (from < to && !*there_r) {
		uint32_t middle = from + (to - from) / 2;
		int differ = strcmp(users->v[middle]->name, name);
		*there_r = differ == 0;
		if (differ < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return *there_r ? to : from;
}

const struct room_user *room_users_find(const struct room_users *users, const char *name)
{
	bool there;
	uint32_t place = room_users_place(users, name, &there);
	return there ? users->v[place] : NULL;
}

uint32_t room_users_after(const struct room_users *users, struct span name)
{
	uint32_t from = 0, to = users->n;
	while (name.p != NULL && from < to) {
		uint32_t middle = from + (to - from) / 2;
		const char *there = users->v[middle]->name;
		size_t n = strlen(there);
		int differ = memcmp(there, name.p, n < name.n ? n : name.n);
		if (differ < 0 || (differ == 0 && n <= name.n))
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static struct room_user *room_users_new(struct room_users *users, const char *name)
{
	if (users->n == users->cap) {
		uint32_t cap = users->cap == 0 ? 4 : users->cap * 2;
		struct room_user **wider = realloc(users->v, cap * sizeof *wider);
		if (wider == NULL)
			return NULL;
		users->v = wider;
		users->cap = cap;
	}
	size_t n = strlen(name) + 1;
	struct room_user *user = malloc(sizeof *user + n);
	if (user == NULL)
		return NULL;
	user->connections = 1;
	memcpy(user->name, name, n);
	return user;
}

bool room_users_add(struct room_users *users, const char *name)
{
	bool there;
	if (name == NULL) {
		users->anonymous++;
		return true;
	}
	uint32_t place = room_users_place(users, name, &there);
	if (there) {
		users->v[place]->connections++;
		return true;
	}
	struct room_user *user = room_users_new(users, name);
	if (user == NULL)
		return false;
	memmove(users->v + place + 1, users->v + place, (users->n - place) * sizeof *users->v);
	CHECK(users->n < users->cap);
	users->v[place] = user;
	users->n++;
	return true;
}

void room_users_remove(struct room_users *users, const char *name)
{
	bool there;
	if (name == NULL) {
		CHECK(users->anonymous > 0);
		users->anonymous--;
		return;
	}
	uint32_t place = room_users_place(users, name, &there);
	CHECK(there);
	if (--users->v[place]->connections > 0)
		return;
	free(users->v[place]);
	users->n--;
	memmove(users->v + place, users->v + place + 1, (users->n - place) * sizeof *users->v);
}

/* --- of a room -------------------------------------------------------------------------------- */

void room_users_free(struct room_users *users)
{
	for (uint32_t i = 0; users != NULL && i < users->n; i++)
		free(users->v[i]);
	if (users != NULL)
		free(users->v);
	free(users);
}

/* Those of its i-th room; NULL: they are not counted there. */
static struct room_users *room_users_at(const struct session *s, uint32_t i)
{
	return s->rooms.list->v[i].room->users;
}

bool room_users_add_everywhere(struct session *s, const char *name)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++) {
		if (room_users_at(s, i) == NULL || room_users_add(room_users_at(s, i), name))
			continue;
		while (i-- > 0)
			if (room_users_at(s, i) != NULL)
				room_users_remove(room_users_at(s, i), name);
		return false;
	}
	return true;
}

void room_users_remove_everywhere(struct session *s, const char *name)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++)
		if (room_users_at(s, i) != NULL)
			room_users_remove(room_users_at(s, i), name);
}
