/* slotmap: ids instead of pointers. An id is a slot and a generation; the slot is used again, the
 * id never, so that an id that somebody kept can not reach what came to live in its slot later. */
#ifndef TOVA_BASE_SLOTMAP_H
#define TOVA_BASE_SLOTMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTMAP_SLOT_BITS 24 /* the bits above are the caller's, for example the loop's number */

struct slotmap_slot {
	void *item; /* NULL: free */
	uint32_t generation;
	union {
		uint32_t next_free;
		uint32_t note; /* of an item: the caller's */
	};
};

struct slotmap {
	struct slotmap_slot *slots;
	uint32_t n, cap, first_free, count;
	uint32_t tag; /* set above the slot's bits in every id */
};

/* tag: of this map's ids, in the bits above the slot's. slotmap_free forgets the items, which are
 * the caller's. */
void slotmap_init(struct slotmap *map, uint32_t tag);
void slotmap_free(struct slotmap *map);
/* 0: no memory, or as many items as slots can be numbered. No id is ever 0. */
uint64_t slotmap_add(struct slotmap *map, void *item);
void slotmap_remove(struct slotmap *map, uint64_t id);

/* The item, or NULL when the id is gone or never was. */
static inline void *slotmap_get(const struct slotmap *map, uint64_t id)
{
	uint32_t high = (uint32_t)(id >> 32), slot = high & ((1u << SLOTMAP_SLOT_BITS) - 1);
	if (slot >= map->n || high >> SLOTMAP_SLOT_BITS != map->tag ||
	    map->slots[slot].generation != (uint32_t)id)
		return NULL;
	return map->slots[slot].item;
}

/* A word that is kept with the item, which is there; 0 at first. */
void slotmap_set_note(struct slotmap *map, uint64_t id, uint32_t note);
uint32_t slotmap_note(const struct slotmap *map, uint64_t id);

/* The next item at or after *cursor (0 at first), or NULL at the end. Items may be removed between
 * calls. */
void *slotmap_next(const struct slotmap *map, uint32_t *cursor);

#endif
