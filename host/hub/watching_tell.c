/* How handlers are told who comes and who goes. */
#include <stdlib.h>

#include "hub/delivery.h"
#include "hub/hub.h"
#include "hub/watch.h"
#include "hub/watching.h"

#define WATCHING_SLICE_US 4000 /* of a turn, where a handler answers at once */
#define WATCHING_LATER_MS 1
#define WATCHING_NO_MEMORY_MS 100

/* False without memory. */
static bool watching_tell_next(struct mount *m)
{
	bool come;
	struct event_presence *presence = watches_next(m->rooms.watches, &come);
	if (presence == NULL)
		return false;
	struct hub_event e = {.kind = come ? EVENT_JOIN : EVENT_LEAVE, .presence = presence};
	if ((m->handler->wants & EVENT_BIT(e.kind)) != 0)
		delivery_submit(m, NULL, &e);
	free(presence);
	return true;
}

/* One is with the handler at a time: so whoever goes again while it waits needs not be told of. */
static void watching_tell(struct mount *m, uint64_t until)
{
	const struct watches *all = m->rooms.watches;
	struct hub *hub = m->hub;
	while (watches_wait(all) && all->under_way == 0) {
		bool late = meters_micros() > until;
		if (!late && watching_tell_next(m))
			continue;
		loop_timer_set(&hub->watching_later,
			       late ? WATCHING_LATER_MS : WATCHING_NO_MEMORY_MS);
		return;
	}
}

void watching_on_turn(struct hub *hub)
{
	uint64_t until = meters_micros() + WATCHING_SLICE_US;
	hub->watching_due = false;
	for (struct mount *m = hub->mounts; m != NULL; m = m->next)
		if (m->handler != NULL)
			watching_tell(m, until);
}
