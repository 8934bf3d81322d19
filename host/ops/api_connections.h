/* api_connections: connections over HTTP: which there are, one of them in full, and its end. */
#ifndef TOVA_OPS_API_CONNECTIONS_H
#define TOVA_OPS_API_CONNECTIONS_H

#include "ops/api_call.h"

/* Those of a mount, in a room, of a user, from an address or network; a page after the other. */
void api_connections_list(struct api_call *call);
/* Members of a room: no more than who they are. */
void api_connections_members(struct api_call *call);
/* The one whose id the path names. */
void api_connections_one(struct api_call *call);
void api_connections_delete(struct api_call *call);

#endif
