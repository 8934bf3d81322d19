/* delivery: brings events to a mount's handler, one at a time, and commits or drops what it commanded. */
#ifndef TOVA_HUB_DELIVERY_H
#define TOVA_HUB_DELIVERY_H

#include "hub/mount.h"

/* Delivers an event of this session (NULL: of the mount itself), now or, while another is being handled or earlier ones wait, after
 * those. Whatever it leads to happens before this returns, unless it was called from inside. UPGRADE is always now, and returns
 * whether the handler did not fail. Without memory to let it wait an event is lost, which is logged. */
bool delivery_submit(struct mount *m, struct session *s, struct hub_event *e);

/* The session has ended: its close event follows those that wait. It needs no memory, and so is never lost. */
void delivery_close(struct mount *m, struct session *s);

/* Delivers what waits. */
void delivery_run(struct mount *m);

/* Between two events: the commit of a handler that has just started. */
void delivery_commit_start(struct mount *m, struct commit *c);

#endif
