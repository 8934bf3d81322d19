/* room_users: who is in a room, each user once however many connections he has there. Only rooms of
 * which somebody has asked that have it. */
#ifndef TOVA_HUB_ROOM_USERS_H
#define TOVA_HUB_ROOM_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

struct room;
struct session;

struct room_user {
	uint32_t connections;
	char name[]; /* and a NUL */
};

struct room_users {
	struct room_user **v; /* by name */
	uint32_t n, cap;
	uint32_t anonymous; /* connections of nobody in particular */
};

/* They are counted no more. NULL: they were not. */
void room_users_free(struct room_users *users);

/* The user of that name; NULL: he is not there. */
const struct room_user *room_users_find(const struct room_users *users, const char *name);
/* The place of the first user whose name is behind this one; p NULL: the first of all. */
uint32_t room_users_after(const struct room_users *users, struct span name);
/* How many users there are, a connection of nobody in particular counting as one. */
static inline uint32_t room_users_count(const struct room_users *users)
{
	return users->n + users->anonymous;
}

/* A connection of that user (NULL: nobody's) has come, or has gone. False without memory: it has
 * not come. */
bool room_users_add(struct room_users *users, const char *name);
void room_users_remove(struct room_users *users, const char *name);

/* The same in all rooms of the session where users are counted: before and after it becomes
 * somebody else's. */
bool room_users_add_everywhere(struct session *s, const char *name);
void room_users_remove_everywhere(struct session *s, const char *name);

#endif
