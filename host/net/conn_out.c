/* What a conn sends: the end of a turn writes what was queued in it. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "net/answer.h"
#include "net/conn_parts.h"

#define CONN_CORK_US 1000

/* --- compression ------------------------------------------------------------------------------ */

#define CONN_PACKED_BASE (DEFLATE_BITS_MIN - 1) /* see conn->packed */

/* What is agreed on about it, with the line of the answer's head that says so. */
void conn_pack(struct conn *c, const struct request *r, bool all, char answer[DEFLATE_ANSWER_MAX])
{
	struct squeeze *s = &c->conns->squeeze;
	struct squeeze_conn *kept;
	unsigned bits = squeeze_accept(s, r, all, &kept, answer);
	if (bits == 0)
		return;
	if (kept != NULL && conn_more(c) == NULL) {
		squeeze_leave(s, kept);
		answer[0] = '\0';
		return;
	}
	if (kept != NULL)
		c->more->squeeze = kept;
	c->packed = (uint8_t)(bits - CONN_PACKED_BASE) & 7;
}

/* What is kept for its compressed messages, or NULL. */
struct squeeze_conn *conn_kept(const struct conn *c)
{
	return c->more != NULL ? c->more->squeeze : NULL;
}

void conn_unpack(struct conn *c)
{
	if (c->packed)
		squeeze_leave(&c->conns->squeeze, conn_kept(c));
	if (c->more != NULL)
		c->more->squeeze = NULL;
	c->packed = 0;
}

static bool conn_squeeze(struct conn *c, struct outgoing *o, struct slice *packed_r)
{
	return squeeze_frame(&c->conns->squeeze, conn_kept(c), c->packed + CONN_PACKED_BASE, o,
			     packed_r);
}

/* Does what it gets refer back to what it got? Then nothing may be missing. */
static bool conn_refers(const struct conn *c)
{
	const struct squeeze_conn *kept = conn_kept(c);
	return kept != NULL && kept->keep_out;
}

/* --- output ----------------------------------------------------------------------------------- */

static void conns_push_dirty(struct conns *s, struct conn *c)
{
	s->dirty[(s->dirty_first + s->n_dirty++) & (s->cap_dirty - 1)] = c;
}

void conn_mark_dirty(struct conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->conns->loop->again = true;
	conns_push_dirty(c->conns, c);
}

/* Room for all, so that marking one can not fail. */
bool conns_reserve_dirty(struct conns *s)
{
	if (s->living < s->cap_dirty)
		return true;
	uint32_t cap = s->cap_dirty == 0 ? 64 : 2 * s->cap_dirty;
	struct conn **dirty = malloc(cap * sizeof(struct conn *));
	if (dirty == NULL)
		return false;
	for (uint32_t i = 0; i < s->n_dirty; i++)
		dirty[i] = s->dirty[(s->dirty_first + i) & (s->cap_dirty - 1)];
	free(s->dirty);
	s->dirty = dirty;
	s->dirty_first = 0;
	s->cap_dirty = cap;
	return true;
}

/* Everything was sent that will be. */
void conn_fin(struct conn *c)
{
	struct tls *tls = conn_tls(c);
	c->fin = false;
	if (tls != NULL)
		tls_finish(tls, c->fd);
	/* Both close frames were exchanged and nothing is unread: the server ends TCP at once
	 * (7.1.1). */
	if (c->eof || (c->close_exchanged && !c->unread) || shutdown(c->fd, SHUT_WR) != 0) {
		conn_kill(c);
		return;
	}
	/* A close(2) with unread input resets the connection and can destroy what the peer has not
	 * read yet. */
	conn_set_state(c, CONN_LINGER);
	conn_wait_close(c);
}

/* An HTTP answer is out. */
static void conn_answered(struct conn *c)
{
	if (!c->keep_alive) {
		conn_fin(c);
		return;
	}
	/* one a turn, however many have come together */
	c->pipelined = !c->pipelined && conn_stash(c) != NULL;
	if (c->pipelined)
		return;
	conn_set_state(c, CONN_HEAD);
	conn_wait(c, CONN_WAIT_HEAD);
	conn_consume_stash(c);
}

