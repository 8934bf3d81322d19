/* buffer: bytes that grow at the end and may be used up from the front. What is added to a text
 * needs no look after each piece, as a lack of memory is remembered; who has to know at once uses
 * buffer_append or buffer_reserve. */
#ifndef TOVA_COMMON_BUFFER_H
#define TOVA_COMMON_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
	char *p;       /* the first that is not used up */
	size_t n, cap; /* from there on: bytes, and room for bytes; one more may be written */
	size_t used;   /* in front of it */
	bool failed;   /* something that was added is missing */
};

/* Room for n bytes more, and no more than that where it has less than half of it. False without
 * memory: nothing has changed. */
bool buffer_reserve(struct buffer *b, size_t n);
/* The place of n bytes more, to be written and added to b->n; NULL without memory, which is
 * remembered. */
char *buffer_room_slowly(struct buffer *b, size_t n); /* for buffer_room */
static inline char *buffer_room(struct buffer *b, size_t n)
{
	return b->failed || b->p == NULL || b->cap - b->n < n ? buffer_room_slowly(b, n)
							      : b->p + b->n;
}
/* False without memory: nothing has changed. */
bool buffer_append(struct buffer *b, const void *p, size_t n);
/* The first n are used up. */
void buffer_drop(struct buffer *b, size_t n);
/* Gives memory back if it is much more than for what is there and `room` bytes. */
void buffer_shrink(struct buffer *b, size_t room);
/* Bytes of memory that it takes. */
static inline size_t buffer_memory(const struct buffer *b)
{
	return b->used + b->cap;
}

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
/* Empties it and keeps its memory, unless that is more than so many bytes; or than is much. */
void buffer_empty(struct buffer *b, size_t keep);
void buffer_clear(struct buffer *b);
static inline void buffer_free(struct buffer *b)
{
	if (b->p != NULL)
		free(b->p - b->used);
	*b = (struct buffer){0};
}

#endif
