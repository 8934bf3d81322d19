/* settings_explain: what libconfig calls a syntax error, in words: most often a value without
 * quotes, or one quote that is missing. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings_layer.h"

#define DEPTH_MAX 32
#define WORD_MAX 200
#define SEEN_MAX 2000

/* Where a reading of the text has come to. */
struct reading {
	struct settings_layer *layer;
	const char *path, *p;
	unsigned line;
	char name[64];
	char open[DEPTH_MAX]; /* the brackets around it */
	unsigned group[DEPTH_MAX + 1],
		n_groups; /* and in which group it stands therefore; 0: in none */
	size_t depth;
	bool wants_value;
	/* Names that came before it, with their groups, where two of them are looked for. */
	bool doubles;
	struct settings_list seen;
};

/* Blanks and comments. */
static void settings_explain_skip(struct reading *r)
{
	for (;;) {
		if (*r->p == '\n') {
			r->line++;
			r->p++;
		} else if (isspace((unsigned char)*r->p)) {
			r->p++;
		} else if (*r->p == '#' || (r->p[0] == '/' && r->p[1] == '/')) {
			r->p += strcspn(r->p, "\n");
		} else if (r->p[0] == '/' && r->p[1] == '*') {
			const char *end = strstr(r->p + 2, "*/");

			for (end = end != NULL ? end + 2 : strchr(r->p, '\0'); r->p < end; r->p++)
				r->line += *r->p == '\n';
		} else {
			return;
		}
	}
}

/* Returns true. */
__attribute__((format(printf, 3, 4))) static bool say(const struct reading *r, unsigned line,
						      const char *format, ...)
{
	struct settings_place at = {r->path, line};
	char sentence[4 * WORD_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	settings_layer_error(r->layer, &at, r->name[0] != '\0' ? r->name : NULL, "%s", sentence);
	return true;
}

static bool settings_explain_in_list(const struct reading *r)
{
	return r->depth > 0 && r->open[r->depth - 1] != '{';
}

/* True: something was wrong with it, and was said. */
static bool settings_explain_read_string(struct reading *r)
{
	unsigned line = r->line;
	char word[WORD_MAX];

	snprintf(word, sizeof(word), "%.*s", (int)strcspn(r->p, "\n"), r->p);
	for (r->p++; *r->p != '"' && *r->p != '\0'; r->p++) {
		r->line += *r->p == '\n';
		if (*r->p == '\\' && r->p[1] != '\0')
			r->p++;
	}
	if (*r->p == '\0' || r->line > line)
		return say(r, line, "%s has no quote at its end", word);
	r->p++;
	r->wants_value = false;
	return false;
}

/* A number or truth value, as libconfig has them. */
static bool settings_explain_is_scalar(const char *word)
{
	char *end;

	if (strcasecmp(word, "true") == 0 || strcasecmp(word, "false") == 0)
		return true;
	if (isdigit((unsigned char)word[0]) || strchr("+-.", word[0]) != NULL) {
		strtod(word, &end);
		end += strspn(end, "L");
		return end > word && *end == '\0';
	}
	return false;
}

static bool settings_explain_read_bare(struct reading *r)
{
	size_t n = strcspn(r->p, settings_explain_in_list(r) ? ",)]}\n\"" : ";}\n\""), len = n;
	char word[WORD_MAX];

	while (len > 0 && isspace((unsigned char)r->p[len - 1]))
		len--;
	snprintf(word, sizeof(word), "%.*s", len < WORD_MAX ? (int)len : WORD_MAX, r->p);
	const struct option_row *row = option_find(r->name, strlen(r->name));
	if (!settings_explain_is_scalar(word) && row != NULL && row->type == OPTION_FLAG)
		return say(r, r->line, "%s is no truth value; expected true or false", word);
	if (!settings_explain_is_scalar(word) && settings_explain_in_list(r))
		return say(r, r->line, "%s stands without quotes; expected %s = ( \"%s\" )", word,
			   r->name, word);
	if (!settings_explain_is_scalar(word))
		return say(r, r->line, "%s stands without quotes; expected %s = \"%s\"", word,
			   r->name, word);
	r->p += n;
	r->wants_value = false;
	return false;
}

/* Has this group had a value of this name? */
static bool settings_explain_comes_twice(struct reading *r)
{
	char key[96];

	snprintf(key, sizeof(key), "%u %s", r->group[r->depth], r->name);
	for (size_t i = 0; i < r->seen.n; i++)
		if (strcmp(r->seen.items[i], key) == 0)
			return true;
	if (r->seen.n < SEEN_MAX)
		settings_layer_add(r->layer, &r->seen, key, strlen(key));
	return false;
}

static bool settings_explain_read_name(struct reading *r)
{
	size_t n = strcspn(r->p, " \t\r\n=:;,(){}[]\""), dashes = strspn(r->p, "-");
	unsigned line = r->line;

	n = n > 0 ? n : 1;
	dashes = dashes < n ? dashes : 0;
	snprintf(r->name, sizeof(r->name), "%.*s", n - dashes < 60 ? (int)(n - dashes) : 60,
		 r->p + dashes);
	if (dashes > 0)
		return say(r, line, "has dashes in front; expected %s = VALUE", r->name);
	r->p += n;
	settings_explain_skip(r);
	if (*r->p != '=' && *r->p != ':')
		return say(r, line, "has no = behind it; expected %s = VALUE", r->name);
	if (!r->doubles || !settings_explain_comes_twice(r))
		return false;
	if (strcmp(r->name, "mount") == 0)
		return say(
			r, line,
			"is given twice; expected one list of all mounts, mount = ( {...}, {...} )");
	return say(r, line, "is given twice; expected once");
}

/* A bracket, a comma and so on. False: it is none. */
static bool settings_explain_read_mark(struct reading *r)
{
	char c = *r->p;

	if (strchr("{}()[];,=:", c) == NULL)
		return false;
	if (strchr("{([", c) != NULL && r->depth < DEPTH_MAX) {
		r->open[r->depth++] = c;
		r->group[r->depth] = c == '{' ? ++r->n_groups : r->group[r->depth - 1];
	} else if (strchr("})]", c) != NULL && r->depth > 0)
		r->depth--;
	r->wants_value = c == '=' || c == ':' || c == '(' || c == '[' ||
			 (c == ',' && settings_explain_in_list(r));
	r->p++;
	return true;
}

bool settings_explain(struct settings_layer *layer, const char *path, const char *text,
		      unsigned line, bool doubles)
{
	struct reading r = {.layer = layer, .path = path, .p = text, .line = 1, .doubles = doubles};
	bool said = false;

	for (settings_explain_skip(&r); !said && *r.p != '\0' && r.line <= line;
	     settings_explain_skip(&r)) {
		if (*r.p == '"')
			said = settings_explain_read_string(&r);
		else if (r.wants_value && !settings_explain_in_list(&r) &&
			 strchr(";}])", *r.p) != NULL)
			said = say(&r, r.line, "has no value; expected %s = VALUE", r.name);
		else if (!(r.wants_value && *r.p == ':') && settings_explain_read_mark(&r))
			continue;
		else
			said = r.wants_value ? settings_explain_read_bare(&r)
					     : settings_explain_read_name(&r);
	}
	settings_list_free(&r.seen);
	return said;
}
