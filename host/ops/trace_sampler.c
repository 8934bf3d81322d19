#include "ops/trace_sampler.h"

#include <stdlib.h>

#include "ops/trace_line.h"

/* The last lines of a mount. */
struct trace_sampler_ring {
	struct trace_sampler_ring *next;
	const struct mount *mount;
	uint64_t n; /* that there have been */
	struct trace_sampler_kept {
		uint64_t local; /* the session's */
		uint16_t len, user_len;
		char user[TRACE_SAMPLER_USER_MAX], line[TRACE_SAMPLER_LINE_MAX];
	} kept[TRACE_SAMPLER_KEPT];
};

/* --- what is kept ----------------------------------------------------------------------------- */

/* NULL without memory: it is written down at least. */
static struct trace_sampler_ring *trace_sampler_ring(struct trace_sampler *s, const struct mount *m)
{
	struct trace_sampler_ring *r = s->rings;
	while (r != NULL && r->mount != m)
		r = r->next;
	if (r != NULL || (r = calloc(1, sizeof *r)) == NULL)
		return r;
	r->mount = m;
	r->next = s->rings;
	s->rings = r;
	return r;
}

static void trace_sampler_keep(struct trace_sampler *s, const struct trace_told *told)
{
	struct codec_out *o = &s->out;
	codec_reset(o);
	codec_raw(o, "{", 1);
	trace_line(o, told);
	codec_raw(o, "}\n", 2);
	struct trace_sampler_ring *r = !codec_failed(o) && o->text.n <= TRACE_SAMPLER_LINE_MAX
					       ? trace_sampler_ring(s, told->mount)
					       : NULL;
	if (r == NULL)
		return;
	struct trace_sampler_kept *k = &r->kept[r->n++ % TRACE_SAMPLER_KEPT];
	struct span user = span_of(identity_user(told->session));
	k->local = told->session->local;
	k->user_len = (uint16_t)(user.n <= sizeof k->user ? user.n : 0);
	if (k->user_len > 0)
		memcpy(k->user, user.p, k->user_len);
	k->len = (uint16_t)o->text.n;
	memcpy(k->line, o->text.p, k->len);
}

static bool trace_sampler_wants(const struct trace_sampler_kept *k,
				const struct trace_filter *filter)
{
	return (filter->local == 0 || k->local == filter->local) &&
	       (filter->user.p == NULL ||
		span_eq(filter->user, (struct span){k->user, k->user_len}));
}

void trace_sampler_tell(const struct trace_sampler *s, const struct trace_filter *filter,
			size_t most, struct codec_out *o)
{
	for (const struct trace_sampler_ring *r = s->rings; r != NULL; r = r->next) {
		if (filter->mount != NULL && r->mount != filter->mount)
			continue;
		uint64_t from = r->n > TRACE_SAMPLER_KEPT ? r->n - TRACE_SAMPLER_KEPT : 0;
		for (uint64_t i = from; i < r->n; i++) {
			const struct trace_sampler_kept *k = &r->kept[i % TRACE_SAMPLER_KEPT];
			if (trace_sampler_wants(k, filter) && o->text.n + k->len <= most)
				codec_raw(o, k->line, k->len);
		}
	}
}

/* --- what is written down --------------------------------------------------------------------- */

static void trace_sampler_write(const struct trace_sampler *s, const struct trace_told *told)
{
	char id[SESSION_ID_TEXT];
	bool sized = told->kind == EVENT_MESSAGE && told->point <= TRACE_GIVEN,
	     commands = told->point == TRACE_ACKNOWLEDGED || told->point == TRACE_COMMITTED;
	LOG(s->log, LOG_NOTICE, LOG_TRACE, trace_point_name(told->point),
	    LOG_STR("mount", told->mount->path), LOG_STR("event", event_name(told->kind)),
	    LOG_STR("conn", hub_session_text(told->session, id)),
	    LOG_STR("user", identity_user(told->session)), LOG_U64("seq", told->sequence),
	    LOG_U64("attempt", told->attempt), LOG_SPAN("to", told->who),
	    LOG_U64("bytes", sized ? told->bytes : 0),
	    LOG_U64("commands", commands ? told->commands : 0), LOG_SPAN("error", told->why),
	    LOG_I64("us", told->us), LOG_STR("traceparent", told->traceparent));
}

static void trace_sampler_on_told(void *ctx, const struct trace_told *told)
{
	struct trace_sampler *s = ctx;
	trace_sampler_keep(s, told);
	if (s->log != NULL)
		trace_sampler_write(s, told);
}

/* --- its life --------------------------------------------------------------------------------- */

void trace_sampler_init(struct trace_sampler *s, struct hub *hub)
{
	*s = (struct trace_sampler){.hub = hub};
}

void trace_sampler_set(struct trace_sampler *s)
{
	static const struct trace_filter sampled = {.sampled = true};
	bool any = false;
	for (const struct mount *m = s->hub->mounts; m != NULL; m = m->next)
		any = any || m->trace_sample > 0;
	if (any && s->trace == NULL)
		s->trace = trace_begin(s->hub, &sampled, trace_sampler_on_told, s);
	if (any && s->trace == NULL)
		LOG(s->hub->log, LOG_ERROR, LOG_TRACE, "no memory: nothing is sampled for traces");
	if (!any)
		trace_end(&s->trace);
}

void trace_sampler_free(struct trace_sampler *s)
{
	struct trace_sampler_ring *r;
	trace_end(&s->trace);
	while ((r = s->rings) != NULL) {
		s->rings = r->next;
		free(r);
	}
	codec_free(&s->out);
}
