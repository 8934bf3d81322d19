/* control_trace: what is told of events, line by line, to those who look on over the control
 * socket. Who does not read it is told how much he has missed. */
#ifndef TOVA_OPS_CONTROL_TRACE_H
#define TOVA_OPS_CONTROL_TRACE_H

#include <sys/queue.h>

#include "handler/worker/codec.h"
#include "handler/worker/sp.h"
#include "hub/trace.h"

struct control_trace;
LIST_HEAD(control_traces, control_trace);

/* Begins; q: the number of the question, which each line repeats. NULL, or why not. */
const char *control_trace_begin(struct control_traces *all, struct hub *hub, struct sp_pipe *pipe,
				uint64_t q, const struct trace_filter *filter);
/* Those of this pipe, which is closed; NULL: all. */
void control_trace_end(struct control_traces *all, const struct sp_pipe *pipe);

#endif
