/* door: how a running host is reached: by its control socket. */
#ifndef TOVA_CTL_DOOR_H
#define TOVA_CTL_DOOR_H

#include "ctl/session.h"

#define DOOR_SYSTEM_SOCKET "/run/tova.sock"

struct door {
	struct session session;
	char why[512]; /* what went wrong, a sentence */
};

/* control NULL: where hosts have it by default. False: d->why. */
bool door_open(struct door *d, const char *control);
/* Says one object, with its bytes, and returns the answer, of which `key` is the member that the
 * object has, too. NULL: d->why. Steals the reference to the object. */
json_t *door_ask(struct door *d, json_t *object, const void *bytes, size_t n, const char *key);
void door_leave(struct door *d);

#endif
