/* The pairs of a Cookie header, and the spans that it is cut with. */
#include <check.h>

#include "common/cookie.h"
#include "run.h"

static void gives(struct span header, const char *const *expected)
{
	struct span name, value;
	for (; cookie_next(&header, &name, &value); expected += 2) {
		ck_assert_ptr_nonnull(expected[0]);
		ck_assert(span_eq(name, span_of(expected[0])));
		ck_assert(span_eq(value, span_of(expected[1])));
	}
	ck_assert_ptr_null(expected[0]);
}
#define GIVES(text, ...) gives(SPAN(text), (const char *const[]){__VA_ARGS__})

START_TEST(pairs)
{
	GIVES("", NULL);
	GIVES("a=b", "a", "b", NULL);
	GIVES("a=b; c=d", "a", "b", "c", "d", NULL);
	GIVES(" \ta=b\t;c=d ;", "a", "b", "c", "d", NULL);
	GIVES("a=b;;  ; c=d", "a", "b", "c", "d", NULL);
	GIVES("a=b=c", "a", "b=c", NULL);
	GIVES("a=\"b c\"", "a", "\"b c\"", NULL);
	GIVES("a=", "a", "", NULL);
	gives((struct span){NULL, 0}, (const char *const[]){NULL});
}
END_TEST

START_TEST(parts_that_are_no_pairs)
{
	GIVES("a", "a", "", NULL);
	GIVES("a; b=c", "a", "", "b", "c", NULL);
	GIVES("=b; c=d", "c", "d", NULL);
	GIVES("=", NULL);
	GIVES(";", NULL);
	GIVES(" ", NULL);
}
END_TEST

START_TEST(spans)
{
	struct span rest = SPAN("a,,b");
	ck_assert(span_eq(span_cut(&rest, ','), SPAN("a")));
	ck_assert(span_eq(span_cut(&rest, ','), SPAN("")));
	ck_assert(span_eq(span_cut(&rest, ','), SPAN("b")));
	ck_assert_uint_eq(rest.n, 0);
	ck_assert(span_eq(span_trim(SPAN(" \t a b\t ")), SPAN("a b")));
	ck_assert(span_eq(span_trim(SPAN(" \t")), SPAN("")));
	ck_assert(span_eq(span_trim(SPAN("\na\n")), SPAN("\na\n")));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cookie");
	TCase *tc = tcase_create("cookie");

	tcase_add_test(tc, pairs);
	tcase_add_test(tc, parts_that_are_no_pairs);
	tcase_add_test(tc, spans);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
