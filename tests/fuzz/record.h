/* What a reader gave back, byte for byte, so that two can be compared. */
#ifndef TOVA_FUZZ_RECORD_H
#define TOVA_FUZZ_RECORD_H

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

struct record {
	uint8_t *bytes;
	size_t n, cap;
};

static inline void record_add(struct record *t, const void *p, size_t n)
{
	if (t->n + n > t->cap) {
		t->cap = (t->n + n) * 2;
		t->bytes = realloc(t->bytes, t->cap);
		MUST(t->bytes != NULL);
	}
	if (n > 0)
		memcpy(t->bytes + t->n, p, n);
	t->n += n;
}

/* A message, a control frame or an end: its kind, a close code, and bytes. */
static inline void record_add_result(struct record *t, uint8_t kind, uint16_t code, const void *p,
				     size_t n)
{
	record_add(t, &kind, 1);
	record_add(t, &code, 2);
	record_add(t, &n, sizeof n);
	record_add(t, p, n);
}

#endif
