#include "net/web_library.h"

#include "net/answer.h"

/* Relative to the top of the tree, where compilers are run. */
__asm__(".pushsection .rodata\n"
	".globl web_library_begin\n"
	".globl web_library_end\n"
	".hidden web_library_begin\n"
	".hidden web_library_end\n"
	"web_library_begin:\n"
	".incbin \"sdk/web/tova.js\"\n"
	"web_library_end:\n"
	".popsection\n");
extern const char web_library_begin[], web_library_end[];

void web_library_answer(struct conn *c)
{
	/* it comes from where the page comes from, and changes with the host */
	answer_respond(c, 200, SPAN("Cache-Control: no-cache\r\n"),
		       "text/javascript; charset=utf-8",
		       (struct span){web_library_begin,
				     (size_t)(web_library_end - web_library_begin)});
}
