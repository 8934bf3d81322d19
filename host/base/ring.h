/* ring: records of bytes from one thread to one other, in order, without locks.
 *
 * Blocks of memory follow each other; a record lies whole in one of them. The producer lays records
 * down and publishes what it has laid down at once, with one release; the consumer takes them in
 * place, and blocks that it is done with are used again. Nobody waits for the other here: who wants
 * a bound looks at ring_waiting.
 */
#ifndef TOVA_BASE_RING_H
#define TOVA_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BLOCK 65536
/* a record up to here always finds room once the consumer has taken all that waits */
#define RING_SMALL (RING_BLOCK / 8)
#define RING_LINE 64 /* what two threads write does not share a cache line */

struct ring_block;

struct ring {
	/* The producer's. */
	struct ring_block *last, *oldest; /* being filled; the first that was not taken back */
	struct ring_block *spare;	  /* taken back */
	unsigned n_spare;
	uint32_t fill, unpublished; /* bytes of `last` */
	uint64_t put;		    /* bytes laid down since the beginning */
	/* The consumer's. */
	_Alignas(RING_LINE) struct ring_block *at;
	uint32_t read;
	uint64_t got;
	/* Written by the consumer, read by the producer. */
	_Alignas(RING_LINE) _Atomic uint64_t taken;
	_Atomic(struct ring_block *) consumed; /* blocks before this one are the producer's again */
};

/* False without memory. */
bool ring_init(struct ring *r);
/* When both threads are done with it. */
void ring_free(struct ring *r);

/* --- the producer ----------------------------------------------------------------------------- */

/* Room for a record, aligned to 8 bytes, to be filled before the next call; NULL: no memory, and
 * nothing has changed. A record up to RING_SMALL bytes needs no new memory when all that was
 * published has been taken. */
void *ring_put(struct ring *r, size_t len);
/* The consumer can see all that was laid down. Returns whether there was anything new. */
bool ring_publish(struct ring *r);

/* Bytes that were laid down and have not been taken. */
static inline uint64_t ring_waiting(const struct ring *r)
{
	return r->put - atomic_load_explicit(&r->taken, memory_order_acquire);
}

/* --- the consumer ----------------------------------------------------------------------------- */

/* The next record, or NULL. It is the caller's, to be written to as well, until the next call. */
void *ring_take(struct ring *r, size_t *len_r);
/* Would ring_take return one? */
bool ring_has(const struct ring *r);

#endif
