/* room_users: who is in a room, each user once however many connections he has there. Only rooms of
 * which somebody has asked that have it. */
#ifndef TOVA_HUB_ROOM_USERS_H
#define TOVA_HUB_ROOM_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

struct watch;

struct room_user {
	uint32_t connections; /* 0: he is not there, but held */
	bool held;	      /* the room's watch has him */
	char name[]; /* and a NUL */
};

struct room_users {
	struct room_user **v; /* by name */
	uint32_t n, cap;
	uint32_t anonymous; /* connections of nobody in particular */
	uint32_t absent;    /* of the users, those that are only held */
	bool of_room;	    /* there is a room that has them */
	struct watch *watch; /* that has them, too; NULL: none */
};

/* Of no room yet; NULL without memory. */
struct room_users *room_users_new(void);
/* They are counted no more. NULL: they were not. */
void room_users_free(struct room_users *users);
/* The room has gone; they stay if they are watched. */
void room_users_unroom(struct room_users *users);
/* They are not watched any more; they stay if there is a room. */
void room_users_unwatch(struct room_users *users);
/* The place of the first user whose name is behind this one; p NULL: the first of all. */
uint32_t room_users_after(const struct room_users *users, struct span name);
/* How many users there are, a connection of nobody in particular counting as one. */
static inline uint32_t room_users_count(const struct room_users *users)
{
	return users->n - users->absent + users->anonymous;
}

/* A connection of that user (NULL: nobody's) has come, or has gone: watch_come and watch_go, which
 * do the same for who watches. False without memory: it has not come. */
bool room_users_add(struct room_users *users, const char *name);
void room_users_remove(struct room_users *users, const char *name);

/* For watch: he, who is there, stays among them when he is not any more, until he is released. */
void room_users_hold(struct room_users *users, const char *name);
void room_users_release(struct room_users *users, const char *name);

#endif
