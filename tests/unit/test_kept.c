/* Numbered messages: a ring beside a naive model, and what giving up does to it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "hub/kept.h"
#include "run.h"

#define STEPS 20000
#define MOST 600

static struct kept k;
static struct {
	uint64_t number, key;
	struct chunk *chunk;
} model[STEPS];
static unsigned first, end; /* of the model */

static struct chunk *push(uint64_t key, uint64_t number)
{
	struct chunk *c = chunk_new(1 + number % 50);
	struct slice s = {c, 0, (uint32_t)(1 + number % 50)};
	ck_assert(kept_push(&k, &s, key, number));
	chunk_unref(&s.chunk); /* which the ring has from now on */
	return c;
}

static void check_all(void)
{
	uint64_t bytes = 0;
	unsigned n = 0;
	for (unsigned i = first; i < end; i++) {
		bytes += model[i].chunk != NULL ? 1 + model[i].number % 50 : 0;
		n += model[i].chunk != NULL;
	}
	ck_assert_uint_eq(k.bytes, bytes);
	ck_assert_uint_eq(kept_count(&k), n);
	while (first < end && model[first].chunk == NULL)
		first++;
	if (n == 0) {
		ck_assert_ptr_null(kept_first(&k));
		return;
	}
	ck_assert_uint_eq(kept_first(&k)->number, model[first].number);
	ck_assert_ptr_eq(kept_first(&k)->frame.chunk, model[first].chunk);
}

static void supersede(uint64_t key)
{
	uint64_t number;
	for (unsigned i = end; i > first; i--)
		if (model[i - 1].chunk != NULL && model[i - 1].key == key) {
			model[i - 1].chunk = NULL;
			ck_assert(kept_supersede(&k, key, &number));
			ck_assert_uint_eq(number, model[i - 1].number);
			return;
		}
	ck_assert(!kept_supersede(&k, key, &number));
}

START_TEST(random_against_a_model)
{
	unsigned seed = 7;
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned chance = (unsigned)rand_r(&seed) % 10;
		if (chance < 6 && end - first < MOST) {
			uint64_t key = (uint64_t)rand_r(&seed) % 20;
			model[end].number = step + 1;
			model[end].key = key;
			model[end].chunk = push(key, step + 1);
			end++;
		} else if (chance < 8) {
			supersede((uint64_t)rand_r(&seed) % 20);
		} else if (kept_count(&k) > 0) {
			kept_pop(&k);
			first++;
		}
		check_all();
	}
	kept_free(&k);
	ck_assert_uint_eq(k.bytes, 0);
	ck_assert_ptr_null(kept_first(&k));
}
END_TEST

/* What waits for a client that is slow does not grow with what it was not sent. */
START_TEST(what_was_given_up_takes_no_room)
{
	struct kept one = k;
	uint64_t gone;
	for (uint64_t number = 1; number <= 10000; number++) {
		kept_supersede(&k, number % 3 + 1, &gone);
		push(number % 3 + 1, number);
	}
	ck_assert_uint_eq(kept_count(&k), 3);
	ck_assert_uint_le(k.cap, 64);
	while (kept_first(&k) != NULL)
		kept_pop(&k);
	ck_assert_mem_eq(&k, &one, sizeof k);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kept");
	TCase *tc = tcase_create("kept");
	tcase_add_test(tc, random_against_a_model);
	tcase_add_test(tc, what_was_given_up_takes_no_room);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
