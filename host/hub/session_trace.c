#include "hub/session_trace.h"

#include <stdlib.h>

#include "common/random.h"
#include "hub/hub.h"

#define SESSION_TRACE_PARTS 1000000 /* that mount->trace_sample counts */

struct session_trace {
	struct trace_context context;
	uint16_t state_len;
	char state[];
};

/* --- requests --------------------------------------------------------------------------------- */

/* False: there are no random numbers, which can not be. */
static bool session_trace_draw(void *bytes, size_t n)
{
	memset(bytes, 1, n); /* neither a trace nor a span is all zero */
	return random_bytes(bytes, n);
}

/* What a client says of itself decides nothing: strangers would choose how much is traced. */
static bool session_trace_is_sampled(const struct mount *m)
{
	uint32_t dice = 0;
	return m->trace_sample > 0 && session_trace_draw(&dice, sizeof dice) &&
	       dice % SESSION_TRACE_PARTS < (uint32_t)m->trace_sample;
}

/* Whom the client named as the span that it comes from is in the log, as its name is replaced. */
static void session_trace_note(const struct mount *m, const struct trace_context *asked,
			       const struct trace_context *c)
{
	char from[TRACE_CONTEXT_TEXT], to[TRACE_CONTEXT_TEXT];
	if (c->sampled)
		LOG(m->hub->log, LOG_INFO, LOG_CONN_OPEN, "a connection is sampled for traces",
		    LOG_STR("mount", m->path), LOG_STR("traceparent", trace_context_text(c, to)),
		    LOG_STR("asked", asked != NULL ? trace_context_text(asked, from) : NULL));
}

void session_trace_take(const struct mount *m, struct request *r, struct event_request *facts,
			char **head_r)
{
	struct trace_context asked, c;
	bool asks = trace_context_of(r, &asked);
	*head_r = NULL;
	if (r->n_headers == REQUEST_HEADERS_MAX || !session_trace_draw(c.span, sizeof c.span) ||
	    (!asks && !session_trace_draw(c.trace, sizeof c.trace)))
		return;
	if (asks)
		memcpy(c.trace, asked.trace, sizeof c.trace);
	c.sampled = session_trace_is_sampled(m);
	const struct request as_it_was = {.forwarded_host = r->forwarded_host, .secure = r->secure};
	struct span head = trace_context_head(r, &c);
	if (head.p == NULL)
		return;
	CHECK(request_parse_kept(r, head)); /* of what was one already */
	r->forwarded_host = as_it_was.forwarded_host;
	r->secure = as_it_was.secure;
	*head_r = (char *)head.p;
	facts->trace = c;
	facts->traced = true;
	session_trace_note(m, asks ? &asked : NULL, &c);
}

/* --- sessions --------------------------------------------------------------------------------- */

bool session_trace_begin(struct session *s, const struct event_request *request)
{
	if (!request->traced)
		return true;
	struct span state = trace_context_state(request->request);
	struct session_more *more = session_more(s);
	struct session_trace *t = more != NULL ? malloc(sizeof *t + state.n + 1) : NULL;
	if (t == NULL)
		return false;
	*t = (struct session_trace){.context = request->trace, .state_len = (uint16_t)state.n};
	if (state.n > 0)
		memcpy(t->state, state.p, state.n);
	t->state[state.n] = '\0';
	more->trace = t;
	s->sampled = request->trace.sampled;
	return true;
}

static const struct session_trace *session_trace_of(const struct session *s)
{
	return s != NULL && s->more != NULL ? s->more->trace : NULL;
}

/* --- events ----------------------------------------------------------------------------------- */

/* The same whenever the event is told of, and never all zero. */
static void session_trace_span(const struct hub_event *e, uint8_t span[8])
{
	const uint64_t what[2] = {e->session->local, e->sequence};
	uint64_t hash = hash_bytes(&e->session->mount->hub->key, what, sizeof what);
	hash = hash != 0 ? hash : 1;
	memcpy(span, &hash, sizeof hash);
}

const char *session_trace_parent(const struct hub_event *e, char text[TRACE_CONTEXT_TEXT])
{
	if (e->kind == EVENT_UPGRADE)
		return e->request->traced ? trace_context_text(&e->request->trace, text) : NULL;
	const struct session_trace *t = session_trace_of(e->session);
	if (t == NULL)
		return NULL;
	struct trace_context c = t->context;
	if (c.sampled && e->sequence > 0)
		session_trace_span(e, c.span);
	return trace_context_text(&c, text);
}

struct span session_trace_state(const struct hub_event *e)
{
	const struct session_trace *t = session_trace_of(e->session);
	return t != NULL && t->state_len > 0 ? (struct span){t->state, t->state_len}
					     : (struct span){NULL, 0};
}

const char *session_trace_id(const struct session *s, char text[TRACE_CONTEXT_ID_TEXT])
{
	const struct session_trace *t = session_trace_of(s);
	return t != NULL ? trace_context_id_text(&t->context, text) : NULL;
}
