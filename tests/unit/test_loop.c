/* The loop: turns and their hooks, timers, time, and what other threads ask for. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/loop.h"
#include "run.h"

static struct loop *loop;
static char said[256];

static void setup(void)
{
	loop = loop_new(NULL);
	ck_assert_ptr_nonnull(loop);
	said[0] = '\0';
}

static void teardown(void)
{
	loop_free(&loop);
}

static void say(void *word)
{
	strcat(said, word);
}

static void say_stop(void *word)
{
	strcat(said, word);
	loop_stop(loop);
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(hooks_end_each_turn_in_order)
{
	struct loop_hook first = {.run = say, .arg = "a"}, second = {.run = say, .arg = "b"};
	struct loop_timer t;
	loop_add_hook(loop, &first);
	loop_add_hook(loop, &second);
	loop_timer_init(loop, &t, say_stop, "t");
	ck_assert(loop_timer_set(&t, 1));
	loop_run(loop);
	/* once before the first turn, for what was written by then */
	ck_assert_str_eq(said, "abtab");
}
END_TEST

START_TEST(timers)
{
	struct loop_timer never, late, early, again;
	loop_timer_init(loop, &never, say, "n");
	loop_timer_init(loop, &late, say_stop, "l");
	loop_timer_init(loop, &early, say, "e");
	loop_timer_init(loop, &again, say, "a");
	ck_assert(!loop_timer_is_set(&late));
	loop_timer_set(&never, 1);
	loop_timer_set(&early, 1);
	loop_timer_set(&again, 3600000);
	loop_timer_set(&again, 20); /* anew */
	loop_timer_set(&late, 40);  /* last, so that it is due last however slow the machine */
	ck_assert(loop_timer_is_set(&never));
	loop_timer_cancel(&never);
	ck_assert(!loop_timer_is_set(&never));
	loop_timer_cancel(&never);
	loop_run(loop);
	ck_assert_str_eq(said, "eal");
	ck_assert(!loop_timer_is_set(&late));
}
END_TEST

/* 30 ms of this thread's own time, however busy the machine is. */
static void toil(void *word)
{
	struct timespec begun, now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < 30);
	say(word);
}

START_TEST(longest_turn)
{
	struct loop_timer slow, end;
	loop_timer_init(loop, &slow, toil, "s");
	loop_timer_init(loop, &end, say_stop, "e");
	loop_timer_set(&slow, 1);
	loop_timer_set(&end, 100); /* sleep does not count */
	loop_run(loop);
	ck_assert_str_eq(said, "se");
	ck_assert_uint_ge(loop->stats.loop_turn_max_us, 29000);
	ck_assert_uint_lt(loop->stats.loop_turn_max_us, 60000);
	struct stats sum = {.accepted = 2, .loop_turn_max_us = 5},
		     other = {.accepted = 3, .loop_turn_max_us = 4};
	stats_add(&sum, &other);
	stats_add(&sum, &loop->stats);
	ck_assert_uint_eq(sum.accepted, 5);
	ck_assert_uint_eq(sum.loop_turn_max_us, loop->stats.loop_turn_max_us);
}
END_TEST

static void look_at_time(void *arg)
{
	uint64_t *times = arg, now = loop_now(loop);
	while (loop_now(loop) == now && times[2] < 1000000)
		times[2]++; /* the same all through the turn, however long it takes */
	ck_assert_uint_ge(now, times[0] + 10);
	loop_stop(loop);
}

START_TEST(time_stands_still_within_a_turn)
{
	struct loop_timer t;
	uint64_t times[3] = {loop_now(loop), 0, 0};
	loop_timer_init(loop, &t, look_at_time, times);
	loop_timer_set(&t, 30);
	loop_run(loop);
	ck_assert_uint_eq(times[2], 1000000);
}
END_TEST

/* --- other threads ---------------------------------------------------------------------------- */

static struct loop_waker waker, other;
static atomic_int wanted, runs;

static void *wake_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10000; i++) {
		atomic_fetch_add(&wanted, 1);
		loop_wake(&waker);
	}
	loop_wake(&other);
	return NULL;
}

static void count_run(void *arg)
{
	(void)arg;
	atomic_fetch_add(&runs, 1);
}

/* What a turn reads of all together is bounded, and none is left out. */
START_TEST(readers_share_a_turn)
{
	size_t all = 0, share;
	for (loop->readers = 1; loop->readers <= 10000; loop->readers++) {
		loop->readers_before = 0;
		share = loop_read_share(loop);
		ck_assert(share >= LOOP_READ_MIN && share <= LOOP_READ_MAX);
		all += share;
		ck_assert(all < 6 * LOOP_READ_TURN + (size_t)loop->readers * LOOP_READ_MIN);
		/* as many as in the turn before: each gets the same */
		loop->readers_before = loop->readers;
		ck_assert(share * loop->readers <= LOOP_READ_TURN || share == LOOP_READ_MIN);
	}
	loop->readers = 1000;
	loop_turn(loop, false);
	ck_assert_uint_eq(loop->readers, 0);
	ck_assert_uint_eq(loop_read_share(loop), LOOP_READ_MIN);
	loop_turn(loop, false);
	ck_assert_uint_eq(loop_read_share(loop), LOOP_READ_MAX);
}
END_TEST

START_TEST(wakers)
{
	pthread_t thread;
	loop_waker_add(loop, &waker, count_run, NULL);
	loop_waker_add(loop, &other, say_stop, "o");
	pthread_create(&thread, NULL, wake_often, NULL);
	loop_run(loop);
	pthread_join(thread, NULL);
	ck_assert_str_eq(said, "o");
	ck_assert_int_ge(atomic_load(&runs), 1);
	ck_assert_int_le(atomic_load(&runs), atomic_load(&wanted));
	/* none was lost: the last run came behind the last wake */
	ck_assert(!atomic_load(&waker.pending));
	loop_waker_remove(&waker);
	loop_waker_remove(&waker); /* twice is once */
	loop_waker_remove(&other);
	ck_assert_ptr_null(loop->wakers);
}
END_TEST

START_TEST(a_waker_that_is_removed_does_not_run)
{
	loop_waker_add(loop, &waker, say, "w");
	loop_waker_add(loop, &other, say_stop, "o");
	loop_wake(&waker);
	loop_wake(&other);
	loop_waker_remove(&waker);
	loop_run(loop);
	ck_assert(loop_turn(loop, false)); /* nor in the next turn */
	ck_assert_str_eq(said, "o");
	loop_waker_remove(&other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tc = tcase_create("loop");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, hooks_end_each_turn_in_order);
	tcase_add_test(tc, timers);
	tcase_add_test(tc, longest_turn);
	tcase_add_test(tc, time_stands_still_within_a_turn);
	tcase_add_test(tc, readers_share_a_turn);
	tcase_add_test(tc, wakers);
	tcase_add_test(tc, a_waker_that_is_removed_does_not_run);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
