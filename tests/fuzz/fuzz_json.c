/* JSON texts: the reader accepts what jansson accepts, strings mean the same, and what is written
 * is read back. */
#include <jansson.h>

#include "common/json.h"
#include "common/utf8.h"
#include "fuzz.h"

static void check_string(const struct json_string *s, const char *from, size_t n)
{
	MUST(s->p >= from && s->p + s->n < from + n && s->p[-1] == '"' && s->p[s->n] == '"');
	char *apart = malloc(s->n + 1), *text = malloc(s->n + 2), *written;
	size_t len = json_unescape(s, apart), again;
	MUST(len <= s->n && (s->escaped || len == s->n));
	/* Where it stands it gives the same. */
	memcpy(text, s->p - 1, s->n + 2);
	struct json_string here = {text + 1, s->n, s->escaped};
	MUST(json_unescape(&here, text + 1) == len && memcmp(text + 1, apart, len) == 0);
	written = malloc(json_escaped_size(apart, len)); /* and not a byte more */
	again = json_escape(written, apart, len);
	MUST(again == json_escaped_size(apart, len) && again <= JSON_ESCAPED_MAX(len) &&
	     again >= len + 2);
	struct json j = {.p = written, .end = written + again};
	MUST(json_read_string(&j, &here) && j.p == j.end);
	MUST(json_unescape(&here, written + 1) == len && memcmp(written + 1, apart, len) == 0);
	free(written);
	free(text);
	free(apart);
}

/* The value again, piece by piece: the pieces come to the same end. */
static void walk(struct json *j, const char *from, size_t n)
{
	struct json_string s;
	struct span key;
	uint64_t number;
	bool truth;
	if (json_next_is(j, '[')) {
		for (bool first = json_enter(j, '['); json_next(j, ']', &first);)
			walk(j, from, n);
	} else if (json_next_is(j, '{')) {
		for (bool first = json_enter(j, '{'); json_next_key(j, &first, &key);) {
			MUST(key.n == 0 || (key.p > from && key.p + key.n < from + n));
			walk(j, from, n);
		}
	} else if (json_next_is(j, '"')) {
		MUST(json_read_string(j, &s));
		check_string(&s, from, n);
	} else if (json_next_is(j, 't') || json_next_is(j, 'f')) {
		MUST(json_read_bool(j, &truth));
	} else {
		struct json other = *j;
		MUST(json_skip(j, NULL));
		if (json_read_uint(&other, &number))
			MUST(number <= JSON_INTEGER_MAX && other.p == j->p);
	}
	MUST(j->why == NULL);
}

/* jansson has opinions that are not RFC 8259's, and loses a NUL behind a number. */
static bool may_differ(const char *text, size_t n, const json_error_t *error, const char *why)
{
	static const char *const theirs[] = {"invalid Unicode", "too big", "real number overflow",
					     "NUL byte in object key", "unable to decode byte"};
	for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
		if (strncmp(error->text, theirs[i], strlen(theirs[i])) == 0)
			return true;
	return memchr(text, '\0', n) != NULL || !utf8_valid(text, n) ||
	       (why != NULL && strcmp(why, "nested too deeply") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct json j = {.p = text, .end = text + size}, again = j;
	struct span value = {NULL, 0};
	json_error_t error = {.line = 0};
	bool ok = json_skip(&j, &value), whole;
	MUST(ok == (j.why == NULL) && j.p <= j.end && (ok || j.p == j.end));
	if (ok) {
		MUST(value.n > 0 && value.p >= text && value.p + value.n == j.p);
		walk(&again, text, size);
		MUST(again.p == j.p);
	} else {
		MUST(!json_skip(&j, NULL) && j.why[0] != '\0');
	}
	json_next_is(&j, 'x');
	whole = ok && j.p == j.end;
	json_t *v = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
	MUST(whole == (v != NULL) || may_differ(text, size, &error, j.why));
	json_decref(v);
	return 0;
}
