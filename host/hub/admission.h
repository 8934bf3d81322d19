/* admission: whether an upgrade may come in, and the making of its session. */
#ifndef TOVA_HUB_ADMISSION_H
#define TOVA_HUB_ADMISSION_H

#include <stdbool.h>

struct conn;
struct request;
struct mount;
struct event_held;
struct event_answer;

/* For hub_conn_ops; ctx is the hub. */
void admission_upgrade(void *ctx, struct conn *c, struct request *r);
/* Its handler stops: an upgrade that it was asked about and will not answer. Its client hears of it
 * when its conn goes. */
void admission_dropped(struct event_held *h);
void admission_withdrawn(struct conn *c);
void admission_unanswered(struct conn *c);

/* Only a subprotocol that the client has offered may be chosen. */
bool admission_may_answer(const struct event_held *h, const struct event_answer *answer);
/* A handler that settles later has decided about an upgrade; failure: why it could not, or NULL.
 * Frees the event. */
void admission_answered(struct mount *m, struct event_held *h, const struct event_answer *answer,
			const char *failure);

#endif
