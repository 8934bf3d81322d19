/* Timers of handlers: kept by name, set twice, cancelled while they are told, and gone with their
 * connection. */
#include "rig.h"
#include "run.h"

static struct rig *r;

static void setup(void)
{
	const struct conn_limits limits = rig_limits();
	r = rig_new(&limits, 0);
}

static void teardown(void)
{
	rig_free(r);
}

static bool set(struct session *s, const char *name, uint64_t id, uint64_t delay, uint64_t period)
{
	const struct event_timer t = {.name = name,
				      .id = id,
				      .delay_ms = delay,
				      .period_ms = period};
	return timer_set(r->mount, s, &t);
}

/* Turns until what the handler was told ends so. */
static void until_said(const char *end)
{
	size_t n = strlen(end);
	RIG_UNTIL(r, r->said_len >= n && strcmp(r->said + r->said_len - n, end) == 0);
}

/* A timer that comes behind all others of the delays used here. */
#define LATE 60

START_TEST(once)
{
	ck_assert(set(NULL, "a", 1, 1, 0));
	ck_assert(set(NULL, "end", 2, LATE, 0));
	until_said("=end");
	RIG_EXPECT(r, "timer:0=a timer:0=end");
	ck_assert_ptr_null(r->mount->timers);
	ck_assert(!timer_cancel(r->mount, NULL, SPAN("a")));
}
END_TEST

START_TEST(again_and_again)
{
	ck_assert(set(NULL, "a", 1, 0, 1));
	until_said("timer:0=a timer:0=a timer:0=a timer:0=a");
	ck_assert(timer_cancel(r->mount, NULL, SPAN("a")));
	r->said[r->said_len = 0] = '\0';
	ck_assert(set(NULL, "end", 2, 20, 0));
	until_said("=end");
	RIG_EXPECT(r, "timer:0=end");
}
END_TEST

/* An identical one changes nothing: else one that is set often would never come. */
START_TEST(identical)
{
	ck_assert(set(NULL, "a", 1, 150, 0));
	struct timer *before = r->mount->timers;
	for (int i = 0; i < 150; i++) {
		double until = rig_seconds() + 0.002;
		ck_assert(set(NULL, "a", 1, 150, 0));
		ck_assert_ptr_eq(r->mount->timers, before);
		while (rig_seconds() < until && r->said_len == 0)
			rig_turn(r);
		if (r->said_len > 0)
			break;
	}
	RIG_EXPECT(r, "timer:0=a");
}
END_TEST

static enum handler_result note_id(struct rig *rig, const struct hub_event *e, struct commit *c,
				   struct span *why_r)
{
	(void)c;
	(void)why_r;
	if (e->kind == EVENT_TIMER && strcmp(e->timer.name, "a") == 0)
		rig->step = (int)e->timer.id;
	return HANDLER_DONE;
}

/* Any other way, be it one number, it starts anew, and there is still only one. */
START_TEST(replaced)
{
	static const uint64_t other[][3] = {{2, 5, 0}, {1, 5, 0}, {1, 5, 3600000}};
	r->script = note_id;
	ck_assert(set(NULL, "a", 1, _i == 1 ? 3600000 : 5, 0));
	ck_assert(set(NULL, "a", other[_i][0], other[_i][1], other[_i][2]));
	ck_assert(set(NULL, "end", 9, LATE, 0));
	until_said("=end");
	RIG_EXPECT(r, "timer:0=a timer:0=end");
	ck_assert_int_eq(r->step, (int)other[_i][0]);
	ck_assert(timer_cancel(r->mount, NULL, SPAN("a")) == (_i == 2));
	ck_assert_ptr_null(r->mount->timers);
}
END_TEST

