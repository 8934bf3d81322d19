/* Connections and handshakes of each address, with a clock that the test sets. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/tally.h"

static struct address at(const char *text)
{
	struct address a;
	ck_assert_msg(address_parse(&a, span_of(text)), "%s", text);
	return a;
}

static struct tally *make(uint32_t connections, uint32_t n, uint32_t ms)
{
	char *proxies[] = {"10.0.0.0/8"};
	struct tally_limits limits = {.connections = connections, .handshakes = {n, ms}, .bits4 = 32, .bits6 = 64};
	ck_assert(address_set_make(&limits.trusted, proxies, 1));
	struct tally *t = tally_new(&limits);
	ck_assert_ptr_nonnull(t);
	return t;
}

static enum tally_verdict enter(struct tally *t, const char *text, uint64_t now, struct tally_place *place)
{
	struct address a = at(text);
	return tally_enter(t, &a, now, false, place).verdict;
}

START_TEST(connections)
{
	struct tally *t = make(3, 0, 0);
	struct tally_place held[3], more;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(enter(t, "192.0.2.1", 0, &held[i]), TALLY_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0, &more), TALLY_CONNECTIONS);
	ck_assert_ptr_null(more.entry);
	ck_assert_int_eq(enter(t, "192.0.2.2", 0, &more), TALLY_OK); /* a neighbour is another */
	tally_leave(t, &more, 0);
	ck_assert_uint_eq(tally_count(t), 1);
	tally_leave(t, &held[1], 0);
	tally_leave(t, &held[1], 0); /* once */
	ck_assert_int_eq(enter(t, "192.0.2.1", 0, &held[1]), TALLY_OK);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0, &more), TALLY_CONNECTIONS);
	for (int i = 0; i < 3; i++)
		tally_leave(t, &held[i], 0);
	ck_assert_uint_eq(tally_count(t), 0); /* nothing is left of who has gone */
	tally_free(t);
}
END_TEST

START_TEST(handshakes)
{
	struct tally *t = make(0, 2, 1000);
	struct tally_place p;
	struct address a = at("192.0.2.1");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(enter(t, "192.0.2.1", 5000, &p), TALLY_OK);
		tally_leave(t, &p, 5000);
	}
	struct tally_answer answer = tally_enter(t, &a, 5000, false, &p);
	ck_assert_int_eq(answer.verdict, TALLY_HANDSHAKES);
	ck_assert_uint_eq(answer.retry_s, 1);
	ck_assert(answer.first);
	ck_assert(!tally_enter(t, &a, 5499, false, &p).first);
	ck_assert_int_eq(enter(t, "192.0.2.1", 5500, &p), TALLY_OK);
	tally_leave(t, &p, 5500);
	ck_assert_int_eq(enter(t, "192.0.2.1", 5500, &p), TALLY_HANDSHAKES);
	tally_sweep(t, 6499);
	ck_assert_uint_eq(tally_count(t), 1); /* remembered as long as it matters */
	tally_sweep(t, 6500);
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

