/* All conns of a loop: what they share, its turns, its limits. */
#include <malloc.h>
#include <stdlib.h>

#include "base/check.h"
#include "net/conn_parts.h"

#define CONNS_TRIM_MIN (256u << 10) /* free bytes that are not worth the work */

/* Some time after connections have ended, or large messages have come: what was kept for a flood,
 * or lies free between what is used, goes back to the system. */
static void conns_on_trim(void *arg)
{
	struct conns *s = arg;
	CHECK_IS(s, CHECK_CONNS);
	outq_spare_free(&s->spare);
	chunk_pool_trim(&s->loop->chunks);
	struct mallinfo2 m = mallinfo2();
	if (m.fordblks > CONNS_TRIM_MIN + m.uordblks / 16)
		malloc_trim(0);
}

/* What queues of slow peers did in this turn. */
static void conns_count(struct conns *s)
{
	struct outq_notes_account *account = &s->spare.account;
	struct stats *stats = &s->loop->stats;
	uint64_t held = memory_limits_total(s);
	stats->buffered += held - s->counted;
	s->counted = held;
	stats->dropped += account->given_up;
	stats->conflated += account->conflated;
	account->given_up = account->conflated = 0;
}

static void conns_on_turn(void *arg)
{
	struct conns *s = arg;
	CHECK_IS(s, CHECK_CONNS);
	CHECK(loop_is_own(s->loop));
	struct conn *c, *kept = NULL;
	conns_flush(s);
	memory_limits_settle(s);
	conns_count(s);
	s->spare.turn++;
	while ((c = s->to_free) != NULL) {
		CHECK(c->magic == CHECK_CONN && c->state == CONN_DEAD && c->released);
		s->to_free = c->to_free_next;
		if (!c->dirty && (s->ops->gone == NULL || s->ops->gone(c))) {
			if (c->more != NULL)
				free(c->more->rate_limit);
			if (c->more != NULL && c->more->traffic != NULL &&
			    s->ops->uncounted != NULL)
				s->ops->uncounted(c->more->traffic);
			free(c->more);
			c->magic = CHECK_GONE;
			free(c);
			CHECK(s->living > 0);
			s->living--;
			continue;
		}
		/* it ended after it had been put back as corked: the next pass takes it off that
		 * list */
		c->to_free_next = kept;
		kept = c;
		s->loop->again = s->loop->again || c->dirty;
	}
	s->to_free = kept;
}

static void conn_on_ready(void *item, uint32_t events)
{
	struct conn *c = item;
	CHECK_IS(c, CHECK_CONN);
	struct conns *s = c->conns;
	uint32_t interest = c->interest;
	if (c->state == CONN_DEAD)
		return;
	if (events & (EPOLLERR | EPOLLHUP)) /* the call that is tried then says what it is */
		events |= interest;
	if (events & interest & CONN_WANT_READ && c->state != CONN_CLOSED &&
	    c->state != CONN_LEAVING)
		conn_on_readable(c);
	if (events & interest & CONN_WANT_WRITE)
		conn_flush(c);
	if (events & interest & CONN_WANT_HUP && c->state != CONN_DEAD)
		conn_on_hup(c);
	conn_watch(c);
	if (c->more != NULL)
		conn_budget_weigh(c);
	if (c->more != NULL || c->out.stalled)
		memory_limit_weigh(c);
	conns_relieve(s);
}

void conns_set_limits(struct conns *s, const struct conn_limits *limits)
{
	s->limits = *limits;
	s->spare.max = limits->queue_max;
	deflate_contexts_set_limits(&s->deflate, &limits->deflate);
	s->waits[CONN_WAIT_HEAD].after_ms = s->waits[CONN_WAIT_ANSWER].after_ms =
		s->waits[CONN_WAIT_BODY].after_ms = limits->head_ms;
	s->waits[CONN_WAIT_ASK].after_ms = limits->ask_ms;
	s->waits[CONN_WAIT_IDLE].after_ms = conns_idle_looks(limits);
	s->waits[CONN_WAIT_CLOSE].after_ms = limits->close_ms;
	/* who waited for ever may not any more */
	if (s->living > 0)
		conns_set_tick(s, loop_now(s->loop) + CONNS_LOOK_MS);
}

void conns_set_tls(struct conns *s, struct tls_server *tls)
{
	struct tls_server *old = s->tls;
	s->tls = tls != NULL ? tls_server_ref(tls) : NULL;
	tls_server_unref(&old);
}

bool conns_init(struct conns *s, struct loop *loop, const struct conn_ops *ops, void *ctx,
		const struct conn_limits *limits)
{
	*s = (struct conns){.magic = CHECK_CONNS,
			    .loop = loop,
			    .ops = ops,
			    .ctx = ctx,
			    .lent = &loop->lent};
	for (int which = 0; which < CONN_WAITS; which++)
		TAILQ_INIT(&s->waits[which].list);
	deflate_contexts_init(&s->deflate, &loop->chunks, &loop->stats);
	conns_set_limits(s, limits);
	s->spare.delivery = &loop->delivery;
	loop_timer_init(loop, &s->tick, conns_on_tick, s);
	loop_timer_init(loop, &s->uncork, conns_on_uncork, s);
	loop_timer_init(loop, &s->trim, conns_on_trim, s);
	loop_timer_init(loop, &s->budget_timer, conns_on_budget, s);
	s->hook = (struct loop_hook){.run = conns_on_turn, .arg = s};
	loop_add_hook(loop, &s->hook);
	if (limits->uring_min != 0)
		uring_begin(&s->uring);
	return poller_init(&s->poller, loop, conn_on_ready);
}

enum conns_busy conns_busy(const struct conns *s)
{
	bool busy = s->stashes > 0;
	for (int which = CONN_WAIT_ANSWER; which < CONN_WAITS; which++)
		busy = busy || !TAILQ_EMPTY(&s->waits[which].list);
	/* a page is on its way until it is out, or its own clock says that nobody takes it */
	bool answers = !TAILQ_EMPTY(&s->waits[CONN_WAIT_ANSWER].list);
	return s->outstaying > 0 || answers ? CONNS_OUTSTAYED : busy ? CONNS_BUSY : CONNS_AT_REST;
}

bool conns_give_way(struct conns *s)
{
	struct conn *c = TAILQ_FIRST(&s->waits[CONN_WAIT_HEAD].list);
	if (c == NULL)
		c = TAILQ_FIRST(&s->waits[CONN_WAIT_CLOSE].list);
	if (c != NULL)
		conn_abort(c);
	return c != NULL;
}

void conns_free(struct conns *s)
{
	for (int which = 0; which < CONN_WAITS; which++) {
		struct conn *c;
		while ((c = TAILQ_FIRST(&s->waits[which].list)) != NULL) {
			if (c->state == CONN_ASKING)
				s->ops->withdrawn(c);
			c->released = true;
			conn_abort(c);
		}
	}
	conns_on_turn(s);
	CHECK(s->count == 0 && s->stashes == 0);
	loop_timer_cancel(&s->tick);
	loop_timer_cancel(&s->uncork);
	loop_timer_cancel(&s->trim);
	loop_timer_cancel(&s->budget_timer);
	loop_waker_remove(&s->budget_waker);
	if (s->budgets != NULL)
		s->budgets->wakers[s->number] = NULL;
	outq_spare_free(&s->spare);
	uring_free(&s->uring);
	deflate_contexts_free(&s->deflate);
	free(s->dirty);
	poller_free(&s->poller);
	conns_set_tls(s, NULL);
}