START_TEST(names_part_them)
{
	rig_open_many(r, 2);
	ck_assert(set(NULL, "a", 1, 3600000, 0));
	ck_assert(set(r->clients[1].session, "a", 1, 3600000, 0));
	ck_assert(set(r->clients[2].session, "a", 1, 5, 0));
	ck_assert(set(r->clients[2].session, "ab", 1, 3600000, 0));
	ck_assert(!timer_cancel(r->mount, r->clients[1].session, SPAN("ab")));
	ck_assert(!timer_cancel(r->mount, NULL, SPAN("ab")));
	ck_assert(!timer_cancel(r->mount, NULL, SPAN("")));
	until_said("=a");
	RIG_EXPECT(r, "timer:2=a");
	ck_assert(timer_cancel(r->mount, r->clients[2].session, SPAN("ab")));
	ck_assert(timer_cancel(r->mount, r->clients[1].session, SPAN("a")));
	ck_assert(timer_cancel(r->mount, NULL, SPAN("a")));
}
END_TEST

START_TEST(gone_with_their_connection)
{
	rig_open_many(r, 2);
	ck_assert(set(r->clients[1].session, "never", 1, 5, 1));
	ck_assert(set(r->clients[1].session, "nor this", 1, 6, 0));
	hub_close_session(r->clients[1].session, 1000, (struct span){0}, false);
	ck_assert(set(r->clients[2].session, "end", 1, LATE, 0));
	until_said("=end");
	RIG_EXPECT(r, "close:1=1000 timer:2=end");
}
END_TEST

static enum handler_result in_its_own_event(struct rig *rig, const struct hub_event *e,
					    struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind != EVENT_TIMER || strcmp(e->timer.name, "a") != 0)
		return HANDLER_DONE;
	ck_assert_uint_eq(e->timer.id, 7);
	ck_assert_uint_eq(e->timer.delay_ms, 1);
	const struct event_timer same = {.name = "a",
					 .id = 7,
					 .delay_ms = 1,
					 .period_ms = e->timer.period_ms};
	switch (rig->step++) {
	case 0: /* a new one under the same name */
		commit_timer(c, false, 0, &same);
		break;
	case 1:
		commit_cancel(c, false, 0, SPAN("a"));
		break;
	default:
		ck_abort_msg("told after it was cancelled");
	}
	return HANDLER_DONE;
}

START_TEST(set_and_cancelled_by_its_own_event)
{
	r->script = in_its_own_event;
	ck_assert(set(NULL, "a", 7, 1, _i == 0 ? 0 : 1)); /* once, or with a period */
	RIG_UNTIL(r, r->step == 2);
	ck_assert(set(NULL, "end", 2, 30, 0));
	until_said("=end");
	RIG_EXPECT(r, "timer:0=a timer:0=a timer:0=end");
}
END_TEST

static enum handler_result close_in_timer(struct rig *rig, const struct hub_event *e,
					  struct commit *c, struct span *why_r)
{
	(void)why_r;
	if (e->kind == EVENT_TIMER)
		commit_close(c, rig->clients[1].local, 4001, (struct span){0});
	return HANDLER_DONE;
}

START_TEST(a_timer_that_closes_its_connection)
{
	rig_open_many(r, 1);
	r->script = close_in_timer;
	ck_assert(set(r->clients[1].session, "a", 1, 1, 1));
	ck_assert(set(r->clients[1].session, "b", 1, 1, 1));
	rig_expect_close(r, 1, 4001);
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	for (int i = 0; i < 3; i++)
		rig_turn(r);
	RIG_EXPECT(r, strstr(r->said, "=b ") != NULL ? "timer:1=b close:1=4001"
						     : "timer:1=a close:1=4001");
}
END_TEST

/* --- many ------------------------------------------------------------------------------------- */

static double cpu_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static enum handler_result count_timers(struct rig *rig, const struct hub_event *e,
					struct commit *c, struct span *why_r)
{
	(void)c;
	(void)why_r;
	rig->step += e->kind == EVENT_TIMER;
	rig->said[rig->said_len = 0] = '\0'; /* there are more than there is room for */
	return HANDLER_DONE;
}

/* What it takes to set, find, fire and cancel so many. */
static double cost_of(int n)
{
	char name[16];
	double before = cpu_seconds();
	r->step = 0;
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "t%d", i);
		ck_assert(set(NULL, name, 1, i % 2 == 0 ? 3600000 : 1, 0));
	}
	RIG_UNTIL(r, r->step == n / 2);
	for (int i = 0; i < n; i += 2) {
		snprintf(name, sizeof name, "t%d", i);
		ck_assert(timer_cancel(r->mount, NULL, span_of(name)));
	}
	ck_assert_ptr_null(r->mount->timers);
	return cpu_seconds() - before;
}

