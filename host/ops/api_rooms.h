/* api_rooms: which rooms there are, over HTTP. */
#ifndef TOVA_OPS_API_ROOMS_H
#define TOVA_OPS_API_ROOMS_H

#include "ops/api_call.h"

/* Of a mount, or of all; a page after the other. */
void api_rooms_list(struct api_call *call);

#endif
