/* What is held back of the descriptors, at every limit, and with real ones. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/descriptors.h"
#include "run.h"

#define FEW 64

/* Each user may take what those before may not, and none goes without. */
START_TEST(each_leaves_some_to_those_behind)
{
	for (uint32_t most = 8; most <= 100000; most += most < 300 ? 1 : 997) {
		const struct descriptors d = {.most = most};
		uint32_t n[3] = {0};
		for (int user = DESCRIPTORS_CLIENT; user <= DESCRIPTORS_HOST; user++)
			while (n[user] < most &&
			       descriptors_may(&d, (enum descriptors_user)user, (int)n[user]))
				n[user]++;
		ck_assert_uint_eq(n[DESCRIPTORS_HOST], most);
		ck_assert(n[DESCRIPTORS_CLIENT] <= n[DESCRIPTORS_WORKER] &&
			  n[DESCRIPTORS_WORKER] <= most);
		ck_assert_uint_ge(n[DESCRIPTORS_CLIENT], most - most / 4);
		ck_assert_uint_ge(n[DESCRIPTORS_CLIENT] + DESCRIPTORS_HELD_MAX, most);
		if (most >= 16)
			ck_assert(n[DESCRIPTORS_CLIENT] < n[DESCRIPTORS_WORKER] &&
				  n[DESCRIPTORS_WORKER] < most);
	}
}
END_TEST

/* Takes until the client's are gone, then the worker's, then all. */
START_TEST(real_ones)
{
	struct rlimit limit;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	const rlim_t before = limit.rlim_cur;
	limit.rlim_cur = FEW; /* valgrind lets nobody change the hard one */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	struct descriptors d = descriptors_of_process();
	ck_assert_uint_eq(d.most, FEW);
	int last = -1, fd, ends[2];
	for (int user = DESCRIPTORS_CLIENT; user <= DESCRIPTORS_HOST; user++) {
		while ((fd = descriptors_take(&d, (enum descriptors_user)user,
					      open("/dev/null", O_RDONLY))) >= 0)
			last = fd;
		ck_assert_int_eq(errno, EMFILE);
		ck_assert(!descriptors_left(&d, (enum descriptors_user)user));
		ck_assert(!descriptors_pipe(&d, (enum descriptors_user)user, ends));
		ck_assert_int_eq(errno, EMFILE);
		ck_assert_int_eq(last, FEW - 1 -
					       (user == DESCRIPTORS_CLIENT   ? 16
						: user == DESCRIPTORS_WORKER ? 4
									     : 0));
	}
	close(0);
	for (int user = DESCRIPTORS_CLIENT; user <= DESCRIPTORS_HOST; user++)
		ck_assert(descriptors_left(&d, (enum descriptors_user)user));
	/* one is not enough, and comes back */
	ck_assert(!descriptors_pipe(&d, DESCRIPTORS_HOST, ends));
	ck_assert(descriptors_left(&d, DESCRIPTORS_CLIENT));
	close(1);
	ck_assert(descriptors_pipe(&d, DESCRIPTORS_CLIENT, ends));
	limit.rlim_cur = before; /* LeakSanitizer needs some at exit */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("descriptors");
	TCase *tests = tcase_create("descriptors");
	tcase_add_test(tests, each_leaves_some_to_those_behind);
	tcase_add_test(tests, real_ones);
	suite_add_tcase(suite, tests);
	return run_suite(suite);
}
