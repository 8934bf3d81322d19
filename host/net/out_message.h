/* out_message: a message on its way to one connection or to many, compressed when somebody first
 * needs that, once for each size of window. */
#ifndef TOVA_NET_OUT_MESSAGE_H
#define TOVA_NET_OUT_MESSAGE_H

#include "base/chunk.h"
#include "ws/deflate.h"

/* What becomes of a connection that reads too slowly for it, in the order of the choices of
 * --slow-policy. */
enum slow_policy { SLOW_POLICY_CLOSE, SLOW_POLICY_DROP_OLDEST, SLOW_POLICY_CONFLATE };

struct out_message {
	const struct slice *frame;	      /* as the handler wrote it */
	bool shared;			      /* goes to many */
	uint8_t slow;			      /* enum slow_policy */
	uint8_t tried;			      /* which of those below say something */
	struct slice packed[DEFLATE_WINDOWS]; /* without a chunk: it does not shrink */
};

static inline void out_message_init(struct out_message *o, const struct slice *frame, bool shared)
{
	/* and the rest is not looked at, so a message that nobody gets compressed pays nothing for
	 * it */
	o->frame = frame;
	o->shared = shared;
	o->slow = SLOW_POLICY_CLOSE;
	o->tried = 0;
}

/* For out_message_free: the compressed forms go. */
void out_message_drop(struct out_message *o);

static inline void out_message_free(struct out_message *o)
{
	if (o->tried != 0)
		out_message_drop(o);
}

#endif
