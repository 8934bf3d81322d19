/* The table of entries that carry their link, against an array that knows what is in it. */
#include <check.h>
#include <stdlib.h>

#include "base/hash_table.h"
#include "run.h"

struct entry {
	uint32_t key;
	bool listed;
	struct hash_link link;
};

#define ENTRIES 400

static struct hash_table table;
static struct entry entries[ENTRIES];
static bool memory_denied;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return memory_denied ? NULL : __real_calloc(n, size);
}

static void setup(void)
{
	memory_denied = false;
	table = (struct hash_table){.slots = NULL};
	for (uint32_t i = 0; i < ENTRIES; i++)
		entries[i] = (struct entry){.key = i};
}

static void teardown(void)
{
	hash_table_free(&table);
}

/* Few hashes, so that many entries have the same, and more share a chain. */
static uint64_t hash_of(uint32_t key)
{
	return key % 7 + ((uint64_t)(key % 3) << 40);
}

static struct entry *find(uint32_t key)
{
	struct hash_link *at = hash_table_first(&table, hash_of(key));
	for (; at != NULL; at = hash_link_next(at)) {
		ck_assert_uint_eq(at->hash, hash_of(key));
		if (HASH_ENTRY(at, struct entry, link)->key == key)
			return HASH_ENTRY(at, struct entry, link);
	}
	return NULL;
}

static void add(struct entry *e)
{
	ck_assert(hash_table_reserve(&table));
	hash_table_add(&table, &e->link, hash_of(e->key));
	e->listed = true;
}

static void take(struct entry *e)
{
	hash_table_remove(&table, &e->link);
	e->listed = false;
}

/* All that should be there are met once, and found. */
static void check(void)
{
	uint32_t n = 0, met = 0;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		ck_assert_ptr_eq(find(i), entries[i].listed ? &entries[i] : NULL);
		n += entries[i].listed;
	}
	ck_assert_uint_eq(table.n, n);
	struct hash_link *at = NULL;
	while ((at = hash_table_next(&table, at)) != NULL) {
		ck_assert(HASH_ENTRY(at, struct entry, link)->listed);
		met++;
	}
	ck_assert_uint_eq(met, n);
}

START_TEST(nothing)
{
	check();
	hash_table_shrink(&table, 0);
	ck_assert_ptr_null(table.slots);
}
END_TEST

START_TEST(model)
{
	uint64_t state = 1;
	for (uint32_t i = 0; i < 20000; i++) {
		state = state * 6364136223846793005u + 1442695040888963407u;
		struct entry *e = &entries[(state >> 33) % ENTRIES];
		if (e->listed) {
			take(e);
			hash_table_shrink(&table, 32);
		} else if (table.n < (i / 5000 % 2 == 0 ? ENTRIES : 20)) {
			add(e);
		}
		if (i % 500 == 0)
			check();
	}
	check();
}
END_TEST

/* Slots come and go with what is in it, and stay a power of two. */
START_TEST(its_size)
{
	for (uint32_t i = 0; i < ENTRIES; i++)
		add(&entries[i]);
	ck_assert_uint_ge(table.cap, ENTRIES);
	ck_assert_uint_eq(table.cap & (table.cap - 1), 0);
	uint32_t most = table.cap;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		take(&entries[i]);
		hash_table_shrink(&table, 32);
	}
	ck_assert_uint_lt(table.cap, most);
	ck_assert_uint_eq(table.cap, 32);
	check();
}
END_TEST

/* Without memory the first can not be added, and all others can. */
START_TEST(no_memory)
{
	memory_denied = true;
	ck_assert(!hash_table_reserve(&table));
	memory_denied = false;
	add(&entries[0]);
	memory_denied = true;
	uint32_t cap = table.cap;
	for (uint32_t i = 1; i < ENTRIES; i++)
		add(&entries[i]);
	ck_assert_uint_eq(table.cap, cap);
	check();
	for (uint32_t i = 0; i < ENTRIES; i++)
		take(&entries[i]);
	hash_table_shrink(&table, 0);
	check();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("hash_table");
	TCase *tc = tcase_create("hash_table");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing);
	tcase_add_test(tc, model);
	tcase_add_test(tc, its_size);
	tcase_add_test(tc, no_memory);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
