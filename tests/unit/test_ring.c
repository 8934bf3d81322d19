/* Records from one thread to another: all of them, in order, each whole; memory that is used again;
 * and what happens without any. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/valgrind.h>

#include "base/ring.h"
#include "run.h"

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static bool no_memory;
static _Atomic unsigned long blocks; /* that were allocated */

void *__wrap_malloc(size_t size)
{
	if (size >= RING_BLOCK) {
		if (no_memory)
			return NULL;
		blocks++;
	}
	return __real_malloc(size);
}

static struct ring ring;

static void put(size_t len, uint8_t fill)
{
	uint8_t *p = ring_put(&ring, len);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq((uintptr_t)p % 8, 0);
	memset(p, fill, len);
}

static void take(size_t len, uint8_t fill)
{
	size_t got;
	uint8_t *p = ring_take(&ring, &got);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(got, len);
	size_t same = 0;
	while (same < len && p[same] == fill)
		same++;
	ck_assert_uint_eq(same, len);
}

static void nothing(void)
{
	size_t got;
	ck_assert(!ring_has(&ring));
	ck_assert_ptr_null(ring_take(&ring, &got));
}

START_TEST(seen_when_published)
{
	ck_assert(ring_init(&ring));
	nothing();
	ck_assert(!ring_publish(&ring));
	put(3, 1);
	put(0, 0);
	put(1000, 2);
	nothing();
	ck_assert_uint_ge(ring_waiting(&ring), 1003);
	ck_assert(ring_publish(&ring));
	ck_assert(!ring_publish(&ring));
	ck_assert(ring_has(&ring));
	take(3, 1);
	take(0, 0);
	take(1000, 2);
	nothing();
	ck_assert_uint_eq(ring_waiting(&ring), 0);
	ring_free(&ring);
}
END_TEST

/* Sizes around everything that has an edge, and longer than a block. */
START_TEST(any_size)
{
	static const size_t sizes[] = {1,
				       7,
				       8,
				       9,
				       RING_SMALL,
				       RING_BLOCK - 8,
				       RING_BLOCK - 7,
				       RING_BLOCK,
				       RING_BLOCK + 1,
				       5000000,
				       4};
	enum { N = sizeof sizes / sizeof *sizes };
	ck_assert(ring_init(&ring));
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < N; i++)
			put(sizes[i], (uint8_t)(round + i));
		ring_publish(&ring);
		for (int i = 0; i < N; i++)
			take(sizes[i], (uint8_t)(round + i));
		nothing();
	}
	ck_assert_ptr_null(ring_put(&ring, (size_t)1 << 33));
	ring_free(&ring);
}
END_TEST

START_TEST(memory_is_used_again)
{
	ck_assert(ring_init(&ring));
	for (int i = 0; i < 200; i++) { /* a flood */
		put(RING_SMALL, 1);
		ring_publish(&ring);
	}
	for (int i = 0; i < 200; i++)
		take(RING_SMALL, 1);
	nothing();
	unsigned long before = blocks;
	for (int i = 0; i < 2000; i++) {
		put(RING_SMALL, 2);
		put(100, 3);
		ring_publish(&ring);
		take(RING_SMALL, 2);
		take(100, 3);
		nothing();
	}
	ck_assert_uint_eq(blocks, before);
	ring_free(&ring);
}
END_TEST

START_TEST(no_memory_changes_nothing)
{
	unsigned long n = 0, taken = 0;
	size_t got;
	ck_assert(ring_init(&ring));
	no_memory = true;
	for (uint64_t *p; (p = ring_put(&ring, 5000)) != NULL; n++)
		*p = n;
	ck_assert_uint_ge(n, RING_BLOCK / 5008 * 2);
	ck_assert_ptr_null(ring_put(&ring, 2 * RING_BLOCK));
	ring_publish(&ring);
	for (uint64_t *p; (p = ring_take(&ring, &got)) != NULL; taken++)
		ck_assert_uint_eq(*p, taken);
	ck_assert_uint_eq(taken, n);
	for (int i = 0; i < 1000; i++) { /* the consumer keeps up: no memory is needed */
		put(RING_SMALL, 4);
		ring_publish(&ring);
		take(RING_SMALL, 4);
		nothing();
	}
	no_memory = false;
	put(2 * RING_BLOCK, 5);
	no_memory = true;
	for (int i = 0; i < 1000; i++) {
		put(RING_SMALL, 6);
		ring_publish(&ring);
		if (i == 0)
			take(2 * RING_BLOCK, 5);
		take(RING_SMALL, 6);
		nothing();
	}
	no_memory = false;
	ring_free(&ring);
	no_memory = true;
	ck_assert(!ring_init(&ring));
	no_memory = false;
}
END_TEST

/* --- two threads ------------------------------------------------------------------------------ */

enum { BOUND = 1 << 20 };
#define RECORDS (RUNNING_ON_VALGRIND ? 20000ul : 300000ul) /* there the threads take turns */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

static size_t size_of(uint32_t *seed)
{
	uint32_t r = next_random(seed);
	return 8 + (r % 1000 == 0 ? r % 200000 : r % 90);
}

static void *produce(void *arg)
{
	uint32_t sizes = 1, when = 7;
	(void)arg;
	for (uint64_t i = 0; i < RECORDS; i++) {
		size_t len = size_of(&sizes);
		while (ring_waiting(&ring) > BOUND) {
			ring_publish(&ring);
			sched_yield();
		}
		uint8_t *p = ring_put(&ring, len);
		ck_assert_ptr_nonnull(p);
		memcpy(p, &i, sizeof i);
		memset(p + sizeof i, (uint8_t)i, len - sizeof i);
		if (next_random(&when) % 16 == 0)
			ring_publish(&ring);
	}
	ring_publish(&ring);
	return NULL;
}

START_TEST(two_threads)
{
	pthread_t thread;
	uint32_t sizes = 1;
	unsigned long wrong = 0;
	ck_assert(ring_init(&ring));
	ck_assert_int_eq(pthread_create(&thread, NULL, produce, NULL), 0);
	for (uint64_t i = 0; i < RECORDS;) {
		size_t len, want;
		uint64_t number;
		uint8_t *p = ring_take(&ring, &len);
		if (p == NULL) {
			sched_yield();
			continue;
		}
		want = size_of(&sizes);
		memcpy(&number, p, sizeof number);
		wrong += number != i || len != want ||
			 p[len - 1] != (len > 8 ? (uint8_t)i : p[7]) ||
			 (len > 8 && p[8] != (uint8_t)i);
		memset(p, 0xee, len); /* it is the consumer's */
		i++;
	}
	pthread_join(thread, NULL);
	nothing();
	ck_assert_uint_eq(wrong, 0);
	/* a big one now and then, and else the same few */
	ck_assert_uint_lt(blocks, RECORDS / 100);
	ring_free(&ring);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ring");
	TCase *tc = tcase_create("ring");
	tcase_add_test(tc, seen_when_published);
	tcase_add_test(tc, any_size);
	tcase_add_test(tc, memory_is_used_again);
	tcase_add_test(tc, no_memory_changes_nothing);
	tcase_add_test(tc, two_threads);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
