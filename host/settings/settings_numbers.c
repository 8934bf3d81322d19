/* settings_numbers: whole numbers in a config file. What has no L behind it libconfig 1.5 cuts to
 * 32 bits without a word, so it only ever gets numbers that say that they are long: it reads those
 * as they stand. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings_layer.h"

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-*"
#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"

/* Where a reading of the text has come to. Its tokens are those of libconfig's scanner, which takes
 * the longest that it finds. */
struct numbers {
	const char *p;
	unsigned line;
	char name[64]; /* the last one */
	char *dst;     /* what libconfig gets; NULL: what does not fit is told */
	struct settings_layer *layer;
	const char *path;
	bool bad, comment; /* the text ends in a comment that its line would end */
};

static size_t settings_numbers_comment_length(const char *p)
{
	const char *end;

	if (p[0] == '#' || (p[0] == '/' && p[1] == '/'))
		return strcspn(p, "\n");
	if (p[0] != '/' || p[1] != '*')
		return 0;
	end = strstr(p + 2, "*/");
	return end != NULL ? (size_t)(end + 2 - p) : strlen(p);
}

/* libconfig takes the end of the file for the end of a comment, or of a string, and what stood
 * between for nothing. */
static bool settings_numbers_is_open(const char *p, size_t n)
{
	size_t escapes = 0;

	if (p[0] == '/' && p[1] == '*')
		return n < 4 || p[n - 2] != '*' || p[n - 1] != '/';
	while (p[0] == '"' && n >= 2 + escapes && p[n - 2 - escapes] == '\\')
		escapes++;
	return p[0] == '"' && (n < 2 || p[n - 1] != '"' || escapes % 2 == 1);
}

static size_t settings_numbers_string_length(const char *p)
{
	size_t n = 1;

	if (p[0] != '"')
		return 0;
	while (p[n] != '\0' && p[n] != '"')
		n += p[n] == '\\' && p[n + 1] != '\0' ? 2 : 1;
	return n + (p[n] == '"');
}

static size_t settings_numbers_name_length(const char *p)
{
	return isalpha((unsigned char)p[0]) || p[0] == '*' ? strspn(p, NAME_CHARS) : 0;
}

static bool settings_numbers_is_truth(const char *p, size_t n)
{
	return (n == 4 && strncasecmp(p, "true", n) == 0) ||
	       (n == 5 && strncasecmp(p, "false", n) == 0);
}

static size_t settings_numbers_sign_length(const char *p)
{
	return p[0] == '+' || p[0] == '-' ? 1 : 0;
}

static size_t settings_numbers_float_length(const char *p)
{
	size_t sign = settings_numbers_sign_length(p), digits = strspn(p + sign, DIGITS),
	       n = sign + digits, exponent;
	bool point = p[n] == '.';

	if (point)
		n += 1 + strspn(p + n + 1, DIGITS);
	if (p[n] == 'e' || p[n] == 'E') {
		exponent = 1 + settings_numbers_sign_length(p + n + 1);
		digits += point;
		if (digits > 0 && strspn(p + n + exponent, DIGITS) > 0)
			return n + exponent + strspn(p + n + exponent, DIGITS);
	}
	return point ? n : 0;
}

/* Without an L behind it. */
static size_t settings_numbers_integer_length(const char *p, int *base_r)
{
	size_t sign = settings_numbers_sign_length(p), n = strspn(p + sign, DIGITS);

	*base_r = 10;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X') && strspn(p + 2, HEX_DIGITS) > 0) {
		*base_r = 16;
		return 2 + strspn(p + 2, HEX_DIGITS);
	}
	return n > 0 ? sign + n : 0;
}

static void settings_numbers_pass(struct numbers *r, size_t n)
{
	if (r->dst != NULL) {
		memcpy(r->dst, r->p, n);
		r->dst += n;
	}
	for (; n > 0; n--)
		r->line += *r->p++ == '\n';
}

/* An L is written behind it, and what it means in decimal, whatever the base: at most twice as many
 * bytes. */
static void settings_numbers_integer(struct numbers *r, size_t n, int base)
{
	size_t whole = n + strspn(r->p + n, "L");
	char text[32];
	long long value;

	whole = whole < n + 2 ? whole : n + 2;
	errno = 0;
	value = strtoll(r->p, NULL, base);
	if (errno == ERANGE) {
		struct settings_place at = {r->path, r->line};

		r->bad = true;
		if (r->dst == NULL)
			settings_layer_error(
				r->layer, &at, r->name[0] != '\0' ? r->name : NULL,
				"%.*s is out of range for a whole number; expected %lld to %lld, "
				"or a string in quotes",
				n < 100 ? (int)n : 100, r->p, (long long)INT64_MIN,
				(long long)INT64_MAX);
		settings_numbers_pass(r, whole);
		return;
	}
	if (r->dst != NULL) {
		/* What stood apart by its sign or its Ls has to stay so. */
		n = (size_t)snprintf(text, sizeof(text), "%s%lld%s",
				     value < 0	    ? ""
				     : *r->p == '-' ? "-"
				     : *r->p == '+' ? "+"
						    : "",
				     value, whole == n + 2 ? "LL" : "L");
		memcpy(r->dst, text, n);
		r->dst += n;
	}
	r->p += whole;
}

static void settings_numbers_open(struct numbers *r)
{
	struct settings_place at = {r->path, r->line};

	r->bad = true;
	if (r->dst == NULL)
		settings_layer_error(
			r->layer, &at, NULL,
			*r->p == '"' ? "a quote begins here and does not end; expected another \""
				     : "a comment begins here and does not end; expected */");
}

static void settings_numbers_read(struct numbers *r)
{
	while (*r->p != '\0') {
		size_t n = settings_numbers_comment_length(r->p);
		int base;

		n = n > 0 ? n : settings_numbers_string_length(r->p);
		r->comment = n > 0 && r->p[n] == '\0' && (r->p[0] == '#' || r->p[1] == '/');
		if (settings_numbers_is_open(r->p, n))
			settings_numbers_open(r);
		if (n == 0 && (n = settings_numbers_name_length(r->p)) > 0 &&
		    !settings_numbers_is_truth(r->p, n))
			snprintf(r->name, sizeof(r->name), "%.*s", n < 60 ? (int)n : 60, r->p);
		n = n > 0 ? n : settings_numbers_float_length(r->p);
		if (n == 0 && (n = settings_numbers_integer_length(r->p, &base)) > 0)
			settings_numbers_integer(r, n, base);
		else
			settings_numbers_pass(r, n > 0 ? n : 1);
	}
}

char *settings_numbers_widen(struct settings_layer *layer, const char *text)
{
	char *wide = malloc(2 * strlen(text) + 2);
	struct numbers r = {.p = text, .line = 1, .dst = wide, .layer = layer};

	*layer->no_memory = *layer->no_memory || wide == NULL;
	if (wide == NULL)
		return NULL;
	settings_numbers_read(&r);
	memcpy(r.dst, r.comment ? "\n" : "", r.comment ? 2 : 1); /* which libconfig insists on */
	return wide;
}

bool settings_numbers_fit(struct settings_layer *layer, const char *path, const char *text)
{
	struct numbers r = {.p = text, .line = 1, .layer = layer, .path = path};

	settings_numbers_read(&r);
	return !r.bad;
}
