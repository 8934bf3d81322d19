/* Ids with generations: what an id finds, for how long, and that no id ever comes again. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "base/slotmap.h"
#include "run.h"

#define SLOT(id) ((uint32_t)((id) >> 32) & ((1u << SLOTMAP_SLOT_BITS) - 1))

static struct slotmap map;
static int items[4096]; /* only their addresses matter */

START_TEST(found_until_removed)
{
	slotmap_init(&map, 0);
	uint64_t a = slotmap_add(&map, &items[0]), b = slotmap_add(&map, &items[1]);
	ck_assert_uint_ne(a, 0);
	ck_assert_uint_ne(b, 0);
	ck_assert_uint_ne(a, b);
	ck_assert_ptr_eq(slotmap_get(&map, a), &items[0]);
	ck_assert_ptr_eq(slotmap_get(&map, b), &items[1]);
	ck_assert_uint_eq(map.count, 2);
	slotmap_remove(&map, a);
	ck_assert_ptr_null(slotmap_get(&map, a));
	ck_assert_ptr_eq(slotmap_get(&map, b), &items[1]);
	ck_assert_uint_eq(map.count, 1);
	slotmap_remove(&map, a);
	ck_assert_uint_eq(map.count, 1);
	slotmap_free(&map);
}
END_TEST

START_TEST(ids_that_never_were)
{
	slotmap_init(&map, 0);
	ck_assert_ptr_null(slotmap_get(&map, 0));
	ck_assert_ptr_null(slotmap_get(&map, 1));
	ck_assert_ptr_null(slotmap_get(&map, UINT64_MAX));
	slotmap_remove(&map, UINT64_MAX);
	uint64_t a = slotmap_add(&map, &items[0]);
	ck_assert_ptr_null(slotmap_get(&map, a + 1));
	ck_assert_ptr_null(slotmap_get(&map, a - 1));
	ck_assert_ptr_null(slotmap_get(&map, a + ((uint64_t)1 << 32)));
	ck_assert_ptr_null(slotmap_get(&map, a | (uint64_t)1 << 63));
	slotmap_free(&map);
}
END_TEST

START_TEST(a_note_is_its_items)
{
	slotmap_init(&map, 0);
	uint64_t a = slotmap_add(&map, &items[0]), b = slotmap_add(&map, &items[1]);
	ck_assert_uint_eq(slotmap_note(&map, a), 0);
	slotmap_set_note(&map, a, 7);
	slotmap_set_note(&map, b, 8);
	ck_assert_uint_eq(slotmap_note(&map, a), 7);
	slotmap_remove(&map, a);
	slotmap_remove(&map, b);
	/* both slots again, whose free list went through the same word */
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(slotmap_note(&map, slotmap_add(&map, &items[i])), 0);
	ck_assert_uint_eq(map.count, 2);
	slotmap_free(&map);
}
END_TEST

START_TEST(a_slot_again_is_another_id)
{
	slotmap_init(&map, 0);
	uint64_t before = slotmap_add(&map, &items[0]);
	for (int i = 0; i < 1000; i++) {
		slotmap_remove(&map, before);
		uint64_t id = slotmap_add(&map, &items[i]);
		ck_assert_uint_eq(SLOT(id), SLOT(before));
		ck_assert_uint_ne(id, before);
		ck_assert_ptr_null(slotmap_get(&map, before));
		ck_assert_ptr_eq(slotmap_get(&map, id), &items[i]);
		before = id;
	}
	slotmap_free(&map);
}
END_TEST

/* After its last generation a slot is used no more: not even four billion connections later does an
 * id name another. */
START_TEST(a_worn_out_slot_is_retired)
{
	slotmap_init(&map, 0);
	uint64_t id = slotmap_add(&map, &items[0]);
	map.slots[SLOT(id)].generation = UINT32_MAX;
	id = (id >> 32) << 32 | UINT32_MAX;
	ck_assert_ptr_eq(slotmap_get(&map, id), &items[0]);
	slotmap_remove(&map, id);
	ck_assert_ptr_null(slotmap_get(&map, id));
	ck_assert_ptr_null(slotmap_get(&map, (id >> 32) << 32));
	uint64_t other = slotmap_add(&map, &items[1]);
	ck_assert_uint_ne(SLOT(other), SLOT(id));
	ck_assert_uint_eq(map.count, 1);
	slotmap_free(&map);
}
END_TEST

