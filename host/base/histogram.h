/* histogram: how often values were how large, in powers of two: cheap to add to, and exact enough
 * for a percentile. */
#ifndef TOVA_BASE_HISTOGRAM_H
#define TOVA_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 32

struct histogram {
	/* bucket k: of values above the bounds before it, up to 2^k; the last: of all larger ones
	 */
	uint64_t buckets[HISTOGRAM_BUCKETS];
	uint64_t sum;
};

static inline void histogram_add(struct histogram *h, uint64_t value)
{
	unsigned k = value <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(value - 1);
	h->buckets[k < HISTOGRAM_BUCKETS ? k : HISTOGRAM_BUCKETS - 1]++;
	h->sum += value;
}

#endif
