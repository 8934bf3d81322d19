/* What the hub asks of a stub goes down to the loop that has the conn. */
#include <stdlib.h>

#include "base/check.h"
#include "threads/remote_conn_parts.h"

static void remote_conn_down_copy(char **to, struct span from)
{
	if (from.n > 0)
		memcpy(*to, from.p, from.n);
	*to += from.n;
}

/* The other loop writes the answer: what is agreed on with the client is its business. */
static bool remote_conn_down_accept(struct conn *c, const struct request *r, enum slow_policy slow,
				    struct span subprotocol, struct span extra)
{
	struct channel_accept *a;
	CHECK(c->waiting == CONN_WAIT_ASK);
	const struct remote_conn *f = remote_conn_of(c);
	struct span head =
		r->head.p == f->parsed_head ? (struct span){f->head.p, f->head.n} : r->head;
	size_t len = sizeof *a + head.n + subprotocol.n + extra.n;
	struct channel_record *record =
		channel_down(&remote_conn_of(c)->channel, CHANNEL_ACCEPT, len, 0);
	if (record == NULL) {
		remote_conn_abort(c);
		return false;
	}
	record->conn = c->peer;
	record->code = (uint16_t)slow;
	a = (struct channel_accept *)record->bytes;
	const struct conn_ops *ops = c->conns->ops;
	*a = (struct channel_accept){.budget = ops->budget != NULL ? ops->budget(c) : NULL,
				     .head = (uint32_t)head.n,
				     .subprotocol = (uint32_t)subprotocol.n,
				     .extra = (uint32_t)extra.n};
	char *to = a->bytes;
	remote_conn_down_copy(&to, head);
	remote_conn_down_copy(&to, subprotocol);
	remote_conn_down_copy(&to, extra);
	c->waiting = CONN_WAIT_IDLE;
	return true;
}

static void remote_conn_down_measure(struct conn *c, const struct rate_limit_rule *rule, bool pings)
{
	const struct channel_rule r = {.name = rule, .rule = *rule};
	remote_conn_put(remote_conn_of(c), CHANNEL_MEASURE, c->peer, &r, sizeof r)->flag = pings;
}

static void remote_conn_down_count_traffic(struct conn *c, struct traffic *t)
{
	remote_conn_put(remote_conn_of(c), CHANNEL_TRAFFIC, c->peer, &t, sizeof(struct traffic *));
}

static bool remote_conn_down_answering(struct conn *c)
{
	if (c->waiting == CONN_WAIT_ASK)
		remote_conn_put(remote_conn_of(c), CHANNEL_ANSWERING, c->peer, NULL, 0);
	c->waiting = CONN_WAIT_CLOSE;
	c->keep_alive = false;
	c->released = true;
	return true;
}

static bool remote_conn_down_raw(struct conn *c, const struct slice *bytes)
{
	struct channel_record *r =
		channel_down(&remote_conn_of(c)->channel, CHANNEL_RAW, bytes->len, 0);
	if (r == NULL)
		return false;
	r->conn = c->peer;
	memcpy(r->bytes, slice_bytes(bytes), bytes->len);
	return true;
}

static void remote_conn_down_copy_frame(struct channel_frame *to, const struct slice *frame)
{
	to->note = chunk_note_at(frame->chunk, frame->off);
	memcpy(to->bytes, slice_bytes(frame), frame->len);
}

static enum conn_sent remote_conn_down_send(struct conn *c, const struct out_message *o, bool own)
{
	const struct slice *frame = o->frame;
	/* Answers to what came before the peer's close frame, or its end of the stream, leave
	 * before ours. */
	if (c->ended && !(c->eof && own))
		return CONN_GONE;
	struct channel_record *r = channel_down(&remote_conn_of(c)->channel, CHANNEL_SEND,
						sizeof(struct channel_frame) + frame->len, 1);
	if (r == NULL)
		return CONN_NO_MEMORY;
	r->conn = c->peer;
	r->flag = own;
	r->code = o->slow;
	r->delivery = c->conns->loop->delivery;
	remote_conn_down_copy_frame((struct channel_frame *)r->bytes, frame);
	remote_conn_count(c, frame->len);
	return CONN_SENT;
}

static void remote_conn_down_close(struct conn *c, uint16_t code, const char *reason, size_t len,
				   bool urgent)
{
	struct channel_record *r;
	if (c->ended)
		return;
	c->ended = true;
	c->eof = !urgent; /* it waits for conn_echo_close */
	r = remote_conn_put(remote_conn_of(c), CHANNEL_CLOSE, c->peer, reason, len);
	r->code = code;
	r->flag = urgent;
}

static void remote_conn_down_echo_close(struct conn *c)
{
	if (!c->eof)
		return;
	c->eof = false;
	remote_conn_put(remote_conn_of(c), CHANNEL_ECHO_CLOSE, c->peer, NULL, 0);
}

static void remote_conn_down_cork(struct conn *c, bool on)
{
	if (c->corked == on)
		return;
	c->corked = on;
	remote_conn_put(remote_conn_of(c), CHANNEL_CORK, c->peer, NULL, 0)->flag = on;
}