static void conn_drained(struct conn *c)
{
	if (c->state == CONN_ANSWER && !answer_pump(c))
		conn_answered(c);
	else if (c->fin)
		conn_fin(c);
	else if (c->state == CONN_CLOSING && c->more != NULL && c->more->taken != 0)
		conn_wait_close(c); /* only now our close frame is out */
}

/* stalled: it was so before. */
static void conn_count_sent(struct conn *c, uint64_t sent, bool stalled)
{
	c->conns->loop->stats.bytes_out += sent;
	/* Where we do not listen, or the peer has much to take, it is the sign of life that it
	 * takes some. */
	if (sent > 0 && (c->state == CONN_ANSWER || c->paused != 0 || stalled))
		c->last_in = (uint32_t)loop_now(c->conns->loop);
}

/* In each flush, so that it is worth its place there. */
static inline __attribute__((always_inline)) enum outq_status conn_write(struct conn *c)
{
	uint64_t sent = 0;
	bool stalled = c->out.stalled;
	enum outq_status status = outq_flush(&c->out, c->fd, conn_tls(c), &c->conns->spare, &sent);
	if (status == OUTQ_BROKEN)
		c->broken = (uint8_t)errno;
	conn_count_sent(c, sent, stalled);
	return status;
}

/* Goes on reading when the peer has read enough, first with what was received before. */
static void conn_resume(struct conn *c)
{
	if (c->paused & CONN_PAUSE_OUTPUT && conn_unread(c) <= c->conns->limits.queue_max / 2) {
		c->paused &= (uint8_t)~CONN_PAUSE_OUTPUT;
		if (c->conns->ops->drained != NULL)
			c->conns->ops->drained(c);
	}
	if (conn_stash(c) != NULL && c->state == CONN_OPEN && c->paused == 0)
		conn_consume_stash(c);
}

/* Nothing but messages both ways: most connections, most of the time. */
static inline bool conn_is_plain(const struct conn *c)
{
	return c->state == CONN_OPEN && c->more == NULL && c->paused == 0 && !c->fin &&
	       c->interest == CONN_WANT_READ;
}

/* What becomes possible, or happens, after a write. */
static void conn_flushed(struct conn *c, enum outq_status status)
{
	if (status == OUTQ_EMPTY && conn_is_plain(c))
		return;
	if (status == OUTQ_BROKEN) {
		conn_lost(c, conn_failed_write(c));
		return;
	}
	if (status == OUTQ_EMPTY)
		conn_drained(c);
	conn_resume(c);
	conn_watch(c);
	if (c->state == CONN_LINGER && c->more != NULL)
		conn_forget_input(c);
	if (c->more != NULL || c->out.stalled)
		memory_limit_weigh(c);
	if (c->out.stalled)
		memory_limits_grew(c);
	if (c->out.stalled && c->waiting == CONN_WAIT_CLOSE &&
	    (c->more == NULL || c->more->taken == 0))
		conn_watch_uptake(c);
	if (conn_end_pending(c))
		conn_on_readable(c);
}

/* Writes what is queued. */
void conn_flush(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	bool slow = c->out.list != NULL && outq_gives_up(&c->out);
	uint32_t given_up = slow ? conn_given_up(c) : 0;
	enum outq_status status = c->broken != 0 ? OUTQ_BROKEN : conn_write(c);
	if (status == OUTQ_EMPTY && slow)
		conn_tell_given_up(c, given_up, false);
	conn_flushed(c, status);
}

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

/* Something waits: may that be added, after a write if none was tried? */
static enum conn_sent conn_admits(struct conn *c, uint32_t len, bool own)
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
static enum conn_sent conn_put_stalled(struct conn *c, const struct slice *frame)
{
	uint64_t before = outq_weight(&c->out);
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	outq_admitted(&c->out, before);
	c->conns->loop->stats.messages_out++;
	memory_limits_grew(c);
	return CONN_SENT;
}

