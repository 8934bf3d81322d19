/* backlog: what waits for a peer that reads too slowly, message by message, so that some of them can be given up.
 *
 * An output queue becomes one when its bound is reached, in a mount whose policy says so, and is one until it is empty. What is kept
 * stays in its order, and whole. A message says by its chunk's note (base/chunk.h) what it is:
 *     BACKLOG_KEEP   is never given up: an answer, a control frame, bytes that are no frames;
 *     0              goes when it is the oldest;
 *     else           the hash of its conflation key: goes when it is the oldest, or when a newer one has that key.
 * Small messages are copied into chunks of the backlog's own. Where giving up has left these with little in them, or the array with
 * many holes, what remains is packed anew, so that memory stays in proportion to what waits.
 */
#ifndef TOVA_NET_BACKLOG_H
#define TOVA_NET_BACKLOG_H

#include "base/chunk.h"

#define BACKLOG_KEEP UINT64_MAX
/* Room that a message takes at least, by the bound of its queue. */
#define BACKLOG_LEAST 32

/* The backlogs of one loop, together. */
struct backlog_account {
	uint64_t held;	    /* bytes of memory: chunks, shared ones once, and arrays */
	uint64_t given_up;  /* messages, since somebody last set it to 0 */
	uint64_t conflated; /* of those, messages with a key that a newer one had */
};

struct backlog_item {
	struct slice s; /* chunk NULL: a hole */
	uint64_t note;
};

struct backlog {
	struct backlog_item *v;
	uint32_t head, n, cap; /* v[head] to v[head + n - 1], holes among them; the first is none */
	uint32_t live;	       /* that are no holes */
	uint32_t oldest;       /* no message before v[oldest] can be given up */
	uint32_t bytes;	       /* of all messages */
	uint32_t kept;	       /* of those that are never given up */
	uint32_t given_up;     /* messages */
	struct chunk *fill;    /* where the next small one goes; a reference of its own */
	uint64_t packed;       /* bytes of own chunks since what waits was last packed, those freed meanwhile among them */
	uint32_t *index;       /* by key, where its newest message lies in v, plus 1; NULL: older ones are not looked for */
	uint32_t index_cap, index_n;
	struct backlog_account *account;
};

/* NULL without memory. */
struct backlog *backlog_new(struct backlog_account *account);
void backlog_free(struct backlog *b);

/* Takes a reference of its own to part of a queue that waits: `begun` bytes that are not to be parted, and then whole frames.
 * Returns false without memory; the backlog is of no use then. */
bool backlog_take(struct backlog *b, const struct slice *s, uint32_t begun);
/* Puts a frame at the end. With an index, an older one with its key goes, unless it is the first and begun. Returns false without
 * memory, with nothing changed. */
bool backlog_append(struct backlog *b, const struct slice *frame, bool begun);
/* Puts a control frame before all, taking over its reference. Returns false without memory. */
bool backlog_push_front(struct backlog *b, struct slice frame);
/* The first one was sent, or is not wanted. */
void backlog_pop(struct backlog *b);
/* Part of the first one was sent. */
void backlog_sent(struct backlog *b, uint32_t bytes);
/* Forgets all but the first ones, of `keep` bytes. */
void backlog_cut(struct backlog *b, uint32_t keep);

static inline struct backlog_item *backlog_at(const struct backlog *b, uint32_t i)
{
	return &b->v[b->head + i];
}

/* What it counts for by the bound of its queue. */
static inline uint64_t backlog_weight(const struct backlog *b)
{
	uint64_t least = (uint64_t)b->live * BACKLOG_LEAST;
	return b->bytes > least ? b->bytes : least;
}

/* Gives up the oldest messages until no more than `most` is left by backlog_weight, or none that can be. begun: the first is not. */
void backlog_drop_oldest(struct backlog *b, uint64_t most, bool begun);
/* Gives up every message whose key a newer one has; from now on backlog_append does. Returns false without memory. */
bool backlog_conflate(struct backlog *b, bool begun);
/* With an index: gives up the one whose key this frame has. */
void backlog_supersede(struct backlog *b, const struct slice *frame, bool begun);

#endif
