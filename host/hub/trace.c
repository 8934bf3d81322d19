#include "hub/trace.h"

#include <stdlib.h>
#include <time.h>

#include "hub/session_trace.h"
#include "net/conn.h"

#define TRACE_WAITS_MAX 256 /* events whose output is not known to be written yet */
#define TRACE_LOOK_MS 5

struct trace {
	LIST_ENTRY(trace) others;
	struct traces *all;
	const struct mount *mount;
	uint64_t local;
	char *user; /* NULL: any */
	bool sampled;
	void (*tell)(void *ctx, const struct trace_told *told);
	void *ctx;
};

/* A client is sent what an event led to. */
struct trace_wait {
	uint64_t local, sequence;
	enum event_kind kind;
};

struct traces {
	struct hub *hub;
	LIST_HEAD(, trace) list;
	unsigned n, n_waits;
	struct loop_hook hook;
	struct loop_timer look;
	struct trace_wait waits[TRACE_WAITS_MAX];
};

const char *trace_point_name(enum trace_point point)
{
	static const char *const names[] = {[TRACE_RECEIVED] = "received",
					    [TRACE_GIVEN] = "given",
					    [TRACE_ACKNOWLEDGED] = "acknowledged",
					    [TRACE_COMMITTED] = "committed",
					    [TRACE_FAILED] = "failed",
					    [TRACE_WRITTEN] = "written"};
	return names[point];
}

/* --- who is told ------------------------------------------------------------------------------ */

static bool trace_wants(const struct trace *t, const struct mount *m, const struct session *s)
{
	const char *user = s != NULL && t->user != NULL ? identity_user(s) : NULL;
	return (!t->sampled || (s != NULL && s->sampled)) && (t->mount == NULL || t->mount == m) &&
	       (t->local == 0 || (s != NULL && s->local == t->local)) &&
	       (t->user == NULL || (user != NULL && strcmp(user, t->user) == 0));
}

static void trace_tell(struct traces *all, struct trace_told *told)
{
	struct timespec now;
	struct trace *t;
	char parent[TRACE_CONTEXT_TEXT];
	const struct hub_event e = {.kind = told->kind != EVENT_UPGRADE ? told->kind : EVENT_OPEN,
				    .session = (struct session *)told->session,
				    .sequence = told->sequence};
	told->traceparent = session_trace_parent(&e, parent);
	clock_gettime(CLOCK_REALTIME, &now);
	told->us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
	LIST_FOREACH(t, &all->list, others)
	if (trace_wants(t, told->mount, told->session))
		t->tell(t->ctx, told);
}

static struct trace_told trace_of(const struct mount *m, const struct hub_event *e,
				  enum trace_point point)
{
	return (struct trace_told){.point = point,
				   .mount = m,
				   .session = e->session,
				   .kind = e->kind,
				   .sequence = e->sequence,
				   .attempt = e->attempt,
				   .bytes = e->kind == EVENT_MESSAGE ? e->message.len : 0};
}

void trace_message(struct session *s, size_t len)
{
	struct mount *m = s->mount;
	struct trace_told told = {.point = TRACE_RECEIVED,
				  .mount = m,
				  .session = s,
				  .kind = EVENT_MESSAGE,
				  .bytes = len};
	trace_tell(m->hub->traces, &told);
}

void trace_given(struct mount *m, const struct hub_event *e, const char *who)
{
	struct trace_told told = trace_of(m, e, TRACE_GIVEN);
	told.who = span_of(who);
	trace_tell(m->hub->traces, &told);
}

/* --- what is written -------------------------------------------------------------------------- */

static void trace_wait(struct traces *all, const struct hub_event *e)
{
	if (e->session == NULL || e->session->conn == NULL || all->n_waits == TRACE_WAITS_MAX)
		return;
	all->waits[all->n_waits++] = (struct trace_wait){.local = e->session->local,
							 .sequence = e->sequence,
							 .kind = e->kind};
}