/* Sixteen times as many cost some sixteen times as much, and not 256 times. */
START_TEST(a_crowd_costs_no_more_each)
{
	r->script = count_timers;
	double few = cost_of(2000), many = cost_of(32000);
	ck_assert_msg(many < 80 * few, "2,000 took %.4f s, 32,000 %.4f s", few, many);
}
END_TEST

static enum handler_result take_a_while(struct rig *rig, const struct hub_event *e,
					struct commit *c, struct span *why_r)
{
	double until = rig_seconds() + 0.001;
	(void)c;
	(void)why_r;
	rig->step += e->kind == EVENT_TIMER;
	while (e->kind == EVENT_TIMER && rig_seconds() < until)
		;
	return HANDLER_DONE;
}

/* Those that are due together do not have the loop to themselves until the last of them was told.
 */
START_TEST(others_have_turns_between_them)
{
	char name[16];
	r->script = take_a_while;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "t%d", i);
		ck_assert(set(NULL, name, 1, 1, 0));
	}
	for (int before = 0; r->step < 100; before = r->step) {
		rig_turn(r);
		ck_assert_int_le(r->step - before, 10);
	}
}
END_TEST

/* A period counts from the schedule. Where the machine is busy an event may be late, but the one
 * behind it is not, for that: there is a time in which 25 periods take 25 periods. The coarse
 * clock's ticks are no part of it: 18 ms are not 20. */
START_TEST(periods_do_not_drift)
{
	enum { RUN = 25, PERIOD = 18 };
	double at[RUN + 1] = {0};
	uint64_t told = 0;
	r->script = count_timers;
	ck_assert(set(NULL, "a", 1, 0, PERIOD));
	do {
		for (int before = r->step; r->step == before;)
			ck_assert(loop_turn(r->loop, true)); /* which sleeps, as the host does */
		at[told++ % (RUN + 1)] = rig_seconds();
	} while (told <= RUN ||
		 at[(told - 1) % (RUN + 1)] - at[told % (RUN + 1)] > (RUN * PERIOD + 5) / 1000.0);
}
END_TEST

/* An event that waits for its handler is enough: those of the periods that pass meanwhile are left
 * out. */
START_TEST(no_pile_behind_a_slow_handler)
{
	const struct conn_limits limits = rig_limits();
	rig_free(r);
	r = rig_new_async(&limits, 1 << 20);
	r->script = count_timers;
	ck_assert(set(NULL, "a", 1, 0, 1));
	ck_assert(set(NULL, "b", 1, 0, 1));
	RIG_UNTIL(r, r->mount->lane.current != NULL && lane_first(&r->mount->lane) != NULL);
	struct event_held *second = lane_first(&r->mount->lane);
	double until = rig_seconds() + 0.02;
	while (rig_seconds() < until)
		rig_turn(r);
	ck_assert_ptr_eq(lane_first(&r->mount->lane), second);
	ck_assert_ptr_null(lane_next(&r->mount->lane, second));
	rig_settle(r);
	rig_settle(r);
	RIG_UNTIL(r, r->mount->lane.current != NULL); /* and it is told again after that */
	timer_cancel(r->mount, NULL, SPAN("a"));
	timer_cancel(r->mount, NULL, SPAN("b"));
	while (!TAILQ_EMPTY(&r->given))
		rig_settle(r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("timer");
	TCase *tc = tcase_create("timer");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, once);
	tcase_add_test(tc, again_and_again);
	tcase_add_test(tc, identical);
	tcase_add_loop_test(tc, replaced, 0, 3);
	tcase_add_test(tc, names_part_them);
	tcase_add_test(tc, gone_with_their_connection);
	tcase_add_loop_test(tc, set_and_cancelled_by_its_own_event, 0, 2);
	tcase_add_test(tc, a_timer_that_closes_its_connection);
	tcase_add_test(tc, a_crowd_costs_no_more_each);
	tcase_add_test(tc, others_have_turns_between_them);
	tcase_add_test(tc, periods_do_not_drift);
	tcase_add_test(tc, no_pile_behind_a_slow_handler);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
