/* dev_console: a page that is a WebSocket client, for those who write a handler (--devconsole, as
 * websocketd has it). It stands at the paths of mounts where no file does. */
#ifndef TOVA_NET_DEV_CONSOLE_H
#define TOVA_NET_DEV_CONSOLE_H

#include "net/conn.h"

#define DEV_CONSOLE_PATH "/.tova/console."

/* Is it the page's script or its style sheet that this GET or HEAD asks for? */
static inline bool dev_console_is_part(const struct request *r)
{
	return span_eq(r->path, SPAN(DEV_CONSOLE_PATH "js")) ||
	       span_eq(r->path, SPAN(DEV_CONSOLE_PATH "css"));
}
/* Answers with that. */
void dev_console_answer_part(struct conn *c, const struct request *r);
/* Answers with the page. */
void dev_console_answer(struct conn *c);

#endif
