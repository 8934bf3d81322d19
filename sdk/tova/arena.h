/* arena: the memory of one translation, given back as a whole. */
#ifndef TOVA_SDK_ARENA_H
#define TOVA_SDK_ARENA_H

#include <setjmp.h>
#include <stddef.h>

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used, size;     /* of the newest block */
	jmp_buf out_of_memory; /* set by the owner, before the first arena_get */
};

/* n bytes, zeroed, aligned for any type. Without memory it does not return: see out_of_memory. */
void *arena_get(struct arena *a, size_t n);
void arena_free(struct arena *a);

#endif
