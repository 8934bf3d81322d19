/* slow_consumer: connections that read too slowly. Beyond --max-queue their mount's policy decides
 * (conn_refused); what it did is counted, and said once for each change: when messages begin to be
 * given up, when the connection has caught up, when it is closed. */
#ifndef TOVA_HUB_SLOW_CONSUMER_H
#define TOVA_HUB_SLOW_CONSUMER_H

#include "hub/hub.h"
#include "net/conn.h"

/* A message for a session was not queued: `sent` is CONN_FULL or CONN_NO_MEMORY. Members may be
 * being walked. */
void slow_consumer_refused(struct hub *hub, struct session *s, struct out_message *o,
			   enum conn_sent sent, bool own);
/* It is not counted among the slow ones any more. */
void slow_consumer_end(struct hub *hub, struct session *s);
/* Nothing waits for it any more. */
void slow_consumer_caught_up(struct hub *hub, struct session *s);
/* What a victim is closed for, which is counted and logged. */
struct span slow_consumer_blame(struct hub *hub, struct session *s);
/* So many messages for it could not be sent: it is a victim. */
void slow_consumer_unsent(struct session *s, enum conn_sent sent, uint32_t messages);
/* See conn_ops. */
void slow_consumer_began(struct conn *c);
void slow_consumer_gave_up(struct conn *c, uint32_t messages, bool gone);
bool slow_consumer_memory_limit(struct conn *c);

/* Messages that it did not get. */
static inline uint32_t slow_consumer_dropped(struct session *s)
{
	return session_dropped(s) + session_load(s).given_up;
}

#endif
