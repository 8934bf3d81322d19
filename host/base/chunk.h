/* chunk: immutable bytes that many output queues share by reference.
 *
 * Frames that go out within a loop turn are laid one behind the other in the pool's current chunk;
 * a queue holds slices of it, and frames that follow each other become one slice. So a broadcast is
 * written down once, a flood of replies leaves in one system call, and when everything was sent the
 * same warm memory is used again: no allocation per message. One pool belongs to one loop;
 * references are not atomic.
 */
#ifndef TOVA_BASE_CHUNK_H
#define TOVA_BASE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define CHUNK_SIZE 65536
#define CHUNK_SHARED_MAX 16384 /* anything longer gets a chunk of its own */

struct chunk {
	uint32_t refs;
	uint32_t used, size;	   /* bytes */
	bool owned;		   /* one queue has it, and nobody else ever will */
	struct chunk_pool *pool;   /* NULL: freed with its last reference, not kept */
	struct chunk *next;	   /* in the pool's list of free ones */
	struct chunk_notes *notes; /* NULL: none */
	uint64_t *held; /* an account that its size was added to, see chunk_account; NULL: none */
	uint8_t bytes[];
};

struct chunk_pool {
	struct chunk *current, *free;
	unsigned n_free;
	size_t written; /* bytes laid down since somebody last set it to 0 */
};

/* A reference to part of a chunk. */
struct slice {
	struct chunk *chunk; /* NULL: none */
	uint32_t off, len;
};

static inline uint8_t *slice_bytes(const struct slice *s)
{
	return s->chunk->bytes + s->off;
}

/* Room for len bytes that the caller fills before it asks again. Returns false without memory. The
 * slice holds a reference. */
bool chunk_alloc(struct chunk_pool *pool, size_t len, struct slice *slice_r);
/* A chunk of its own of that size, with nothing in it and one reference, or NULL. */
struct chunk *chunk_new(size_t size);

static inline void chunk_ref(struct chunk *c)
{
	c->refs++;
}

/* For chunk_unref: nobody refers to it any more. It goes to its pool, or back to the system. */
void chunk_free(struct chunk *c);

static inline void chunk_unref(struct chunk **c_p)
{
	struct chunk *c = *c_p;
	*c_p = NULL;
	CHECK(c->refs > 0);
	if (--c->refs == 0)
		chunk_free(c);
}

/* Of one that refers to nothing, too. */
static inline void slice_unref(struct slice *s)
{
	if (s->chunk != NULL)
		chunk_unref(&s->chunk);
}

/* A note is what queues that may have to give something up want to know of what begins at the
 * slice's first byte; 0, or none, is nothing. Another one replaces it. Returns false without
 * memory. */
bool chunk_note(const struct slice *at, uint64_t note);
uint64_t chunk_note_at(const struct chunk *c, uint32_t off);

/* Adds its size to the account, once, and takes it off again when the chunk is freed. */
static inline void chunk_account(struct chunk *c, uint64_t *held)
{
	if (c->held != NULL)
		return;
	c->held = held;
	*held += c->size;
}

/* Frees those that are kept for the next flood. */
void chunk_pool_trim(struct chunk_pool *pool);
/* Frees what the pool keeps; chunks still referenced elsewhere live on until their last reference
 * goes. */
void chunk_pool_free(struct chunk_pool *pool);

#endif
