/* The end of a turn writes what conns have queued in it; and what becomes possible then. */
#include <errno.h>
#include <time.h>

#include "base/check.h"
#include "net/conn_parts.h"

#define CONN_CORK_US 1000

/* --- one -------------------------------------------------------------------------------------- */

/* An HTTP answer is out. */
static void conn_flush_answered(struct conn *c)
{
	CHECK(c->state == CONN_ANSWER);
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

static void conn_flush_drained(struct conn *c)
{
	if (c->state == CONN_ANSWER && !answer_pump(c))
		conn_flush_answered(c);
	else if (c->fin)
		conn_fin(c);
	else if (c->state == CONN_CLOSING && c->more != NULL && c->more->taken != 0)
		conn_wait_close(c); /* only now our close frame is out */
}

/* Goes on reading when the peer has read enough, first with what was received before. */
static void conn_flush_resume(struct conn *c)
{
	if ((c->feeds || c->paused & CONN_PAUSE_OUTPUT) &&
	    conn_unread(c) <= c->conns->limits.queue_max / 2) {
		c->paused &= (uint8_t)~CONN_PAUSE_OUTPUT;
		c->feeds = false;
		if (c->conns->ops->drained != NULL && !c->released)
			c->conns->ops->drained(c);
	}
	if (conn_stash(c) != NULL && c->state == CONN_OPEN && c->paused == 0)
		conn_consume_stash(c);
}

void conn_want_drained(struct conn *c)
{
	conn_check(c);
	c->feeds = true;
	/* else it is flushed when there is room, or asked at its other loop while there is none */
	if (c->conns->remote == NULL && !c->out.stalled)
		conn_mark_dirty(c);
}

/* Nothing but messages both ways: most connections, most of the time. */
static inline bool conn_flush_is_plain(const struct conn *c)
{
	return c->state == CONN_OPEN && c->more == NULL && c->paused == 0 && !c->fin && !c->feeds &&
	       c->interest == CONN_WANT_READ;
}

/* What becomes possible, or happens, after a write. */
static void conn_flush_over(struct conn *c, enum outq_status status)
{
	if (status == OUTQ_EMPTY && conn_flush_is_plain(c))
		return;
	if (status == OUTQ_BROKEN) {
		conn_lost(c, conn_failed_write(c));
		return;
	}
	if (status == OUTQ_EMPTY)
		conn_flush_drained(c);
	else
		histogram_add(&c->conns->loop->stats.queues, c->out.bytes);
	conn_flush_resume(c);
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
	conn_flush_over(c, status);
}

/* --- all of them ------------------------------------------------------------------------------ */

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
	CHECK(s->n_dirty > 0);
	uint32_t mask = s->cap_dirty - 1, at = s->dirty_first++ & mask;
	if (s->n_dirty-- > 4)
		__builtin_prefetch(s->dirty[(at + 4) & mask]);
	return s->dirty[at];
}

static bool conn_flush_is_corked(const struct conn *c, bool wait)
{
	return c->corked && wait && c->state == CONN_OPEN && c->out.bytes < CONN_CORK_MAX;
}

/* The next one; NULL: it was put back at the end of the ring. */
static inline struct conn *conn_flush_next(struct conns *s, bool wait)
{
	struct conn *c = conns_pop_dirty(s);
	if (conn_flush_is_corked(c, wait)) {
		conns_push_dirty(s, c);
		return NULL;
	}
	c->dirty = false;
	return c;
}

/* Of the next ones each is flushed, or put back at the end of the ring. Returns how many were. */
static uint32_t conns_flush_each(struct conns *s, uint32_t n, bool wait)
{
	uint32_t back = 0;
	while (n-- > 0) {
		struct conn *c = conn_flush_next(s, wait);
		if (c != NULL)
			conn_flush(c);
		else
			back++;
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
			conn_flush_over(c, c->out.stalled ? OUTQ_STALLED : OUTQ_EMPTY);
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
		struct conn *c = conn_flush_next(s, wait);
		if (c == NULL) {
			back++;
			continue;
		}
		const struct slice *only = outq_only(&c->out);
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

/* A turn that writes much does not wait for its end: memory that is sent at once is used again, and
 * stays warm. */
void conns_relieve(struct conns *s)
{
	if (s->loop->chunks.written > CONN_CORK_MAX)
		conns_flush(s);
}
