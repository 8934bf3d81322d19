/* Which pushes have been done: a model of the rules, the bound of sources, and names. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "handler/worker/push.h"
#include "run.h"

static struct push_sources sources;
static bool memory_denied;
static const struct push_outcome nothing;

/* --- no memory -------------------------------------------------------------------------------- */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return memory_denied ? NULL : __real_calloc(n, size);
}

static void setup(void)
{
	const struct hash_key key = {1, 2};
	memory_denied = false;
	push_sources_init(&sources, &key);
}

static void teardown(void)
{
	push_sources_free(&sources);
}

static enum push_verdict judge(const char *source, uint64_t n)
{
	return push_judge(&sources, span_of(source), n);
}

static void done(const char *source, uint64_t n)
{
	push_done(&sources, span_of(source), n, &(struct push_outcome){.receivers = n});
}

START_TEST(one_source)
{
	ck_assert_int_eq(judge("a", 1), PUSH_NEW);
	ck_assert_ptr_null(push_outcome(&sources, span_of("a"), 1));
	done("a", 1);
	ck_assert_uint_eq(push_outcome(&sources, span_of("a"), 1)->receivers, 1);
	ck_assert_ptr_null(push_outcome(&sources, span_of("a"), 2));
	ck_assert_ptr_null(push_outcome(&sources, span_of("b"), 1));
	ck_assert_int_eq(judge("a", 1), PUSH_REPEATED);
	ck_assert_int_eq(judge("a", 3), PUSH_GAP);
	ck_assert_int_eq(judge("a", 2), PUSH_NEW);
	done("a", 2);
	ck_assert_int_eq(judge("a", 1), PUSH_REPEATED);
	ck_assert_int_eq(judge("a", 2), PUSH_REPEATED);
	ck_assert_int_eq(judge("a", 3), PUSH_NEW);
	ck_assert_int_eq(judge("a", UINT64_MAX), PUSH_GAP);
}
END_TEST

/* Judged is not done: until it is, the same number is new. */
START_TEST(only_done_counts)
{
	ck_assert_int_eq(judge("a", 1), PUSH_NEW);
	ck_assert_int_eq(judge("a", 1), PUSH_NEW);
	ck_assert_int_eq(judge("a", 2), PUSH_GAP);
	done("a", 1);
	ck_assert_int_eq(judge("a", 1), PUSH_REPEATED);
}
END_TEST

START_TEST(unknown_sources)
{
	ck_assert_int_eq(judge("a", 2), PUSH_UNKNOWN);
	ck_assert_int_eq(judge("a", 7), PUSH_UNKNOWN);
	ck_assert_uint_eq(sources.table.n, 0);
	done("a", 7); /* of nobody */
	ck_assert_int_eq(judge("a", 8), PUSH_UNKNOWN);
	ck_assert_int_eq(judge("a", 1), PUSH_NEW);
	done("a", 1);
	ck_assert_int_eq(judge("b", 2), PUSH_UNKNOWN);
	ck_assert_int_eq(judge("", 1), PUSH_BAD_NAME);
}
END_TEST

START_TEST(names)
{
	char name[PUSH_SOURCE_NAME_MAX + 1];
	memset(name, 'x', sizeof name);
	ck_assert_int_eq(push_judge(&sources, (struct span){name, PUSH_SOURCE_NAME_MAX + 1}, 1),
			 PUSH_BAD_NAME);
	ck_assert_int_eq(push_judge(&sources, (struct span){NULL, 0}, 1), PUSH_BAD_NAME);
	for (size_t n = 1; n <= PUSH_SOURCE_NAME_MAX; n++) {
		ck_assert_int_eq(push_judge(&sources, (struct span){name, n}, 1), PUSH_NEW);
		push_done(&sources, (struct span){name, n}, 1, &nothing);
	}
	ck_assert_uint_eq(sources.table.n, PUSH_SOURCE_NAME_MAX);
	for (size_t n = 1; n <= PUSH_SOURCE_NAME_MAX; n++)
		ck_assert_int_eq(push_judge(&sources, (struct span){name, n}, 1), PUSH_REPEATED);
	ck_assert_int_eq(push_judge(&sources, (struct span){"a\0b", 3}, 1), PUSH_NEW);
	push_done(&sources, (struct span){"a\0b", 3}, 1, &nothing);
	ck_assert_int_eq(push_judge(&sources, (struct span){"a\0c", 3}, 1), PUSH_NEW);
	ck_assert_int_eq(push_judge(&sources, (struct span){"a", 1}, 1), PUSH_NEW);
	ck_assert_int_eq(push_judge(&sources, (struct span){"a\0b", 3}, 1), PUSH_REPEATED);
}
END_TEST

