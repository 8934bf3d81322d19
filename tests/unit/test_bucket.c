/* The token bucket, with a clock that the test sets. */
#include <check.h>
#include <stdlib.h>

#include "base/bucket.h"
#include "run.h"

/* How many pass at this moment. */
static unsigned drain(struct bucket *b, const struct bucket_rate *rate, uint64_t now)
{
	unsigned n = 0;
	while (bucket_take(b, rate, now))
		n++;
	return n;
}

static const struct bucket_rate rates[] = {
	{1, 1},	      {1, 1000},    {10, 1000},	  {3, 1000},	      {7, 10},
	{1000, 1000}, {5000, 1000}, {1000000, 1}, {1000000, 3600000}, {1, 3600000},
};
#define N_RATES (sizeof rates / sizeof *rates)

/* Exactly N pass at once, and after a whole window again N, however long the pause was. */
START_TEST(n_pass_and_no_more)
{
	const struct bucket_rate *rate = &rates[_i];
	struct bucket b;
	bucket_fill(&b, rate, 1000);
	ck_assert_uint_eq(drain(&b, rate, 1000), rate->n);
	ck_assert(!bucket_take(&b, rate, 1000));
	ck_assert_uint_eq(drain(&b, rate, 1000 + rate->ms), rate->n);
	ck_assert_uint_eq(drain(&b, rate, 1000 + 50ull * rate->ms), rate->n);
	ck_assert(!bucket_take(&b, rate, 1000 + 50ull * rate->ms));
}
END_TEST

/* The edge of a single token: not a millisecond before bucket_wait says. */
START_TEST(one_comes_when_its_time_is_over)
{
	const struct bucket_rate *rate = &rates[_i];
	struct bucket b;
	uint64_t now = 77;
	bucket_fill(&b, rate, now);
	drain(&b, rate, now);
	for (int i = 0; i < 5; i++) {
		uint64_t wait = bucket_wait(&b, rate, now);
		ck_assert_uint_gt(wait, 0);
		ck_assert_uint_eq(wait, (rate->ms + rate->n - 1 - (b.credit > 0 ? b.credit : 0)) /
						rate->n);
		ck_assert(!bucket_take(&b, rate, now + wait - 1));
		now += wait;
		ck_assert_uint_eq(bucket_wait(&b, rate, now), 0);
		ck_assert(bucket_take(&b, rate, now));
		drain(&b, rate, now);
	}
}
END_TEST

/* Whoever comes at every millisecond gets the rate on the average, to the token: nothing is lost to
 * rounding. */
START_TEST(the_average_is_exact)
{
	const struct bucket_rate *rate = &rates[_i];
	struct bucket b;
	uint64_t passed = 0, windows = rate->ms > 100000 ? 1 : 20;
	bucket_fill(&b, rate, 0);
	for (uint64_t now = 0; now <= windows * rate->ms; now++)
		passed += drain(&b, rate, now);
	ck_assert_uint_eq(passed, rate->n * (windows + 1));
}
END_TEST

START_TEST(a_clock_that_goes_back_gives_nothing)
{
	const struct bucket_rate rate = {2, 100};
	struct bucket b;
	bucket_fill(&b, &rate, 1000);
	ck_assert_uint_eq(drain(&b, &rate, 1000), 2);
	ck_assert(!bucket_take(&b, &rate, 0));
	ck_assert(!bucket_take(&b, &rate, 1049));
	ck_assert(bucket_take(&b, &rate, 1050));
}
END_TEST

START_TEST(a_rate_that_changes)
{
	struct bucket_rate rate = {100, 1000};
	struct bucket b;
	bucket_fill(&b, &rate, 0);
	rate = (struct bucket_rate){5, 1000};
	ck_assert_uint_eq(drain(&b, &rate, 1), 5); /* no more than the new rate allows */
	rate = (struct bucket_rate){100, 1000};
	ck_assert(!bucket_take(&b, &rate, 1));
	ck_assert_uint_eq(drain(&b, &rate, 1001), 100);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bucket");
	TCase *t = tcase_create("bucket");
	tcase_add_loop_test(t, n_pass_and_no_more, 0, N_RATES);
	tcase_add_loop_test(t, one_comes_when_its_time_is_over, 0, N_RATES);
	tcase_add_loop_test(t, the_average_is_exact, 0, N_RATES);
	tcase_add_test(t, a_clock_that_goes_back_gives_nothing);
	tcase_add_test(t, a_rate_that_changes);
	suite_add_tcase(s, t);
	return run_suite(s);
}
