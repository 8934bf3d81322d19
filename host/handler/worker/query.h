/* query: pushes and queries, of a worker or over the control socket. */
#ifndef TOVA_HANDLER_WORKER_QUERY_H
#define TOVA_HANDLER_WORKER_QUERY_H

#include "handler/worker/codec.h"
#include "handler/worker/push.h"

/* Commits an item's commands, whoever gave them. NULL: m->receivers and m->nobody tell of it; else
 * what is wrong, and m->commit.error and .wrong say more. */
const char *query_commit(struct mount *m, const struct codec_batch *b, struct codec_item *item);
/* Commits a push, unless it was done before, and answers it if it asks for that. */
void query_push(struct codec_out *o, struct mount *m, struct push_sources *sources,
		const struct codec_batch *b, struct codec_item *item);
/* Answers a query from what is committed. */
void query_answer(struct codec_out *o, struct mount *m, struct codec_item *item);

/* Appends what is kept with the room: "version", and "state" or "state_base64". */
void query_users(struct codec_out *o, const struct mount *m, struct span room, struct span after,
		 uint64_t limit);
/* As above. */
void query_room_state(struct codec_out *o, const struct mount *m, struct span room);

/* Appends the member "stats": the host's counters. */
void query_stats(struct codec_out *o, const struct hub *hub);

#endif
