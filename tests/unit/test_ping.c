/* Pings: whoever is silent gets one in time, and they do not leave together, however many came at
 * once. */
#include <sys/resource.h>

#include "rig.h"
#include "run.h"

enum { CLIENTS = 400, STEP_MS = 10 };

/* Time passes when the test says so. */
static uint64_t ahead_ms;
int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	static struct timespec began;
	if (id != CLOCK_MONOTONIC_COARSE)
		return __real_clock_gettime(id, t);
	if (began.tv_sec == 0)
		__real_clock_gettime(id, &began);
	uint64_t ms = (uint64_t)began.tv_sec * 1000 + ahead_ms;
	*t = (struct timespec){.tv_sec = (time_t)(ms / 1000),
			       .tv_nsec = (long)(ms % 1000 * 1000000)};
	return 0;
}

static struct rig *r;
static int fds[CLIENTS];

static void begin(uint32_t idle_ms, uint32_t ping_ms)
{
	static const struct address somebody = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	static const struct conn_kind plain;
	struct conn_limits limits = rig_limits();
	struct rlimit files = {4 * CLIENTS, 4 * CLIENTS};
	setrlimit(RLIMIT_NOFILE, &files);
	limits.idle_ms = idle_ms;
	limits.ping_ms = ping_ms;
	r = rig_new(&limits, 0);
	for (int i = 0; i < CLIENTS; i++) {
		int pair[2];
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
					    pair),
				 0);
		fds[i] = pair[1];
		ck_assert(conn_add(&r->conns, pair[0], &somebody, &plain));
		ck_assert_int_eq(send(fds[i], RIG_UPGRADE, sizeof RIG_UPGRADE - 1, 0),
				 (ssize_t)sizeof RIG_UPGRADE - 1);
		r->said_len = 0;
	}
	RIG_UNTIL(r, (r->said_len = 0, r->hub.sessions.count == CLIENTS));
	rig_turn(r);
}

static void end(void)
{
	rig_free(r);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
}

/* How many pings left in the next step. libevent has a clock of its own: the tick is the test's to
 * call. */
static unsigned step(void)
{
	uint64_t before = r->loop->stats.bytes_out;
	ahead_ms += STEP_MS;
	rig_turn(r);
	if (r->conns.tick_at != 0 && loop_now(r->loop) >= r->conns.tick_at)
		r->conns.tick.run(r->conns.tick.arg);
	rig_turn(r);
	r->said_len = 0;
	return (unsigned)(r->loop->stats.bytes_out - before) / 2;
}

START_TEST(in_time_and_spread)
{
	unsigned sent = 0, most = 0;
	begin(0, 25000);
	for (uint64_t ms = 0; ms <= 101000; ms += STEP_MS) {
		unsigned now = step();
		sent += now;
		most = now > most ? now : most;
		if (ms < 15000)
			ck_assert_uint_eq(sent, 0);
		if (ms % 25000 == 0) /* nobody answers: one each time */
			ck_assert_uint_ge(sent, CLIENTS * (ms / 25000));
	}
	ck_assert_uint_le(sent, 5 * CLIENTS);
	ck_assert_uint_le(most, CLIENTS / 10);
	for (int i = 0; i < CLIENTS; i++) {
		uint8_t got[512];
		ssize_t n = recv(fds[i], got, sizeof got, 0);
		ck_assert_int_gt(n, 10);
		for (int k = 1; k <= 4; k++)
			ck_assert(got[n - 2 * k] == 0x89 && got[n - 2 * k + 1] == 0);
	}
	end();
}
END_TEST

/* Three times within the timeout, which is kept to an eighth. */
START_TEST(then_it_is_ended)
{
	unsigned sent = 0;
	begin(30000, 10000);
	for (uint64_t ms = 0; ms <= 34000; ms += STEP_MS) {
		sent += step();
		if (ms <= 29000)
			ck_assert_uint_eq(r->hub.sessions.count, CLIENTS);
		if (ms == 29000)
			ck_assert_uint_ge(sent, 2 * CLIENTS);
	}
	ck_assert_uint_eq(r->hub.sessions.count, 0);
	end();
}
END_TEST

/* Pongs are life. */
START_TEST(who_answers_stays)
{
	static const uint8_t pong[] = {0x8a, 0x80, 1, 2, 3, 4};
	begin(6000, 2000);
	for (uint64_t ms = 0; ms <= 20000; ms += STEP_MS)
		if (step() > 0)
			for (int i = 0; i < CLIENTS; i++)
				if (send(fds[i], pong, sizeof pong, MSG_NOSIGNAL) < 0)
					ck_abort_msg("it was ended");
	ck_assert_uint_eq(r->hub.sessions.count, CLIENTS);
	end();
}
END_TEST

START_TEST(never)
{
	begin(0, 0);
	for (uint64_t ms = 0; ms <= 1000; ms += STEP_MS)
		ck_assert_uint_eq(step(), 0);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ping");
	TCase *tc = tcase_create("ping");

	tcase_add_test(tc, in_time_and_spread);
	tcase_add_test(tc, then_it_is_ended);
	tcase_add_test(tc, who_answers_stays);
	tcase_add_test(tc, never);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
