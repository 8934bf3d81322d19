/* Connections of a mount that holds all it may (net/budget.h): who is read again, and who reads on
 * beyond the bound meanwhile. */
#include "base/check.h"
#include "net/conn_parts.h"

/* connections that are read again at once: what they send may use the room up */
#define CONN_BUDGET_RESUMED_MAX 64
/* a message for which others wait has to come on by then ... */
#define CONN_BUDGET_STALL_MS 2000
#define CONN_BUDGET_STALL_MIN 16384 /* ... by so many bytes */

static void conn_budget_resume(struct conn *c)
{
	CHECK(c->more != NULL && c->more->budget_waits != 0);
	conn_budget_unwait(c);
	conn_pause(c, CONN_PAUSE_BUDGET, false);
}

/* Each of them is thought to read as much as it can at once, so that not all are woken for the room
 * of a few. */
static void conns_budget_resume(struct conns *s, struct budget *b, enum budget_wait which)
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

static void conns_budget_give_pass(struct conns *s, struct budget *b)
{
	struct budget_queue *q = conns_queue(s, b);
	if (!budget_queue_waits(q) || !budget_pass(b))
		return;
	q->turn = TAILQ_EMPTY(&q->waiting[q->turn]) ? !q->turn : q->turn;
	CHECK(q->pass == NULL);
	q->pass = TAILQ_FIRST(&q->waiting[q->turn]);
	q->turn = !q->turn;
	q->pass_at = loop_now(s->loop);
	q->pass_len = frame_gathered(&q->pass->more->reader);
	q->pass_read = false;
	conn_budget_resume(q->pass);
}

/* Whoever reads beyond the bound keeps others waiting: its message has to come on. */
static void conns_budget_check_pass(struct conns *s, struct budget *b)
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
			"a message that does not come on, while others wait for its memory "
			"(--hold-bytes)");
		conn_watch(c);
	} else if (stalls || conn_input(c) == 0) {
		conn_end_pass(c, b);
	}
}

void conns_on_budget(void *arg)
{
	struct conns *s = arg;
	CHECK_IS(s, CHECK_CONNS);
	bool wait = false;
	for (struct budget *b = s->budgets != NULL ? s->budgets->first : NULL; b != NULL;
	     b = b->next) {
		struct budget_queue *q = conns_queue(s, b);
		if (q->pass == NULL && !budget_queue_waits(q))
			continue;
		conns_budget_check_pass(s, b);
		conns_budget_resume(s, b, BUDGET_WAIT_REST);
		conns_budget_resume(s, b, BUDGET_WAIT_BEGUN);
		conns_budget_give_pass(s, b);
		wait = wait || q->pass != NULL || budget_queue_waits(q);
	}
	if (wait)
		conns_look_later(s);
}

void conns_set_budgets(struct conns *s, struct budgets *budgets, unsigned number)
{
	CHECK(number < BUDGET_LOOPS_MAX && s->living == 0);
	s->budgets = budgets;
	s->number = number;
	loop_waker_add(s->loop, &s->budget_waker, conns_on_budget, s);
	budgets->wakers[number] = &s->budget_waker;
}
