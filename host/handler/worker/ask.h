/* ask: pushes and queries, of a worker or over the control socket. */
#ifndef TOVA_HANDLER_WORKER_ASK_H
#define TOVA_HANDLER_WORKER_ASK_H

#include "handler/worker/codec.h"
#include "handler/worker/push.h"

/* Commits a push, unless it was done before, and answers it if it asks for that. */
void ask_push(struct codec_out *o, struct mount *m, struct push_sources *sources,
	      const struct codec_batch *b, struct codec_item *item);
/* Answers a query from what is committed. */
void ask_query(struct codec_out *o, const struct mount *m, struct codec_item *item);

/* Appends the member "stats": the host's counters. */
void ask_stats(struct codec_out *o, const struct hub *hub);

#endif
