/* What a connection may send, and when it is told that it sent more; with a clock that the test
 * sets. */
#include <check.h>
#include <stdlib.h>

#include "net/rate_limit.h"
#include "run.h"

START_TEST(the_edge)
{
	const struct rate_limit_rule rule = {.rate = {3, 1000}};
	struct rate_limit m;
	rate_limit_init(&m, &rule, 5000);
	for (int i = 0; i < 3; i++)
		ck_assert(rate_limit_take(&m, 5000, 1));
	ck_assert_uint_eq(rate_limit_due(&m, 5000), 0);
	ck_assert(!rate_limit_take(&m, 5000, 1));
	ck_assert(!rate_limit_take(&m, 5333, 1));
	ck_assert(rate_limit_take(&m, 5334, 1));
	ck_assert(!rate_limit_take(&m, 5334, 1));
}
END_TEST

/* The first at once, then once in the rule's time, and what is left at the end. */
START_TEST(what_is_told)
{
	const struct rate_limit_rule rule = {.rate = {1, 1000}};
	struct rate_limit m;
	rate_limit_init(&m, &rule, 5000);
	ck_assert(rate_limit_take(&m, 5000, 1));
	ck_assert(!rate_limit_take(&m, 5000, 1));
	ck_assert_uint_eq(rate_limit_due(&m, 5000), 1);
	for (int i = 0; i < 7; i++) {
		ck_assert(!rate_limit_take(&m, 5500, 1));
		ck_assert_uint_eq(rate_limit_due(&m, 5500), 0);
	}
	ck_assert_uint_eq(rate_limit_due(&m, 5999), 0);
	ck_assert(rate_limit_take(&m, 6000, 1)); /* with one that passes, too */
	ck_assert_uint_eq(rate_limit_due(&m, 6000), 7);
	ck_assert_uint_eq(rate_limit_due(&m, 9000), 0);
	ck_assert(rate_limit_take(&m, 9000, 1));
	ck_assert(!rate_limit_take(&m, 9000, 1));
	ck_assert_uint_eq(rate_limit_due(&m, 9000), 1);
	ck_assert(!rate_limit_take(&m, 9000, 1));
	ck_assert_uint_eq(rate_limit_rest(&m), 1);
	ck_assert_uint_eq(rate_limit_rest(&m), 0);
}
END_TEST

/* One that counts several times passes whole or not at all. */
START_TEST(several_at_once)
{
	const struct rate_limit_rule rule = {.rate = {10, 1000}};
	struct rate_limit m;
	rate_limit_init(&m, &rule, 1);
	ck_assert(!rate_limit_take(&m, 1, 11));
	ck_assert(rate_limit_take(&m, 1, 7) && !rate_limit_take(&m, 1, 4) &&
		  rate_limit_take(&m, 1, 3) && !rate_limit_take(&m, 1, 1));
	ck_assert(!rate_limit_take(&m, 1000000, 11) && rate_limit_take(&m, 1000000, 10));
	ck_assert(!rate_limit_take(&m, 1000000, UINT32_MAX));
	ck_assert_uint_eq(rate_limit_rest(&m), 5);
}
END_TEST

START_TEST(a_rule_that_changes)
{
	struct rate_limit_rule rule = {.rate = {1, 3600000}};
	struct rate_limit m;
	rate_limit_init(&m, &rule, 1);
	ck_assert(rate_limit_take(&m, 1, 1) && !rate_limit_take(&m, 1, 1));
	rule.rate.n = 0;
	for (int i = 0; i < 1000; i++)
		ck_assert(rate_limit_take(&m, 1, 1));
	rule.rate = (struct bucket_rate){2, 10};
	ck_assert(!rate_limit_take(&m, 1, 1));
	ck_assert(rate_limit_take(&m, 11, 1) && rate_limit_take(&m, 11, 1) &&
		  !rate_limit_take(&m, 11, 1));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("meter");
	TCase *t = tcase_create("meter");
	tcase_add_test(t, the_edge);
	tcase_add_test(t, what_is_told);
	tcase_add_test(t, several_at_once);
	tcase_add_test(t, a_rule_that_changes);
	suite_add_tcase(s, t);
	return run_suite(s);
}
