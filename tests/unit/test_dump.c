/* JSON as text, with and without memory. */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/dump.h"
#include "run.h"

static int left = -1; /* allocations until there is no more memory; -1: there is enough */

static void *scarce(size_t n)
{
	if (left == 0)
		return NULL;
	left -= left > 0;
	return malloc(n);
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return left == 0 ? NULL : __real_malloc(n);
}

static void setup(void)
{
	left = -1;
	json_set_alloc_funcs(scarce, free);
}

static json_t *made(void)
{
	json_t *value = json_object();
	for (int i = 0; i < 200; i++) {
		char key[24];
		snprintf(key, sizeof key, "key %d", i);
		json_object_set_new(value, key, json_pack("[s, {s:i}]", "a text", "n", i));
	}
	return value;
}

START_TEST(text)
{
	json_t *value = json_pack("{s:s, s:[i, b, n]}", "a", "\"\xc3\xa4", "b", 7, 1);
	char *told = dump_text(value, JSON_COMPACT);
	ck_assert_str_eq(told, "{\"a\":\"\\\"\xc3\xa4\",\"b\":[7,true,null]}");
	free(told);
	json_decref(value);
	value = json_string("x");
	ck_assert_ptr_null(dump_text(value, JSON_COMPACT)); /* as json_dumps: no object, no array */
	told = dump_text(value, JSON_COMPACT | JSON_ENCODE_ANY);
	ck_assert_str_eq(told, "\"x\"");
	free(told);
	json_decref(value);
	ck_assert_ptr_null(dump_text(NULL, 0));
}
END_TEST

START_TEST(whole_or_not_at_all)
{
	json_t *value = made();
	char *all = dump_text(value, JSON_COMPACT);
	ck_assert_ptr_nonnull(all);
	bool done = false;
	for (int n = 0; !done; n++) {
		left = n;
		char *told = dump_text(value, JSON_COMPACT);
		done = left > 0;
		left = -1;
		ck_assert(told == NULL || strcmp(told, all) == 0);
		ck_assert(told != NULL || !done);
		free(told);
	}
	free(all);
	json_decref(value);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dump");
	TCase *tc = tcase_create("dump");
	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, text);
	tcase_add_test(tc, whole_or_not_at_all);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
