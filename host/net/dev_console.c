#include "net/dev_console.h"

#include "base/embed.h"
#include "net/answer.h"

EMBED(dev_console_page, "host/net/console/console.html");
EMBED(dev_console_script, "host/net/console/console.js");
EMBED(dev_console_style, "host/net/console/console.css");

/* It changes with the host, and shows what others have written: nothing of that is ever code. */
#define DEV_CONSOLE_HEAD \
	"Cache-Control: no-cache\r\n" \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; " \
	"img-src data:; connect-src ws: wss:; base-uri 'none'; form-action 'none'; " \
	"frame-ancestors 'none'\r\n"

void dev_console_answer_part(struct conn *c, const struct request *r)
{
	if (span_eq(r->path, SPAN(DEV_CONSOLE_PATH "js")))
		answer_respond(c, 200, SPAN("Cache-Control: no-cache\r\n"),
			       "text/javascript; charset=utf-8", EMBEDDED(dev_console_script));
	else
		answer_respond(c, 200, SPAN("Cache-Control: no-cache\r\n"),
			       "text/css; charset=utf-8", EMBEDDED(dev_console_style));
}

void dev_console_answer(struct conn *c)
{
	answer_respond(c, 200, SPAN(DEV_CONSOLE_HEAD), "text/html; charset=utf-8",
		       EMBEDDED(dev_console_page));
}
