/* Sends on many sockets with one call: their results are those of send(2). Where the kernel has no
 * io_uring, nothing to test is left. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/uring.h"
#include "run.h"

static struct uring u;

/* The kernel takes so many entries, and fails. -1: it works. hides: results of what it has taken do
 * not come. */
static int fails_behind = -1;
static bool hides;

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait)
{
	if (fails_behind < 0)
		return __real_io_uring_submit_and_wait(ring, wait);
	if (fails_behind == 0)
		return -ENOMEM;
	unsigned tail = ring->sq.sqe_tail;
	ring->sq.sqe_tail = ring->sq.sqe_head + (unsigned)fails_behind;
	int taken = __real_io_uring_submit_and_wait(ring, (unsigned)fails_behind);
	ring->sq.sqe_tail = tail;
	ck_assert_int_eq(taken, fails_behind);
	if (hides)
		io_uring_cq_advance(ring, (unsigned)taken);
	fails_behind = 0;
	return hides ? -ENOMEM : taken;
}

static void setup(void)
{
	u = (struct uring){.ring = NULL};
	if (!uring_begin(&u))
		ck_assert_msg(u.off, "it is not there, and would be tried for each turn");
}

static void teardown(void)
{
	uring_free(&u);
	ck_assert_ptr_null(u.ring);
}

static void pair(int fds[2])
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
}

START_TEST(as_many_as_fit_and_again)
{
	int fds[16][2];
	char got[4 * URING_MAX];
	if (u.off)
		return;
	for (int i = 0; i < 16; i++)
		pair(fds[i]);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < URING_MAX; i++)
			uring_add(&u, fds[i % 16][0], &"abcd"[i / 16 % 4], 1, &fds[i % 16]);
		uring_run(&u);
		ck_assert_uint_eq(u.n, URING_MAX);
		for (unsigned i = 0; i < u.n; i++) {
			ck_assert_int_eq(u.sends[i].result, 1);
			ck_assert_ptr_eq(u.sends[i].item, &fds[i % 16]);
		}
		uring_clear(&u);
		for (int k = 0; k < 16; k++) {
			ck_assert_int_eq(recv(fds[k][1], got, sizeof got, 0), URING_MAX / 16);
			for (int i = 0; i < URING_MAX / 16; i++)
				ck_assert_int_eq(got[i], "abcd"[i % 4]); /* in order */
		}
	}
	for (int k = 0; k < 16; k++) {
		close(fds[k][0]);
		close(fds[k][1]);
	}
}
END_TEST

/* A full socket, one whose peer is gone, one that is none, one that takes a part: each its own
 * result, and nobody waits. */
START_TEST(each_has_its_own_result)
{
	static char large[1 << 22];
	int good[2], full[2], gone[2], part[2], pipes[2];
	if (u.off)
		return;
	pair(good);
	pair(full);
	pair(gone);
	pair(part);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	close(gone[1]);
	while (send(full[0], large, sizeof large, MSG_NOSIGNAL) > 0) {
	}
	uring_add(&u, full[0], "x", 1, NULL);
	uring_add(&u, gone[0], "x", 1, NULL);
	uring_skip(&u, &u);
	uring_add(&u, pipes[1], "x", 1, NULL);
	uring_add(&u, part[0], large, sizeof large, NULL);
	uring_add(&u, -1, "x", 1, NULL);
	uring_add(&u, good[0], "hello", 5, NULL);
	uring_run(&u);
	ck_assert_int_eq(u.sends[0].result, -EAGAIN);
	ck_assert_int_eq(u.sends[1].result, -EPIPE);
	ck_assert_int_eq(u.sends[2].result, URING_NOT_TRIED);
	ck_assert_ptr_eq(u.sends[2].item, &u);
	ck_assert_int_eq(u.sends[3].result, -ENOTSOCK);
	ck_assert_int_gt(u.sends[4].result, 0);
	ck_assert_int_lt(u.sends[4].result, (int)sizeof large);
	ck_assert_int_eq(u.sends[5].result, -EBADF);
	ck_assert_int_eq(u.sends[6].result, 5);
	uring_clear(&u);
	for (int i = 0; i < 2; i++) {
		close(good[i]);
		close(full[i]);
		close(part[i]);
		close(pipes[i]);
	}
	close(gone[0]);
}
END_TEST

START_TEST(nothing_to_send)
{
	if (u.off)
		return;
	uring_run(&u);
	uring_skip(&u, &u);
	uring_run(&u);
	ck_assert_uint_eq(u.n, 1);
	uring_clear(&u);
	ck_assert_uint_eq(u.n, 0);
}
END_TEST

/* What the kernel has taken is not sent again, whether it says what became of it or not; what it
 * has not taken is. */
static void in_part(bool hidden)
{
	int fds[4][2];
	char got[8];
	if (u.off)
		return;
	uring_skip(&u, NULL);
	for (int i = 0; i < 4; i++) {
		pair(fds[i]);
		uring_add(&u, fds[i][0], "once", 4, NULL);
	}
	uring_skip(&u, NULL);
	fails_behind = 2;
	hides = hidden;
	uring_run(&u);
	fails_behind = -1;
	ck_assert(u.off);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(u.sends[1 + i].result, hidden ? -EIO : 4);
		ck_assert_int_eq(recv(fds[i][1], got, sizeof got, 0), 4);
	}
	for (int i = 2; i < 4; i++) {
		ck_assert_int_eq(u.sends[1 + i].result, URING_NOT_TRIED);
		ck_assert_int_eq(recv(fds[i][1], got, sizeof got, 0), -1);
	}
	ck_assert_int_eq(u.sends[0].result, URING_NOT_TRIED);
	ck_assert_int_eq(u.sends[5].result, URING_NOT_TRIED);
	ck_assert_uint_eq(u.n, 6);
	uring_clear(&u);
	for (int i = 0; i < 4; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

START_TEST(in_part_with_results)
{
	in_part(false);
}
END_TEST

START_TEST(in_part_without_results)
{
	in_part(true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("uring");
	TCase *tc = tcase_create("uring");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, as_many_as_fit_and_again);
	tcase_add_test(tc, each_has_its_own_result);
	tcase_add_test(tc, nothing_to_send);
	tcase_add_test(tc, in_part_with_results);
	tcase_add_test(tc, in_part_without_results);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
