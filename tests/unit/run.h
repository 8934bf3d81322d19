/* Runs a suite as a program: the end of every test's main. */
#ifndef TOVA_UNIT_RUN_H
#define TOVA_UNIT_RUN_H

#include <check.h>

/* Takes the suite over. Returns what main returns. */
static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
