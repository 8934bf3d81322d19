/* bucket: a token bucket. N tokens lie in it at first; each thing that happens takes one, and N
 * flow in within the rate's time.
 *
 * Counted in tokens times milliseconds, so that nothing is rounded: exactly N pass at once, the
 * next one when the time for one more token is over. The clock is the caller's, in milliseconds.
 */
#ifndef TOVA_BASE_BUCKET_H
#define TOVA_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket_rate {
	uint32_t n, ms; /* n 0: no limit */
};

struct bucket {
	uint64_t credit; /* tokens times ms */
	uint64_t at;	 /* when that was so */
};

static inline void bucket_fill(struct bucket *b, const struct bucket_rate *rate, uint64_t now)
{
	*b = (struct bucket){.credit = (uint64_t)rate->n * rate->ms, .at = now};
}

/* What has flown in meanwhile. The rate may have changed; a clock that is behind (another loop's)
 * adds nothing. */
static inline void bucket_flow(struct bucket *b, const struct bucket_rate *rate, uint64_t now)
{
	uint64_t full = (uint64_t)rate->n * rate->ms;
	if (now > b->at) {
		uint64_t passed = now - b->at;
		b->credit += (passed < rate->ms ? passed : rate->ms) * rate->n;
		b->at = now;
	}
	if (b->credit > full)
		b->credit = full;
}

/* Takes n tokens if there are as many; more than the rate has there never are. */
static inline bool bucket_take_some(struct bucket *b, const struct bucket_rate *rate, uint64_t now,
				    uint32_t n)
{
	bucket_flow(b, rate, now);
	if (b->credit < (uint64_t)n * rate->ms)
		return false;
	b->credit -= (uint64_t)n * rate->ms;
	return true;
}

static inline bool bucket_take(struct bucket *b, const struct bucket_rate *rate, uint64_t now)
{
	return bucket_take_some(b, rate, now, 1);
}

/* Milliseconds after `now` until there is a token. */
static inline uint64_t bucket_wait(const struct bucket *b, const struct bucket_rate *rate,
				   uint64_t now)
{
	struct bucket then = *b;
	bucket_flow(&then, rate, now);
	return then.credit >= rate->ms || rate->n == 0
		       ? 0
		       : (rate->ms - then.credit + rate->n - 1) / rate->n;
}

#endif
