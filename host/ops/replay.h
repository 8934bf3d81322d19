/* replay: the dead-letter file read again: what is in it, and giving messages back to their
 * connections.
 *
 * The file is read by the thread that writes it, never on the loop. One request is worked on at a
 * time, the next when all that the one before it has done is on the disk. That a letter is given
 * back is written down, and synced, before it is: so none is given back twice, whoever asks how
 * often, and whatever happens to the disk or the host meanwhile.
 */
#ifndef TOVA_OPS_REPLAY_H
#define TOVA_OPS_REPLAY_H

#include "handler/worker/codec.h"
#include "handler/worker/deadletter.h"

#define REPLAY_LIST_MAX (4u << 20) /* bytes of letters in one list; those beyond are counted */

struct replay;

/* On the loop, once for each request unless the host ends before: JSON members, each with a comma
 * before it. */
typedef void replay_answer(void *ctx, struct span members);

/* NULL without memory. */
struct replay *replay_new(struct hub *hub, struct deadletter *d);
/* After deadletter_close. Requests that were not answered are dropped. */
void replay_free(struct replay **l_p);
/* Those of one mount, or of all (mount.p NULL). */
/* Answers with "dead_letters", an array of what was not given back, "left_out" if those are not
 * all, or "error". False without memory: there will be no answer. */
bool replay_list(struct replay *l, struct span mount, replay_answer *answer, void *ctx);
/* Gives messages back, as new events of their connections: the one with this id, or all (empty).
 * Answers with "replayed":N and "left":N (whose connection is gone, or which are no messages), and
 * "error" if something kept it from being done. False without memory. */
bool replay_replay(struct replay *l, struct span mount, struct span id, replay_answer *answer,
		   void *ctx);

#endif
