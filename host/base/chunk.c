#include "base/chunk.h"

#include <stdlib.h>

#define CHUNK_KEEP 16 /* free chunks kept for the next flood */

struct chunk *chunk_new(size_t size)
{
	if (size > UINT32_MAX)
		return NULL;
	struct chunk *c = malloc(sizeof *c + size);
	if (c == NULL)
		return NULL;
	*c = (struct chunk){.refs = 1, .size = (uint32_t)size};
	return c;
}

void chunk_free(struct chunk *c)
{
	struct chunk_pool *pool = c->pool;
	if (pool == NULL || pool->n_free >= CHUNK_KEEP) {
		free(c);
		return;
	}
	c->next = pool->free;
	pool->free = c;
	pool->n_free++;
}

/* Gives up the current chunk, which lives on as long as queues refer to it, and takes another. */
static bool chunk_turn(struct chunk_pool *pool)
{
	struct chunk *c = pool->free;
	if (c != NULL) {
		pool->free = c->next;
		pool->n_free--;
		c->refs = 1;
		c->used = 0;
	} else if ((c = chunk_new(CHUNK_SIZE)) != NULL) {
		c->pool = pool;
	} else {
		return false;
	}
	if (pool->current != NULL)
		chunk_unref(pool->current);
	pool->current = c;
	return true;
}

static bool chunk_alloc_own(size_t len, struct slice *slice_r)
{
	struct chunk *c = chunk_new(len);
	if (c == NULL)
		return false;
	c->used = (uint32_t)len;
	*slice_r = (struct slice){.chunk = c, .len = (uint32_t)len};
	return true;
}

bool chunk_alloc(struct chunk_pool *pool, size_t len, struct slice *slice_r)
{
	pool->written += len;
	if (len > CHUNK_SHARED_MAX)
		return chunk_alloc_own(len, slice_r);
	struct chunk *c = pool->current;
	if (c != NULL && c->refs == 1)
		c->used = 0; /* all that was in it has been sent */
	if (c == NULL || c->size - c->used < len) {
		if (!chunk_turn(pool))
			return false;
		c = pool->current;
	}
	*slice_r = (struct slice){.chunk = c, .off = c->used, .len = (uint32_t)len};
	c->used += (uint32_t)len;
	chunk_ref(c);
	return true;
}

void chunk_pool_free(struct chunk_pool *pool)
{
	if (pool->current != NULL) {
		pool->current->pool = NULL;
		chunk_unref(pool->current);
	}
	while (pool->free != NULL) {
		struct chunk *c = pool->free;
		pool->free = c->next;
		free(c);
	}
	*pool = (struct chunk_pool){.current = NULL};
}
