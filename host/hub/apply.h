/* apply: what an event commanded happens: all of its commands in their order, between two events.
 */
#ifndef TOVA_HUB_APPLY_H
#define TOVA_HUB_APPLY_H

#include "hub/hub.h"

/* Applies all commands of the mount in order and leaves the commit empty; on the hub's loop. It was
 * checked before, so nothing is refused: what names a connection or a room that is gone is counted.
 * Connections found to read too slowly, or for which there was no memory, are ended by
 * hub_end_victims. */
void apply_commit(struct hub *hub, struct mount *m, struct commit *c);

#endif
