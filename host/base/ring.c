#include "base/ring.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define RING_KEEP 4 /* blocks kept for the next flood, beyond the two that there always are */

struct ring_block {
	_Atomic(struct ring_block *) next; /* set when nothing more comes into this one */
	_Atomic uint32_t used;		   /* bytes that the consumer may read */
	uint32_t size;
	_Alignas(8) uint8_t bytes[];
};

/* In front of each record. */
struct ring_head {
	uint32_t len;	/* of the record */
	uint32_t whole; /* from here to the next head */
};

static struct ring_block *ring_new_block(size_t size)
{
	struct ring_block *b = size <= UINT32_MAX ? malloc(sizeof *b + size) : NULL;
	if (b != NULL)
		b->size = (uint32_t)size;
	return b;
}

bool ring_init(struct ring *r)
{
	memset(r, 0, sizeof *r);
	r->last = r->oldest = r->at = ring_new_block(RING_BLOCK);
	r->spare = ring_new_block(RING_BLOCK);
	if (r->last == NULL || r->spare == NULL) {
		ring_free(r);
		return false;
	}
	r->n_spare = 1;
	atomic_init(&r->spare->next, NULL);
	atomic_init(&r->last->next, NULL);
	atomic_init(&r->last->used, 0);
	atomic_init(&r->taken, 0);
	atomic_init(&r->consumed, r->last);
	return true;
}

static void ring_free_list(struct ring_block *b)
{
	while (b != NULL) {
		struct ring_block *next = atomic_load_explicit(&b->next, memory_order_relaxed);
		free(b);
		b = next;
	}
}

void ring_free(struct ring *r)
{
	ring_free_list(r->oldest);
	ring_free_list(r->spare);
	r->last = r->oldest = r->spare = r->at = NULL;
}

/* --- the producer ----------------------------------------------------------------------------- */

/* Takes back what the consumer is done with. */
static void ring_reclaim(struct ring *r)
{
	struct ring_block *until = atomic_load_explicit(&r->consumed, memory_order_acquire);
	while (r->oldest != until) {
		struct ring_block *b = r->oldest;
		CHECK(b != r->last); /* what is being filled was never consumed whole */
		r->oldest = atomic_load_explicit(&b->next, memory_order_relaxed);
		if (b->size != RING_BLOCK || r->n_spare > RING_KEEP) {
			free(b);
			continue;
		}
		atomic_store_explicit(&b->next, r->spare, memory_order_relaxed);
		r->spare = b;
		r->n_spare++;
	}
}

static struct ring_block *ring_next_block(struct ring *r, size_t need)
{
	struct ring_block *b;
	ring_reclaim(r);
	if (need > RING_BLOCK) {
		b = ring_new_block(need);
	} else if ((b = r->spare) != NULL) {
		r->spare = atomic_load_explicit(&b->next, memory_order_relaxed);
		r->n_spare--;
	} else {
		b = ring_new_block(RING_BLOCK);
	}
	if (b == NULL)
		return NULL;
	CHECK(b->size >= need);
	atomic_store_explicit(&b->next, NULL, memory_order_relaxed);
	atomic_store_explicit(&b->used, 0, memory_order_relaxed);
	return b;
}

bool ring_publish(struct ring *r)
{
	if (r->unpublished == 0)
		return false;
	r->unpublished = 0;
	atomic_store_explicit(&r->last->used, r->fill, memory_order_release);
	/* so that what a flood took is given back after it */
	if (r->oldest != r->last)
		ring_reclaim(r);
	return true;
}

void *ring_put(struct ring *r, size_t len)
{
	size_t whole = (sizeof(struct ring_head) + len + 7) & ~(size_t)7;
	if (len > UINT32_MAX / 2)
		return NULL;
	if (r->last->size - r->fill < whole) {
		struct ring_block *b = ring_next_block(r, whole);
		if (b == NULL)
			return NULL;
		atomic_store_explicit(&r->last->used, r->fill, memory_order_release);
		atomic_store_explicit(&r->last->next, b, memory_order_release);
		r->last = b;
		r->fill = 0;
	}
	struct ring_head *head = (struct ring_head *)(r->last->bytes + r->fill);
	*head = (struct ring_head){.len = (uint32_t)len, .whole = (uint32_t)whole};
	r->fill += (uint32_t)whole;
	r->unpublished += (uint32_t)whole;
	r->put += whole;
	return head + 1;
}

/* --- the consumer ----------------------------------------------------------------------------- */

/* Steps over blocks that are used up. */
static bool ring_step(struct ring *r)
{
	for (;;) {
		struct ring_block *b = r->at;
		if (r->read < atomic_load_explicit(&b->used, memory_order_acquire))
			return true;
		struct ring_block *next = atomic_load_explicit(&b->next, memory_order_acquire);
		if (next == NULL)
			return false;
		if (r->read < atomic_load_explicit(&b->used,
						   /* the last of it came between the two looks */
						   memory_order_acquire))
			return true;
		r->at = next;
		r->read = 0;
		atomic_store_explicit(&r->consumed, next, memory_order_release);
	}
}

void *ring_take(struct ring *r, size_t *len_r)
{
	if (r->got != 0) /* the record before this one is done with */
		atomic_store_explicit(&r->taken, r->got, memory_order_release);
	if (!ring_step(r))
		return NULL;
	struct ring_head *head = (struct ring_head *)(r->at->bytes + r->read);
	CHECK(head->len < head->whole && head->whole <= r->at->size - r->read);
	r->read += head->whole;
	r->got += head->whole;
	*len_r = head->len;
	return head + 1;
}

bool ring_has(const struct ring *r)
{
	const struct ring_block *b = r->at;
	if (r->read < atomic_load_explicit(&b->used, memory_order_acquire))
		return true;
	const struct ring_block *next = atomic_load_explicit(&b->next, memory_order_acquire);
	/* Nothing is ever linked behind without a record in it, though that may not have been
	 * published yet. */
	return next != NULL && (r->read < atomic_load_explicit(&b->used, memory_order_acquire) ||
				atomic_load_explicit(&next->used, memory_order_acquire) > 0);
}
