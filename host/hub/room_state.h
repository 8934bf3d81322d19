/* room_state: what handlers keep with a room: some bytes and a version, which a commit replaces
 * that names the version it was made from.
 *
 * A commit with another version is undone. Where its event can be given again it is, at once or
 * behind the others of which that came to pass: of these one at a time has the room's turn, and
 * while it has it only its commit, or a push, changes the room. So each loses its work about once,
 * however many there are.
 *
 * A state is there from the first commit that sets it until one empties it, or nobody has been in
 * the room for --room-state-time; whether there are members is known from the room (room.h), which
 * points at it. Nothing else ever gives way: what would be more than --room-state-bytes is refused.
 */
#ifndef TOVA_HUB_ROOM_STATE_H
#define TOVA_HUB_ROOM_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/hash_table.h"
#include "common/span.h"
#include "hub/event.h"
#include "net/loop.h"

#define ROOM_STATE_TRIES 10	/* times that an event is given again for a version */
#define ROOM_STATE_COMMIT_MAX 64 /* states that one commit sets */

struct commit;
struct hub;
struct mount;
TAILQ_HEAD(room_state_list, room_state);

/* The one without a name is the mount's own: what its plugin keeps for it. */
struct room_state {
	struct hash_link place; /* in the mount's table, by name */
	struct hash_link by_turn; /* among those whose turn some event has, by that */
	struct mount *mount;
	uint64_t version; /* 1 to 2^53 - 1, never the same twice; 0: there is no state */
	char *bytes; /* with a NUL behind them that does not count */
	char *next; /* memory for what a commit that is about to be applied sets */
	uint32_t len;
	bool occupied;	  /* the room has members */
	uint64_t left_at; /* ms: since when it has none, and nobody has set it */
	struct event_held *turn;    /* the event that may change it now; NULL: any */
	struct event_queue waiting; /* those that may later */
	TAILQ_ENTRY(room_state) link; /* among those without members, unless occupied */
	uint8_t name_len;
	char name[];
};

/* Of a hub. */
struct room_states {
	uint64_t max;  /* bytes of memory, of all */
	uint64_t ms;   /* how long a state outlives its room's last member */
	uint64_t held; /* bytes that they hold */
	uint64_t version; /* the last that was given */
	struct room_state_list empty; /* nobody is in those rooms; the longest so first */
	struct hash_table turns;
	struct loop_timer tick;
};

/* No state yet. room_states_free: all mounts are gone, and with them what they kept. */
void room_states_init(struct room_states *all, struct hub *hub);
void room_states_free(struct room_states *all);
/* Other bounds. What there is stays, even if it is too much. */
void room_states_bound(struct hub *hub, uint64_t max, uint64_t ms);
/* With its mount, which has no events any more. */
void room_state_free_all(struct mount *m);

/* Of the room of that name; NULL: there is none. Borrowed until something is committed, or the turn
 * of the loop ends. */
const struct room_state *room_state_find(const struct mount *m, struct span room);

/* Of the session's first room, see session_first_room. NULL: nothing is kept there, or it is in none. */
struct session;
const struct room_state *room_state_of_session(const struct session *s);

/* --- room_state_place.c ----------------------------------------------------------------------- */

/* The same among these, where the room's hash is known. */
struct room_state *room_state_place_find(const struct hash_table *states, uint64_t hash,
					 struct span room);
/* In a room without members its time begins. */
void room_state_place_rest(struct room_state *state);
/* The same as room_state_place_find: the room has its first member. */
struct room_state *room_state_enter(const struct hash_table *states, uint64_t hash,
				    struct span room);
/* It has lost its last. */
void room_state_leave(struct room_state *state);

/* --- room_state.c ----------------------------------------------------------------------------- */

/* What there is; 0 bytes without one, or of NULL. */
static inline struct span room_state_bytes(const struct room_state *state)
{
	return state != NULL ? (struct span){state->bytes, state->len} : (struct span){NULL, 0};
}
static inline uint64_t room_state_version(const struct room_state *state)
{
	return state != NULL ? state->version : 0;
}

/* The mount's own; NULL: there is none. */
const struct room_state *room_state_of_mount(const struct mount *m);
/* There is one of that many bytes, zeroes where it had another size before. *anew_r: it had. False
 * without memory. */
bool room_state_mount_begin(struct mount *m, uint32_t size, bool *anew_r);
/* All of it, between two commits or as one is applied. */
void room_state_mount_write(struct mount *m, const void *bytes);

/* Called before a commit is applied, of this event (NULL: of none that can be given again). An old
 * version, or the turn of another event, spoils it with COMMIT_E_ROOM_STATE; so does what is beyond
 * the bound, with COMMIT_E_ROOM_STATE_BYTES. Else what it sets has memory, and it is applied next.
 */
void room_state_check(struct mount *m, struct commit *c, const struct event_held *h);
/* Applies a command of the kind COMMAND_SET_ROOM. */
struct command;
void room_state_set(struct mount *m, const struct commit *c, const struct command *command);

/* The event's commit had an old version of the room. True: it has the room's turn now, and is to be
 * given again; false: it will be, by room_state_next. */
bool room_state_wait(struct mount *m, struct event_held *h, struct span room);
/* Does it have the turn in that room? */
bool room_state_has_turn(const struct mount *m, const struct event_held *h, struct span room);
/* The event has no turn any more, if it had one. Returns the one that has it now, which is to be
 * given again; NULL: there is none. */
struct event_held *room_state_next(struct mount *m, struct event_held *h);

#endif
