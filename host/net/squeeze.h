/* squeeze: what compressed messages (permessage-deflate) need on a loop, and of each connection
 * that has agreed on them.
 *
 * Who sends and keeps no window from one message to the next needs no compressor of its own: a
 * message is compressed once, for as many as it goes to, and a broadcast is the same bytes for all
 * of them, also for those who keep a window. Their own compressor, which has not seen those bytes,
 * then begins anew. And who sends such messages needs nothing either, but while one is under way in
 * parts. So of most connections the size of the client's window is all there is. What is kept for
 * the others is reserved from a budget when they come, at what it may cost at most; where that is
 * used up, they are not given a window of their own.
 */
#ifndef TOVA_NET_SQUEEZE_H
#define TOVA_NET_SQUEEZE_H

#include "base/chunk.h"
#include "base/stats.h"
#include "ws/deflate.h"
#include "ws/inflate.h"

#define SQUEEZE_WINDOWS (DEFLATE_BITS_MAX - DEFLATE_BITS_MIN + 1)

struct squeeze_limits {
	struct deflate_policy policy;
	int level;	 /* zlib's, 1 to 9 */
	uint32_t min;	 /* bytes of a message; a shorter one is not compressed */
	uint64_t memory; /* of this loop */
};

/* Of one loop. */
struct squeeze {
	struct squeeze_limits limits;
	struct chunk_pool *chunks;
	struct stats *stats;
	struct inflate_pool inflaters;
	z_stream *packers[SQUEEZE_WINDOWS]; /* for what many get, made when they are needed */
	uint8_t *scratch;		    /* what comes out of one */
	size_t scratch_size;
};

/* Of a connection with context takeover in any direction; of another one while a compressed message
 * of its is under way, and while it may refer back to earlier ones though it was told not to
 * (inflate.h). */
struct squeeze_conn {
	struct inflate inflate;
	bool keep_out, keep_in; /* context takeover */
	/* its compressor has to begin anew: the client has seen other things than it, or not all of
	 * them */
	bool stale;
	uint32_t cost;	  /* what is reserved for it */
	z_stream *packer; /* once it was needed */
};

/* What becomes of a connection that reads too slowly for it, in the order of the choices of
 * --slow-policy. */
enum slow_policy { SLOW_POLICY_CLOSE, SLOW_POLICY_DROP_OLDEST, SLOW_POLICY_CONFLATE };

/* A message on its way to one connection or to many, compressed when somebody first needs that,
 * once for each size of window. */
struct outgoing {
	const struct slice *frame;	      /* as the handler wrote it */
	bool shared;			      /* goes to many */
	uint8_t slow;			      /* enum slow_policy */
	uint8_t tried;			      /* which of those below say something */
	struct slice packed[SQUEEZE_WINDOWS]; /* without a chunk: it does not shrink */
};

static inline void outgoing_init(struct outgoing *o, const struct slice *frame, bool shared)
{
	/* and the rest is not looked at, so a message that nobody gets compressed pays nothing for
	 * it */
	o->frame = frame;
	o->shared = shared;
	o->slow = SLOW_POLICY_CLOSE;
	o->tried = 0;
}

void outgoing_drop(struct outgoing *o);

static inline void outgoing_free(struct outgoing *o)
{
	if (o->tried != 0)
		outgoing_drop(o);
}

void squeeze_init(struct squeeze *s, struct chunk_pool *chunks, struct stats *stats);
/* For connections that come from now on. */
void squeeze_set_limits(struct squeeze *s, const struct squeeze_limits *limits);
/* Nobody uses it any more. */
void squeeze_free(struct squeeze *s);

/* What is agreed on with the client of this request. Returns the bits of the window that is
 * compressed with for it, 0: nothing is; what is to be kept for it goes to *kept_r, NULL: nothing
 * has to; and the line of the answer's head that says so to `answer`, or an empty one. may_keep:
 * all that is sent to it arrives, so that what is sent may refer back to what was. */
unsigned squeeze_accept(struct squeeze *s, const struct request *r, bool may_keep,
			struct squeeze_conn **kept_r, char answer[DEFLATE_ANSWER_MAX]);
/* A connection that squeeze_accept has returned bits for is over. kept may be NULL. */
void squeeze_leave(struct squeeze *s, struct squeeze_conn *kept);

/* Where a connection of which nothing is kept has stopped in the middle of a compressed message;
 * takes it over. NULL without memory. */
struct squeeze_conn *squeeze_keep(const struct inflate *in);
/* Is it there for such a message only, which is over? */
bool squeeze_is_done(const struct squeeze_conn *c);
void squeeze_free_conn(struct squeeze *s, struct squeeze_conn *c);

/* The compressed frame for a connection with that window, with a reference for the caller. c: what
 * is kept of it, NULL: nothing. False: it is sent as it is. */
bool squeeze_frame(struct squeeze *s, struct squeeze_conn *c, unsigned bits, struct outgoing *o,
		   struct slice *packed_r);
/* The client does not get that frame after all. */
static inline void squeeze_lost(struct squeeze_conn *c)
{
	if (c != NULL)
		c->stale = true;
}

#endif
