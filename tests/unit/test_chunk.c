/* Chunks: where what is sent lies, who keeps it alive, and that a flood uses the same memory again.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/chunk.h"
#include "run.h"

static struct chunk_pool pool;

static struct slice take(size_t len, int fill)
{
	struct slice s;
	ck_assert(chunk_alloc(&pool, len, &s));
	ck_assert_uint_eq(s.len, len);
	memset(slice_bytes(&s), fill, len);
	return s;
}

static void check_fill(const struct slice *s, int fill)
{
	uint32_t n = 0;
	while (n < s->len && slice_bytes(s)[n] == (uint8_t)fill)
		n++;
	ck_assert_uint_eq(n, s->len);
}

START_TEST(one_behind_the_other)
{
	struct slice a = take(100, 'a'), b = take(1, 'b'), c = take(CHUNK_SHARED_MAX, 'c');
	ck_assert_ptr_eq(a.chunk, b.chunk);
	ck_assert_ptr_eq(a.chunk, c.chunk);
	ck_assert_uint_eq(b.off, a.off + 100);
	ck_assert_uint_eq(c.off, b.off + 1);
	check_fill(&a, 'a');
	check_fill(&b, 'b');
	check_fill(&c, 'c');
	slice_unref(&a);
	ck_assert_ptr_null(a.chunk);
	slice_unref(&a); /* an empty one: nothing */
	slice_unref(&b);
	slice_unref(&c);
	chunk_pool_free(&pool);
}
END_TEST

START_TEST(the_same_memory_again)
{
	struct slice a = take(1000, 'a');
	const struct chunk *chunk = a.chunk;
	slice_unref(&a);
	for (int i = 0; i < 1000; i++) {
		struct slice b = take(1000, 'b');
		ck_assert_ptr_eq(b.chunk, chunk);
		ck_assert_uint_eq(b.off, 0);
		slice_unref(&b);
	}
	chunk_pool_free(&pool);
}
END_TEST

/* Not while anybody still refers to any of it. */
START_TEST(never_over_what_is_referred_to)
{
	struct slice kept[200];
	for (int i = 0; i < 200; i++)
		kept[i] = take(5000, i);
	for (int i = 0; i < 200; i += 2)
		slice_unref(&kept[i]);
	for (int i = 0; i < 200; i += 2)
		kept[i] = take(7000, i);
	for (int i = 0; i < 200; i++)
		check_fill(&kept[i], i);
	for (int i = 0; i < 200; i++)
		slice_unref(&kept[i]);
	chunk_pool_free(&pool);
}
END_TEST

START_TEST(a_turn_takes_another)
{
	struct slice a = take(CHUNK_SHARED_MAX, 'a'), last;
	const struct chunk *first = a.chunk;
	uint32_t used = a.len;
	while (used + CHUNK_SHARED_MAX <= CHUNK_SIZE) {
		struct slice b = take(CHUNK_SHARED_MAX, 'b');
		ck_assert_ptr_eq(b.chunk, first);
		used += b.len;
		slice_unref(&b);
	}
	last = take(CHUNK_SIZE - used + 1, 'c');
	ck_assert_ptr_ne(last.chunk, first);
	check_fill(&a, 'a');
	ck_assert_uint_eq(a.chunk->refs, 1);
	slice_unref(&a); /* the old one is free now, and the next to be used */
	ck_assert_uint_eq(pool.n_free, 1);
	slice_unref(&last);
	chunk_pool_free(&pool);
}
END_TEST

START_TEST(exactly_full)
{
	struct slice s[4];
	for (int i = 0; i < 4; i++)
		s[i] = take(CHUNK_SIZE / 4, i);
	for (int i = 1; i < 4; i++)
		ck_assert_ptr_eq(s[i].chunk, s[0].chunk);
	ck_assert_uint_eq(s[0].chunk->used, CHUNK_SIZE);
	for (int i = 0; i < 4; i++) {
		check_fill(&s[i], i);
		slice_unref(&s[i]);
	}
	chunk_pool_free(&pool);
}
END_TEST

