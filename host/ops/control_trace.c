#include "ops/control_trace.h"

#include <stdlib.h>

#include "ops/trace_line.h"

#define CONTROL_TRACE_UNREAD (1u << 20) /* bytes that one has not read: it misses what follows */

struct control_trace {
	LIST_ENTRY(control_trace) others;
	struct hub *hub;
	struct sp_pipe *pipe;
	struct trace *trace;
	struct loop_hook hook;
	struct loop_timer bury; /* the pipe is closed: it goes when nobody is in it */
	struct codec_out out;	/* of the turn */
	uint64_t q, dropped;
};

static void control_trace_write(struct control_trace *t, const struct trace_told *told)
{
	codec_object(&t->out, "trace");
	codec_member_uint(&t->out, "q", t->q);
	codec_raw(&t->out, ",", 1);
	trace_line(&t->out, told);
	codec_object_end(&t->out);
}

static void control_trace_tell(void *ctx, const struct trace_told *told)
{
	struct control_trace *t = ctx;
	if (t->pipe == NULL || sp_is_closed(t->pipe))
		return;
	if (sp_waiting(t->pipe) + codec_size(&t->out) > CONTROL_TRACE_UNREAD)
		t->dropped++;
	else
		control_trace_write(t, told);
}

/* Of what he has missed he is told as soon as he reads again. */
static void control_trace_on_turn(void *arg)
{
	struct control_trace *t = arg;
	struct iovec parts[CODEC_PARTS];
	if (t->pipe == NULL || sp_is_closed(t->pipe))
		return;
	if (t->dropped > 0 && sp_waiting(t->pipe) < CONTROL_TRACE_UNREAD / 2) {
		codec_object(&t->out, "trace");
		codec_member_uint(&t->out, "q", t->q);
		codec_member_uint(&t->out, "dropped", t->dropped);
		codec_object_end(&t->out);
		t->dropped = 0;
	}
	if (t->out.n == 0)
		return;
	unsigned n = t->out.n;
	/* the pipe may be closed by that, and this be ended */
	if (codec_failed(&t->out) || !sp_send(t->pipe, parts, codec_parts(&t->out, parts)))
		t->dropped += n;
	codec_reset(&t->out);
}

static void control_trace_free(struct control_trace *t)
{
	LIST_REMOVE(t, others);
	loop_remove_hook(t->hub->loop, &t->hook);
	loop_timer_cancel(&t->bury);
	trace_end(&t->trace);
	codec_free(&t->out);
	free(t);
}

static void control_trace_on_bury(void *arg)
{
	control_trace_free(arg);
}

const char *control_trace_begin(struct control_traces *all, struct hub *hub, struct sp_pipe *pipe,
				uint64_t q, const struct trace_filter *filter)
{
	struct control_trace *t = calloc(1, sizeof *t);
	if (t == NULL)
		return "no memory for a trace";
	*t = (struct control_trace){.hub = hub, .pipe = pipe, .q = q};
	t->trace = trace_begin(hub, filter, control_trace_tell, t);
	if (t->trace == NULL) {
		free(t);
		return "no memory for a trace, or too many look already";
	}
	t->hook = (struct loop_hook){.run = control_trace_on_turn, .arg = t};
	loop_timer_init(hub->loop, &t->bury, control_trace_on_bury, t);
	loop_add_hook(hub->loop, &t->hook);
	LIST_INSERT_HEAD(all, t, others);
	return NULL;
}

void control_trace_end(struct control_traces *all, const struct sp_pipe *pipe)
{
	struct control_trace *t, *next;
	for (t = LIST_FIRST(all); t != NULL; t = next) {
		next = LIST_NEXT(t, others);
		if (pipe == NULL) {
			control_trace_free(t);
		} else if (t->pipe == pipe) {
			t->pipe = NULL;
			trace_end(&t->trace);
			loop_timer_set(&t->bury, 0);
		}
	}
}