void trace_settled(struct mount *m, const struct hub_event *e, bool ok, bool applied,
		   uint32_t commands, struct span why)
{
	struct trace_told told = trace_of(m, e,
					  !ok	    ? TRACE_FAILED
					  : applied ? TRACE_COMMITTED
						    : TRACE_ACKNOWLEDGED);
	told.commands = commands;
	told.why = ok ? (struct span){NULL, 0} : why;
	trace_tell(m->hub->traces, &told);
	if (ok && applied && commands > 0)
		trace_wait(m->hub->traces, e);
}

/* Is there still something for the client? Of one whose socket another loop has it is known what
 * that has shown lately. */
static bool trace_is_written(const struct session *s)
{
	if (s->conn == NULL)
		return true;
	return conn_stub(s->conn) != NULL ? session_load(s).waiting == 0 : s->conn->out.bytes == 0;
}

static void trace_look(struct traces *all)
{
	unsigned kept = 0;
	for (unsigned i = 0; i < all->n_waits; i++) {
		const struct trace_wait w = all->waits[i];
		struct session *s = slotmap_get(&all->hub->sessions, w.local);
		struct trace_told told = {.point = TRACE_WRITTEN,
					  .session = s,
					  .kind = w.kind,
					  .sequence = w.sequence};
		if (s == NULL)
			continue;
		told.mount = s->mount;
		if (trace_is_written(s))
			trace_tell(all, &told);
		else
			all->waits[kept++] = w;
	}
	all->n_waits = kept;
	if (kept > 0 && !loop_timer_is_set(&all->look))
		loop_timer_set(&all->look, TRACE_LOOK_MS);
}

static void trace_on_look(void *arg)
{
	(void)arg; /* the turn's end does it */
}

static void trace_on_turn(void *arg)
{
	trace_look(arg);
}

/* --- its life --------------------------------------------------------------------------------- */

static struct traces *traces_of(struct hub *hub)
{
	struct traces *all = hub->traces;
	if (all != NULL || (all = calloc(1, sizeof *all)) == NULL)
		return all;
	all->hub = hub;
	LIST_INIT(&all->list);
	all->hook = (struct loop_hook){.run = trace_on_turn, .arg = all};
	loop_timer_init(hub->loop, &all->look, trace_on_look, all);
	loop_add_hook(hub->loop, &all->hook);
	hub->traces = all;
	hub->ops->trace_messages(hub, true);
	return all;
}

/* The last one goes: nothing of it is left. */
static void traces_free(struct traces **all_p)
{
	struct traces *all = *all_p;
	*all_p = NULL;
	all->hub->ops->trace_messages(all->hub, false);
	loop_timer_cancel(&all->look);
	loop_remove_hook(all->hub->loop, &all->hook);
	free(all);
}

struct trace *trace_begin(struct hub *hub, const struct trace_filter *filter,
			  void (*tell)(void *ctx, const struct trace_told *told), void *ctx)
{
	struct trace *t = calloc(1, sizeof *t);
	char *user = t != NULL && filter->user.p != NULL ? strndup(filter->user.p, filter->user.n)
							 : NULL;
	bool ok = t != NULL && (filter->user.p == NULL || user != NULL) &&
		  (hub->traces == NULL || filter->sampled || hub->traces->n < TRACES_MAX);
	struct traces *all = ok ? traces_of(hub) : NULL;
	if (all == NULL) {
		free(user);
		free(t);
		return NULL;
	}
	*t = (struct trace){.all = all,
			    .mount = filter->mount,
			    .local = filter->local,
			    .user = user,
			    .sampled = filter->sampled,
			    .tell = tell,
			    .ctx = ctx};
	LIST_INSERT_HEAD(&all->list, t, others);
	all->n++;
	return t;
}

void trace_end(struct trace **trace_p)
{
	struct trace *t = *trace_p;
	*trace_p = NULL;
	if (t == NULL)
		return;
	struct traces *all = t->all;
	LIST_REMOVE(t, others);
	free(t->user);
	free(t);
	if (--all->n == 0)
		traces_free(&all->hub->traces);
}
