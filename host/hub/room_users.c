#include "hub/room_users.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

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

static struct room_user *room_users_user_new(struct room_users *users, const char *name)
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
	user->held = false;
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
		users->absent -= users->v[place]->connections++ == 0;
		return true;
	}
	struct room_user *user = room_users_user_new(users, name);
	if (user == NULL)
		return false;
	memmove(users->v + place + 1, users->v + place, (users->n - place) * sizeof *users->v);
	CHECK(users->n < users->cap);
	users->v[place] = user;
	users->n++;
	return true;
}

static void room_users_drop(struct room_users *users, uint32_t place)
{
	free(users->v[place]);
	users->n--;
	memmove(users->v + place, users->v + place + 1, (users->n - place) * sizeof *users->v);
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
	CHECK(there && users->v[place]->connections > 0);
	if (--users->v[place]->connections > 0)
		return;
	if (users->v[place]->held)
		users->absent++;
	else
		room_users_drop(users, place);
}

void room_users_hold(struct room_users *users, const char *name)
{
	bool there;
	uint32_t place = room_users_place(users, name, &there);
	CHECK(there && !users->v[place]->held);
	users->v[place]->held = true;
}

void room_users_release(struct room_users *users, const char *name)
{
	bool there;
	uint32_t place = room_users_place(users, name, &there);
	CHECK(there && users->v[place]->held);
	users->v[place]->held = false;
	if (users->v[place]->connections > 0)
		return;
	users->absent--;
	room_users_drop(users, place);
}

/* --- of a room -------------------------------------------------------------------------------- */

struct room_users *room_users_new(void)
{
	return calloc(1, sizeof(struct room_users));
}

void room_users_free(struct room_users *users)
{
	for (uint32_t i = 0; users != NULL && i < users->n; i++)
		free(users->v[i]);
	if (users != NULL)
		free(users->v);
	free(users);
}

void room_users_unroom(struct room_users *users)
{
	if (users == NULL)
		return;
	users->of_room = false;
	if (users->watch == NULL)
		room_users_free(users);
}

void room_users_unwatch(struct room_users *users)
{
	users->watch = NULL;
	if (!users->of_room)
		room_users_free(users);
}
