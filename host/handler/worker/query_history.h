/* query_history: what a room remembers, as an answer to whoever asks: a worker, tova-ctl, the HTTP
 * API. */
#ifndef TOVA_HANDLER_WORKER_QUERY_HISTORY_H
#define TOVA_HANDLER_WORKER_QUERY_HISTORY_H

#include "handler/worker/codec.h"

/* why nothing is answered where m->history is NULL */
#define QUERY_HISTORY_OFF "rooms of this mount remember nothing: see --history"

struct query_history {
	struct span room;
	bool has_since; /* those behind an offset, oldest first; else the last ones */
	uint64_t since, epoch;
	uint64_t limit; /* 0: as many as usual */
};

/* Appends "epoch", "first", "last", "complete", "more" and "messages", in which binary ones are in
 * base64. */
void query_history(struct codec_out *o, struct mount *m, const struct query_history *q);
/* Where the last message is that the commit at hand had a room remember; nothing if there is none.
 */
void query_kept(struct codec_out *o, const struct mount *m);

#endif
