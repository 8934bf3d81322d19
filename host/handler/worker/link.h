/* link: one connected worker: hello, batches both ways, its end. */
#ifndef TOVA_HANDLER_WORKER_LINK_H
#define TOVA_HANDLER_WORKER_LINK_H

#include "handler/worker/pool.h"

/* --- link_out.c ------------------------------------------------------------------------------- */

/* Writes the event down for the worker, which has it already; it leaves at the end of the turn. The
 * link may be cut by that. */
void link_deliver(struct worker *w, struct event_held *e);
/* Is there room for one more behind the last, in the same message? */
bool link_has_room(const struct worker *w, const struct event_held *e);
/* What was written down leaves. */
void link_flush(struct worker *w);
/* Enough waits for it to read: nothing more is written down until it has. */
bool link_is_full(const struct worker *w);
/* The event w->streamed goes elsewhere, or is over. */
void link_forget(struct worker *w);
/* What waits for it to read has become more or less: it counts in its mount's budget. */
void link_weigh(struct worker *w);

/* --- link.c ----------------------------------------------------------------------------------- */

extern const struct sp_ops link_ops;
/* Ends it: the worker is told why (NULL: nothing), what it still says is not heard. */
void link_cut(struct worker *w, const char *why, bool death);
/* It takes no more events. */
void link_retire(struct worker *w);
/* Asks it to finish and leave. */
void link_drain(struct worker *w);
/* Its process has ended: what that had still to say is read first, then its link ends. */
void link_finish(struct worker *w);

#endif
