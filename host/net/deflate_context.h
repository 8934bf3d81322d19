/* deflate_context: what compressed messages (permessage-deflate) need on a loop, and of each
 * connection that has agreed on them.
 *
 * Who sends and keeps no window from one message to the next needs no compressor of its own: a
 * message is compressed once, for as many as it goes to, and a broadcast is the same bytes for all
 * of them, also for those who keep a window. Their own compressor, which has not seen those bytes,
 * then begins anew. And who sends such messages needs nothing either, but while one is under way in
 * parts. So of most connections the size of the client's window is all there is. What is kept for
 * the others is reserved from a budget when they come, at what it may cost at most; where that is
 * used up, they are not given a window of their own.
 */
#ifndef TOVA_NET_DEFLATE_CONTEXT_H
#define TOVA_NET_DEFLATE_CONTEXT_H

#include "base/stats.h"
#include "net/out_message.h"
#include "ws/inflate.h"

struct deflate_limits {
	struct deflate_policy policy;
	int level;	 /* zlib's, 1 to 9 */
	uint32_t min;	 /* bytes of a message; a shorter one is not compressed */
	uint64_t memory; /* of this loop */
};

/* Of one loop. */
struct deflate_contexts {
	struct deflate_limits limits;
	struct chunk_pool *chunks;
	struct stats *stats;
	struct inflate_pool inflaters;
	z_stream *packers[DEFLATE_WINDOWS]; /* for what many get, made when they are needed */
	uint8_t *scratch;		    /* what comes out of one */
	size_t scratch_size;
};

/* Of a connection with context takeover in any direction; of another one while a compressed message
 * of its is under way, and while it may refer back to earlier ones though it was told not to
 * (inflate.h). */
struct deflate_context {
	struct inflate inflate;
	bool keep_out, keep_in; /* context takeover */
	/* its compressor has to begin anew: the client has seen other things than it, or not all of
	 * them */
	bool stale;
	uint32_t cost;	  /* what is reserved for it */
	z_stream *packer; /* once it was needed */
};

/* chunks and stats are the loop's. Nothing is compressed until its limits are set. */
void deflate_contexts_init(struct deflate_contexts *s, struct chunk_pool *chunks,
			   struct stats *stats);
/* For connections that come from now on. */
void deflate_contexts_set_limits(struct deflate_contexts *s, const struct deflate_limits *limits);
/* Nobody uses it any more. */
void deflate_contexts_free(struct deflate_contexts *s);

/* What is agreed on with the client of this request. Returns the bits of the window that is
 * compressed with for it, 0: nothing is; what is to be kept for it goes to *kept_r, NULL: nothing
 * has to; and the line of the answer's head that says so to `answer`, or an empty one. may_keep:
 * all that is sent to it arrives, so that what is sent may refer back to what was. */
unsigned deflate_contexts_accept(struct deflate_contexts *s, const struct request *r, bool may_keep,
				 struct deflate_context **kept_r, char answer[DEFLATE_ANSWER_MAX]);
/* A connection that deflate_contexts_accept has returned bits for is over. kept may be NULL. */
void deflate_contexts_leave(struct deflate_contexts *s, struct deflate_context *kept);

/* Where a connection of which nothing is kept has stopped in the middle of a compressed message;
 * takes it over. NULL without memory. */
struct deflate_context *deflate_context_keep(const struct inflate *in);
/* Is it there for such a message only, which is over? */
bool deflate_context_is_done(const struct deflate_context *c);
/* What is kept of the connection goes, and its cost is not counted any more. */
void deflate_context_free(struct deflate_contexts *s, struct deflate_context **c_p);

/* The compressed frame for a connection with that window, with a reference for the caller. c: what
 * is kept of it, NULL: nothing. False: it is sent as it is. */
bool deflate_contexts_frame(struct deflate_contexts *s, struct deflate_context *c, unsigned bits,
			    struct out_message *o, struct slice *packed_r);
/* The client does not get that frame after all. */
static inline void deflate_context_lost(struct deflate_context *c)
{
	if (c != NULL)
		c->stale = true;
}

#endif
