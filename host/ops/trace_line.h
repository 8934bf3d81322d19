/* trace_line: what a trace says of an event, as JSON. */
#ifndef TOVA_OPS_TRACE_LINE_H
#define TOVA_OPS_TRACE_LINE_H

#include "handler/worker/codec.h"
#include "hub/trace.h"

/* Appends "time":…,"point":… and what else is known, without braces around it. */
void trace_line(struct codec_out *o, const struct trace_told *told);

#endif
