/* state: what is stored with a connection, compared before it is replaced.
 *
 * A handler decides by a state that it was given when its event began; by the time that its
 * commands commit, somebody else may have set another. A `set` that says what it expects fails the
 * event then, rather than undo the other's unseen. Bytes that are missing behind a state count as
 * zeroes, so no state at all is the same as an empty one, and as a plugin's data that was never
 * touched.
 */
#ifndef TOVA_HUB_STATE_H
#define TOVA_HUB_STATE_H

#include "hub/commit.h"

struct mount;

/* Called before a commit is applied. One that finds another state than it expects
 * spoils it. What an earlier command of the same commit sets is what a later one finds; a
 * connection that is gone has no state to differ. */
void state_check(const struct mount *m, struct commit *c);
/* Are these the same state? */
bool state_equal(struct span a, struct span b);

#endif
