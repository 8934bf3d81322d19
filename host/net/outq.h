/* outq: what waits to be sent on one socket, as slices of shared chunks.
 *
 * While the peer keeps up, a queue only refers to the loop's chunks and is empty again at the end
 * of the turn. When a write finds the socket full the queue is stalled: it becomes a backlog
 * (outq_notes.h), with chunks of its own for what is small, so that a peer that stands still pins
 * what waits for it and not 64 KiB for every 100 bytes. Large messages stay shared. Everything but
 * the very start (the HTTP answer) is frames, so the queue can tell where a frame ends and let a
 * control frame past the data (RFC 6455 5.4 allows it between any two frames), and give up messages
 * that wait (outq_notes.h).
 */
#ifndef TOVA_NET_OUTQ_H
#define TOVA_NET_OUTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "net/outq_notes.h"
#include "tls/tls.h"

/* Lists that queues have given back, and what is held for peers that read slowly; shared by all
 * queues of a loop. */
struct outq_spare {
	struct outq_list *first;
	size_t bytes;
	struct outq_notes_account account;
	uint32_t max;		  /* bytes that may wait for one peer */
	uint32_t turn;		  /* number of the loop's turn */
	const uint32_t *delivery; /* and of the delivery that is under way; see outq_admits */
};

/* Several slices, or one and a control frame that goes first. A queue that needs one for a moment
 * only, as most do that get from several rooms in one turn, takes it from those that others have
 * given back. */
struct outq_list {
	struct outq_list *next; /* among the spare ones */
	struct outq_urgent *urgent;
	/* of a queue that is stalled: what waits, in place of v; NULL: it is in v */
	struct outq_notes *outq_notes;
	uint32_t head, n, cap; /* of v */
	struct slice v[];
};

/* All zero is an empty one. One slice needs nothing beyond it, more need a list. */
struct outq {
	struct slice one; /* the only slice, while there is no list */
	struct outq_list *list;
	uint32_t bytes; /* waiting, urgent ones included */
	/* of those, bytes at the front that belong to something begun and can not be parted */
	uint32_t begun : 31;
	uint32_t stalled : 1;
};
#define OUTQ_FRAME_MAX ((UINT32_C(1) << 31) - 1) /* bytes: what `begun` can count */

/* How many slices, and which they are. */
static inline struct outq_notes *outq_backlog(const struct outq *q)
{
	return q->list != NULL ? q->list->outq_notes : NULL;
}

/* Of one that is no backlog. */
static inline uint32_t outq_n(const struct outq *q)
{
	return q->list == NULL ? q->one.chunk != NULL : q->list->n;
}

static inline struct slice *outq_at(struct outq *q, uint32_t i)
{
	return q->list == NULL ? &q->one : &q->list->v[q->list->head + i];
}

/* What waits, as its bound counts it. */
static inline uint64_t outq_weight(const struct outq *q)
{
	const struct outq_notes *b = outq_backlog(q);
	return b == NULL ? q->bytes : outq_notes_weight(b);
}

/* Is something given up for others, or was that tried, since it was last empty? */
static inline bool outq_gives_up(const struct outq *q)
{
	return outq_backlog(q) != NULL && outq_backlog(q)->gives_up;
}

enum outq_status { OUTQ_EMPTY, OUTQ_STALLED, OUTQ_BROKEN };

/* `spare` is the loop's. */

/* Puts a slice at the end, taking a reference of its own. Returns false without memory, with
 * nothing changed. */
bool outq_append(struct outq *q, const struct slice *s, struct outq_spare *spare);
/* Does the same where it takes nothing but the queue itself: it is empty, or ends where the slice
 * begins, and its peer keeps up. False: nothing was done. */
static inline bool outq_take(struct outq *q, const struct slice *s)
{
	if (q->list != NULL || q->stalled)
		return false;
	if (q->one.chunk == NULL) {
		q->one = *s;
		chunk_ref(s->chunk);
	} else if (q->one.chunk == s->chunk && q->one.off + q->one.len == s->off) {
		q->one.len += s->len;
	} else {
		return false;
	}
	q->bytes += s->len;
	return true;
}
/* The same for bytes that are no frames (an HTTP answer before the first frame): they are not
 * parted. */
bool outq_append_raw(struct outq *q, const struct slice *s, struct outq_spare *spare);
/* Puts a whole control frame before everything that has not been begun; one that waits already is
 * replaced, as the newest pong answers all pings before it (5.5.3). */
bool outq_urgent(struct outq *q, const uint8_t *frame, size_t len, struct outq_spare *spare);
/* Does one wait? */
bool outq_has_urgent(const struct outq *q);
/* May so much be added for a peer whose socket is full? As long as no more than spare->max waits
 * for it. But that is judged over time: what comes with one delivery - all that one event, push or
 * timer gives it - is like one message, and what came before the socket was found full in this turn
 * is like one delivery. So of a delivery that has begun the rest is let in; and one that alone is
 * more than the bound does not count as long as it waits: what is let in behind it is judged as if
 * it was not there. Of such there is one at a time, and `own` ones: answers, for which the bound is
 * not to read. */
bool outq_admits(struct outq *q, uint32_t len, bool own, struct outq_spare *spare);
/* It was added; `before` is what outq_weight was. */
void outq_admitted(struct outq *q, uint64_t before);
/* Gives up messages so that a frame that outq_admits did not let in has room: the oldest, or those
 * whose key a newer one has, this frame too. What is being sent and what is to be kept stays; if
 * nothing is there beside what is being sent, there is room for any one frame. */
enum outq_room { OUTQ_ROOM, OUTQ_NO_ROOM, OUTQ_NO_MEMORY };
enum outq_room outq_make_way(struct outq *q, const struct slice *frame, bool conflate,
			     struct outq_spare *spare);
/* Gives up the older half of what waits. False: nothing of it could go. */
bool outq_lighten(struct outq *q);
/* Bytes of memory that a stalled one takes, of what it shares its part; it may take a while to say.
 * And no less than that, at once. */
uint64_t outq_memory(const struct outq *q);
uint64_t outq_most(const struct outq *q);
/* Writes until empty or the socket is full; through tls, if that is not NULL, and is empty when
 * nothing waits there either. OUTQ_BROKEN: errno says how; *sent_r counts what the socket took. */
enum outq_status outq_flush(struct outq *q, int fd, struct tls *tls, struct outq_spare *spare,
			    uint64_t *sent_r);
/* For those who write themselves: the only slice of a queue that has nothing else, or NULL; then
 * what was written of it (> 0), or that the socket was full. */
const struct slice *outq_only(const struct outq *q);
void outq_wrote(struct outq *q, size_t sent, struct outq_spare *spare);
void outq_full(struct outq *q, struct outq_spare *spare);
/* Forgets everything that has not been begun. */
void outq_cut(struct outq *q, struct outq_spare *spare);
/* Forgets everything. */
void outq_clear(struct outq *q, struct outq_spare *spare);
void outq_spare_free(struct outq_spare *spare);

#endif
