/* outq: what waits to be sent on one socket, as slices of shared chunks.
 *
 * While the peer keeps up, a queue only refers to the loop's chunks and is empty again at the end of the turn. When a write finds
 * the socket full the queue is stalled: its small slices are copied into chunks of its own, so that a peer that stands still
 * pins what waits for it and not 64 KiB for every 100 bytes. Large messages stay shared.
 * Everything but the very start (the HTTP answer) is frames, so the queue can tell where a frame ends and let a control frame
 * past the data (RFC 6455 5.4 allows it between any two frames).
 */
#ifndef TOVA_NET_OUTQ_H
#define TOVA_NET_OUTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"

/* Arrays that queues have given back; shared by all queues of a loop. */
struct outq_spare {
	struct outq_vector *first;
	size_t bytes;
};

struct outq {
	struct slice *v; /* NULL: nothing beyond `one` */
	struct slice one;
	uint32_t head, n, cap; /* of v, or of one: n is 0 or 1 */
	uint32_t bytes;	       /* waiting, urgent ones included */
	uint32_t begun;	       /* of those, bytes at the front that belong to something begun and can not be parted */
	bool stalled;
	struct outq_urgent *urgent; /* a control frame that goes next; NULL: none */
	struct outq_spare *spare;   /* NULL: nothing is kept for others */
};

enum outq_status { OUTQ_EMPTY, OUTQ_STALLED, OUTQ_BROKEN };

/* Puts a slice at the end, taking a reference of its own. Returns false without memory, with nothing changed. */
bool outq_append(struct outq *q, const struct slice *s);
/* The same for bytes that are no frames (an HTTP answer before the first frame): they are not parted. */
bool outq_append_raw(struct outq *q, const struct slice *s);
/* Puts a whole control frame before everything that has not been begun; one that waits already is replaced, as the newest pong
 * answers all pings before it (5.5.3). */
bool outq_urgent(struct outq *q, const uint8_t *frame, size_t len);
/* Writes until empty or the socket is full. OUTQ_BROKEN: errno says how; *sent_r is what was written anyway. */
enum outq_status outq_flush(struct outq *q, int fd, uint64_t *sent_r);
/* Forgets everything that has not been begun. */
void outq_cut(struct outq *q);
/* Forgets everything. */
void outq_clear(struct outq *q);
void outq_spare_free(struct outq_spare *spare);

#endif
