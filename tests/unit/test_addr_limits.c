/* Connections and handshakes of each address, with a clock that the test sets. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/addr_limits.h"
#include "run.h"

/* --- what it costs ---------------------------------------------------------------------------- */

static _Atomic int blocks;	   /* of memory, that are not given back */
static _Thread_local bool counted; /* what is called takes and gives back some of them */

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	blocks += counted;
	return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	blocks += counted;
	return __real_calloc(n, size);
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	blocks -= counted && p != NULL;
	__real_free(p);
}

/* Addresses that cost memory. */
static int remembered(void)
{
	return blocks;
}

#define COUNTED(call) (counted = true, call, counted = false)
#define addr_limits_leave(...) COUNTED(addr_limits_leave(__VA_ARGS__))
#define addr_limits_sweep(...) COUNTED(addr_limits_sweep(__VA_ARGS__))

static struct addr_limits_answer enter_address(struct addr_limits *t, const struct address *a,
					       uint64_t now, bool tell)
{
	struct addr_limits_answer answer;
	COUNTED(answer = addr_limits_enter(t, a, now, tell));
	return answer;
}
#define addr_limits_enter enter_address

static struct addr_limits *new_limits(const struct addr_limits_limits *limits)
{
	blocks = 0;
	return addr_limits_new(limits);
}
#define addr_limits_new new_limits

/* --- the tests -------------------------------------------------------------------------------- */

static struct address at(const char *text)
{
	struct address a;
	ck_assert_msg(address_parse(&a, span_of(text)), "%s", text);
	return a;
}

static struct addr_limits *make(uint32_t connections, uint32_t n, uint32_t ms)
{
	struct addr_limits_limits limits = {.connections = connections,
					    .handshakes = {n, ms},
					    .bits4 = 32,
					    .bits6 = 64};
	struct addr_limits *t = addr_limits_new(&limits);
	ck_assert_ptr_nonnull(t);
	return t;
}

static enum addr_limits_verdict enter(struct addr_limits *t, const char *text, uint64_t now)
{
	struct address a = at(text);
	struct addr_limits_answer answer = addr_limits_enter(t, &a, now, false);
	ck_assert(answer.counted == (answer.verdict == ADDR_LIMITS_OK) && !answer.over_limit);
	return answer.verdict;
}

static void leave(struct addr_limits *t, const char *text, uint64_t now)
{
	struct address a = at(text);
	addr_limits_leave(t, &a, false, now);
}

static uint32_t retry(struct addr_limits *t, const char *text, uint64_t now)
{
	struct address a = at(text);
	return addr_limits_retry(t, &a, now);
}

START_TEST(connections)
{
	struct addr_limits *t = make(3, 0, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_CONNECTIONS);
	ck_assert_uint_eq(retry(t, "192.0.2.1", 0), 10);
	ck_assert_int_eq(enter(t, "192.0.2.2", 0), ADDR_LIMITS_OK); /* a neighbour is another */
	leave(t, "192.0.2.2", 0);
	ck_assert_int_eq(remembered(), 1);
	leave(t, "192.0.2.1", 0);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_CONNECTIONS);
	for (int i = 0; i < 3; i++)
		leave(t, "192.0.2.1", 0);
	ck_assert_int_eq(remembered(), 0); /* nothing is left of who has gone */
	addr_limits_free(&t);
}
END_TEST