START_TEST(tags_part_the_maps)
{
	struct slotmap other;
	slotmap_init(&map, 3);
	slotmap_init(&other, 255);
	uint64_t a = slotmap_add(&map, &items[0]), b = slotmap_add(&other, &items[1]);
	ck_assert_uint_eq(a >> (32 + SLOTMAP_SLOT_BITS), 3);
	ck_assert_uint_eq(b >> (32 + SLOTMAP_SLOT_BITS), 255);
	ck_assert_ptr_null(slotmap_get(&map, b));
	ck_assert_ptr_null(slotmap_get(&other, a));
	ck_assert_ptr_eq(slotmap_get(&other, b), &items[1]);
	slotmap_free(&map);
	slotmap_free(&other);
}
END_TEST

/* No more items than slots can be numbered: an id must not reach into the tag. The slots themselves
 * are not made for the test. */
START_TEST(as_many_as_can_be_numbered)
{
	slotmap_init(&map, 1);
	uint64_t a = slotmap_add(&map, &items[0]);
	uint32_t n = map.n, cap = map.cap;
	map.n = map.cap = 1u << SLOTMAP_SLOT_BITS;
	ck_assert_uint_eq(slotmap_add(&map, &items[1]), 0);
	map.n = n;
	map.cap = cap;
	ck_assert_ptr_eq(slotmap_get(&map, a), &items[0]);
	slotmap_free(&map);
}
END_TEST

START_TEST(walk_while_removing)
{
	uint64_t ids[300];
	uint32_t cursor = 0, seen = 0;
	int *item;

	slotmap_init(&map, 0);
	for (int i = 0; i < 300; i++)
		ids[i] = slotmap_add(&map, &items[i]);
	while ((item = slotmap_next(&map, &cursor)) != NULL) {
		ck_assert_ptr_eq(item, &items[seen]);
		slotmap_remove(&map, ids[seen]);
		seen++;
		if (seen < 300 && seen % 2 == 1) { /* and the one that would have come next */
			slotmap_remove(&map, ids[seen]);
			seen++;
		}
	}
	ck_assert_uint_eq(seen, 300);
	ck_assert_uint_eq(map.count, 0);
	ck_assert_ptr_null(slotmap_next(&map, &cursor));
	slotmap_free(&map);
}
END_TEST

/* Random additions and removals beside a list of what must be there. */
START_TEST(random_against_a_list)
{
	enum { N = 4096 };
	static uint64_t live[N], dead[N];
	unsigned n_live = 0, n_dead = 0, wrong = 0, seed = (unsigned)_i * 7919 + 1;

	printf("slotmap: seed %u\n", seed);
	slotmap_init(&map, 5);
	for (int step = 0; step < (RUNNING_ON_VALGRIND ? 2000 : 20000); step++) {
		if (n_live == 0 || (n_live < N && rand_r(&seed) % 100 < 55)) {
			live[n_live] = slotmap_add(&map, &items[n_live]);
			ck_assert_uint_ne(live[n_live], 0);
			n_live++;
		} else {
			unsigned at = (unsigned)rand_r(&seed) % n_live;
			uint64_t id = live[at];
			slotmap_remove(&map, id);
			dead[n_dead++ % N] = id;
			/* The last takes its place, under an id of its own. */
			slotmap_remove(&map, live[--n_live]);
			if (at < n_live)
				live[at] = slotmap_add(&map, &items[at]);
		}
		ck_assert_uint_eq(map.count, n_live);
		if (step % 1000 != 0)
			continue;
		for (unsigned i = 0; i < n_live; i++)
			wrong += slotmap_get(&map, live[i]) != &items[i];
		for (unsigned i = 0; i < n_dead && i < N; i++)
			wrong += slotmap_get(&map, dead[i]) != NULL;
		ck_assert_uint_eq(wrong, 0);
	}
	slotmap_free(&map);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slotmap");
	TCase *tc = tcase_create("slotmap");

	tcase_add_test(tc, found_until_removed);
	tcase_add_test(tc, ids_that_never_were);
	tcase_add_test(tc, a_slot_again_is_another_id);
	tcase_add_test(tc, a_note_is_its_items);
	tcase_add_test(tc, a_worn_out_slot_is_retired);
	tcase_add_test(tc, tags_part_the_maps);
	tcase_add_test(tc, as_many_as_can_be_numbered);
	tcase_add_test(tc, walk_while_removing);
	tcase_add_loop_test(tc, random_against_a_list, 0, 4);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
