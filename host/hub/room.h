/* room: named sets of sessions. A room exists while it has a member.
 *
 * Both sides are dense arrays that point at each other by index, so that a broadcast walks memory
 * in order, leaving is a swap with the last on both sides, and a session that ends costs its own
 * rooms only.
 */
#ifndef TOVA_HUB_ROOM_H
#define TOVA_HUB_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/hash_table.h"
#include "base/stats.h"
#include "common/rules.h"
#include "common/span.h"

struct conn;
struct conn_group;
struct room_state;
struct room_users;
struct session;
struct watches;

/* What a broadcast needs of a member is its conn; who walks members touches nothing else. */
struct room_member {
	union {
		struct conn *conn;
		struct session *session; /* of those of resume.h */
	};
	uint32_t slot; /* in the session's memberships */
};

/* The members whose sockets one loop has, or those that may have none. */
struct room_shard {
	struct room_member *members;
	uint32_t n, cap;
};

/* Those of another loop are broadcast to by that loop, which has the same array. */
struct room_far {
	struct room_shard shard;
	struct conn_group *group; /* NULL: nobody there was ever a member */
};

struct room {
	struct hash_link link;
	struct room_shard here;
	/* first those of resume.h, then of each other loop: 1 + table->n_far; NULL: none of these
	 * was ever a member */
	struct room_far *elsewhere;
	struct room_users *users; /* NULL: nobody has asked who they are, or watches */
	struct room_state *state; /* what is kept with it: room_state.h; or NULL */
	uint32_t n;		  /* all members */
	/* the table's while it has members, and one for each close event that names it */
	uint32_t refs;
	uint16_t mark; /* see selection.h; 0 outside of that */
	uint8_t len;
	char name[RULES_NAME_MAX + 1]; /* only len + 1 bytes of it are allocated */
};

struct room_membership {
	struct room *room;
	uint32_t slot;	/* in the members of its shard */
	uint32_t shard; /* 0: here; SESSION_RESUMES: elsewhere[0]; else of elsewhere[shard] */
};

struct room_list {
	uint32_t n, cap;
	struct room_membership v[];
};

/* Embedded in each session. */
struct room_memberships {
	struct room_list *list; /* NULL: it was never in one */
};

/* How many they are, and the name of each. */
static inline uint32_t room_count(const struct room_memberships *own)
{
	return own->list != NULL ? own->list->n : 0;
}
static inline const char *room_name(const struct room_memberships *own, uint32_t i)
{
	return own->list->v[i].room->name;
}

/* The rooms of one mount. */
struct room_table {
	struct hash_table table;
	struct hash_key key;
	struct stats *stats;
	struct hash_table states; /* see room_state.h; also of rooms without members */
	uint32_t n_far; /* loops beside this one */
	struct watches *watches; /* rooms of which the handler is told who comes; NULL: none */
};

/* The room of that name, or NULL. */
struct room *room_find(const struct room_table *table, struct span name);

/* Is it in the room of that name? */
bool room_has(const struct room_table *table, struct span name, const struct session *s);

enum room_joined { ROOM_JOINED, ROOM_ALREADY, ROOM_NO_MEMORY };
/* The session has a conn. */
enum room_joined room_join(struct room_table *table, struct span name, struct session *s);
/* False: it was not a member. */
bool room_leave(struct room_table *table, struct span name, struct session *s);
/* Leaves all. The list stays, with a reference to each room, so that their names can still be read,
 * until room_forget_all. */
void room_leave_all(struct room_table *table, struct session *s);
void room_forget_all(struct session *s);

/* The i-th of its n members. */
struct session *room_session(const struct room *r, uint32_t i);
/* Its users, counted from now on; NULL without memory. */
struct room_users *room_users_of(struct room *r);

/* Calls visit for the rooms at one place of the table and returns the next place, or 0 behind the
 * last. Whoever goes on from 0 to 0 has seen each room that was there all the time once, however
 * the table has grown in between. visit changes no room. */
uint32_t room_table_scan(const struct room_table *table, uint32_t place,
			 void (*visit)(void *ctx, const struct room *r), void *ctx);

/* All members have left, and with them all rooms have gone. */
void room_table_free(struct room_table *table);

#endif
