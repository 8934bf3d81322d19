/* api_openapi: the API described for programs, OpenAPI 3.1, made of the table of its requests. */
#ifndef TOVA_OPS_API_OPENAPI_H
#define TOVA_OPS_API_OPENAPI_H

#include "ops/api_call.h"

/* GET /api/v1/openapi.json: of what there is at this kind of address. */
void api_openapi_answer(struct api_call *call);

#endif
