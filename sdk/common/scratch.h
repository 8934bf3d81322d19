/* scratch: texts that live until what they were made for is over, and then all go at once. */
#ifndef TOVA_COMMON_SCRATCH_H
#define TOVA_COMMON_SCRATCH_H

#include <stddef.h>

/* More than this together there is not. */
#define SCRATCH_BYTES_MAX ((size_t)64 << 20)

struct scratch_text;

/* All zero: empty. */
struct scratch {
	struct scratch_text *first;
	size_t bytes;
};

/* The UTF-8 text as JSON has it, in quotes, with a NUL behind it. NULL: no memory, or too much
 * (*limit_r != 0). */
const char *scratch_quote(struct scratch *s, const char *text, size_t len, int *limit_r);
/* Frees all of them. */
void scratch_clear(struct scratch *s);

#endif
