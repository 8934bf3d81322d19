/* selection: whom a command is for where that is more than one room, or somebody is left out:
 * rooms, and of their members not these connections, not those users, not who is in those rooms.
 * Written down in a commit, and read again when that is applied. */
#ifndef TOVA_HUB_SELECTION_H
#define TOVA_HUB_SELECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/rules.h"
#include "common/span.h"

struct mount;
struct room;
struct session;

struct selection_names {
	uint32_t n;
	struct span v[RULES_LIST_MAX];
};

struct selection {
	bool all; /* the mount's connections: rooms are none */
	struct selection_names rooms, except_users, except_rooms;
	uint32_t n_except;
	uint64_t except[RULES_LIST_MAX]; /* local ids; 0: one that is gone */
};

/* Nothing is selected, and nobody left out. */
void selection_init(struct selection *s);
/* False: there are RULES_LIST_MAX already. */
bool selection_add_name(struct selection_names *names, struct span name);
/* Is it one of the first n? */
bool selection_names_has(const struct selection_names *names, uint32_t n, struct span name);
bool selection_add_except(struct selection *s, uint64_t local);
/* Bytes that it takes; writes them; and reads them again, pointing into them. */
size_t selection_size(const struct selection *s);
void selection_write(const struct selection *s, uint8_t *to);
void selection_read(struct selection *s, const uint8_t *from);

/* Is it one of the connections, or of the users, that are left out? */
bool selection_leaves_out(const struct selection *s, const struct session *to);

/* Walks those that are selected, each once. Nobody may join, leave or end meanwhile. Begin and end
 * belong together: they mark the rooms. */
struct selection_walk {
	const struct selection *selection;
	const struct mount *mount;
	uint32_t unknown; /* rooms of it that have no members */
	uint32_t place;	  /* of the room at which it is */
	uint32_t member;
	const struct room *room; /* NULL: it is to be looked for */
};
void selection_walk_begin(struct selection_walk *w, const struct selection *s,
			  const struct mount *m);
/* NULL: there are no more; the walk has ended. */
struct session *selection_walk_next(struct selection_walk *w);
/* From the first again. */
void selection_walk_again(struct selection_walk *w);
void selection_walk_end(struct selection_walk *w);

#endif
