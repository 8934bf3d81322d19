/* api_command: commands over HTTP, by the grammar of workers (sdk/PROTOCOL.md). */
#ifndef TOVA_OPS_API_COMMAND_H
#define TOVA_OPS_API_COMMAND_H

#include "ops/api_call.h"

/* The command that the route names. */
void api_command_one(struct api_call *call);
/* A list of them, all or none. */
void api_command_list(struct api_call *call);

#endif
