/* history: what rooms remember of what was broadcast to them, so that who joins can be sent it at
 * that place of the commit (see apply.h).
 *
 * A room has a history from its first message until nothing of it is left, whether somebody is in
 * the room or not. Its messages have offsets, from 1 and without gaps; its epoch is another one
 * whenever offsets begin anew. What shares a chunk with others is copied, so that the memory of a
 * message goes with it. All mounts share one bound; where it is reached the oldest messages go of
 * the room that has been silent for longest.
 */
#ifndef TOVA_HUB_HISTORY_H
#define TOVA_HUB_HISTORY_H

#include <sys/queue.h>

#include "base/hash_table.h"
#include "hub/commit.h"
#include "hub/kept.h"
#include "net/loop.h"

#define HISTORY_MESSAGES_MAX 100000 /* of a room, by --history */

struct hub;
struct mount;
struct history_room;
TAILQ_HEAD(history_rooms, history_room);

/* What a mount's rooms remember. */
struct history_limits {
	uint32_t messages; /* of a room; 0: nothing */
	uint64_t ms;	   /* none that is older; 0: however old */
};

/* Of one mount. */
struct history {
	struct history_limits limits;
	struct hash_table table;    /* of all rooms, by name */
	struct history_rooms rooms; /* those first that have been silent for longest */
};

/* Of a hub. */
struct histories {
	uint64_t max;  /* bytes of memory, of all */
	uint64_t held; /* and what they hold */
	struct loop_timer tick;
};

/* A message's place. */
struct history_place {
	uint64_t epoch; /* 1 to 2^53 - 1; 0: it is not remembered */
	uint64_t offset;
};

/* Part of what a room remembers, until something is broadcast in the mount. */
struct history_found {
	const struct history_room *room; /* NULL: nothing is remembered */
	uint64_t epoch;			 /* 0: of no room */
	uint64_t from, to;		 /* offsets; to == from - 1: nothing */
	uint64_t last;			 /* of the newest that the room has; 0: none */
	/* what was asked for is all there: nothing is missing between `since` and `from`, or of the
	 * last so many */
	bool complete;
};

/* Nothing is kept at first. histories_free: all rooms have gone, and with them what they kept. */
void histories_init(struct histories *all, struct hub *hub);
void histories_free(struct histories *all);
/* Another bound; what is beyond it goes, some at a time. */
void histories_bound(struct hub *hub, uint64_t max);

/* Other limits for the mount, its first or new ones. False without memory: nothing has changed. */
bool history_limit(struct mount *m, struct history_limits limits);
void history_free(struct mount *m);

/* Remembers a message, in a mount that has a history. Without memory the room forgets everything,
 * rather than have a gap. */
struct history_place history_keep(struct mount *m, struct span room, const struct slice *frame,
				  uint64_t key);

/* What somebody who joins wants to be sent. */
struct history_found history_find(struct mount *m, struct span room,
				  const struct history_want *want);
/* The offset of the oldest that the room has; 0: there is none. */
uint64_t history_first(const struct history_found *found);
/* A message of it; from <= offset <= to. When it came, in ms since 1970. */
const struct kept_message *history_at(const struct history_found *found, uint64_t offset);
uint64_t history_time(const struct mount *m, const struct kept_message *message);

/* What answers somebody who asks: those behind an offset, oldest first, or with UINT64_MAX the
 * newest. epoch 0: of the one there is; limit 0: as many as usual. Bounded in number and bytes:
 * *more_r if some follow. */
#define HISTORY_QUERY_LIMIT 100 /* as many as usual */
#define HISTORY_QUERY_MAX 1000
#define HISTORY_QUERY_BYTES (1u << 20) /* one message is always there */
struct history_found history_query(struct mount *m, struct span room, uint64_t since,
				   uint64_t epoch, uint64_t limit, bool *more_r);

/* Does the commit join where something is missing and that is to be its failure? Called before it
 * is applied. An error spoils it. */
void history_check(struct mount *m, struct commit *c);

#endif
