/* Assertions that stay on: what is so costs nothing to say, and what is not ends the process. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "run.h"

START_TEST(what_is_so)
{
	int evaluated = 0;
	CHECK(++evaluated == 1);
	CHECK(evaluated == 1 || evaluated == 2);
	ck_assert_int_eq(evaluated, 1);
}
END_TEST

/* In a process of its own, which it ends. */
START_TEST(it_says_where_and_what)
{
	int ends[2], status = 0;
	char said[512] = "", expected[512];
	ck_assert_int_eq(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		CHECK(strcmp("a", "b") == 0);
		_exit(0);
	}
	const int line = __LINE__ - 3;
	close(ends[1]);
	ck_assert_int_gt(read(ends[0], said, sizeof said - 1), 0);
	close(ends[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	snprintf(expected, sizeof expected,
		 "tova-host: %s:%d: CHECK(strcmp(\"a\", \"b\") == 0) failed\n", __FILE__, line);
	ck_assert_str_eq(said, expected);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("check");
	TCase *tc = tcase_create("check");

	tcase_add_test(tc, what_is_so);
	tcase_add_test(tc, it_says_where_and_what);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