START_TEST(long_ones_lie_alone)
{
	struct slice a = take(CHUNK_SHARED_MAX + 1, 'a'), b = take(10, 'b');
	ck_assert_ptr_ne(a.chunk, b.chunk);
	ck_assert_ptr_null(a.chunk->pool);
	ck_assert_uint_eq(a.chunk->refs, 1);
	chunk_ref(a.chunk);
	struct slice other = a;
	slice_unref(&a);
	check_fill(&other, 'a');
	slice_unref(&other);
	slice_unref(&b);
	ck_assert_uint_eq(pool.n_free, 0);
	chunk_pool_free(&pool);
}
END_TEST

/* After a flood most of its memory goes back. */
START_TEST(few_are_kept)
{
	struct slice s[400];
	for (int i = 0; i < 400; i++)
		s[i] = take(CHUNK_SHARED_MAX, i);
	for (int i = 0; i < 400; i++)
		slice_unref(&s[i]);
	ck_assert_uint_ge(pool.n_free, 1);
	ck_assert_uint_le(pool.n_free, 16);
	unsigned n = 0;
	for (const struct chunk *c = pool.free; c != NULL; c = c->next)
		n++;
	ck_assert_uint_eq(n, pool.n_free);
	chunk_pool_free(&pool);
	ck_assert_ptr_null(pool.free);
	ck_assert_ptr_null(pool.current);
}
END_TEST

START_TEST(sizes)
{
	struct slice s;
	ck_assert_ptr_null(chunk_new((size_t)UINT32_MAX + 1));
	ck_assert(!chunk_alloc(&pool, (size_t)UINT32_MAX + 1, &s));
	struct chunk *c = chunk_new(0);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(c->size, 0);
	chunk_unref(&c);
	chunk_pool_free(&pool);
}
END_TEST

/* What is noted of a place is found there, whatever the order; and forgotten when the chunk is used
 * again. */
START_TEST(notes)
{
	struct slice parts[100];
	for (uint32_t i = 0; i < 100; i++)
		parts[i] = take(10, 'p');
	for (uint32_t i = 0; i < 100; i += 2)
		ck_assert(chunk_note(&parts[i * 7 % 100], i * 7 % 100 + 1));
	ck_assert(chunk_note(&parts[4], 77));
	for (uint32_t i = 0; i < 100; i++)
		ck_assert_uint_eq(chunk_note_at(parts[i].chunk, parts[i].off), i == 4	    ? 77
									       : i % 2 == 0 ? i + 1
											    : 0);
	for (uint32_t i = 0; i < 100; i++)
		slice_unref(&parts[i]);
	struct slice again = take(10, 'a');
	ck_assert_uint_eq(again.off, 0);
	ck_assert_uint_eq(chunk_note_at(again.chunk, 0), 0);
	slice_unref(&again);
	chunk_pool_free(&pool);
}
END_TEST

START_TEST(accounts)
{
	uint64_t held = 0;
	struct slice large = take(100000, 'l'), second = large;
	chunk_account(large.chunk, &held);
	chunk_account(large.chunk, &held);
	chunk_ref(second.chunk);
	ck_assert_uint_eq(held, 100000);
	slice_unref(&large);
	ck_assert_uint_eq(held, 100000);
	slice_unref(&second);
	ck_assert_uint_eq(held, 0);
	chunk_pool_free(&pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("chunk");
	TCase *tc = tcase_create("chunk");

	tcase_add_test(tc, one_behind_the_other);
	tcase_add_test(tc, the_same_memory_again);
	tcase_add_test(tc, never_over_what_is_referred_to);
	tcase_add_test(tc, a_turn_takes_another);
	tcase_add_test(tc, exactly_full);
	tcase_add_test(tc, long_ones_lie_alone);
	tcase_add_test(tc, few_are_kept);
	tcase_add_test(tc, sizes);
	tcase_add_test(tc, notes);
	tcase_add_test(tc, accounts);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
