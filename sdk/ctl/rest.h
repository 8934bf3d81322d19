/* rest: what is said over the control socket, said to the HTTP API; the answers are the same. */
#ifndef TOVA_CTL_REST_H
#define TOVA_CTL_REST_H

#include "ctl/http.h"

/* object: a push, a query or a control of sdk/PROTOCOL.md, with its bytes. NULL: h->why. */
json_t *rest_ask(struct http *h, const json_t *object, const void *bytes, size_t n);

#endif
