/* Who looks at the admin page: codes that are good once and for a time, and the secrets that they become. */
#include <check.h>

#include "ops/visitors.h"
#include "run.h"

static struct visitors v;

static void setup(void)
{
	v = (struct visitors){0};
}

static bool known(const char *secret, uint64_t now)
{
	uint8_t id[VISITORS_DIGEST];
	return visitors_know(&v, span_of(secret), now, id);
}

START_TEST(a_code_is_good_once)
{
	char code[VISITORS_SECRET], secret[VISITORS_SECRET], again[VISITORS_SECRET];
	ck_assert(visitors_invite(&v, 1000, code));
	ck_assert_uint_eq(strlen(code), VISITORS_SECRET - 1);
	ck_assert(!known(code, 1000)); /* it is no secret yet */
	ck_assert(!visitors_enter(&v, SPAN("zzz"), 1000, secret));
	ck_assert(visitors_enter(&v, span_of(code), 1000, secret));
	ck_assert_str_ne(code, secret);
	ck_assert(!visitors_enter(&v, span_of(code), 1000, again));
	ck_assert(known(secret, 1000) && !known(code, 1000) && !known("", 1000));
}
END_TEST

START_TEST(both_end)
{
	char code[VISITORS_SECRET], secret[VISITORS_SECRET];
	ck_assert(visitors_invite(&v, 5, code));
	ck_assert(!visitors_enter(&v, span_of(code), 5 + VISITORS_CODE_MS, secret));
	ck_assert(visitors_enter(&v, span_of(code), 4 + VISITORS_CODE_MS, secret));
	ck_assert(known(secret, 3 + VISITORS_CODE_MS + VISITORS_STAY_MS));
	ck_assert(!known(secret, 4 + VISITORS_CODE_MS + VISITORS_STAY_MS));
}
END_TEST

/* The oldest gives way, and nobody else. */
START_TEST(they_are_bounded)
{
	char codes[VISITORS_MAX + 1][VISITORS_SECRET], secret[VISITORS_SECRET];
	for (unsigned i = 0; i <= VISITORS_MAX; i++)
		ck_assert(visitors_invite(&v, i, codes[i]));
	ck_assert(!visitors_enter(&v, span_of(codes[0]), VISITORS_MAX, secret));
	for (unsigned i = 1; i <= VISITORS_MAX; i++)
		ck_assert(visitors_enter(&v, span_of(codes[i]), VISITORS_MAX, secret));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("visitors");
	TCase *tc = tcase_create("visitors");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, a_code_is_good_once);
	tcase_add_test(tc, both_end);
	tcase_add_test(tc, they_are_bounded);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
