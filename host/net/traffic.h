/* traffic: what one client sent and was sent, where somebody wants to know. Written by the loop
 * that has its socket, with plain stores; any thread may read it. */
#ifndef TOVA_NET_TRAFFIC_H
#define TOVA_NET_TRAFFIC_H

#include <stdatomic.h>
#include <stdint.h>

/* Messages, and bytes of what they say: not of their frames, nor compressed. */
struct traffic {
	_Atomic uint64_t in_messages, in_bytes;
	_Atomic uint64_t out_messages, out_bytes; /* that were queued */
	_Atomic uint64_t queue_max; /* most bytes that have waited for its socket */
};

static inline uint64_t traffic_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static inline void traffic_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, traffic_read(counter) + n, memory_order_relaxed);
}

static inline void traffic_raise(_Atomic uint64_t *counter, uint64_t n)
{
	if (n > traffic_read(counter))
		atomic_store_explicit(counter, n, memory_order_relaxed);
}

#endif
