#include "hub/access.h"

#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "common/utf8.h"
#include "hub/session_trace.h"
#include "hub/slow_consumer.h"

#define ACCESS_ORIGIN_MAX 255 /* bytes of it that are kept */

struct access {
	struct traffic traffic; /* first: it is what conns know of this */
	struct hub *hub;
	unsigned users; /* the session, and each conn that it has had */
	unsigned conns;
	uint64_t began_ms, ended_ms; /* of the loop's clock */
	int64_t opened;		     /* s of the clock on the wall */
	char *origin, *subprotocol, *agent;
	char trace_id[TRACE_CONTEXT_ID_TEXT]; /* empty: it belonged to none */
	bool whole; /* it is counted from its beginning, so that there can be a line */
	/* NULL: nobody has looked at it */
	struct access_watch {
		uint64_t began_ms;
		struct access_event events[ACCESS_EVENTS]; /* a ring */
		unsigned n;
	} * watch;
	const char *tls;
	/* of its end */
	bool ended;
	const char *by;
	char *mount, *path, *user, *reason;
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	uint64_t dropped;
	uint16_t code;
};

static char *access_copy(struct span text)
{
	return text.p != NULL && text.n > 0 ? strndup(text.p, text.n) : NULL;
}

/* 2026-01-31T12:34:56Z */
static const char *access_time(int64_t at, char text[32])
{
	struct tm tm;
	time_t t = (time_t)at;
	if (gmtime_r(&t, &tm) == NULL || strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		text[0] = '\0';
	return text;
}

static void access_write(const struct access *a)
{
	char opened[32];
	const struct traffic *t = &a->traffic;
	LOG(a->hub->access_log, LOG_NOTICE, LOG_ACCESS, "closed", LOG_STR("mount", a->mount),
	    LOG_STR("path", a->path), LOG_STR("conn", a->id), LOG_STR("remote", a->remote),
	    LOG_STR("trace_id", a->trace_id[0] != '\0' ? a->trace_id : NULL),
	    LOG_STR("user", a->user), LOG_STR("origin", a->origin), LOG_STR("tls", a->tls),
	    LOG_STR("subprotocol", a->subprotocol),
	    LOG_STR("opened", access_time(a->opened, opened)),
	    LOG_U64("duration_ms", a->ended_ms - a->began_ms),
	    LOG_U64("messages_in", traffic_read(&t->in_messages)),
	    LOG_U64("bytes_in", traffic_read(&t->in_bytes)),
	    LOG_U64("messages_out", traffic_read(&t->out_messages)),
	    LOG_U64("bytes_out", traffic_read(&t->out_bytes)),
	    LOG_U64("queue_max", traffic_read(&t->queue_max)), LOG_U64("dropped", a->dropped),
	    LOG_U64("sockets", a->conns), LOG_U64("code", a->code), LOG_STR("reason", a->reason),
	    LOG_STR("ended_by", a->by));
	a->hub->loop->stats.access_lost = log_lost(a->hub->access_log);
}

/* One user less; after the last one its line is written, if it has ever been a connection. */
static void access_leave(struct access *a)
{
	if (--a->users > 0)
		return;
	if (a->ended && a->whole && a->hub->access_log != NULL)
		access_write(a);
	free(a->origin);
	free(a->agent);
	free(a->watch);
	free(a->subprotocol);
	free(a->mount);
	free(a->path);
	free(a->user);
	free(a->reason);
	free(a);
}

static struct span access_header(const struct event_request *request, const char *name)
{
	struct span value = request_header(request->request, name);
	if (value.n > ACCESS_ORIGIN_MAX)
		value.n = ACCESS_ORIGIN_MAX;
	return value;
}

bool access_begin(struct session *s, const struct event_request *request, struct span subprotocol)
{
	struct session_more *more = session_more(s);
	struct access *a = more != NULL ? calloc(1, sizeof *a) : NULL;
	struct hub *hub = s->mount->hub;
	if (a == NULL)
		return false;
	*a = (struct access){.hub = hub,
			     .users = 1,
			     .began_ms = loop_now(hub->loop),
			     .opened = time(NULL),
			     .whole = hub->access_log != NULL,
			     .origin = access_copy(access_header(request, "Origin")),
			     .agent = access_copy(access_header(request, "User-Agent")),
			     .subprotocol = access_copy(subprotocol),
			     .tls = request->tls.version != NULL ? request->tls.version
				    : request->secure		 ? "proxy"
								 : NULL};
	address_text(&request->remote, a->remote);
	more->access = a;
	return true;
}

bool access_attach(struct session *s, struct conn *c)
{
	struct access *a = s->more != NULL ? s->more->access : NULL;
	if (a == NULL || !(a->whole || a->watch != NULL))
		return true;
	if (!conn_count_traffic(c, &a->traffic))
		return false;
	a->users++;
	a->conns++;
	return true;
}

bool access_watch(struct session *s)
{
	struct access *a = s->more != NULL ? s->more->access : NULL;
	if (a == NULL || a->watch != NULL)
		return a != NULL;
	a->watch = calloc(1, sizeof *a->watch);
	if (a->watch == NULL)
		return false;
	a->watch->began_ms = a->whole ? a->began_ms : loop_now(a->hub->loop);
	s->watched = true;
	return a->whole || s->conn == NULL || access_attach(s, s->conn);
}

void access_event(struct session *s, const struct hub_event *e, bool ok)
{
	struct access_watch *w = s->more->access->watch;
	w->events[w->n++ % ACCESS_EVENTS] = (struct access_event){
		.at_ms = loop_now(s->mount->hub->loop),
		.size = e->kind == EVENT_MESSAGE ? (uint32_t)e->message.len : 0,
		.kind = (uint8_t)e->kind,
		.ok = ok,
	};
}

bool access_look(const struct session *s, struct access_seen *seen_r)
{
	const struct access *a = s->more != NULL ? s->more->access : NULL;
	const struct access_watch *w = a != NULL ? a->watch : NULL;
	if (a == NULL)
		return false;
	*seen_r = (struct access_seen){.origin = a->origin,
				       .agent = a->agent,
				       .subprotocol = a->subprotocol,
				       .tls = a->tls};
	access_time(a->opened, seen_r->opened);
	if (w == NULL)
		return true;
	seen_r->traffic = &a->traffic;
	seen_r->counted_ms = loop_now(a->hub->loop) - w->began_ms;
	while (seen_r->n_events < ACCESS_EVENTS && seen_r->n_events < w->n) {
		unsigned from = w->n - 1 - seen_r->n_events;
		seen_r->events[seen_r->n_events++] = w->events[from % ACCESS_EVENTS];
	}
	return true;
}

void access_ended_by(struct session *s, const char *who)
{
	struct access *a = s->more != NULL ? s->more->access : NULL;
	if (a != NULL && a->by == NULL)
		a->by = who;
}

void access_end(struct session *s, uint16_t code, struct span reason)
{
	struct access *a = s->more != NULL ? s->more->access : NULL;
	if (a == NULL || a->ended)
		return;
	access_ended_by(s, "host");
	a->ended = true;
	a->ended_ms = loop_now(a->hub->loop);
	a->code = code;
	a->reason = access_copy(reason);
	a->mount = access_copy(span_of(s->mount->path));
	a->path = access_copy(span_of(hub_session_path(s)));
	a->user = access_copy(span_of(identity_user(s)));
	a->dropped = slow_consumer_dropped(s);
	session_trace_id(s, a->trace_id);
	hub_session_text(s, a->id);
}

void access_forget(struct session *s)
{
	struct access *a = s->more != NULL ? s->more->access : NULL;
	if (a == NULL)
		return;
	s->more->access = NULL;
	s->watched = false;
	access_leave(a);
}

void access_uncounted(struct traffic *t)
{
	access_leave((struct access *)((char *)t - offsetof(struct access, traffic)));
}
