/* check: assertions that stay on. CHECK is for what can not happen whatever peers, workers and
 * operators do: when it does, memory is not what the code takes it for, and the process ends with a
 * core before that reaches a client. What somebody can cause is an error, and is handled.
 */
#ifndef TOVA_BASE_CHECK_H
#define TOVA_BASE_CHECK_H

#include <stdint.h>

/* Says which file, line and expression on stderr, and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *expression)
	__attribute__((cold));

#define CHECK(expression) \
	(__builtin_expect(!(expression), 0) ? check_failed(__FILE__, __LINE__, #expression) \
					    : (void)0)

/* What goes through a void * begins with a number of its kind, which is looked at on the way back.
 */
enum check_magic {
	CHECK_GONE = 0xdead, /* it was one, and is freed */
	CHECK_CONN = 0xc0c1,
	CHECK_SESSION = 0x5e55,
	CHECK_EVENT = 0xeee7,
	CHECK_WORKER = 0x3043,
	CHECK_SP_PIPE = 0x5b1b,
	CHECK_SCRIPT = 0x5c41,
};

#define CHECK_IS(thing, kind) CHECK((thing)->magic == (kind))

#endif
