#include "tova/runtime/text.h"

#include <stdint.h>
#include <string.h>

static bool text_begins(char c)
{
	return ((unsigned char)c & 0xC0) != 0x80;
}

size_t text_length(const char *p, size_t n)
{
	size_t length = 0, i = 0;
	for (; i + 8 <= n; i += 8) { /* the bytes that go on with a character: 10xxxxxx */
		uint64_t w;
		memcpy(&w, p + i, sizeof w);
		w = (w >> 7) & ~(w >> 6) & UINT64_C(0x0101010101010101);
		length += 8 - (size_t)__builtin_popcountll(w);
	}
	for (; i < n; i++)
		length += text_begins(p[i]);
	return length;
}

size_t text_offset(const char *p, size_t n, size_t i)
{
	size_t at = 0;
	for (; at < n; at++)
		if (text_begins(p[at]) && i-- == 0)
			return at;
	return n;
}

size_t text_size(const char *p, size_t n)
{
	size_t size = 1;
	while (size < n && !text_begins(p[size]))
		size++;
	return n == 0 ? 0 : size;
}

/* ECMA-262: white space and line terminators. */
static size_t text_space_at(const char *p, size_t n)
{
	static const char *const wide[] = {"\xC2\xA0",	   "\xE1\x9A\x80", "\xE2\x80\x80",
					   "\xE2\x80\x81", "\xE2\x80\x82", "\xE2\x80\x83",
					   "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
					   "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89",
					   "\xE2\x80\x8A", "\xE2\x80\xA8", "\xE2\x80\xA9",
					   "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80",
					   "\xEF\xBB\xBF"};
	if (n > 0 && (*p == ' ' || (*p >= '\t' && *p <= '\r')))
		return 1;
	for (size_t i = 0; n > 1 && (*p & 0x80) != 0 && i < sizeof wide / sizeof *wide; i++)
		if (strlen(wide[i]) <= n && memcmp(p, wide[i], strlen(wide[i])) == 0)
			return strlen(wide[i]);
	return 0;
}

size_t text_space(const char *p, size_t n)
{
	size_t at = 0, size;
	while ((size = text_space_at(p + at, n - at)) > 0)
		at += size;
	return at;
}

size_t text_space_behind(const char *p, size_t n)
{
	size_t end = n;
	while (end > 0) {
		size_t from = end - 1;
		while (from > 0 && !text_begins(p[from]))
			from--;
		if (text_space_at(p + from, end - from) != end - from)
			break;
		end = from;
	}
	return n - end;
}

size_t text_find(const char *p, size_t n, const char *q, size_t m, size_t from)
{
	if (from > n)
		return n;
	if (m == 0)
		return from;
	const char *at = memmem(p + from, n - from, q, m);
	return at != NULL ? (size_t)(at - p) : n;
}

size_t text_find_last(const char *p, size_t n, const char *q, size_t m)
{
	for (size_t i = n >= m ? n - m + 1 : 0; i > 0; i--)
		if (memcmp(p + i - 1, q, m) == 0)
			return i - 1;
	return n;
}
