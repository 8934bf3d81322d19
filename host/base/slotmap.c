#include "base/slotmap.h"

#include <stdlib.h>

#include "base/check.h"

#define SLOTMAP_NONE UINT32_MAX

void slotmap_init(struct slotmap *map, uint32_t tag)
{
	*map = (struct slotmap){.first_free = SLOTMAP_NONE, .tag = tag};
}

void slotmap_free(struct slotmap *map)
{
	free(map->slots);
	*map = (struct slotmap){.first_free = SLOTMAP_NONE};
}

static bool slotmap_grow(struct slotmap *map)
{
	uint32_t cap = map->cap == 0 ? 64 : map->cap * 2;
	if (cap > 1u << SLOTMAP_SLOT_BITS)
		return false;
	struct slotmap_slot *slots = realloc(map->slots, cap * sizeof *slots);
	if (slots == NULL)
		return false;
	map->slots = slots;
	map->cap = cap;
	return true;
}

uint64_t slotmap_add(struct slotmap *map, void *item)
{
	uint32_t slot = map->first_free;
	if (slot != SLOTMAP_NONE) {
		CHECK(map->slots[slot].item == NULL);
		map->first_free = map->slots[slot].next_free;
	} else {
		if (map->n == map->cap && !slotmap_grow(map))
			return 0;
		slot = map->n++;
		map->slots[slot].generation = 1;
	}
	map->slots[slot].item = item;
	map->slots[slot].note = 0;
	map->count++;
	return (uint64_t)(map->tag << SLOTMAP_SLOT_BITS | slot) << 32 | map->slots[slot].generation;
}

void slotmap_remove(struct slotmap *map, uint64_t id)
{
	if (slotmap_get(map, id) == NULL)
		return;
	uint32_t slot = (uint32_t)(id >> 32) & ((1u << SLOTMAP_SLOT_BITS) - 1);
	struct slotmap_slot *s = &map->slots[slot];
	CHECK(map->count > 0);
	s->item = NULL;
	map->count--;
	/* every generation was used: the slot is retired rather than an id used twice */
	if (++s->generation == 0)
		return;
	s->next_free = map->first_free;
	map->first_free = slot;
}

static struct slotmap_slot *slotmap_slot_of(const struct slotmap *map, uint64_t id)
{
	CHECK(slotmap_get(map, id) != NULL);
	return &map->slots[(uint32_t)(id >> 32) & ((1u << SLOTMAP_SLOT_BITS) - 1)];
}

void slotmap_set_note(struct slotmap *map, uint64_t id, uint32_t note)
{
	slotmap_slot_of(map, id)->note = note;
}

uint32_t slotmap_note(const struct slotmap *map, uint64_t id)
{
	return slotmap_slot_of(map, id)->note;
}

void *slotmap_next(const struct slotmap *map, uint32_t *cursor)
{
	while (*cursor < map->n) {
		void *item = map->slots[(*cursor)++].item;
		if (item != NULL)
			return item;
	}
	return NULL;
}