START_TEST(handshakes)
{
	struct addr_limits *t = make(0, 2, 4000);
	struct address a = at("192.0.2.1");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(enter(t, "192.0.2.1", 5000), ADDR_LIMITS_OK);
		leave(t, "192.0.2.1", 5000);
	}
	struct addr_limits_answer answer = addr_limits_enter(t, &a, 5000, false);
	ck_assert_int_eq(answer.verdict, ADDR_LIMITS_HANDSHAKES);
	ck_assert(answer.first && !answer.counted);
	ck_assert_uint_eq(retry(t, "192.0.2.1", 5000), 2);
	ck_assert(!addr_limits_enter(t, &a, 6999, false).first);
	ck_assert_uint_eq(retry(t, "192.0.2.1", 6999), 1);
	ck_assert_int_eq(enter(t, "192.0.2.1", 7000), ADDR_LIMITS_OK);
	leave(t, "192.0.2.1", 7000);
	ck_assert_int_eq(enter(t, "192.0.2.1", 7000), ADDR_LIMITS_HANDSHAKES);
	addr_limits_sweep(t, 10999);
	ck_assert_int_eq(remembered(), 1); /* remembered as long as it matters */
	addr_limits_sweep(t, 11000);
	ck_assert_int_eq(remembered(), 0);
	addr_limits_free(&t);
}
END_TEST

