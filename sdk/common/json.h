/* json: a reader that walks JSON text without building anything, and the writing of strings. For
 * the worker grammar, where jansson would be most of an event's cost; settings and people's JSON go
 * through jansson, which is also the oracle of the tests.
 *
 * The reader is strict (RFC 8259) in structure and transparent in strings: bytes inside them are
 * not checked to be UTF-8, since whoever uses a string knows what it must be.
 */
#ifndef TOVA_COMMON_JSON_H
#define TOVA_COMMON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

#define JSON_DEPTH_MAX 32
#define JSON_INTEGER_MAX ((UINT64_C(1) << 53) - 1)

struct json {
	const char *p, *end;
	/* NULL, or the first thing that was wrong: a sentence, static. Everything fails from then
	 * on. */
	const char *why;
};

/* A string as it stands between its quotes. */
struct json_string {
	const char *p;
	size_t n;
	bool escaped; /* it has escapes: json_unescape before use */
};

/* Is the next thing this one? Skips white space. Does not fail. */
bool json_next_is(struct json *j, char c);
/* Notes why, if nothing was noted yet: a static sentence. Returns false. */
bool json_fail(struct json *j, const char *why);

/* Arrays and objects: call enter, then next before each element until it returns false; then check
 *j->why. for (bool first = json_enter(&j, '['); json_next(&j, ']', &first);) ... json_enter returns
 *the `first` for json_next. */
bool json_enter(struct json *j, char open);
bool json_next(struct json *j, char close, bool *first);
/* The next member of an object: reads its key (escapes in keys are not supported: such a key
 * matches nothing) and the colon. */
bool json_next_key(struct json *j, bool *first, struct span *key_r);

/* It stays where it is in the text. False: it is none. */
bool json_read_string(struct json *j, struct json_string *s_r);
/* An integer from 0 to JSON_INTEGER_MAX; anything else fails. */
bool json_read_uint(struct json *j, uint64_t *value_r);
/* The same, but another value is skipped, also NaN and the infinities that some libraries write,
 * and sets *bad_r: for a number that is wrong for what it is to do, and tells nothing about the
 * text around it. */
bool json_read_uint_or_skip(struct json *j, uint64_t *value_r, bool *bad_r);
bool json_read_bool(struct json *j, bool *value_r);
/* Nothing but white space follows; else it fails. */
bool json_at_end(struct json *j);
/* Skips any value; *value_r (may be NULL) is its text. */
bool json_skip(struct json *j, struct span *value_r);

/* Writes what the string means to dst, which may be where it stands; returns the length, at most
 * s->n. A lone surrogate becomes the three bytes that UTF-8 would have for it, which no check of
 * UTF-8 accepts. */
size_t json_unescape(const struct json_string *s, char *dst);
/* Is it this text? For words of a grammar: a string with escapes is none. */
static inline bool json_is(const struct json_string *s, const char *word)
{
	return !s->escaped && s->n == strlen(word) && memcmp(s->p, word, s->n) == 0;
}

/* Bytes that json_escape may write for n bytes of text. */
#define JSON_ESCAPED_MAX(n) (6 * (n) + 2)
/* Bytes that json_escape does write. */
size_t json_escaped_size(const char *text, size_t n);
/* Writes the text without quotes, for which there is room for 6 * n bytes; returns the length. A
 * text may come in pieces, cut anywhere. */
size_t json_escape_piece(char *dst, const char *text, size_t n);
/* Writes the text in quotes; returns the length. Bytes that are not UTF-8 are the caller's
 * business. */
size_t json_escape(char *dst, const char *text, size_t n);

#endif
