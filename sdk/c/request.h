/* request: the request of an upgrade or open event in the form that handlers see. */
#ifndef TOVA_SDK_REQUEST_H
#define TOVA_SDK_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "tova_plugin.h"

struct request {
	tova_request request;
	tova_pair *headers, *cookies;
	const char **subprotocols;
	char *text;   /* the cookies' */
	char *claims; /* of the token */
};

/* Its strings live in the JSON. False without memory. */
bool request_build(struct request *r, const json_t *json);
void request_free(struct request *r);

#endif
