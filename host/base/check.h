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
	CHECK_GONE = 0xdeadc0de, /* it was one, and is freed */
	CHECK_CONN = 0x636f6e6e,
	CHECK_SESSION = 0x73657373,
	CHECK_EVENT = 0x65766e74,
	CHECK_WORKER = 0x776f726b,
	CHECK_SP_PIPE = 0x73707069,
	CHECK_SCRIPT = 0x73637270,
};

#endif