static void remote_conn_down_hold(struct conn *c, enum conn_pause why, bool hold)
{
	if (why != CONN_PAUSE_OUTPUT) {
		remote_conn_put(remote_conn_of(c), CHANNEL_HOLD, c->peer, NULL, 0)->flag = hold;
	} else if (hold) {
		c->paused |= CONN_PAUSE_OUTPUT;
	} else {
		c->paused &= (uint8_t)~CONN_PAUSE_OUTPUT;
		remote_conn_unpark(c, false);
	}
}

static void remote_conn_down_hear_out(struct conn *c)
{
	remote_conn_unpark(c, true);
}

static void remote_conn_down_release(struct conn *c)
{
	CHECK(!c->released);
	c->released = true;
	remote_conn_unpark(c, true); /* it has ended, and so nobody hears of them */
	remote_conn_put(remote_conn_of(c), CHANNEL_RELEASE, c->peer, NULL, 0);
}

static struct address remote_conn_down_local(const struct conn *c)
{
	return remote_conn_of(c)->local;
}

static struct tls_facts remote_conn_down_tls_facts(const struct conn *c)
{
	return remote_conn_of(c)->tls;
}

/* --- groups ----------------------------------------------------------------------------------- */

static struct remote_conn_group *remote_conn_down_group(struct conn_group *g)
{
	return (struct remote_conn_group *)g;
}

static struct conn_group *remote_conn_down_group_new(const struct conns *s)
{
	struct remote_conn_group *g = malloc(sizeof *g);
	if (g == NULL)
		return NULL;
	*g = (struct remote_conn_group){.base = {.ops = s->remote}, .remote_conn = s->remote_ctx};
	return &g->base;
}

static void remote_conn_down_group_free(struct conn_group *base)
{
	struct remote_conn_group *g = remote_conn_down_group(base);
	channel_down(&g->remote_conn->channel, CHANNEL_DROP, 0, 0)->group = g;
}

static bool remote_conn_down_group_resize(struct conn_group *base, uint32_t cap)
{
	struct remote_conn_group *g = remote_conn_down_group(base);
	const struct channel_array array = {.members = malloc(cap * sizeof *array.members),
					    .cap = cap};
	if (array.members == NULL)
		return false;
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_RESIZE, sizeof array, 0);
	r->group = g;
	memcpy(r->bytes, &array, sizeof array);
	return true;
}

static void remote_conn_down_group_add(struct conn_group *base, struct conn *stub)
{
	struct remote_conn_group *g = remote_conn_down_group(base);
	const struct channel_member member = {.conn = stub->peer};
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_ADD, sizeof member, 0);
	r->group = g;
	memcpy(r->bytes, &member, sizeof member);
}

static void remote_conn_down_group_remove(struct conn_group *base, uint32_t place)
{
	struct remote_conn_group *g = remote_conn_down_group(base);
	const struct channel_member member = {.place = place};
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_REMOVE, sizeof member, 0);
	r->group = g;
	memcpy(r->bytes, &member, sizeof member);
}

static struct conn *remote_conn_down_peer_there(const struct remote_conn_group *g,
						const struct conn *c)
{
	return c != NULL && c->conns->remote_ctx == g->remote_conn ? c->peer : NULL;
}

static bool remote_conn_down_broadcast(struct conn_group *base, uint32_t n,
				       const struct out_message *o, const struct conn *exclude,
				       const struct conn *own)
{
	struct remote_conn_group *g = remote_conn_down_group(base);
	const struct slice *frame = o->frame;
	struct channel_broadcast *b;
	struct channel_record *r = channel_down(&g->remote_conn->channel, CHANNEL_BROADCAST,
						sizeof *b + frame->len, n);
	if (r == NULL)
		return false;
	r->group = g;
	b = (struct channel_broadcast *)r->bytes;
	r->code = o->slow;
	r->delivery = g->remote_conn->here->loop->delivery;
	b->exclude = remote_conn_down_peer_there(g, exclude);
	b->own = remote_conn_down_peer_there(g, own);
	remote_conn_down_copy_frame(&b->frame, frame);
	return true;
}

const struct conn_remote remote_conn_ops = {
	.accept = remote_conn_down_accept,
	.measure = remote_conn_down_measure,
	.count_traffic = remote_conn_down_count_traffic,
	.answering = remote_conn_down_answering,
	.raw = remote_conn_down_raw,
	.send = remote_conn_down_send,
	.close = remote_conn_down_close,
	.echo_close = remote_conn_down_echo_close,
	.abort = remote_conn_abort,
	.cork = remote_conn_down_cork,
	.hold = remote_conn_down_hold,
	.release = remote_conn_down_release,
	.hear_out = remote_conn_down_hear_out,
	.load = remote_conn_load,
	.take = remote_conn_take,
	.local = remote_conn_down_local,
	.tls_facts = remote_conn_down_tls_facts,
	.group_new = remote_conn_down_group_new,
	.group_free = remote_conn_down_group_free,
	.group_resize = remote_conn_down_group_resize,
	.group_add = remote_conn_down_group_add,
	.group_remove = remote_conn_down_group_remove,
	.broadcast = remote_conn_down_broadcast,
};