static const char *name_of(unsigned i)
{
	static char name[16];
	snprintf(name, sizeof name, "s%u", i);
	return name;
}

/* The one that was used least recently is forgotten, and being asked for counts as use. */
START_TEST(the_oldest_is_forgotten)
{
	for (unsigned i = 0; i < PUSH_SOURCES_MAX; i++) {
		ck_assert_int_eq(judge(name_of(i), 1), PUSH_NEW);
		done(name_of(i), 1);
	}
	ck_assert_uint_eq(sources.table.n, PUSH_SOURCES_MAX);
	ck_assert_int_eq(judge(name_of(0), 1), PUSH_REPEATED);
	ck_assert_int_eq(judge("new", 1), PUSH_NEW);
	ck_assert_uint_eq(sources.table.n, PUSH_SOURCES_MAX);
	ck_assert_int_eq(judge(name_of(1), 2), PUSH_UNKNOWN); /* in its place */
	ck_assert_int_eq(judge(name_of(0), 2), PUSH_NEW);
	ck_assert_int_eq(judge(name_of(2), 1), PUSH_REPEATED);
	for (unsigned i = 0; i < PUSH_SOURCES_MAX; i++)
		judge(name_of(PUSH_SOURCES_MAX + i), 1);
	ck_assert_uint_eq(sources.table.n, PUSH_SOURCES_MAX);
	ck_assert_int_eq(judge("new", 2), PUSH_UNKNOWN);
	ck_assert_int_eq(judge(name_of(0), 3), PUSH_UNKNOWN);
}
END_TEST

START_TEST(no_memory)
{
	memory_denied = true;
	ck_assert_int_eq(judge("a", 1), PUSH_NO_MEMORY);
	ck_assert_uint_eq(sources.table.n, 0);
	memory_denied = false;
	ck_assert_int_eq(judge("a", 1), PUSH_NEW);
}
END_TEST

/* Random pushes of few sources against what the rules say. */
START_TEST(model)
{
	uint64_t highest[8] = {0}, state = 12345;
	bool known[8] = {false};
	for (unsigned i = 0; i < (RUNNING_ON_VALGRIND ? 2000 : 200000); i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		unsigned who = state >> 61, n = (unsigned)(highest[who] + (state >> 40) % 4);
		enum push_verdict v;
		n = n == 0 ? 1 : n;
		v = judge(name_of(who), n);
		if (!known[who] && n > 1) {
			ck_assert_int_eq(v, PUSH_UNKNOWN);
			continue;
		}
		known[who] = true;
		ck_assert_int_eq(v, n <= highest[who]	    ? PUSH_REPEATED
				    : n == highest[who] + 1 ? PUSH_NEW
							    : PUSH_GAP);
		if (v == PUSH_NEW && (state >> 30) % 2 == 0) {
			done(name_of(who), n);
			highest[who] = n;
		}
	}
	ck_assert_uint_eq(sources.table.n, 8);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("push");
	TCase *tc = tcase_create("push");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_source);
	tcase_add_test(tc, only_done_counts);
	tcase_add_test(tc, unknown_sources);
	tcase_add_test(tc, names);
	tcase_add_test(tc, the_oldest_is_forgotten);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, model);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
