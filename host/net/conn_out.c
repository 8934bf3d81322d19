/* What a conn is given to send: it is queued, and leaves at the end of the turn (conn_flush.c). */
#include "net/conn_parts.h"
#include "ws/upgrade.h"

bool conn_queue(struct conn *c, const struct slice *s, bool raw)
{
	struct outq_spare *spare = &c->conns->spare;
	if (!(raw ? outq_append_raw(&c->out, s, spare) : outq_append(&c->out, s, spare)))
		return false;
	/* else the poller says when it is worth a try; what follows the queue leaves a block a turn
	 */
	if (!c->out.stalled && !conn_has_rest(c))
		conn_mark_dirty(c);
	return true;
}

bool conn_queue_raw(struct conn *c, const struct slice *bytes)
{
	return c->conns->remote != NULL ? c->conns->remote->raw(c, bytes)
					: conn_queue(c, bytes, true);
}

/* Control frames pass data that a slow peer has not read; else the order of events is the better
 * one. */
bool conn_queue_control(struct conn *c, enum frame_opcode opcode, const uint8_t *payload,
			size_t len)
{
	uint8_t frame[FRAME_SERVER_HEAD_MAX + FRAME_CONTROL_MAX];
	size_t head = frame_head(frame, opcode, len);
	if (len > 0)
		memcpy(frame + head, payload, len);
	if (c->out.stalled && opcode != FRAME_CLOSE)
		return outq_urgent(&c->out, frame, head + len, &c->conns->spare);
	struct slice s;
	if (!chunk_alloc(&c->conns->loop->chunks, head + len, &s))
		return false;
	memcpy(slice_bytes(&s), frame, head + len);
	bool ok = conn_queue(c, &s, false);
	slice_unref(&s);
	return ok;
}

bool conn_accept(struct conn *c, const struct request *r, enum slow_policy slow,
		 struct span subprotocol, struct span extra)
{
	conn_check(c);
	char extensions[DEFLATE_ANSWER_MAX];
	struct slice s;
	if (c->conns->remote != NULL)
		return c->conns->remote->accept(c, r, slow, subprotocol, extra);
	conn_pack(c, r, slow == SLOW_POLICY_CLOSE, extensions);
	size_t cap = UPGRADE_RESPONSE_MAX + strlen(extensions) + subprotocol.n + extra.n;
	bool ok = chunk_alloc(&c->conns->loop->chunks, cap, &s);
	if (ok) {
		s.len = (uint32_t)upgrade_response((char *)slice_bytes(&s), cap, r, subprotocol,
						   span_of(extensions), extra);
		ok = conn_queue(c, &s, true);
		slice_unref(&s);
	}
	if (!ok) {
		conn_abort(c);
		return false;
	}
	conn_set_state(c, CONN_OPEN);
	c->last_in = (uint32_t)loop_now(c->conns->loop);
	conn_wait(c, CONN_WAIT_IDLE);
	return true;
}

void conn_cork(struct conn *c, bool on)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		c->conns->remote->cork(c, on);
	c->corked = on;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Something waits: may that be added, after a write if none was tried? */
static enum conn_sent conn_out_admits(struct conn *c, uint32_t len, bool own)
{
	struct conns *s = c->conns;
	/* where it fails, the end is told at the end of the turn: members may be being walked */
	if (!c->out.stalled && c->broken == 0)
		conn_write(c);
	if (c->broken != 0)
		return CONN_GONE;
	if (c->out.bytes == 0)
		return CONN_SENT;
	if ((uint64_t)c->out.bytes + len > OUTQ_FRAME_MAX ||
	    !outq_admits(&c->out, len, own, &s->spare))
		return CONN_FULL;
	bool much = own && outq_weight(&c->out) + len > s->limits.queue_max;
	/* what can be given up is no reason not to read */
	if (much && (uint64_t)conn_unread(c) + len > s->limits.queue_max)
		c->paused |= CONN_PAUSE_OUTPUT;
	return CONN_SENT;
}

/* What the queue of a full socket grows by counts as one with what else its delivery brings. */
static enum conn_sent conn_out_put_stalled(struct conn *c, const struct slice *frame)
{
	uint64_t before = outq_weight(&c->out);
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	outq_admitted(&c->out, before);
	c->conns->loop->stats.messages_out++;
	memory_limits_grew(c);
	return CONN_SENT;
}

static enum conn_sent conn_out_send_frame(struct conn *c, const struct slice *frame, bool own)
{
	bool much =
		c->out.stalled || (uint64_t)c->out.bytes + frame->len > c->conns->limits.queue_max;
	enum conn_sent sent =
		much && c->out.bytes > 0 ? conn_out_admits(c, frame->len, own) : CONN_SENT;
	if (sent != CONN_SENT)
		return sent;
	if (c->out.stalled)
		return conn_out_put_stalled(c, frame);
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	c->conns->loop->stats.messages_out++;
	return CONN_SENT;
}

