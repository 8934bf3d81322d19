#include "tova/arena.h"

#include <stdalign.h>
#include <stdlib.h>

#define ARENA_BLOCK 65536

struct arena_block {
	struct arena_block *next;
	alignas(max_align_t) char bytes[];
};

void *arena_get(struct arena *a, size_t n)
{
	const size_t align = alignof(max_align_t);
	n = (n + align - 1) / align * align;
	if (a->blocks == NULL || a->size - a->used < n) {
		size_t size = n > ARENA_BLOCK ? n : ARENA_BLOCK;
		struct arena_block *b = calloc(1, sizeof *b + size);
		if (b == NULL)
			longjmp(a->out_of_memory, 1);
		b->next = a->blocks;
		a->blocks = b;
		a->used = 0;
		a->size = size;
	}
	void *p = a->blocks->bytes + a->used;
	a->used += n;
	return p;
}

void arena_free(struct arena *a)
{
	while (a->blocks != NULL) {
		struct arena_block *b = a->blocks;
		a->blocks = b->next;
		free(b);
	}
	a->used = a->size = 0;
}
