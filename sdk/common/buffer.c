#include "common/buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/json.h"

#define BUFFER_FIRST 256
#define BUFFER_KEEP 65536
#define BUFFER_SHORT 8192

static bool buffer_reserve(struct buffer *b, size_t n)
{
	size_t cap = b->cap > 0 ? b->cap : BUFFER_FIRST;
	if (b->failed || b->cap - b->n >= n)
		return !b->failed;
	while (cap - b->n < n)
		cap *= 2;
	char *wider = realloc(b->p, cap);
	if (wider == NULL) {
		b->failed = true;
		return false;
	}
	b->p = wider;
	b->cap = cap;
	return true;
}

void buffer_add_slowly(struct buffer *b, const void *p, size_t n)
{
	if (n == 0 || !buffer_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
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
	if (n > 0 && buffer_reserve(b, (size_t)n + 1)) {
		vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
		b->n += (size_t)n;
	}
	va_end(again);
}

void buffer_add_json(struct buffer *b, const char *p, size_t n)
{
	size_t most = JSON_ESCAPED_MAX(n); /* of a short text it costs less than to count */
	if (buffer_reserve(b, n < BUFFER_SHORT ? most : buffer_json_size(p, n)))
		b->n += json_escape(b->p + b->n, p, n);
}

size_t buffer_json_size(const char *p, size_t n)
{
	return json_escaped_size(p, n);
}

void buffer_clear(struct buffer *b)
{
	if (b->cap > BUFFER_KEEP || b->failed)
		buffer_free(b);
	b->n = 0;
}
