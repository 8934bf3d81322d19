#include "ops/api_trace.h"

#include <stdlib.h>

#include "base/check.h"
#include "ops/api_params.h"
#include "ops/trace_line.h"

#define API_TRACE_FOR_S 60
#define API_TRACE_FOR_MAX_S 3600
#define API_TRACE_UNREAD (256u << 10) /* bytes that one has not read: it misses what follows */
#define API_TRACE_LOOK_MS 250	      /* whether it is over */
#define API_TRACE_SILENT_MS 15000     /* after which an empty line says that it goes on */

struct api_trace {
	uint16_t magic; /* CHECK_API_TRACE */
	struct api *api;
	struct conn *conn; /* who reads it */
	struct trace *trace;
	struct loop_timer look;
	struct codec_out out[2]; /* what collects, and what is being sent */
	unsigned collects;
	uint64_t local;	      /* of the only session that is looked at; 0: there may be several */
	uint64_t until, said; /* ms of the loop's clock */
	uint64_t dropped;
	bool over;
};

/* --- lines ------------------------------------------------------------------------------------ */

static void api_trace_has(struct api_trace *t)
{
	t->said = loop_now(t->api->hub->loop);
	answer_resume(t->conn);
}

static void api_trace_tell(void *ctx, const struct trace_told *told)
{
	struct api_trace *t = ctx;
	CHECK_IS(t, CHECK_API_TRACE);
	struct codec_out *o = &t->out[t->collects];
	if (t->dropped > 0 || codec_size(o) > API_TRACE_UNREAD) {
		t->dropped++;
		return;
	}
	codec_raw(o, "{", 1);
	trace_line(o, told);
	codec_raw(o, "}\n", 2);
	api_trace_has(t);
}

/* Who has read all there was learns how much he has missed. */
static enum answer_next api_trace_next(void *ctx, struct span *piece_r)
{
	struct api_trace *t = ctx;
	CHECK_IS(t, CHECK_API_TRACE);
	struct codec_out *o = &t->out[t->collects];
	if (t->dropped > 0) {
		codec_raw(o, "{", 1);
		codec_raw(o, "\"dropped\":", 10);
		buffer_add_number(&o->text, t->dropped);
		codec_raw(o, "}\n", 2);
		t->dropped = 0;
	}
	t->collects ^= 1;
	codec_reset(&t->out[t->collects]);
	*piece_r = (struct span){o->text.p, o->text.n};
	return codec_failed(o) ? ANSWER_BROKEN
	       : t->over       ? ANSWER_END
	       : o->text.n > 0 ? ANSWER_MORE
			       : ANSWER_QUIET;
}

/* Is there still somebody to look at, and time to do it? */
static bool api_trace_is_over(const struct api_trace *t)
{
	struct hub *hub = t->api->hub;
	return loop_now(hub->loop) >= t->until ||
	       (t->local != 0 && slotmap_get(&hub->sessions, t->local) == NULL);
}

static void api_trace_on_look(void *arg)
{
	struct api_trace *t = arg;
	CHECK_IS(t, CHECK_API_TRACE);
	bool silent = loop_now(t->api->hub->loop) - t->said >= API_TRACE_SILENT_MS;
	t->over = api_trace_is_over(t);
	if (!t->over && silent)
		codec_raw(&t->out[t->collects], "\n", 1);
	if (t->over || silent)
		api_trace_has(t);
	if (!t->over)
		loop_timer_set(&t->look, API_TRACE_LOOK_MS);
}

static void api_trace_free(void *ctx)
{
	struct api_trace *t = ctx;
	CHECK_IS(t, CHECK_API_TRACE);
	loop_timer_cancel(&t->look);
	trace_end(&t->trace);
	codec_free(&t->out[0]);
	codec_free(&t->out[1]);
	t->magic = CHECK_GONE;
	free(t);
}

/* --- what is asked ---------------------------------------------------------------------------- */

/* False: it was answered. Who may not know of a connection learns no more than that there is no
 * such one. */
static bool api_trace_session(struct api_call *call, struct span text, struct trace_filter *filter)
{
	const struct hub *hub = call->api->hub;
	struct session_id id;
	if (!session_id_parse(text, &id)) {
		api_call_refuse(call, 400, "\"%.*s\" is no id of a connection",
				text.n < 64 ? (int)text.n : 64, text.p);
		return false;
	}
	const struct session *s =
		id.host == hub->host_id ? slotmap_get(&hub->sessions, id.local) : NULL;
	if (s == NULL || s->ended || (filter->mount != NULL && s->mount != filter->mount) ||
	    !api_token_may(&call->api->tokens, &call->grant, API_SCOPE_READ, s->mount->path)) {
		api_call_refuse(call, 404, "there is no such connection, or it has ended");
		return false;
	}
	filter->local = id.local;
	return true;
}

/* False: it was answered. */
static bool api_trace_whom(struct api_call *call, const struct api_params *p,
			   struct trace_filter *filter)
{
	struct mount *m;
	*filter = (struct trace_filter){.user = p->values[2]};
	if (!api_params_mount(call, p->values[0], &m))
		return false;
	filter->mount = m;
	if (p->values[1].p != NULL)
		return api_trace_session(call, p->values[1], filter);
	if (m == NULL && filter->user.p == NULL) {
		api_call_refuse(call, 400, "whose events? expected conn, user or mount");
		return false;
	}
	return m != NULL || api_call_may(call, API_SCOPE_READ, NULL);
}

static struct api_trace *api_trace_new(struct api_call *call, const struct trace_filter *filter,
				       uint64_t for_s)
{
	struct api_trace *t = malloc(sizeof *t);
	struct loop *loop = call->api->hub->loop;
	if (t == NULL)
		return NULL;
	*t = (struct api_trace){.magic = CHECK_API_TRACE,
				.api = call->api,
				.conn = call->conn,
				.local = filter->local,
				.until = loop_now(loop) + for_s * 1000,
				.said = loop_now(loop)};
	loop_timer_init(loop, &t->look, api_trace_on_look, t);
	trace_sampler_tell(call->api->sampler, filter, API_TRACE_UNREAD, &t->out[0]);
	t->trace = trace_begin(call->api->hub, filter, api_trace_tell, t);
	if (t->trace != NULL && loop_timer_set(&t->look, API_TRACE_LOOK_MS))
		return t;
	api_trace_free(t);
	return NULL;
}

void api_trace(struct api_call *call)
{
	struct api_params p;
	struct trace_filter filter;
	uint64_t for_s;
	if (!api_params_read(call, &p) || !api_trace_whom(call, &p, &filter) ||
	    !api_params_number(call, "for", p.values[3], API_TRACE_FOR_S, API_TRACE_FOR_MAX_S,
			       &for_s))
		return;
	struct api_trace *t = api_trace_new(call, &filter, for_s);
	if (t == NULL) {
		api_call_refuse(call, 503, "no memory for a trace, or %d are being read already",
				TRACES_MAX);
		return;
	}
	const struct answer_source source = {.next = api_trace_next,
					     .free = api_trace_free,
					     .ctx = t};
	answer_source(call->conn, call->request, 200, SPAN(API_HEAD), "application/x-ndjson",
		      &source);
}