static enum conn_sent conn_send_frame(struct conn *c, const struct slice *frame, bool own)
{
	bool much =
		c->out.stalled || (uint64_t)c->out.bytes + frame->len > c->conns->limits.queue_max;
	enum conn_sent sent =
		much && c->out.bytes > 0 ? conn_admits(c, frame->len, own) : CONN_SENT;
	if (sent != CONN_SENT)
		return sent;
	if (c->out.stalled)
		return conn_put_stalled(c, frame);
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	c->conns->loop->stats.messages_out++;
	return CONN_SENT;
}

static enum conn_sent conn_send_packed(struct conn *c, struct outgoing *o, bool own)
{
	struct slice packed;
	if (!conn_squeeze(c, o, &packed))
		return conn_send_frame(c, o->frame, own);
	enum conn_sent sent = conn_send_frame(c, &packed, own);
	if (sent != CONN_SENT)
		squeeze_lost(conn_kept(c));
	slice_unref(&packed);
	return sent;
}

/* Of its own, so that conn_send needs no room for what it does not have. */
static __attribute__((noinline)) enum conn_sent conn_send_special(struct conn *c,
								  struct outgoing *o, bool own)
{
	/* Answers to what came before the end leave before our close frame; and where the hub is
	 * another loop's, whatever it sent before it knew of the peer's. */
	bool waits = c->state == CONN_CLOSED || c->state == CONN_LEAVING;
	bool takes = c->state == CONN_OPEN ? !c->ended : waits && (own || c->conns->later);
	if (!takes || c->broken != 0 || (c->out.stalled && memory_limit_gives_way(c)))
		return c->conns->remote != NULL ? c->conns->remote->send(c, o, own) : CONN_GONE;
	return c->packed ? conn_send_packed(c, o, own) : conn_send_frame(c, o->frame, own);
}

enum conn_sent conn_send(struct conn *c, struct outgoing *o, bool own)
{
	const struct slice *frame = o->frame;
	bool plain = c->state == CONN_OPEN && !c->ended && c->broken == 0 && c->packed == 0 &&
		     (uint64_t)c->out.bytes + frame->len <= c->conns->limits.queue_max;
	if (!plain || !outq_take(&c->out, frame))
		return conn_send_special(c, o, own);
	conn_mark_dirty(c);
	c->conns->loop->stats.messages_out++;
	return CONN_SENT;
}

static enum conn_sent conn_make_way_for(struct conn *c, const struct slice *frame, bool conflate)
{
	enum outq_room room = outq_make_way(&c->out, frame, conflate, &c->conns->spare);
	/* perhaps there is no reason any more; but members may be being walked */
	if (c->paused & CONN_PAUSE_OUTPUT)
		conn_mark_dirty(c);
	if (room != OUTQ_ROOM)
		return room == OUTQ_NO_ROOM ? CONN_FULL : CONN_NO_MEMORY;
	return conn_put_stalled(c, frame);
}

enum conn_sent conn_make_way(struct conn *c, struct outgoing *o, bool conflate)
{
	struct slice packed;
	if (!c->packed)
		return conn_make_way_for(c, o->frame, conflate);
	/* What refers back to earlier messages needs all of them: where a reload has changed the
	 * policy meanwhile. */
	if (conn_refers(c))
		return CONN_FULL;
	if (!conn_squeeze(c, o, &packed))
		return conn_make_way_for(c, o->frame, conflate);
	enum conn_sent sent = conn_make_way_for(c, &packed, conflate);
	slice_unref(&packed);
	return sent;
}

bool conn_lighten(struct conn *c)
{
	return c->conns->remote == NULL && !conn_refers(c) && c->out.bytes >= conn_held(c) &&
	       outq_lighten(&c->out);
}

static uint64_t conns_microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* May corked output wait on? */
static bool conns_may_cork(struct conns *s)
{
	return s->corked_at == 0 || conns_microseconds() - s->corked_at < CONN_CORK_US;
}

/* The same conn is met again and again while its output comes; its memory is asked for a little
 * before it is needed. */
static struct conn *conns_pop_dirty(struct conns *s)
{
	uint32_t mask = s->cap_dirty - 1, at = s->dirty_first++ & mask;
	if (s->n_dirty-- > 4)
		__builtin_prefetch(s->dirty[(at + 4) & mask]);
	return s->dirty[at];
}

static bool conn_is_corked(const struct conn *c, bool wait)
{
	return c->corked && wait && c->state == CONN_OPEN && c->out.bytes < CONN_CORK_MAX;
}

