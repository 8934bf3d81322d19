/* Texts that live until what they were made for is over. */
#include <stdlib.h>

#include "common/scratch.h"
#include "run.h"

START_TEST(quoted_texts_stay)
{
	struct scratch s = {0};
	const char *made[100];
	int limit = 1;
	for (int i = 0; i < 100; i++)
		made[i] = scratch_quote(&s, "a\"b\n\0c", 6, &limit);
	for (int i = 0; i < 100; i++)
		ck_assert_str_eq(made[i], "\"a\\\"b\\n\\u0000c\"");
	ck_assert_int_eq(limit, 0);
	ck_assert_str_eq(scratch_quote(&s, "", 0, &limit), "\"\"");
	scratch_clear(&s);
	ck_assert_ptr_null(s.first);
	ck_assert_uint_eq(s.bytes, 0);
	scratch_clear(&s);
}
END_TEST

START_TEST(all_of_it_is_bounded)
{
	struct scratch s = {0};
	size_t half = SCRATCH_BYTES_MAX / 2;
	char *text = calloc(1, half);
	int limit;
	memset(text, 'x', half);
	ck_assert_ptr_nonnull(scratch_quote(&s, text, half - 3, &limit));
	ck_assert_ptr_null(scratch_quote(&s, text, half - 2, &limit));
	ck_assert_int_eq(limit, 1);
	ck_assert_ptr_nonnull(scratch_quote(&s, text, half - 3, &limit));
	ck_assert_int_eq(limit, 0);
	ck_assert_ptr_null(scratch_quote(&s, "", 0, &limit));
	ck_assert_int_eq(limit, 1);
	ck_assert_ptr_null(scratch_quote(&s, text, SIZE_MAX, &limit)); /* not even counted */
	scratch_clear(&s);
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scratch");
	TCase *tc = tcase_create("scratch");

	tcase_add_test(tc, quoted_texts_stay);
	tcase_add_test(tc, all_of_it_is_bounded);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