/* A /64 is one customer; its neighbour is another. */
START_TEST(networks)
{
	struct tally *t = make(1, 0, 0);
	struct tally_place p, q;
	ck_assert_int_eq(enter(t, "2001:db8:0:1::1", 0, &p), TALLY_OK);
	ck_assert_int_eq(enter(t, "2001:db8:0:1:ffff::2", 0, &q), TALLY_CONNECTIONS);
	ck_assert_int_eq(enter(t, "2001:db8:0:2::1", 0, &q), TALLY_OK);
	tally_leave(t, &q, 0);
	struct tally_limits wider = {.connections = 1, .bits4 = 24, .bits6 = 48};
	tally_set_limits(t, &wider);
	ck_assert_int_eq(enter(t, "2001:db8:0:2::1", 0, &q), TALLY_OK);
	struct tally_place r;
	ck_assert_int_eq(enter(t, "2001:db8:0:3::1", 0, &r), TALLY_CONNECTIONS);
	ck_assert_int_eq(enter(t, "192.0.2.1", 0, &r), TALLY_OK);
	tally_leave(t, &p, 0); /* was counted by the old prefix */
	tally_leave(t, &q, 0);
	ck_assert_int_eq(enter(t, "192.0.2.255", 0, &q), TALLY_CONNECTIONS);
	tally_leave(t, &r, 0);
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

START_TEST(who_is_not_counted)
{
	struct tally *t = make(1, 1, 1000);
	const struct address local = {.family = AF_UNIX};
	struct address proxy = at("10.1.2.3"), client = at("192.0.2.1");
	struct tally_place p;
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(tally_enter(t, &proxy, 0, false, &p).verdict, TALLY_OK);
		ck_assert_int_eq(tally_enter(t, &local, 0, false, &p).verdict, TALLY_OK);
		ck_assert_ptr_null(p.entry);
	}
	ck_assert(tally_is_trusted(t, &proxy) && !tally_is_trusted(t, &client) && !tally_is_trusted(t, &local));
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
	t = make(0, 0, 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(tally_enter(t, &client, 0, false, &p).verdict, TALLY_OK);
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

/* Some of those that are too many are told, so that a person learns why; a flood is not. */
START_TEST(some_are_told)
{
	struct tally *t = make(1, 0, 0);
	struct tally_place p, told[TALLY_TOLD_MAX], q;
	struct address a = at("192.0.2.1");
	ck_assert_int_eq(tally_enter(t, &a, 0, true, &p).verdict, TALLY_OK);
	ck_assert(!p.told);
	for (int i = 0; i < TALLY_TOLD_MAX; i++) {
		ck_assert_int_eq(tally_enter(t, &a, 0, true, &told[i]).verdict, TALLY_CONNECTIONS);
		ck_assert(told[i].entry != NULL && told[i].told);
	}
	ck_assert_int_eq(tally_enter(t, &a, 0, true, &q).verdict, TALLY_CONNECTIONS);
	ck_assert_ptr_null(q.entry);
	tally_leave(t, &told[3], 0);
	ck_assert_int_eq(tally_enter(t, &a, 0, true, &told[3]).verdict, TALLY_CONNECTIONS);
	ck_assert(told[3].told);
	tally_leave(t, &p, 0);
	ck_assert_int_eq(tally_enter(t, &a, 0, true, &p).verdict, TALLY_OK); /* those that are told do not count */
	tally_leave(t, &p, 0);
	ck_assert_uint_eq(tally_count(t), 1);
	for (int i = 0; i < TALLY_TOLD_MAX; i++)
		tally_leave(t, &told[i], 0);
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

/* However many addresses there are, what is remembered of those that have gone is bounded. */
START_TEST(the_table_is_bounded)
{
	struct tally *t = make(0, 5, 3600000);
	struct address a = {.family = AF_INET6};
	struct tally_place p, held;
	ck_assert_int_eq(enter(t, "192.0.2.1", 0, &held), TALLY_OK);
	for (uint32_t i = 0; i < TALLY_REMEMBERED + 5000; i++) {
		memcpy(a.ip, &i, sizeof i);
		ck_assert_int_eq(tally_enter(t, &a, 0, false, &p).verdict, TALLY_OK);
		tally_leave(t, &p, 0);
	}
	ck_assert_uint_le(tally_count(t), TALLY_REMEMBERED + 1);
	tally_sweep(t, 3600000);
	ck_assert_uint_eq(tally_count(t), 1);
	tally_leave(t, &held, 3600000);
	tally_sweep(t, 7200000);
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

/* Several loops share it. */
static void *come_and_go(void *arg)
{
	struct address a = at("192.0.2.1");
	struct tally_place p;
	for (int i = 0; i < 20000; i++) {
		a.ip[3] = (uint8_t)(i % 7);
		if (tally_enter(arg, &a, 0, true, &p).verdict == TALLY_NO_MEMORY)
			return arg;
		tally_leave(arg, &p, 0);
	}
	return NULL;
}

START_TEST(shared)
{
	struct tally *t = make(2, 0, 0);
	pthread_t threads[3];
	void *failed;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, t), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_eq(tally_count(t), 0);
	tally_free(t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tally");
	TCase *t = tcase_create("tally");
	tcase_add_test(t, connections);
	tcase_add_test(t, handshakes);
	tcase_add_test(t, networks);
	tcase_add_test(t, who_is_not_counted);
	tcase_add_test(t, some_are_told);
	tcase_add_test(t, the_table_is_bounded);
	tcase_add_test(t, shared);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
