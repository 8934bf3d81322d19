/* session_trace: the distributed trace (ws/trace_context.h) that a connection belongs to, where its
 * mount takes part in those (--trace-sample). Each event of one that is sampled is a span of its
 * own, the same however often it is delivered; of others the connection's is told. */
#ifndef TOVA_HUB_SESSION_TRACE_H
#define TOVA_HUB_SESSION_TRACE_H

#include "hub/session.h"
#include "ws/trace_context.h"

struct request;

/* Which trace the request belongs to, that it asks for or a new one, and a span for the connection:
 * facts->trace; and a head that says so in the place of its own, as which r is read again, for who
 * is told of the request. *head_r is the caller's to free when r is not needed any more; NULL:
 * nothing was changed, as there is no memory, or no room for another header. */
void session_trace_take(const struct mount *m, struct request *r, struct event_request *facts,
			char **head_r);
/* The session begins with that request. False without memory. */
bool session_trace_begin(struct session *s, const struct event_request *request);

/* What a handler is told with the event; NULL: it belongs to none. Returns text. */
const char *session_trace_parent(const struct hub_event *e, char text[TRACE_CONTEXT_TEXT]);
/* n 0: there is none; else with a NUL behind it. Borrowed until the event is handled. */
struct span session_trace_state(const struct hub_event *e);
/* For logs; NULL: it belongs to none. Returns text. */
const char *session_trace_id(const struct session *s, char text[TRACE_CONTEXT_ID_TEXT]);
#define LOG_TRACE_ID(s) \
	LOG_STR("trace_id", session_trace_id((s), (char[TRACE_CONTEXT_ID_TEXT]){""}))

#endif
