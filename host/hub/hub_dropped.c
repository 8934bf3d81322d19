/* Messages that a client sends beyond what it may. */
#include <stdio.h>

#include "hub/delivery.h"
#include "hub/hub.h"
#include "hub/session_trace.h"

void hub_dropped(struct session *s, uint32_t n)
{
	struct mount *m = s->mount;
	const struct bucket_rate *rate = &m->rule.rate;
	char text[128], id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	snprintf(text, sizeof text, "dropped %u messages: more than %u in %u ms", (unsigned)n,
		 (unsigned)rate->n, (unsigned)rate->ms);
	LOG(m->hub->log, LOG_NOTICE, LOG_LIMIT, "messages dropped: more than --rate-limit allows",
	    LOG_STR("mount", m->path), LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
	    LOG_STR("remote", session_remote_text(s, remote)), LOG_U64("dropped", n));
	struct hub_event e = {.kind = EVENT_ERROR,
			      .error = {.kind = EVENT_ERROR_LIMIT, .text = span_of(text)}};
	if (!s->ended)
		delivery_submit(m, s, &e);
}
