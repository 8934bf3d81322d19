/* rest: what is said over the control socket, said to the HTTP API; the answers are the same. */
#ifndef TOVA_CTL_REST_H
#define TOVA_CTL_REST_H

#include "ctl/http.h"

/* object: a push, a query or a control of sdk/PROTOCOL.md, with its bytes. NULL: h->why. */
json_t *rest_ask(struct http *h, const json_t *object, const void *bytes, size_t n);

/* Follows the trace that the object asks for (see http_follow), for so many seconds; 0: until
 * `each` has enough, or whom it is about is gone. */
json_t *rest_trace(struct http *h, const json_t *object, unsigned for_s,
		   bool (*each)(void *ctx, json_t *line), void *ctx, long *status_r);

#endif
