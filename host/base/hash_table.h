/* hash_table: entries that carry their own link, found by their hash, which the caller makes
 * (base/hash.h) and compares the rest. It grows with them. */
#ifndef TOVA_BASE_HASH_TABLE_H
#define TOVA_BASE_HASH_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hash_link {
	struct hash_link *next;
	uint64_t hash;
};

/* All zero is an empty one. */
struct hash_table {
	struct hash_link **slots; /* chains; `cap` of them, a power of two, or 0 */
	uint32_t n, cap;
};

/* The entry of that type whose member the link is. */
#define HASH_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline struct hash_link *hash_link_same(struct hash_link *link, uint64_t hash)
{
	while (link != NULL && link->hash != hash)
		link = link->next;
	return link;
}

/* The first with that hash, and the one after it; NULL: there is none. */
static inline struct hash_link *hash_table_first(const struct hash_table *t, uint64_t hash)
{
	return t->n > 0 ? hash_link_same(t->slots[hash & (t->cap - 1)], hash) : NULL;
}
static inline struct hash_link *hash_link_next(const struct hash_link *link)
{
	return hash_link_same(link->next, link->hash);
}

/* Before one is added. False without memory for the very first; later ones find longer chains
 * then. */
bool hash_table_reserve(struct hash_table *t);
/* The link's entry is not in the table, and hash_table_reserve was called. */
void hash_table_add(struct hash_table *t, struct hash_link *link, uint64_t hash);
/* It is in the table. Its memory stays the caller's. */
void hash_table_remove(struct hash_table *t, struct hash_link *link);
/* Few are left: half of the slots will do, if there are more than `least`. */
void hash_table_shrink(struct hash_table *t, uint32_t least);
/* The one behind that one in the order of the table; NULL: the first, and after the last. */
struct hash_link *hash_table_next(const struct hash_table *t, const struct hash_link *link);
/* Forgets them all. Their memory stays the caller's. */
void hash_table_free(struct hash_table *t);

#endif
