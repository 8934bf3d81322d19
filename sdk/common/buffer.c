#include "common/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/json.h"

#define BUFFER_FIRST 256
#define BUFFER_KEEP 65536
#define BUFFER_SHORT 8192

/* What is used up makes room. */
static void buffer_move_down(struct buffer *b)
{
	if (b->used == 0)
		return;
	b->p = memmove(b->p - b->used, b->p, b->n);
	b->cap += b->used;
	b->used = 0;
}

/* False without memory: nothing has changed. */
static bool buffer_resize(struct buffer *b, size_t cap)
{
	char *other = realloc(b->p, cap + 1);
	if (other == NULL)
		return false;
	b->p = other;
	b->cap = cap;
	return true;
}

bool buffer_reserve(struct buffer *b, size_t n)
{
	if (b->p != NULL && b->cap - b->n >= n)
		return true;
	buffer_move_down(b);
	if (b->p != NULL && b->cap - b->n >= n)
		return true;
	return buffer_resize(b, 2 * b->cap > b->n + n ? 2 * b->cap : b->n + n);
}

void buffer_shrink(struct buffer *b, size_t room)
{
	if (buffer_memory(b) <= 4 * (b->n + room))
		return;
	buffer_move_down(b);
	buffer_resize(b, b->n + room); /* what stays is more, without memory */
}

char *buffer_room_slowly(struct buffer *b, size_t n)
{
	b->failed = b->failed ||
		    !buffer_reserve(b, b->p == NULL && n < BUFFER_FIRST ? BUFFER_FIRST : n);
	return b->failed ? NULL : b->p + b->n;
}

bool buffer_append(struct buffer *b, const void *p, size_t n)
{
	if (n == 0) /* p may be NULL then */
		return true;
	if (!buffer_reserve(b, n))
		return false;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}

void buffer_drop(struct buffer *b, size_t n)
{
	b->n -= n;
	if (b->n == 0) { /* all of its room is there again */
		b->p = b->p != NULL ? b->p - b->used : NULL;
		b->cap += b->used;
		b->used = 0;
		return;
	}
	b->p += n;
	b->cap -= n;
	b->used += n;
}

void buffer_add_slowly(struct buffer *b, const void *p, size_t n)
{
	char *to = n > 0 ? buffer_room(b, n) : NULL;
	if (to == NULL)
		return;
	memcpy(to, p, n);
	b->n += n;
}

void buffer_add_number(struct buffer *b, uint64_t value)
{
	char digits[20], *at = digits + sizeof digits;
	do
		*--at = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	buffer_add(b, at, (size_t)(digits + sizeof digits - at));
}

void buffer_addf(struct buffer *b, const char *format, ...)
{
	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	int n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	char *to = n > 0 ? buffer_room(b, (size_t)n + 1) : NULL;
	if (to != NULL) {
		vsnprintf(to, (size_t)n + 1, format, again);
		b->n += (size_t)n;
	}
	va_end(again);
}

void buffer_add_json(struct buffer *b, const char *p, size_t n)
{
	size_t most = JSON_ESCAPED_MAX(n); /* of a short text it costs less than to count */
	char *to = buffer_room(b, n < BUFFER_SHORT ? most : buffer_json_size(p, n));
	if (to != NULL)
		b->n += json_escape(to, p, n);
}

size_t buffer_json_size(const char *p, size_t n)
{
	return json_escaped_size(p, n);
}

void buffer_empty(struct buffer *b, size_t keep)
{
	if (buffer_memory(b) > keep || b->failed)
		buffer_free(b);
	else
		buffer_drop(b, b->n);
}

void buffer_clear(struct buffer *b)
{
	buffer_empty(b, BUFFER_KEEP);
}
