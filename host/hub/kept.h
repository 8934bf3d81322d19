/* kept: messages under their numbers, oldest first, of which any can be given up. Payloads are
 * shared with whoever else is sent the same. */
#ifndef TOVA_HUB_KEPT_H
#define TOVA_HUB_KEPT_H

#include "base/chunk.h"

struct kept_message {
	struct slice frame; /* chunk NULL: it was given up */
	uint64_t key;	    /* see net/outq_notes.h; 0: none */
	uint64_t number;    /* of resume.h: which it is; of history.h: when it came */
};

/* All zero is an empty one. */
struct kept {
	struct kept_message *v; /* a ring */
	uint32_t first, n, cap; /* cap: a power of two, or 0 */
	uint32_t gone;	/* of the n, those that were given up; never the first or the last */
	uint64_t bytes; /* of the others */
};

/* Takes a reference. False without memory. Numbers do not fall. */
bool kept_push(struct kept *k, const struct slice *frame, uint64_t key, uint64_t number);
/* The i-th, from the oldest. */
static inline struct kept_message *kept_at(const struct kept *k, uint32_t i)
{
	return &k->v[(k->first + i) & (k->cap - 1)];
}
/* The oldest, NULL: there is none. */
struct kept_message *kept_first(const struct kept *k);
/* Without the oldest; its reference goes. */
void kept_pop(struct kept *k);
/* The newest of those that have this key, looked for among the last few thousand, is given up:
 * *number_r is its number. False: there is none. */
bool kept_supersede(struct kept *k, uint64_t key, uint64_t *number_r);
/* How many there are that were not given up. */
static inline uint32_t kept_count(const struct kept *k)
{
	return k->n - k->gone;
}
/* Room that it takes by a bound: its bytes, and something for each. */
static inline uint64_t kept_weight(const struct kept *k)
{
	return k->bytes + (uint64_t)k->n * sizeof(struct kept_message);
}
/* Drops all, with their references, and the memory; it can be used again. */
void kept_free(struct kept *k);

#endif
