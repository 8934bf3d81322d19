/* room: named sets of sessions. A room exists while it has a member.
 *
 * Both sides are dense arrays that point at each other by index, so that a broadcast walks memory in order, leaving is a swap with
 * the last on both sides, and a session that ends costs its own rooms only.
 */
#ifndef TOVA_HUB_ROOM_H
#define TOVA_HUB_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/span.h"
#include "base/stats.h"

#define ROOM_NAME_MAX 255

struct session;

struct room_member {
	struct session *session;
	uint32_t slot; /* in the session's memberships */
};

struct room {
	uint64_t hash;
	struct room_member *members;
	uint32_t n, cap;
	uint32_t refs; /* the table's while it has members, and one for each close event that names it */
	uint8_t len;
	char name[ROOM_NAME_MAX + 1]; /* only len + 1 bytes of it are allocated */
};

struct room_membership {
	struct room *room;
	uint32_t slot; /* in the room's members */
};

/* Embedded in each session. */
struct room_memberships {
	struct room_membership *v;
	uint32_t n, cap;
};

/* The rooms of one mount. */
struct room_table {
	struct room **slots;
	uint32_t n, cap; /* cap: a power of two, or 0 */
	struct hash_key key;
	struct stats *stats;
};

/* UTF-8, 1 to 255 bytes, no NUL? */
bool room_name_ok(struct span name);

/* The room of that name, or NULL. */
struct room *room_find(const struct room_table *table, struct span name);

/* Is the session that has these memberships in the room of that name? */
bool room_has(const struct room_table *table, struct span name, const struct room_memberships *own);

enum room_joined { ROOM_JOINED, ROOM_ALREADY, ROOM_NO_MEMORY };
enum room_joined room_join(struct room_table *table, struct span name, struct session *session, struct room_memberships *own);
/* False: it was not a member. */
bool room_leave(struct room_table *table, struct span name, struct room_memberships *own);
/* Leaves all. The list stays, with a reference to each room, so that their names can still be read, until room_forget_all. */
void room_leave_all(struct room_table *table, struct room_memberships *own);
void room_forget_all(struct room_memberships *left);

void room_table_free(struct room_table *table);

#endif
