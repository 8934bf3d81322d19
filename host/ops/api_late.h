/* api_late: requests whose answers come later: when workers have come up, or a disk has been
 * read. Their clients may go meanwhile; what was begun goes on, and whoever repeats it by its
 * Idempotency-Key learns what became of it.
 *
 * Each holds its connection, from which nothing is read until then, so there are never more than
 * --api-connections; how long one takes is bounded by whoever does it.
 */
#ifndef TOVA_OPS_API_LATE_H
#define TOVA_OPS_API_LATE_H

#include "ops/api_call.h"

struct api_late;

/* The function of the request may return. NULL: it was refused, for want of memory. */
struct api_late *api_late_begin(struct api_call *call);
/* Answers with {"a":…}, of which members has all, each with a comma before it; frees it. */
void api_late_answer(struct api_late *late, int status, struct span members);
/* Nothing was begun after all: refuses it. */
void api_late_refuse(struct api_late *late, int status, const char *why);

/* conn_ops.withdrawn */
void api_late_withdrawn(struct conn *c);
/* Of those that were not answered. */
void api_late_free_all(struct api *api);

#endif
