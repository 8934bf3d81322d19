/* apply_room: the commands that are about who is in a room, and who they are: see apply.h. */
#ifndef TOVA_HUB_APPLY_ROOM_H
#define TOVA_HUB_APPLY_ROOM_H

#include "hub/hub.h"

/* with which a join that replaces ends the others: who hears it is not to come back by himself */
#define APPLY_REPLACED 4409

/* The session has joined; the others are ended where the join says so. */
void apply_replace(struct mount *m, struct session *s, const struct commit *c,
		   const struct command *command);
/* Ends all that the command selects. Each counts as a receiver. */
void apply_close_room(struct hub *hub, struct mount *m, struct commit *c,
		      const struct command *command);
void apply_leave_all(struct mount *m, struct session *s);
void apply_info(struct mount *m, struct session *s, const struct commit *c,
		const struct command *command);

#endif
