/* Connections of a mount that holds all it may (net/budget.h): who waits until it may be read
 * again, and who reads on meanwhile. */
#include "net/conn_parts.h"

/* to look again: whoever frees memory says so, but not all that changes */
#define CONN_BUDGET_LOOK_MS 50
/* connections that are read again at once: what they send may use the room up */
#define CONN_BUDGET_RESUMED_MAX 64
/* a message for which others wait has to come on by then ... */
#define CONN_BUDGET_STALL_MS 2000
#define CONN_BUDGET_STALL_MIN 16384 /* ... by so many bytes */
#define CONN_BUDGET_SMALL 4096	    /* read at once where messages in part have all of theirs */

static struct budget *conn_budget(struct conn *c)
{
	const struct conn_ops *ops = c->conns->ops;
	bool reads = c->state == CONN_OPEN || c->state == CONN_CLOSING;
	return reads && ops->budget != NULL ? ops->budget(c) : NULL;
}

static struct budget_queue *conns_queue(const struct conns *s, struct budget *b)
{
	return &b->queues[s->number];
}

static bool budget_queue_waits(const struct budget_queue *q)
{
	return !TAILQ_EMPTY(&q->waiting[BUDGET_WAIT_BEGUN]) ||
	       !TAILQ_EMPTY(&q->waiting[BUDGET_WAIT_REST]);
}

static size_t conn_input(const struct conn *c)
{
	return c->more != NULL ? frame_held(&c->more->reader) +
					 (c->more->stash != NULL
						  ? sizeof *c->more->stash + c->more->stash->cap
						  : 0)
			       : 0;
}

static void conns_look_later(struct conns *s)
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
	struct budget_queue *q = conns_queue(c->conns, more->budget);
	TAILQ_REMOVE(&q->waiting[more->budget_waits - 1], c, more->budget_link);
	memset(&more->budget_link, 0, sizeof more->budget_link);
	more->budget_waits = 0;
	c->paused &= (uint8_t)~CONN_PAUSE_BUDGET;
	if (!budget_queue_waits(q))
		atomic_fetch_and(&more->budget->waiting, ~(UINT64_C(1) << c->conns->number));
}

static void conn_end_pass(struct conn *c, struct budget *b)
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
	more->budget_input = 0;
	more->budget = NULL;
}

/* --- going on --------------------------------------------------------------------------------- */

static void conn_budget_resume(struct conn *c)
{
	conn_budget_unwait(c);
	conn_pause(c, CONN_PAUSE_BUDGET, false);
}

/* Each of them is thought to read as much as it can at once, so that not all are woken for the room
 * of a few. */
static void conns_resume(struct conns *s, struct budget *b, enum budget_wait which)
{
	struct budget_list *list = &conns_queue(s, b)->waiting[which];
	uint64_t planned = 0;
	struct conn *c;
	for (unsigned n = 0; n < CONN_BUDGET_RESUMED_MAX && (c = TAILQ_FIRST(list)) != NULL; n++) {
		if (!budget_admits(b, which == BUDGET_WAIT_REST) || budget_room(b) <= planned)
			return;
		planned += LOOP_INPUT;
		conn_budget_resume(c);
	}
	/* the others after these have been read */
	if (!TAILQ_EMPTY(list))
		loop_wake(&s->budget_waker);
}

static void conns_give_pass(struct conns *s, struct budget *b)
{
	struct budget_queue *q = conns_queue(s, b);
	if (!budget_queue_waits(q) || !budget_pass(b))
		return;
	q->turn = TAILQ_EMPTY(&q->waiting[q->turn]) ? !q->turn : q->turn;
	q->pass = TAILQ_FIRST(&q->waiting[q->turn]);
	q->turn = !q->turn;
	q->pass_at = loop_now(s->loop);
	q->pass_len = frame_gathered(&q->pass->more->reader);
	q->pass_read = false;
	conn_budget_resume(q->pass);
}

/* Whoever reads beyond the bound keeps others waiting: its message has to come on. */
static void conns_check_pass(struct conns *s, struct budget *b)
{
	struct budget_queue *q = conns_queue(s, b);
	struct conn *c = q->pass;
	uint64_t now = loop_now(s->loop);
	if (c == NULL ||
	    now - q->pass_at < (conn_input(c) == 0 ? CONN_BUDGET_LOOK_MS : CONN_BUDGET_STALL_MS))
		return;
	size_t len = c->more != NULL ? frame_gathered(&c->more->reader) : 0;
	bool stalls = conn_input(c) > 0 && len < q->pass_len + CONN_BUDGET_STALL_MIN;
	q->pass_at = now;
	q->pass_len = len;
	if (stalls && c->state == CONN_OPEN) {
		conn_forget_input(c);
		conn_budget_leave(c);
		conn_fail(
			c, CONN_END_LIMIT, CLOSE_TRY_LATER,
			"a message that does not come on, while others wait for its memory (--hold-bytes)");
		conn_watch(c);
	} else if (stalls || conn_input(c) == 0) {
		conn_end_pass(c, b);
	}
}

void conns_on_budget(void *arg)
{
	struct conns *s = arg;
	bool wait = false;
	for (struct budget *b = s->budgets != NULL ? s->budgets->first : NULL; b != NULL;
	     b = b->next) {
		struct budget_queue *q = conns_queue(s, b);
		if (q->pass == NULL && !budget_queue_waits(q))
			continue;
		conns_check_pass(s, b);
		conns_resume(s, b, BUDGET_WAIT_REST);
		conns_resume(s, b, BUDGET_WAIT_BEGUN);
		conns_give_pass(s, b);
		wait = wait || q->pass != NULL || budget_queue_waits(q);
	}
	if (wait)
		conns_look_later(s);
}

void conns_set_budgets(struct conns *s, struct budgets *budgets, unsigned number)
{
	s->budgets = budgets;
	s->number = number;
	loop_waker_add(s->loop, &s->budget_waker, conns_on_budget, s);
	budgets->wakers[number] = &s->budget_waker;
}
