/* What a conn has received and not used, in what its mount may hold (net/budget.h): who waits until
 * it may be read again. Who is read again: conns_budget.c. */
#include "base/check.h"
#include "net/conn_parts.h"

#define CONN_BUDGET_SMALL 4096 /* read at once where messages in part have all of theirs */

struct budget *conn_budget(struct conn *c)
{
	const struct conn_ops *ops = c->conns->ops;
	bool reads = c->state == CONN_OPEN || c->state == CONN_CLOSING;
	return reads && ops->budget != NULL ? ops->budget(c) : NULL;
}

size_t conn_input(const struct conn *c)
{
	return c->more != NULL ? frame_held(&c->more->reader) + conn_stash_held(c) : 0;
}

void conns_look_later(struct conns *s)
{
	if (!loop_timer_is_set(&s->budget_timer))
		loop_timer_set(&s->budget_timer, CONN_BUDGET_LOOK_MS);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* False without memory to know of it: it is read from, and ends if there is none for that
 * either. */
static bool conn_budget_wait(struct conn *c, struct budget *b, bool rests)
{
	struct conns *s = c->conns;
	struct conn_more *more = conn_more(c);
	if (more == NULL)
		return false;
	CHECK(more->budget_waits == 0 && (more->budget == NULL || more->budget == b));
	more->budget = b;
	more->budget_waits = rests ? 1 + BUDGET_WAIT_REST : 1 + BUDGET_WAIT_BEGUN;
	TAILQ_INSERT_TAIL(&conns_queue(s, b)->waiting[more->budget_waits - 1], c,
			  more->budget_link);
	c->paused |= CONN_PAUSE_BUDGET;
	atomic_fetch_or(&b->waiting, UINT64_C(1) << s->number);
	loop_wake(&s->budget_waker); /* there may be room just now, or a pass */
	conns_look_later(s);
	return true;
}

size_t conn_admitted(struct conn *c)
{
	const struct conn_ops *ops = c->conns->ops;
	struct budget *b = conn_budget(c);
	if (b == NULL || c->paused != 0)
		return LOOP_INPUT;
	if (ops->ready != NULL && !ops->ready(c))
		return 0;
	if (budget_is_easy(b))
		return LOOP_INPUT;
	struct budget_queue *q = conns_queue(c->conns, b);
	if (q->pass == c) {
		q->pass_read = true;
		return LOOP_INPUT;
	}
	bool rests = conn_input(c) == 0;
	if (!budget_admits(b, rests) && conn_budget_wait(c, b, rests))
		return 0;
	return !rests || budget_admits(b, false) ? LOOP_INPUT : CONN_BUDGET_SMALL;
}

void conn_budget_unwait(struct conn *c)
{
	struct conn_more *more = c->more;
	if (more == NULL || more->budget_waits == 0)
		return;
	CHECK(more->budget != NULL);
	struct budget_queue *q = conns_queue(c->conns, more->budget);
	TAILQ_REMOVE(&q->waiting[more->budget_waits - 1], c, more->budget_link);
	memset(&more->budget_link, 0, sizeof more->budget_link);
	more->budget_waits = 0;
	c->paused &= (uint8_t)~CONN_PAUSE_BUDGET;
	if (!budget_queue_waits(q))
		atomic_fetch_and(&more->budget->waiting, ~(UINT64_C(1) << c->conns->number));
}

void conn_end_pass(struct conn *c, struct budget *b)
{
	struct budget_queue *q = conns_queue(c->conns, b);
	if (q->pass != c)
		return;
	q->pass = NULL;
	budget_end_pass(b);
}

/* --- counting --------------------------------------------------------------------------------- */

void conn_budget_weigh(struct conn *c)
{
	struct conn_more *more = c->more;
	size_t input = conn_input(c);
	if (more == NULL ||
	    (more->budget == NULL && (input == 0 || (more->budget = conn_budget(c)) == NULL)))
		return;
	struct budget *b = more->budget;
	struct budget_queue *q = conns_queue(c->conns, b);
	if (input > more->budget_input)
		budget_add(&b->input, input - more->budget_input);
	else if (input < more->budget_input)
		budget_sub(b, &b->input, more->budget_input - input);
	more->budget_input = input;
	if (q->pass == c && ((input == 0 && q->pass_read) || c->paused != 0 || !conn_budget(c)))
		conn_end_pass(c, b);
	if (input > 0 || more->budget_waits != 0 || q->pass == c)
		return;
	more->budget = NULL;
	conn_less(c);
}

void conn_budget_leave(struct conn *c)
{
	struct conn_more *more = c->more;
	if (more == NULL || more->budget == NULL)
		return;
	struct budget *b = more->budget;
	conn_budget_unwait(c);
	conn_end_pass(c, b);
	budget_sub(b, &b->input, more->budget_input);
	CHECK(more->budget_waits == 0);
	more->budget_input = 0;
	more->budget = NULL;
}
