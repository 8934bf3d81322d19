/* timer: the handlers' named timers, kept by the host so that they outlive whoever set them. */
#ifndef TOVA_HUB_TIMER_H
#define TOVA_HUB_TIMER_H

#include "hub/event.h"

struct mount;
struct session;
struct timer;

/* Setting one that exists with the same id, delay and period changes nothing; any other way it starts anew. session NULL: the
 * mount's. False without memory. */
bool timer_set(struct mount *mount, struct session *session, const struct event_timer *timer);
/* False: there is none of that name. */
bool timer_cancel(struct mount *mount, struct session *session, struct span name);
/* Closes the session when this time has come (seconds since 1970). False without memory. */
bool timer_set_end(struct mount *mount, struct session *session, uint64_t ends);
/* The list hangs at a mount or a session. */
void timer_free_all(struct timer **list);

#endif
