/* Which of several loops gets the next socket. */
#include <check.h>
#include <stdlib.h>

#include "net/balance.h"
#include "run.h"

static struct balance balance;

static void begin(unsigned n)
{
	balance = (struct balance){.n = n};
}

static uint32_t has(unsigned loop)
{
	return atomic_load(&balance.sockets[loop]);
}

START_TEST(who_accepts_keeps_while_it_is_even)
{
	begin(3);
	for (unsigned i = 0; i < 30; i++)
		ck_assert_uint_eq(balance_choose(&balance, i % 3), i % 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(has(i), 10);
}
END_TEST

/* As one loop accepts all sockets of a Unix listener, and may accept most of anything. */
START_TEST(one_that_accepts_all_deals_them_out)
{
	begin(4);
	for (int i = 0; i < 4000; i++)
		balance_choose(&balance, 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_le(abs((int)has(i) - 1000), 100);
	ck_assert_uint_eq(has(0) + has(1) + has(2) + has(3), 4000);
}
END_TEST

START_TEST(few_are_dealt_as_well)
{
	begin(2);
	for (int i = 0; i < 6; i++)
		balance_choose(&balance, 1);
	ck_assert_uint_le(abs((int)has(0) - (int)has(1)), 2);
}
END_TEST

START_TEST(whose_clients_have_gone_gets_more)
{
	begin(2);
	for (unsigned i = 0; i < 200; i++)
		balance_choose(&balance, i % 2);
	for (int i = 0; i < 90; i++)
		balance_give_back(&balance, 1);
	for (int i = 0; i < 50; i++)
		ck_assert_uint_eq(balance_choose(&balance, 0), 1);
	ck_assert_uint_eq(has(0), 100);
	ck_assert_uint_eq(has(1), 60);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dealer");
	TCase *tc = tcase_create("dealer");
	tcase_add_test(tc, who_accepts_keeps_while_it_is_even);
	tcase_add_test(tc, one_that_accepts_all_deals_them_out);
	tcase_add_test(tc, few_are_dealt_as_well);
	tcase_add_test(tc, whose_clients_have_gone_gets_more);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
