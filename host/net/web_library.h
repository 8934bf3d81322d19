/* web_library: the browser's half of tova.v1 (sdk/web/tova.js), which the program carries in
 * itself, so that a page always gets the one that fits its host. */
#ifndef TOVA_NET_WEB_LIBRARY_H
#define TOVA_NET_WEB_LIBRARY_H

#include "net/conn.h"

#define WEB_LIBRARY_PATH "/.tova/tova.js"

/* Is it what this GET or HEAD asks for? */
static inline bool web_library_is_asked(const struct request *r)
{
	return span_eq(r->path, SPAN(WEB_LIBRARY_PATH));
}
/* Answers with it. */
void web_library_answer(struct conn *c);

#endif
