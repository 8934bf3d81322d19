#include "base/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define CHUNK_KEEP 16 /* free chunks kept for the next flood */
#define CHUNK_NOTES_MIN 4

/* In the order of their places. */
struct chunk_notes {
	uint32_t n, cap;
	struct chunk_note {
		uint32_t off;
		uint64_t note;
	} v[];
};

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
	CHECK(c->refs == 0 && c->used <= c->size);
	if (c->held != NULL) {
		CHECK(*c->held >= c->size);
		*c->held -= c->size;
	}
	c->held = NULL;
	if (pool == NULL || pool->n_free >= CHUNK_KEEP) {
		free(c->notes);
		free(c);
		return;
	}
	c->next = pool->free;
	pool->free = c;
	pool->n_free++;
}

/* Nothing in it is referred to any more. */
static void chunk_empty(struct chunk *c)
{
	c->used = 0;
	if (c->notes != NULL)
		c->notes->n = 0;
}

/* Gives up the current chunk, which lives on as long as queues refer to it, and takes another. */
static bool chunk_turn(struct chunk_pool *pool)
{
	struct chunk *c = pool->free;
	if (c != NULL) {
		CHECK(c->refs == 0 && pool->n_free > 0);
		pool->free = c->next;
		pool->n_free--;
		c->refs = 1;
		chunk_empty(c);
	} else if ((c = chunk_new(CHUNK_SIZE)) != NULL) {
		c->pool = pool;
	} else {
		return false;
	}
	if (pool->current != NULL)
		chunk_unref(&pool->current);
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
	/* all that was in it has been sent */
	if (c != NULL && c->refs == 1)
		chunk_empty(c);
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

/* --- notes ------------------------------------------------------------------------------------ */

/* The first note at that place or behind it. Most often it is the last, or behind it. */
static uint32_t chunk_find_note(const struct chunk_notes *notes, uint32_t off)
{
	uint32_t least = 0, most = notes->n;
	if (most == 0 || notes->v[most - 1].off < off)
		return most;
	while (least < most) {
		uint32_t middle = least + (most - least) / 2;
		if (notes->v[middle].off < off)
			least = middle + 1;
		else
			most = middle;
	}
	return least;
}

static bool chunk_set_note(struct chunk *c, uint32_t off, uint64_t note)
{
	struct chunk_notes *notes = c->notes;
	if (notes == NULL || notes->n == notes->cap) {
		uint32_t cap = notes == NULL ? CHUNK_NOTES_MIN : 2 * notes->cap;
		notes = realloc(notes, sizeof *notes + cap * sizeof *notes->v);
		if (notes == NULL)
			return false;
		if (c->notes == NULL)
			notes->n = 0;
		notes->cap = cap;
		c->notes = notes;
	}
	CHECK(off < c->size);
	uint32_t i = chunk_find_note(notes, off);
	bool there = i < notes->n && notes->v[i].off == off;
	if (!there) {
		memmove(&notes->v[i + 1], &notes->v[i], (notes->n - i) * sizeof *notes->v);
		notes->n++;
	}
	notes->v[i] = (struct chunk_note){.off = off, .note = note};
	return true;
}

bool chunk_note(const struct slice *at, uint64_t note)
{
	return chunk_set_note(at->chunk, at->off, note);
}

uint64_t chunk_note_at(const struct chunk *c, uint32_t off)
{
	if (c->notes == NULL)
		return 0;
	uint32_t i = chunk_find_note(c->notes, off);
	return i < c->notes->n && c->notes->v[i].off == off ? c->notes->v[i].note : 0;
}

void chunk_pool_trim(struct chunk_pool *pool)
{
	struct chunk *c;
	while ((c = pool->free) != NULL) {
		pool->free = c->next;
		free(c->notes);
		free(c);
	}
	pool->n_free = 0;
}

void chunk_pool_free(struct chunk_pool *pool)
{
	if (pool->current != NULL) {
		pool->current->pool = NULL;
		chunk_unref(&pool->current);
	}
	chunk_pool_trim(pool);
	*pool = (struct chunk_pool){.current = NULL};
}
