#include "base/hash_table.h"

#include <stdlib.h>

#include "base/check.h"

#define HASH_TABLE_FIRST 16 /* slots; a power of two */

static struct hash_link **hash_table_slot(const struct hash_table *t, uint64_t hash)
{
	return &t->slots[hash & (t->cap - 1)];
}

static void hash_table_put(struct hash_table *t, struct hash_link *link)
{
	struct hash_link **slot = hash_table_slot(t, link->hash);
	link->next = *slot;
	*slot = link;
}

/* False without memory: nothing has changed. */
static bool hash_table_resize(struct hash_table *t, uint32_t cap)
{
	struct hash_table other = {.slots = calloc(cap, sizeof(struct hash_link *)),
				   .n = t->n,
				   .cap = cap};
	if (other.slots == NULL)
		return false;
	for (uint32_t i = 0; i < t->cap; i++)
		for (struct hash_link *link = t->slots[i], *next; link != NULL; link = next) {
			next = link->next;
			hash_table_put(&other, link);
		}
	free(t->slots);
	*t = other;
	return true;
}

bool hash_table_reserve(struct hash_table *t)
{
	if (t->n >= t->cap)
		hash_table_resize(t, t->cap > 0 ? 2 * t->cap : HASH_TABLE_FIRST);
	return t->cap > 0;
}

void hash_table_add(struct hash_table *t, struct hash_link *link, uint64_t hash)
{
	CHECK(t->cap > 0);
	link->hash = hash;
	hash_table_put(t, link);
	t->n++;
}

void hash_table_remove(struct hash_table *t, struct hash_link *link)
{
	struct hash_link **at = hash_table_slot(t, link->hash);
	while (*at != link) {
		CHECK(*at != NULL);
		at = &(*at)->next;
	}
	CHECK(t->n > 0);
	*at = link->next;
	t->n--;
}

void hash_table_shrink(struct hash_table *t, uint32_t least)
{
	if (t->cap > least && t->n < t->cap / 4)
		hash_table_resize(t, t->cap / 2);
}

struct hash_link *hash_table_next(const struct hash_table *t, const struct hash_link *link)
{
	uint32_t i = link != NULL ? (uint32_t)(link->hash & (t->cap - 1)) + 1 : 0;
	struct hash_link *next = link != NULL ? link->next : NULL;
	for (; next == NULL && i < t->cap; i++)
		next = t->slots[i];
	return next;
}

void hash_table_free(struct hash_table *t)
{
	free(t->slots);
	*t = (struct hash_table){.slots = NULL};
}
