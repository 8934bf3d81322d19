#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_FIRST 256
#define BUFFER_KEEP 65536

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

void buffer_add(struct buffer *b, const void *p, size_t n)
{
	if (n == 0 || !buffer_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
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

/* RFC 8259 7: these have to be escaped. */
static bool buffer_is_special(unsigned char c)
{
	return c < 0x20 || c == '"' || c == '\\';
}

/* The letter of a short escape, or 0. */
static char buffer_short_escape(unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		return (char)c;
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

void buffer_add_json(struct buffer *b, const char *p, size_t n)
{
	buffer_add(b, "\"", 1);
	for (size_t i = 0, from = 0; i <= n; i++) {
		if (i < n && !buffer_is_special((unsigned char)p[i]))
			continue;
		buffer_add(b, p + from, i - from);
		from = i + 1;
		if (i == n)
			break;
		char letter = buffer_short_escape((unsigned char)p[i]);
		if (letter != 0)
			buffer_add(b, (char[]){'\\', letter}, 2);
		else
			buffer_addf(b, "\\u%04x", (unsigned char)p[i]);
	}
	buffer_add(b, "\"", 1);
}

size_t buffer_json_size(const char *p, size_t n)
{
	size_t size = n + 2;
	for (size_t i = 0; i < n; i++)
		if (buffer_is_special((unsigned char)p[i]))
			size += buffer_short_escape((unsigned char)p[i]) != 0 ? 1 : 5;
	return size;
}

void buffer_clear(struct buffer *b)
{
	if (b->cap > BUFFER_KEEP || b->failed)
		buffer_free(b);
	b->n = 0;
}

void buffer_free(struct buffer *b)
{
	free(b->p);
	*b = (struct buffer){0};
}
