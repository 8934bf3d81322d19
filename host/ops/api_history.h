/* api_history: what a room remembers, over HTTP. */
#ifndef TOVA_OPS_API_HISTORY_H
#define TOVA_OPS_API_HISTORY_H

#include "ops/api_call.h"

/* The newest messages of a room, or those behind an offset. */
void api_history(struct api_call *call);

#endif
