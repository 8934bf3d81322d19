/* span: borrowed bytes with a length. Never owns, never ends in NUL unless said so. */
#ifndef TOVA_COMMON_SPAN_H
#define TOVA_COMMON_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
	const char *p;
	size_t n;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static inline struct span span_of(const char *text)
{
	return (struct span){text, text != NULL ? strlen(text) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case is ignored, as HTTP does for header names and tokens (RFC 9110 5.1). */
static inline bool span_eq_nocase(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

/* Copies it to *at_r, with a NUL behind it; *at_r is what is behind that. Returns the copy. */
static inline const char *span_put(char **at_r, struct span s)
{
	char *text = *at_r;
	if (s.n > 0)
		memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	*at_r += s.n + 1;
	return text;
}

/* What HTTP calls optional white space (RFC 9110 5.6.3). */
static inline bool span_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Without blanks at its ends. */
static inline struct span span_trim(struct span s)
{
	for (; s.n > 0 && span_is_blank(s.p[0]); s.p++)
		s.n--;
	while (s.n > 0 && span_is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* What stands before the separator, or all of it: *rest is what is left behind that. */
static inline struct span span_cut(struct span *rest, char separator)
{
	const char *end = rest->n > 0 ? memchr(rest->p, separator, rest->n) : NULL;
	struct span item = {rest->p, end != NULL ? (size_t)(end - rest->p) : rest->n};
	size_t used = item.n + (end != NULL);
	*rest = (struct span){rest->p + used, rest->n - used};
	return item;
}

#endif
