/* access: the line that the access log has of each connection, what it is made of while the
 * connection is there, and what can be asked of one (--admin). Who has neither has none of this. */
#ifndef TOVA_HUB_ACCESS_H
#define TOVA_HUB_ACCESS_H

#include "hub/hub.h"

struct traffic;
struct access;

/* The session's connection is about to be accepted. False without memory. */
bool access_begin(struct session *s, const struct event_request *request, struct span subprotocol);
/* The session gets this conn: what is sent and received there is counted. */
bool access_attach(struct session *s, struct conn *c);
/* Who ends it, if nobody has said so before: a word for the log. */
void access_ended_by(struct session *s, const char *who);
/* The session has ended. */
void access_end(struct session *s, uint16_t code, struct span reason);
/* Nobody knows the session any more. */
void access_forget(struct session *s);
/* Is it to be known of the connections of this host? */
static inline bool access_is_kept(const struct hub *hub)
{
	return hub->access_log != NULL || hub->measures;
}

/* Somebody looks at it: from now on what it sends and is sent is counted, if it was not before, and
 * its last events are kept. False without memory. */
bool access_watch(struct session *s);
/* One of its events was handled; it is watched. */
void access_event(struct session *s, const struct hub_event *e, bool ok);

#define ACCESS_EVENTS 16

/* What is known of it; NULL: it is not. Of the events the newest is first. */
struct access_seen {
	const char *origin, *agent, *subprotocol, *tls;
	char opened[32];
	const struct traffic *traffic; /* NULL: it is not counted */
	uint64_t counted_ms;
	struct access_event {
		uint64_t at_ms; /* of the loop's clock */
		uint32_t size;
		uint8_t kind; /* enum event_kind */
		bool ok;
	} events[ACCESS_EVENTS];
	unsigned n_events;
};
/* False: nothing is. */
bool access_look(const struct session *s, struct access_seen *seen_r);

/* conn_ops.uncounted: no conn counts there any more. */
void access_uncounted(struct traffic *t);

#endif
