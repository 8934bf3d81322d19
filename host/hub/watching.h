/* watching: the rooms that a mount's handler watches (watch.h), and how it is told. Its events are
 * the mount's, in one order, one at a time; those of one turn come at its end. */
#ifndef TOVA_HUB_WATCHING_H
#define TOVA_HUB_WATCHING_H

#include "hub/commit.h"

struct hub;
struct mount;
struct room_users;

/* Called before a commit that is judged is applied. One that would have more rooms watched than a
 * mount may spoils it. */
void watching_check(const struct mount *m, struct commit *c);
/* Does it. Without memory, or where it was not judged and it would be too many, that is logged. */
void watching_apply(struct mount *m, const struct commit *c, const struct command *command);

/* The users of that room: those that are there, and those that a watch still has; an empty one if
 * there is no such room. NULL without memory. */
const struct room_users *watching_users(const struct mount *m, struct span room);

/* An event of these kinds waits in the mount's lane (1), or has been handled (-1). */
void watching_count(struct mount *m, int by);
/* At the end of a turn: tells all handlers, for a few milliseconds. */
void watching_on_turn(struct hub *hub);

#endif