static enum conn_sent conn_out_send_packed(struct conn *c, struct out_message *o, bool own)
{
	struct slice packed;
	if (!conn_deflate(c, o, &packed))
		return conn_out_send_frame(c, o->frame, own);
	enum conn_sent sent = conn_out_send_frame(c, &packed, own);
	if (sent != CONN_SENT)
		deflate_context_lost(conn_kept(c));
	slice_unref(&packed);
	return sent;
}

/* A message was queued for one whose messages are counted. */
static void conn_out_count_out(const struct conn *c, const struct slice *frame)
{
	struct traffic *t = c->more->traffic;
	traffic_add(&t->out_messages, 1);
	traffic_add(&t->out_bytes, frame_payload(slice_bytes(frame), frame->len).n);
	if (c->out.stalled)
		traffic_raise(&t->queue_max, outq_weight(&c->out));
}

static __attribute__((noinline)) enum conn_sent conn_out_send_counted(struct conn *c,
								      struct out_message *o,
								      bool own)
{
	enum conn_sent sent =
		c->packed ? conn_out_send_packed(c, o, own) : conn_out_send_frame(c, o->frame, own);
	if (sent == CONN_SENT)
		conn_out_count_out(c, o->frame);
	return sent;
}

/* Of its own, so that conn_send needs no room for what it does not have. */
static __attribute__((noinline)) enum conn_sent conn_out_send_special(struct conn *c,
								      struct out_message *o,
								      bool own)
{
	/* Answers to what came before the end leave before our close frame; and where the hub is
	 * another loop's, whatever it sent before it knew of the peer's. */
	bool waits = c->state == CONN_CLOSED || c->state == CONN_LEAVING;
	bool takes = c->state == CONN_OPEN ? !c->ended : waits && (own || c->conns->later);
	if (!takes || c->broken != 0 || (c->out.stalled && memory_limit_gives_way(c)))
		return c->conns->remote != NULL ? c->conns->remote->send(c, o, own) : CONN_GONE;
	if (c->metered)
		return conn_out_send_counted(c, o, own);
	return c->packed ? conn_out_send_packed(c, o, own) : conn_out_send_frame(c, o->frame, own);
}

enum conn_sent conn_send(struct conn *c, struct out_message *o, bool own)
{
	const struct slice *frame = o->frame;
	bool plain = c->state == CONN_OPEN && !c->ended && c->broken == 0 && c->special == 0 &&
		     (uint64_t)c->out.bytes + frame->len <= c->conns->limits.queue_max;
	if (!plain || !outq_take(&c->out, frame))
		return conn_out_send_special(c, o, own);
	conn_mark_dirty(c);
	c->conns->loop->stats.messages_out++;
	return CONN_SENT;
}

/* --- others give way -------------------------------------------------------------------------- */

static enum conn_sent conn_out_make_way_for(struct conn *c, const struct slice *frame,
					    bool conflate)
{
	enum outq_room room = outq_make_way(&c->out, frame, conflate, &c->conns->spare);
	/* perhaps there is no reason any more; but members may be being walked */
	if (c->paused & CONN_PAUSE_OUTPUT)
		conn_mark_dirty(c);
	if (room != OUTQ_ROOM)
		return room == OUTQ_NO_ROOM ? CONN_FULL : CONN_NO_MEMORY;
	return conn_out_put_stalled(c, frame);
}

static enum conn_sent conn_out_make_way(struct conn *c, struct out_message *o, bool conflate)
{
	struct slice packed;
	if (!c->packed)
		return conn_out_make_way_for(c, o->frame, conflate);
	/* What refers back to earlier messages needs all of them: where a reload has changed the
	 * policy meanwhile. */
	if (conn_refers(c))
		return CONN_FULL;
	if (!conn_deflate(c, o, &packed))
		return conn_out_make_way_for(c, o->frame, conflate);
	enum conn_sent sent = conn_out_make_way_for(c, &packed, conflate);
	slice_unref(&packed);
	return sent;
}

struct conn_refusal conn_refused(struct conn *c, struct out_message *o, enum conn_sent sent,
				 bool own, enum slow_policy policy)
{
	struct conn_refusal r = {.sent = sent};
	if (sent == CONN_FULL && policy != SLOW_POLICY_CLOSE && !own) {
		r.sent = conn_out_make_way(c, o, policy == SLOW_POLICY_CONFLATE);
		r.gives_up = r.sent == CONN_SENT || policy == SLOW_POLICY_DROP_OLDEST;
	}
	if (r.sent == CONN_SENT && c->metered)
		conn_out_count_out(c, o->frame);
	if (r.sent == CONN_SENT)
		return r;
	c->conns->loop->stats.dropped++;
	/* where answers fill its queue it is the oldest message that can go */
	r.over = r.sent != CONN_FULL || policy != SLOW_POLICY_DROP_OLDEST || own;
	return r;
}

bool conn_lighten(struct conn *c)
{
	return c->conns->remote == NULL && !conn_refers(c) && c->out.bytes >= conn_held(c) &&
	       outq_lighten(&c->out);
}