/* Of the next ones each is flushed, or put back at the end of the ring. Returns how many were. */
static uint32_t conns_flush_each(struct conns *s, uint32_t n, bool wait)
{
	uint32_t back = 0;
	while (n-- > 0) {
		struct conn *c = conns_pop_dirty(s);
		if (conn_is_corked(c, wait)) {
			conns_push_dirty(s, c);
			back++;
			continue;
		}
		c->dirty = false;
		conn_flush(c);
	}
	return back;
}

/* What became of the sends of a ring. First all queues learn it: what follows for one may change
 * others. */
static void conns_on_sent(struct conns *s)
{
	struct uring *u = &s->uring;
	for (unsigned i = 0; i < u->n; i++) {
		struct conn *c = u->sends[i].item;
		CHECK_IS(c, CHECK_CONN);
		int result = u->sends[i].result;
		if (result > 0) {
			outq_wrote(&c->out, (size_t)result, &s->spare);
			conn_count_sent(c, (uint64_t)result, false);
		} else if (result == -EAGAIN) {
			outq_full(&c->out, &s->spare);
		} else if (result != -EINTR && result != URING_NOT_TRIED) {
			c->broken = (uint8_t)-result;
		}
	}
	for (unsigned i = 0; i < u->n; i++) {
		struct conn *c = u->sends[i].item;
		if (c->state != CONN_DEAD && c->broken == 0 &&
		    (c->out.bytes == 0 || c->out.stalled))
			conn_flushed(c, c->out.stalled ? OUTQ_STALLED : OUTQ_EMPTY);
		else
			conn_flush(c);
	}
	uring_clear(u);
}

/* The next ones, where they are many: those that have one slice to send do it in one system call,
 * the others as usual. Nothing else happens between their entry and the call, as the end of a
 * connection gives its descriptor to another. Returns how many were put back. */
static uint32_t conns_flush_many(struct conns *s, uint32_t n, bool wait)
{
	uint32_t back = 0;
	while (n-- > 0 && s->uring.n < URING_MAX) {
		struct conn *c = conns_pop_dirty(s);
		const struct slice *only = outq_only(&c->out);
		if (conn_is_corked(c, wait)) {
			conns_push_dirty(s, c);
			back++;
			continue;
		}
		c->dirty = false;
		if (c->state == CONN_DEAD || c->broken != 0 || only == NULL || conn_tls(c) != NULL)
			uring_skip(&s->uring, c);
		else
			uring_add(&s->uring, c->fd, slice_bytes(only), only->len, c);
	}
	uring_run(&s->uring);
	conns_on_sent(s);
	return back;
}

/* Sends what is queued, except where more is about to come: those are put back, and stand at the
 * end of the ring. */
void conns_flush(struct conns *s)
{
	bool wait = conns_may_cork(s);
	uint32_t corked = 0, many = s->limits.uring_min;
	s->loop->chunks.written = 0;
	while (s->n_dirty > corked) {
		uint32_t n = s->n_dirty - corked;
		bool together = many != 0 && n >= many && uring_begin(&s->uring);
		corked += together ? conns_flush_many(s, n, wait) : conns_flush_each(s, n, wait);
	}
	if (corked == 0) {
		s->dirty_first = 0; /* so that a turn touches no more of the ring than it needs */
		s->corked_at = 0;
	} else if (s->corked_at == 0) {
		s->corked_at = conns_microseconds();
		/* makes a turn, at whose end this is looked at again */
		loop_timer_set(&s->uncork, CONN_CORK_US / 1000);
	} else if (!loop_timer_is_set(&s->uncork)) {
		loop_timer_set(&s->uncork, 1);
	}
}

void conns_on_uncork(void *arg)
{
	(void)arg;
}

void conn_cork(struct conn *c, bool on)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		c->conns->remote->cork(c, on);
	c->corked = on;
}

/* A turn that writes much does not wait for its end: memory that is sent at once is used again, and
 * stays warm. */
void conns_relieve(struct conns *s)
{
	if (s->loop->chunks.written > CONN_CORK_MAX)
		conns_flush(s);
}
