#include "ctl/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ctl/rest.h"

/* Where hosts have their control socket: that of a user's own host goes before those of the
 * machine's, of which the first is there where systemd starts it. */
static const char *const door_places[] = {"/run/tova/tova.sock", "/run/tova/control",
					  DOOR_SYSTEM_SOCKET};

static const char *door_find(char *path, size_t cap)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	bool own = runtime != NULL && runtime[0] != '\0' &&
		   (size_t)snprintf(path, cap, "%s/tova.sock", runtime) < cap;
	if (own && access(path, F_OK) == 0)
		return path;
	for (size_t i = 0; i < sizeof door_places / sizeof *door_places; i++)
		if (access(door_places[i], F_OK) == 0)
			return door_places[i];
	return own ? path : DOOR_SYSTEM_SOCKET;
}

bool door_open(struct door *d, const char *control, int timeout_ms)
{
	char path[4096];
	const char *at = control != NULL ? control : door_find(path, sizeof path);
	bool ok = session_open(&d->session, at, timeout_ms);
	snprintf(d->why, sizeof d->why, "%s", d->session.why);
	return ok;
}

bool door_open_api(struct door *d, const struct http_place *place, int timeout_ms)
{
	d->remote = true;
	bool ok = http_open(&d->http, place, timeout_ms);
	snprintf(d->why, sizeof d->why, "%s", d->http.why);
	return ok;
}

json_t *door_ask(struct door *d, json_t *object, const void *bytes, size_t n, const char *key)
{
	json_t *answer = d->remote ? rest_ask(&d->http, object, bytes, n)
				   : session_ask(&d->session, object, bytes, n, key);
	if (d->remote)
		json_decref(object);
	if (answer == NULL)
		snprintf(d->why, sizeof d->why, "%s", d->remote ? d->http.why : d->session.why);
	return answer;
}

bool door_timed_out(const struct door *d)
{
	return d->remote ? d->http.timed_out : d->session.timed_out;
}

void door_leave(struct door *d)
{
	if (d->remote)
		http_close(&d->http);
	else
		session_leave(&d->session);
}
