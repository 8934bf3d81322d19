/* link_out: what a worker is sent. */
#include <stdlib.h>

#include "handler/worker/link.h"
#include "hub/trace.h"

/* What waits for the worker as text counts where the events do of which it was made. */
void link_weigh(struct worker *w)
{
	struct budget *b = w->pool->base.mount->budget;
	uint64_t held = w->pipe != NULL ? sp_held(w->pipe) : 0;
	if (held > w->held)
		budget_add_event(b, held - w->held);
	else if (held < w->held)
		budget_sub_event(b, w->held - held);
	w->held = held;
	w->waits = w->pipe != NULL && sp_waiting(w->pipe) > 0;
}

void link_flush(struct worker *w)
{
	struct iovec parts[CODEC_PARTS];
	if (w->out.n == 0 || w->pipe == NULL || w->broken)
		return;
	int n = codec_parts(&w->out, parts);
	bool ok = !codec_failed(&w->out) && sp_send(w->pipe, parts, n);
	codec_reset(&w->out);
	w->open = false;
	if (w->answers > 0)
		w->answers_end = sp_given(w->pipe);
	link_weigh(w);
	/* Not cut off here, where others may be walking the workers. */
	w->broken = w->broken || !ok;
}

/* A large message is written as the worker reads it: its text may be six times as long, and would
 * lie here beside it. */
static void link_out_stream(struct worker *w, struct event_held *e)
{
	struct iovec head[CODEC_PARTS], tail[CODEC_PARTS];
	link_flush(w);
	int n_tail = codec_stream(&w->out, e, &w->stream, tail);
	const struct sp_source source = {.next = codec_stream_next,
					 .ctx = &w->stream,
					 .left = codec_stream_size(&w->stream)};
	head[0] = (struct iovec){w->out.text.p, w->out.text.n};
	bool ok = !codec_failed(&w->out) && sp_stream(w->pipe, head, 1, &source, tail, n_tail);
	codec_reset(&w->out);
	w->open = false;
	w->streamed = e;
	w->broken = w->broken || !ok;
	link_weigh(w);
}

/* The event may be freed from now on: what was not sent of it is copied. */
void link_forget(struct worker *w)
{
	w->streamed = NULL;
	if (w->pipe == NULL || !sp_streams(w->pipe))
		return;
	free(w->copy);
	w->copy = malloc(w->stream.left);
	if (w->copy != NULL) {
		memcpy(w->copy, w->stream.at, w->stream.left);
		w->stream.at = w->copy;
	} else {
		sp_give_up(w->pipe);
		w->broken = true;
	}
}

/* A lone event leaves at the end of the turn; a flood leaves in batches. What is larger than a
 * batch travels alone. */
void link_deliver(struct worker *w, struct event_held *e)
{
	bool large = e->event.kind == EVENT_MESSAGE && e->event.message.len >= POOL_STREAM_MIN;
	if (w->out.n > 0 && !link_has_room(w, e))
		link_flush(w);
	e->number = ++w->number;
	if (w->pool->base.mount->hub->traces != NULL)
		trace_given(w->pool->base.mount, &e->event, w->name);
	if (large && w->pipe != NULL && !w->broken && !sp_streams(w->pipe)) {
		link_out_stream(w, e);
		return;
	}
	w->open = true;
	codec_event(&w->out, e);
}

bool link_is_full(const struct worker *w)
{
	return w->waits && w->pipe != NULL &&
	       (sp_streams(w->pipe) ||
		sp_waiting(w->pipe) + codec_size(&w->out) > POOL_BATCH_BYTES);
}

bool link_has_room(const struct worker *w, const struct event_held *e)
{
	return w->out.n < POOL_BATCH &&
	       codec_size(&w->out) + e->size + codec_kept_size(&w->out, e) <=
		       POOL_BATCH_BYTES;
}
