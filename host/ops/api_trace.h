/* api_trace: what becomes of the events of some connections, a line each while it happens. */
#ifndef TOVA_OPS_API_TRACE_H
#define TOVA_OPS_API_TRACE_H

#include "ops/api_call.h"

/* Of one connection, of a user's or of a mount's, for some time. */
void api_trace(struct api_call *call);

#endif
