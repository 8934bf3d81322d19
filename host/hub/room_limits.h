/* room_limits: whether a commit stays within the limits of rooms. What counts is how it would be
 * when all of it is applied. */
#ifndef TOVA_HUB_ROOM_LIMITS_H
#define TOVA_HUB_ROOM_LIMITS_H

#include "hub/commit.h"

struct mount;

/* The host's; 0: any number. */
struct room_limits {
	uint32_t rooms;	      /* that one connection is in */
	uint32_t mount_rooms; /* that a mount has */
	uint32_t name;	      /* bytes of a room's name */
};

static inline bool room_limits_is_limited(const struct room_limits *q)
{
	return (q->rooms | q->mount_rooms | q->name) != 0;
}

/* Called before the commit is applied. An error spoils it. */
void room_limits_check(const struct mount *m, struct commit *c);

#endif