/* A /64 is one customer; its neighbour is another. */
START_TEST(networks)
{
	struct addr_limits_limits limits = {.connections = 1, .bits4 = 32, .bits6 = 64};
	struct addr_limits *t = addr_limits_new(&limits);
	ck_assert_int_eq(enter(t, "2001:db8:0:1::1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "2001:db8:0:1:ffff::2", 0), ADDR_LIMITS_CONNECTIONS);
	ck_assert_int_eq(enter(t, "2001:db8:0:2::1", 0), ADDR_LIMITS_OK);
	leave(t, "2001:db8:0:1::9", 0);
	leave(t, "2001:db8:0:2::9", 0);
	ck_assert_int_eq(remembered(), 0);
	addr_limits_free(&t);
	limits = (struct addr_limits_limits){.connections = 1, .bits4 = 24, .bits6 = 48};
	t = addr_limits_new(&limits);
	ck_assert_int_eq(enter(t, "2001:db8:0:2::1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "2001:db8:0:3::1", 0), ADDR_LIMITS_CONNECTIONS);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "192.0.2.255", 0), ADDR_LIMITS_CONNECTIONS);
	addr_limits_free(&t);
}
END_TEST

START_TEST(limits_that_change)
{
	struct addr_limits_limits none = {.connections = 0}, two = {.connections = 2};
	struct addr_limits *t = make(0, 0, 0);
	struct address a = at("192.0.2.1");
	struct addr_limits_answer answer = addr_limits_enter(t, &a, 0, true);
	/* nothing is limited: nothing is kept */
	ck_assert(answer.verdict == ADDR_LIMITS_OK && !answer.counted);
	addr_limits_set_limits(t, &two);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_CONNECTIONS);
	addr_limits_set_limits(t, &none);
	ck_assert(!addr_limits_enter(t, &a, 0, true).counted);
	leave(t, "192.0.2.1", 0);
	leave(t, "192.0.2.1", 0);
	ck_assert_int_eq(remembered(), 0);
	addr_limits_free(&t);
}
END_TEST

START_TEST(unix_sockets)
{
	struct addr_limits *t = make(1, 1, 1000);
	const struct address local = {.family = AF_UNIX};
	for (int i = 0; i < 5; i++) {
		struct addr_limits_answer answer = addr_limits_enter(t, &local, 0, true);
		ck_assert(answer.verdict == ADDR_LIMITS_OK && !answer.counted);
	}
	addr_limits_free(&t);
}
END_TEST

/* Some of those that are too many are told, so that a person learns why; a flood is not. */
START_TEST(some_are_told)
{
	struct addr_limits *t = make(1, 0, 0);
	struct address a = at("192.0.2.1");
	struct addr_limits_answer answer = addr_limits_enter(t, &a, 1, true);
	ck_assert(answer.verdict == ADDR_LIMITS_OK && answer.counted && !answer.over_limit);
	for (int i = 0; i < ADDR_LIMITS_TOLD_MAX; i++) {
		answer = addr_limits_enter(t, &a, 1, true);
		ck_assert(answer.verdict == ADDR_LIMITS_CONNECTIONS && answer.counted &&
			  answer.over_limit && answer.first == (i == 0));
	}
	answer = addr_limits_enter(t, &a, 1, true);
	ck_assert(answer.verdict == ADDR_LIMITS_CONNECTIONS && !answer.counted &&
		  !answer.over_limit);
	addr_limits_leave(t, &a, true, 1);
	ck_assert(addr_limits_enter(t, &a, 1, true).over_limit);
	addr_limits_leave(t, &a, false, 1);
	/* those that are told do not count */
	ck_assert(addr_limits_enter(t, &a, 1, true).verdict == ADDR_LIMITS_OK);
	addr_limits_leave(t, &a, false, 1);
	ck_assert_int_eq(remembered(), 1);
	for (int i = 0; i < ADDR_LIMITS_TOLD_MAX; i++)
		addr_limits_leave(t, &a, true, 1);
	ck_assert_int_eq(remembered(), 0);
	ck_assert(addr_limits_enter(t, &a, 1, true).verdict == ADDR_LIMITS_OK);
	ck_assert(addr_limits_enter(t, &a, 60000, true).first); /* forgotten with the rest */
	ck_assert(!addr_limits_enter(t, &a, 119999, true).first);
	/* it goes on: worth another line */
	ck_assert(addr_limits_enter(t, &a, 120000, true).first);
	addr_limits_free(&t);
}
END_TEST

/* However many addresses there are, what is remembered of those that have gone is bounded. */
START_TEST(the_table_is_bounded)
{
	struct addr_limits *t = make(0, 5, 3600000);
	struct address a = {.family = AF_INET6};
	ck_assert_int_eq(enter(t, "192.0.2.1", 0), ADDR_LIMITS_OK);
	for (uint32_t i = 0; i < ADDR_LIMITS_REMEMBERED + 5000; i++) {
		memcpy(a.ip, &i, sizeof i);
		ck_assert(addr_limits_enter(t, &a, 0, false).counted);
		addr_limits_leave(t, &a, false, 0);
	}
	ck_assert_int_le(remembered(), (int)ADDR_LIMITS_REMEMBERED + 1);
	addr_limits_sweep(t, 3600000);
	ck_assert_int_eq(remembered(), 1);
	leave(t, "192.0.2.1", 3600000);
	addr_limits_sweep(t, 7200000);
	ck_assert_int_eq(remembered(), 0);
	addr_limits_free(&t);
}
END_TEST

/* Several loops share it. */
static void *come_and_go(void *arg)
{
	struct address a = {.family = AF_INET, .ip = {192, 0, 2, 1}};
	for (int i = 0; i < 20000; i++) {
		a.ip[3] = (uint8_t)(i % 7);
		struct addr_limits_answer answer = addr_limits_enter(arg, &a, 0, true);
		if (answer.counted)
			addr_limits_leave(arg, &a, answer.over_limit, 0);
		if (addr_limits_take_socket(arg, 2))
			addr_limits_give_socket(arg);
		if (answer.verdict == ADDR_LIMITS_NO_MEMORY)
			return arg;
	}
	return NULL;
}

START_TEST(shared)
{
	struct addr_limits *t = make(2, 0, 0);
	pthread_t threads[3];
	void *failed;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, t), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	ck_assert_int_eq(remembered(), 0);
	ck_assert(addr_limits_take_socket(t, 2) && addr_limits_take_socket(t, 2) &&
		  !addr_limits_take_socket(t, 2));
	addr_limits_give_socket(t);
	ck_assert(addr_limits_take_socket(t, 2) && !addr_limits_take_socket(t, 2));
	addr_limits_free(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tally");
	TCase *t = tcase_create("tally");
	tcase_add_test(t, connections);
	tcase_add_test(t, handshakes);
	tcase_add_test(t, networks);
	tcase_add_test(t, limits_that_change);
	tcase_add_test(t, unix_sockets);
	tcase_add_test(t, some_are_told);
	tcase_add_test(t, the_table_is_bounded);
	tcase_add_test(t, shared);
	suite_add_tcase(s, t);
	return run_suite(s);
}
