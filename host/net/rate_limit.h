/* rate_limit: what one connection may send in a time (--rate-limit), and when to say that it sent
 * more. Pure; the clock is the caller's. */
#ifndef TOVA_NET_RATE_LIMIT_H
#define TOVA_NET_RATE_LIMIT_H

#include "base/bucket.h"

/* A mount's. */
struct rate_limit_rule {
	struct bucket_rate rate;
	bool close; /* one too many ends the connection; else it is dropped */
	/* its handler reads lines: a message with line ends in it counts as often as it will
	 * read */
	bool lines;
};

struct rate_limit {
	const struct rate_limit_rule *rule;
	struct bucket bucket;
	uint64_t told_at; /* 0: it never was */
	uint32_t dropped; /* since then */
	bool pings;	  /* of pings only: somebody else measures messages */
};

/* The rule has to outlive it. now: milliseconds, of loop_now, as everywhere here. */
void rate_limit_init(struct rate_limit *m, const struct rate_limit_rule *rule, uint64_t now);
/* May this message be taken, which counts so often? */
bool rate_limit_take(struct rate_limit *m, uint64_t now, uint32_t n);
/* How many were dropped and are to be told now: with the first, and then once in the rule's time.
 * 0: nothing is to be told. */
uint32_t rate_limit_due(struct rate_limit *m, uint64_t now);
/* How many were dropped and have not been told. */
uint32_t rate_limit_rest(struct rate_limit *m);

#endif
