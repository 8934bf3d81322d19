/* door: how a running host is reached: by its control socket, or by its HTTP API. */
#ifndef TOVA_CTL_DOOR_H
#define TOVA_CTL_DOOR_H

#include "ctl/http.h"
#include "ctl/session.h"

#define DOOR_SYSTEM_SOCKET "/run/tova.sock"

struct door {
	bool remote; /* by `http`, else by `session` */
	struct session session;
	struct http http;
	char why[512]; /* what went wrong, a sentence */
};

/* By the control socket; control NULL: where hosts have it by default. timeout_ms: for each answer.
 * False: d->why. */
bool door_open(struct door *d, const char *control, int timeout_ms);
/* By the API. */
bool door_open_api(struct door *d, const struct http_place *place, int timeout_ms);
/* Says one object, with its bytes, and returns the answer, of which `key` is the member that the
 * object has, too. NULL: d->why. Steals the reference to the object. */
json_t *door_ask(struct door *d, json_t *object, const void *bytes, size_t n, const char *key);
/* Was it the time that made door_ask fail? What was asked for may still happen. */
bool door_timed_out(const struct door *d);
void door_leave(struct door *d);

#endif
