/* extension: the grammar of Sec-WebSocket-Extensions (RFC 6455 9.1), as pure code. What extensions
 * mean is said elsewhere. */
#ifndef TOVA_WS_EXTENSION_H
#define TOVA_WS_EXTENSION_H

#include "ws/request.h"

struct extension_param {
	struct span name;
	/* p == NULL: it has none; of a quoted one what stands between the quotes, which is never
	 * empty */
	struct span value;
};

/* For extension_next; r stays the caller's as long as it walks. */
struct request_walk extension_walk(const struct request *r);
/* The next extension that was offered, in the client's order: its name, which may be anything (see
 * header_is_token), and what stands behind it. */
bool extension_next(struct request_walk *w, struct span *name_r, struct span *params_r);
/* Takes the next parameter, with the semicolon before it, off *params. False: there is none; what
 * is left in *params then, if anything, does not follow the grammar. */
bool extension_param_next(struct span *params, struct extension_param *param_r);

#endif
