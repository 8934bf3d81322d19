/* heavy: which connections hold memory - output that waits for peers that read slowly, messages
 * that were received in part - and which of them give way when all together hold more than
 * limits.buffered_max: whoever holds most, one after the other.
 *
 * What counts is memory: chunks of queues that stall, shared ones once, arrays, buffers of input,
 * and what TLS has taken and the socket has not. What only lies in a queue until the end of the
 * turn does not. A connection has its entry while it holds something, which stands among those that
 * hold about as much: so who holds most, to an eighth, is found without a look at the others. */
#ifndef TOVA_NET_HEAVY_H
#define TOVA_NET_HEAVY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct conn;
struct conns;

/* Eight to each power of two bytes. */
#define HEAVY_CLASSES 256

/* Entries by what they hold. */
struct heavy_scale {
	LIST_HEAD(heavy_list, heavy) classes[HEAVY_CLASSES];
	uint64_t some[HEAVY_CLASSES / 64]; /* a bit for each class that may have some */
};

enum heavy_of { HEAVY_OUTPUT, HEAVY_ALL, HEAVY_SCALES };

struct heavy {
	LIST_ENTRY(heavy) link;
	struct {
		LIST_ENTRY(heavy) link;
		uint16_t class; /* 0: in none, as what it holds is nothing that could be had */
	} at[HEAVY_SCALES];
	struct conn *conn;
	uint64_t input; /* bytes, as they are counted in struct heavies */
	bool gives_way; /* it is to be ended: nothing is queued for it any more */
	bool torn;	/* what was being sent is gone, too: there is no way to say goodbye */
};

struct heavies {
	LIST_HEAD(, heavy) list;
	struct heavy_scale scales[HEAVY_SCALES];
	uint64_t input; /* bytes, of all */
	/* when so much was held nobody was found who could give way; 0: somebody was, or it is not
	 * known any more */
	uint64_t vain;
	bool told; /* some give way: conn_ops->relieved is to come */
};

/* What it holds may have changed. Nobody keeps a pointer to its conn_more meanwhile. */
void heavy_weigh(struct conn *c);
/* It holds nothing any more. */
void heavy_forget(struct conn *c);
bool heavy_gives_way(const struct conn *c);

/* Bytes that all hold, and that handlers hold for them. */
uint64_t heavies_total(const struct conns *s);
/* Called when what waits for it grew, in the middle of whatever. Who gives way is ended later. */
void heavies_grew(struct conn *c);
/* At the end of a turn. */
void heavies_settle(struct conns *s);

#endif
