/* heavy: which connections hold memory - output that waits for peers that read slowly, messages that were received in part - and which
 * of them give way when all together hold more than limits.buffered_max: whoever holds most, one after the other.
 *
 * What counts is memory: chunks of queues that stall, shared ones once, arrays, buffers of input, and what TLS has taken and the socket has not. What only lies in a queue until
 * the end of the turn does not. A connection has its entry while it holds something. */
#ifndef TOVA_NET_HEAVY_H
#define TOVA_NET_HEAVY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct conn;
struct conns;

struct heavy {
	LIST_ENTRY(heavy) link;
	struct conn *conn;
	uint64_t input; /* bytes, as they are counted in struct heavies */
	bool gives_way; /* it is to be ended: nothing is queued for it any more */
	bool torn;	/* what was being sent is gone, too: there is no way to say goodbye */
};

struct heavies {
	LIST_HEAD(, heavy) list;
	uint64_t input; /* bytes, of all */
	bool told;	/* some give way: conn_ops->relieved is to come */
};

/* What it holds may have changed. Nobody keeps a pointer to its conn_more meanwhile. */
void heavy_weigh(struct conn *c);
/* It holds nothing any more. */
void heavy_forget(struct conn *c);
bool heavy_gives_way(const struct conn *c);

/* Bytes that all hold. */
uint64_t heavies_total(const struct conns *s);
/* Called when what waits for somebody grew, in the middle of whatever. Who gives way is ended later. */
void heavies_grew(struct conns *s);
/* At the end of a turn. */
void heavies_settle(struct conns *s);

#endif
