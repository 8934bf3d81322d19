/* access: the line that the access log has of each connection, and what it is made of while the
 * connection is there. Who has no log has none of this. */
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
/* conn_ops.uncounted: no conn counts there any more. */
void access_uncounted(struct traffic *t);

#endif
