/* memory_limit: which connections hold memory - output that waits for peers that read slowly,
 * messages that were received in part - and which of them give way when all together hold more than
 * limits.buffered_max: whoever holds most, one after the other.
 *
 * What counts is memory: chunks of queues that stall, shared ones once, arrays, buffers of input,
 * and what TLS has taken and the socket has not. What only lies in a queue until the end of the
 * turn does not. A connection has its entry while it holds something, which stands among those that
 * hold about as much: so who holds most, to an eighth, is found without a look at the others. */
#ifndef TOVA_NET_MEMORY_LIMIT_H
#define TOVA_NET_MEMORY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct conn;
struct conns;

/* Eight to each power of two bytes. */
#define MEMORY_LIMIT_CLASSES 256

/* Entries by what they hold. */
struct memory_limit_scale {
	LIST_HEAD(memory_limit_list, memory_limit) classes[MEMORY_LIMIT_CLASSES];
	uint64_t some[MEMORY_LIMIT_CLASSES / 64]; /* a bit for each class that may have some */
};

enum memory_limit_of { MEMORY_LIMIT_OUTPUT, MEMORY_LIMIT_ALL, MEMORY_LIMIT_SCALES };

struct memory_limit {
	LIST_ENTRY(memory_limit) link;
	struct {
		LIST_ENTRY(memory_limit) link;
		uint16_t class; /* 0: in none, as what it holds is nothing that could be had */
	} at[MEMORY_LIMIT_SCALES];
	struct conn *conn;
	uint64_t input; /* bytes, as they are counted in struct memory_limits */
	bool gives_way; /* it is to be ended: nothing is queued for it any more */
	bool cut_short; /* what was being sent is gone, too: there is no way to say goodbye */
};

struct memory_limits {
	LIST_HEAD(, memory_limit) list;
	struct memory_limit_scale scales[MEMORY_LIMIT_SCALES];
	uint64_t input; /* bytes, of all */
	/* when so much was held nobody was found who could give way; 0: somebody was, or it is not
	 * known any more */
	uint64_t vain;
	bool relief_due; /* some give way: conn_ops->relieved is to come */
};

/* What it holds may have changed. Nobody keeps a pointer to its conn_more meanwhile. */
void memory_limit_weigh(struct conn *c);
/* It holds nothing any more. */
void memory_limit_forget(struct conn *c);
/* It is to be ended: nothing is queued for it any more. */
bool memory_limit_gives_way(const struct conn *c);

/* For memory_limits.c. What is counted of it; NULL: it holds nothing. */
struct memory_limit *memory_limit_of(const struct conn *c);
/* The same, made: NULL without memory, and it can not be found then. */
struct memory_limit *memory_limit_new(struct conn *c);
unsigned memory_limit_class(uint64_t bytes);
/* It stands in that class of the scale; 0: in none. */
void memory_limit_place(struct memory_limit *h, enum memory_limit_of of, unsigned class);
/* In each scale where what it holds belongs. */
void memory_limit_place_all(struct memory_limit *h);
/* One of those in the highest class that has any; NULL: none has. */
struct memory_limit *memory_limit_scale_top(struct memory_limit_scale *scale);

/* Bytes that all hold, and that handlers hold for them. */
uint64_t memory_limits_total(const struct conns *s);
/* Called when what waits for it grew, in the middle of whatever. Who gives way is ended later. */
void memory_limits_grew(struct conn *c);
/* At the end of a turn. */
void memory_limits_settle(struct conns *s);

#endif
