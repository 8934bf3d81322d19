/* api_history: what a room remembers, what is kept with it, and which users are there, over HTTP. */
#ifndef TOVA_OPS_API_HISTORY_H
#define TOVA_OPS_API_HISTORY_H

#include "ops/api_call.h"

/* The newest messages of a room, or those behind an offset. */
void api_history(struct api_call *call);
/* Its users, each once, a page after the other. */
void api_history_users(struct api_call *call);
/* What is kept with a room. */
void api_history_room_state(struct api_call *call);

#endif
