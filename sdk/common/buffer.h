/* buffer: bytes that grow at the end. A lack of memory is remembered, so that a text can be written
 * without looking after each piece. */
#ifndef TOVA_COMMON_BUFFER_H
#define TOVA_COMMON_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	char *p;
	size_t n, cap;
	bool failed; /* something is missing */
};

void buffer_add_slowly(struct buffer *b, const void *p, size_t n); /* for buffer_add */
static inline void buffer_add(struct buffer *b, const void *p, size_t n)
{
	if (n == 0 || b->failed || b->cap - b->n < n) {
		buffer_add_slowly(b, p, n);
		return;
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
}
static inline void buffer_add_text(struct buffer *b, const char *text)
{
	buffer_add(b, text, strlen(text));
}
/* In decimal digits. buffer_addf: as printf writes it. */
void buffer_add_number(struct buffer *b, uint64_t value);
__attribute__((format(printf, 2, 3))) void buffer_addf(struct buffer *b, const char *format, ...);
/* As a JSON string, with its quotes. The bytes have to be UTF-8. */
void buffer_add_json(struct buffer *b, const char *p, size_t n);
/* How many bytes that takes. */
size_t buffer_json_size(const char *p, size_t n);
/* Empties it and keeps its memory, unless that is much. */
void buffer_clear(struct buffer *b);
static inline void buffer_free(struct buffer *b)
{
	if (b->p != NULL)
		free(b->p);
	*b = (struct buffer){0};
}

#endif
