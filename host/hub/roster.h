/* roster: who is in a room, a page at a time: those of a page were all there at one moment, and who
 * stays from the first page to the last stands in exactly one. */
#ifndef TOVA_HUB_ROSTER_H
#define TOVA_HUB_ROSTER_H

#include "hub/room_users.h"
#include "hub/session.h"

#define ROSTER_PAGE 1000 /* at most, and where nothing is said */

struct roster_page {
	uint32_t n;
	const struct session *members[ROSTER_PAGE]; /* in the order of their ids */
	bool more;
};

/* Those behind the connection of that local id (0: from the first), at most `limit` of them. */
void roster_members(struct roster_page *page, const struct room *r, uint64_t after,
		    uint32_t limit);

#endif
