/* watch: rooms of which the handler is told who comes and who goes, each user once however many
 * connections he has there; who is nobody in particular counts by his connection.
 *
 * What it is told is a difference: whom it knows to be there is remembered, and whoever is there
 * and not known, or known and not there, waits to be told of, once. So what waits is bounded by
 * who is there and who is known to be, however long no worker is ready: who comes and goes in the
 * meantime is not told of at all. A user whose last connection was lost is there until the room's
 * grace is over.
 */
#ifndef TOVA_HUB_WATCH_H
#define TOVA_HUB_WATCH_H

#include <sys/queue.h>

#include "base/hash.h"
#include "base/hash_table.h"
#include "base/stats.h"
#include "common/rules.h"
#include "hub/room_users.h"
#include "net/loop.h"

#define WATCHES_MAX 65536 /* watched rooms of a mount */

struct event_presence;
struct session;
struct watch_user;
TAILQ_HEAD(watch_users, watch_user);

/* A watched room, whether anybody is in it or not. */
struct watch {
	struct hash_link link;
	struct watches *all;
	struct hash_table table;     /* who is there, or known to be */
	struct room_users *users;    /* the room's, which stay when it goes */
	struct watch_users lost;     /* they may come back until their time is over; by that time */
	struct loop_timer timer;     /* the first of those */
	uint32_t grace_ms;
	uint32_t known;		     /* how many the handler knows to be there */
	uint8_t len;
	char name[RULES_NAME_MAX + 1]; /* only len + 1 bytes of it are allocated */
};

/* Those of one mount. */
struct watches {
	struct hash_table table;
	struct watch_users waiting; /* to be told of, oldest first */
	uint32_t n_waiting;
	uint32_t under_way; /* events of this kind that wait in the mount's lane, or are handled */
	struct hash_key key;
	uint64_t host; /* of the ids of its connections */
	struct loop *loop;
	bool *due; /* set when there is somebody to be told of; the hub's */
};

/* `due` stays the caller's. NULL without memory. */
struct watches *watches_new(struct loop *loop, const struct hash_key *key, uint64_t host,
			    bool *due);
void watches_free(struct watches **all_p);

/* NULL: that room is not watched, or all is NULL. */
struct watch *watch_find(const struct watches *all, struct span room);
/* The room, which was not, is watched from here on. users: those of the room, NULL: there is none.
 * NULL without memory, when nothing has changed. */
struct watch *watch_begin(struct watches *all, struct span room, struct room_users *users,
			  uint32_t grace_ms);
/* That connection is there already. False without memory. */
bool watch_add(struct watch *w, const struct session *s, const char *user);
/* Nobody of that room is told of any more. False: it is not watched. */
bool watch_end(struct watches *all, struct span room);

/* A connection of that user (NULL: nobody's) is among those of a room, watched or not, or is not
 * any more. come: false without memory. */
bool watch_come(struct room_users *users, const struct session *s, const char *user);
void watch_go(struct room_users *users, const struct session *s, const char *user);
/* The same in all rooms of the session where users are counted: before and after it becomes
 * somebody else's. */
bool watch_come_everywhere(const struct session *s, const char *user);
void watch_go_everywhere(const struct session *s, const char *user);

/* Somebody waits to be told of. */
static inline bool watches_wait(const struct watches *all)
{
	return all != NULL && all->n_waiting > 0;
}
/* The first of those counts as told of. What is to be said is the caller's to free; NULL without
 * memory: he waits on. come_r: has he come, or gone? */
struct event_presence *watches_next(struct watches *all, bool *come_r);

#endif
