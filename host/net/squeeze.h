/* squeeze: what compressed messages (permessage-deflate) need on a loop, and of each connection that has agreed on them.
 *
 * Who sends and keeps no window from one message to the next needs no compressor of its own: a message is compressed once, for as many
 * as it goes to, and a broadcast is the same bytes for all of them, also for those who keep a window. Their own compressor, which has
 * not seen those bytes, then begins anew.
 * What is kept for connections is reserved from a budget when they come, at what it may cost at most. Where that is used up they are
 * not given a window of their own, and then no compression.
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

/* Of one connection. */
struct squeeze_conn {
	struct inflate inflate;
	struct deflate_terms terms;
	bool stale;	  /* its compressor has to begin anew: the client has seen other things than it, or not all of them */
	uint32_t cost;	  /* what is reserved for it */
	z_stream *packer; /* with context takeover, once it was needed */
};

/* What becomes of a connection that reads too slowly for it, in the order of the choices of --slow-policy. */
enum outgoing_slow { OUTGOING_CLOSE, OUTGOING_DROP_OLDEST, OUTGOING_CONFLATE };

/* A message on its way to one connection or to many, compressed when somebody first needs that, once for each size of window. */
struct outgoing {
	const struct slice *frame;	      /* as the handler wrote it */
	bool shared;			      /* goes to many */
	uint8_t slow;			      /* enum outgoing_slow */
	uint8_t tried;			      /* which of those below say something */
	struct slice packed[SQUEEZE_WINDOWS]; /* without a chunk: it does not shrink */
};

static inline void outgoing_init(struct outgoing *o, const struct slice *frame, bool shared)
{
	o->frame = frame; /* and the rest is not looked at, so a message that nobody gets compressed pays nothing for it */
	o->shared = shared;
	o->slow = OUTGOING_CLOSE;
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

/* What is agreed on with the client of this request, and the line of the answer's head that says so (empty: nothing is). NULL: its
 * messages are not compressed. may_keep: all that is sent to it arrives, so that what is sent may refer back to what was. */
struct squeeze_conn *squeeze_accept(struct squeeze *s, const struct request *r, bool may_keep, char answer[DEFLATE_ANSWER_MAX]);
void squeeze_close(struct squeeze *s, struct squeeze_conn *c);

/* The compressed frame for this connection, with a reference for the caller. False: it is sent as it is. */
bool squeeze_frame(struct squeeze *s, struct squeeze_conn *c, struct outgoing *o, struct slice *packed_r);
/* The client does not get that frame after all. */
static inline void squeeze_lost(struct squeeze_conn *c)
{
	c->stale = true;
}

#endif
