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

/* Lists that queues have given back; shared by all queues of a loop. */
struct outq_spare {
	struct outq_list *first;
	size_t bytes;
};

/* Several slices, or one and a control frame that goes first. A queue that needs one for a moment only, as most do that get from
 * several rooms in one turn, takes it from those that others have given back. */
struct outq_list {
	struct outq_list *next; /* among the spare ones */
	struct outq_urgent *urgent;
	uint32_t head, n, cap; /* of v */
	struct slice v[];
};

/* All zero is an empty one. One slice needs nothing beyond it, more need a list. */
struct outq {
	struct slice one; /* the only slice, while there is no list */
	struct outq_list *list;
	uint32_t bytes;	     /* waiting, urgent ones included */
	uint32_t begun : 31; /* of those, bytes at the front that belong to something begun and can not be parted */
	uint32_t stalled : 1;
};
#define OUTQ_FRAME_MAX ((UINT32_C(1) << 31) - 1) /* bytes: what `begun` can count */

/* How many slices, and which they are. */
static inline uint32_t outq_n(const struct outq *q)
{
	return q->list != NULL ? q->list->n : q->one.chunk != NULL;
}

static inline struct slice *outq_at(struct outq *q, uint32_t i)
{
	return q->list != NULL ? &q->list->v[q->list->head + i] : &q->one;
}

enum outq_status { OUTQ_EMPTY, OUTQ_STALLED, OUTQ_BROKEN };

/* `spare` is the loop's, or NULL: nothing is kept for others. */

/* Puts a slice at the end, taking a reference of its own. Returns false without memory, with nothing changed. */
bool outq_append(struct outq *q, const struct slice *s, struct outq_spare *spare);
/* The same for bytes that are no frames (an HTTP answer before the first frame): they are not parted. */
bool outq_append_raw(struct outq *q, const struct slice *s, struct outq_spare *spare);
/* Puts a whole control frame before everything that has not been begun; one that waits already is replaced, as the newest pong
 * answers all pings before it (5.5.3). */
bool outq_urgent(struct outq *q, const uint8_t *frame, size_t len, struct outq_spare *spare);
/* Does one wait? */
bool outq_has_urgent(const struct outq *q);
/* Writes until empty or the socket is full. OUTQ_BROKEN: errno says how; *sent_r is what was written anyway. */
enum outq_status outq_flush(struct outq *q, int fd, struct outq_spare *spare, uint64_t *sent_r);
/* For those who write themselves: the only slice of a queue that has nothing else, or NULL; then what was written of it (> 0), or that
 * the socket was full. */
const struct slice *outq_only(const struct outq *q);
void outq_wrote(struct outq *q, size_t sent, struct outq_spare *spare);
void outq_full(struct outq *q);
/* Forgets everything that has not been begun. */
void outq_cut(struct outq *q, struct outq_spare *spare);
/* Forgets everything. */
void outq_clear(struct outq *q, struct outq_spare *spare);
void outq_spare_free(struct outq_spare *spare);

#endif
