/* condition: what a join asks of its room, judged when its commit is about to be applied.
 *
 * A handler decides by what was true when its event began; by the time that its commands commit
 * others may have joined. A join with conditions fails the event then, rather than let one too many
 * in.
 */
#ifndef TOVA_HUB_CONDITION_H
#define TOVA_HUB_CONDITION_H

#include "hub/commit.h"

struct mount;

/* of one commit: what each costs is in proportion to the commands before it */
#define CONDITION_MAX 1024

/* Called before a commit that is judged is applied. One whose joins do not find what they ask for
 * spoils it. What an earlier command of the same commit does is what a later one finds; a
 * connection that is gone joins nothing. */
void condition_check(const struct mount *m, struct commit *c);

#endif
