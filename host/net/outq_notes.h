/* outq_notes: what waits for a peer whose socket is full, in memory of its own, so that messages
 * can be given up.
 *
 * An output queue becomes one when its socket is full, and is one until it is empty. What is kept
 * stays in its order, and whole. Messages that are treated alike and follow each other are one
 * *run*: bytes in one chunk, and how many they are. Giving up the oldest moves the beginning of a
 * run, or drops whole ones; so it takes no memory, and no step for each message but those of one
 * run. A message says by its chunk's note (base/chunk.h) what it is: OUTQ_NOTES_KEEP   is never
 * given up: an answer, a control frame, bytes that are no frames; 0              goes when it is
 * the oldest; else           the hash of its conflation key: goes when it is the oldest, or when a
 * newer one has that key. A run of its own. Small messages are copied into chunks of the backlog's
 * own. Where giving up has left these with little in them what remains is packed anew, a little
 * with each message that comes, so that memory stays in proportion to what waits.
 */
#ifndef TOVA_NET_OUTQ_NOTES_H
#define TOVA_NET_OUTQ_NOTES_H

#include "base/chunk.h"

#define OUTQ_NOTES_KEEP UINT64_MAX

/* The backlogs of one loop, together. */
struct outq_notes_account {
	uint64_t held;	    /* bytes of memory: chunks, shared ones once, and arrays */
	uint64_t given_up;  /* messages, since somebody last set it to 0 */
	uint64_t conflated; /* of those, messages with a key that a newer one had */
};

/* Runs are in a list, and keep their places, which are numbered. The memory of all lists comes in
 * blocks of one size, so that what one has given back another can use. */
#define OUTQ_NOTES_NONE UINT32_MAX
#define OUTQ_NOTES_BLOCK 32 /* runs */

struct outq_notes_run {
	struct slice s;		 /* chunk NULL: the place is free */
	uint64_t note;		 /* of each message in it */
	uint32_t at, prev, next; /* places */
	uint32_t n : 31;	 /* messages of which it has the end */
	uint32_t stale : 1;	 /* a newer one has its key */
};

/* Room that a run takes by the bound of its queue, and one of a key, for its place in the index,
 * beyond that. */
#define OUTQ_NOTES_RUN sizeof(struct outq_notes_run)
#define OUTQ_NOTES_KEY 16

struct outq_notes {
	struct outq_notes_run **blocks;
	uint32_t n_blocks;
	uint32_t used;	      /* places that were ever used */
	uint32_t free;	      /* the first of a list of those that are free again */
	uint32_t first, last; /* of the runs, in the order in which they are sent */
	uint32_t live;	      /* how many they are */
	/* no message before that one can be given up; OUTQ_NOTES_NONE: only what is still to come
	 */
	uint32_t oldest;
	uint32_t keys;	 /* runs with a key */
	uint32_t bytes;	 /* of all messages */
	uint32_t shared; /* of those, in chunks that others may have, too */
	uint32_t kept;	 /* of those that are never given up */
	uint32_t stale;	 /* runs with a key that a newer one has */
	uint32_t stale_bytes;
	uint32_t given_up;	/* messages */
	bool gives_up;		/* that was tried */
	bool conflating;	/* of each key only the newest is wanted */
	uint64_t own;		/* bytes of chunks that it does not share */
	struct chunk *fill;	/* where the next small one goes; a reference of its own */
	uint32_t scan;		/* conflating: before that one nothing is stale */
	uint32_t pack, packing; /* the next that is to be packed, and how many are */
	uint32_t *index;	/* by key, the place of its newest message, plus 1 */
	uint32_t index_cap, index_n;
	struct outq_notes_account *account;
	/* By what its queue is judged; see outq_admits. */
	uint32_t turn, delivery;
	uint64_t given, before, grace;
	bool over, pardoned;
};

/* NULL without memory. */
struct outq_notes *outq_notes_new(struct outq_notes_account *account);
void outq_notes_free(struct outq_notes **b_p);

/* Takes part of a queue that waits: `begun` bytes that are not to be parted, and then whole frames.
 * Returns false without memory; the backlog is of no use then. */
bool outq_notes_take(struct outq_notes *b, const struct slice *s, uint32_t begun);
/* Puts a frame at the end. Where only the newest of each key is wanted an older one with its key
 * goes, unless it is the first and begun. Returns false without memory, with nothing changed. */
bool outq_notes_append(struct outq_notes *b, const struct slice *frame, bool begun);
/* Puts bytes at the end that are no frame. */
bool outq_notes_append_raw(struct outq_notes *b, const struct slice *bytes);
/* Puts a control frame before all, taking over its reference. Returns false without memory. */
bool outq_notes_push_front(struct outq_notes *b, struct slice frame);
/* Bytes of the first run were sent, and with them so many messages came to their end. What is used
 * up goes. */
void outq_notes_sent(struct outq_notes *b, uint32_t bytes, uint32_t messages);
/* Forgets all but the first `keep` bytes. */
void outq_notes_cut(struct outq_notes *b, uint32_t keep);

static inline struct outq_notes_run *outq_notes_at(const struct outq_notes *b, uint32_t at)
{
	return &b->blocks[at / OUTQ_NOTES_BLOCK][at % OUTQ_NOTES_BLOCK];
}

/* NULL: there is none. */
static inline struct outq_notes_run *outq_notes_run(const struct outq_notes *b, uint32_t at)
{
	return at != OUTQ_NOTES_NONE ? outq_notes_at(b, at) : NULL;
}

/* What it counts for by the bound of its queue: what it takes, but for what is about to go. */
static inline uint64_t outq_notes_weight(const struct outq_notes *b)
{
	uint64_t all = b->bytes + b->live * OUTQ_NOTES_RUN + (uint64_t)b->keys * OUTQ_NOTES_KEY;
	return b->conflating ? all - b->stale_bytes - b->stale * (OUTQ_NOTES_RUN + OUTQ_NOTES_KEY)
			     : all;
}

/* Bytes that could be used again if it were gone: of what it shares its part. It looks at every
 * run. */
uint64_t outq_notes_memory(const struct outq_notes *b);
/* No less than that, as a rule; at once. */
uint64_t outq_notes_most(const struct outq_notes *b);

/* Gives up the oldest messages until no more than `most` is left by outq_notes_weight, or none that
 * can be. The first `begun` bytes are not. */
void outq_notes_drop_oldest(struct outq_notes *b, uint64_t most, uint32_t begun);
/* Gives up the older half, and the rest of the run that it ends in, so that it costs little and
 * memory goes with it. */
void outq_notes_lighten(struct outq_notes *b, uint32_t begun);
/* From now on gives up every message whose key a newer one has; of those that wait some with each
 * message that comes. */
void outq_notes_conflate(struct outq_notes *b, uint32_t begun);
/* Gives up the one whose key this frame has. */
void outq_notes_supersede(struct outq_notes *b, const struct slice *frame, bool begun);

#endif
