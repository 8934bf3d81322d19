#include "net/web_library.h"

#include "base/embed.h"
#include "net/answer.h"

EMBED(web_library, "sdk/web/tova.js");

void web_library_answer(struct conn *c)
{
	/* it comes from where the page comes from, and changes with the host */
	answer_respond(c, 200, SPAN("Cache-Control: no-cache\r\n"),
		       "text/javascript; charset=utf-8", EMBEDDED(web_library));
}
