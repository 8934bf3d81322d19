#include "tova/lexer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

struct lexer {
	struct arena *arena;
	struct faults *faults;
	const char *p, *end;
	struct position at;		   /* of `seen` */
	const char *seen;		   /* up to here lines and columns are counted */
	bool first;			   /* nothing stands in this line yet */
	unsigned braces;		   /* open ones since the string in which we are */
	unsigned outer[LEXER_NESTING_MAX]; /* the same, of the strings around */
	size_t strings;			   /* whose expression we are in */
	struct token *tokens;
	size_t n, cap;
};

static const struct word {
	const char *text;
	unsigned char n;
	unsigned char kind;
} lexer_keywords[] =
	{
#define LEXER_WORD(id, text) {text, sizeof(text) - 1, TOKEN_##id},
		TOKEN_KEYWORDS(LEXER_WORD)},
  lexer_signs[] = {TOKEN_SIGNS(LEXER_WORD)};
#undef LEXER_WORD

#define LEXER_COUNT(table) (sizeof(table) / sizeof *(table))

const char *token_name(enum token_kind kind)
{
	static const char *const others[] = {"the end of the file",
					     "a name",
					     "a number",
					     "a string",
					     "a string",
					     "a string",
					     "a string"};
	if (kind < LEXER_COUNT(others))
		return others[kind];
	return kind < TOKEN_SPREAD ? lexer_keywords[kind - TOKEN_AND].text
				   : lexer_signs[kind - TOKEN_SPREAD].text;
}

/* --- places ----------------------------------------------------------------------------------- */

static struct position lexer_place(struct lexer *l, const char *p)
{
	for (; l->seen < p; l->seen++) {
		if (*l->seen == '\n') {
			l->at.line++;
			l->at.column = 1;
		} else if (((unsigned char)*l->seen & 0xC0) != 0x80) {
			l->at.column++;
		}
	}
	return l->at;
}

static struct token *lexer_add(struct lexer *l, enum token_kind kind, const char *from)
{
	if (l->n == l->cap) {
		struct token *wider;
		l->cap = l->cap > 0 ? 2 * l->cap : 256;
		wider = arena_get(l->arena, l->cap * sizeof *wider);
		if (l->n > 0)
			memcpy(wider, l->tokens, l->n * sizeof *wider);
		l->tokens = wider;
	}
	struct token *t = &l->tokens[l->n++];
	*t = (struct token){.kind = kind, .first = l->first, .at = lexer_place(l, from)};
	l->first = false;
	return t;
}

/* --- what stands between tokens --------------------------------------------------------------- */

static bool lexer_sees(const struct lexer *l, const char *text)
{
	size_t n = strlen(text);
	return (size_t)(l->end - l->p) >= n && memcmp(l->p, text, n) == 0;
}

/* Comments of this kind may hold others. */
static void lexer_block_comment(struct lexer *l)
{
	const char *from = l->p;
	size_t depth = 0;
	do {
		if (l->p == l->end) {
			fault_add(l->faults, lexer_place(l, from), "this comment has no end");
			return;
		}
		if (lexer_sees(l, "/*")) {
			depth++;
			l->p += 2;
		} else if (lexer_sees(l, "*/")) {
			depth--;
			l->p += 2;
		} else {
			l->first = l->first || *l->p == '\n';
			l->p++;
		}
	} while (depth > 0);
}

static void lexer_skip(struct lexer *l)
{
	for (; l->p < l->end; l->p++) {
		if (*l->p == '\n')
			l->first = true;
		else if (lexer_sees(l, "/*")) {
			lexer_block_comment(l);
			l->p--;
		} else if (lexer_sees(l, "//")) {
			const char *line = memchr(l->p, '\n', (size_t)(l->end - l->p));
			l->p = (line != NULL ? line : l->end) - 1;
		} else if (*l->p != ' ' && *l->p != '\t' && *l->p != '\r')
			return;
	}
}

/* --- strings ---------------------------------------------------------------------------------- */

/* Behind a backslash: what it means, or 0. */
static char lexer_escape(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case '\\':
	case '"':
	case '\'':
	case '{':
	case '}':
		return c;
	default:
		return 0;
	}
}

static void lexer_escaped(struct lexer *l, char *text, size_t *n)
{
	char c = '\0';
	if (l->end - l->p > 1)
		c = lexer_escape(l->p[1]);
	if (c == 0) {
		fault_add(
			l->faults, lexer_place(l, l->p),
			"an unknown escape in a string; there are \\n \\t \\r \\\\ \\\" \\' \\{ \\}");
		l->p++;
		return;
	}
	text[(*n)++] = c;
	l->p += 2;
}

/* Where does what stands between quotes, or between braces, end at the latest? */
static size_t lexer_piece_size(const struct lexer *l, char quote)
{
	const char *p = l->p;
	while (p < l->end && *p != quote && *p != '\n' && !(*p == '{' && quote == '"'))
		p += *p == '\\' && l->end - p > 1 ? 2 : 1;
	return (size_t)(p - l->p);
}

/* A piece of a string up to its end or its next expression: `whole` if it is all of it, else
 * `cut`. */
static void lexer_piece(struct lexer *l, const char *from, char quote, enum token_kind whole,
			enum token_kind cut)
{
	char *text = arena_get(l->arena, lexer_piece_size(l, quote) + 1);
	size_t n = 0;
	while (l->p < l->end && *l->p != quote && *l->p != '\n' &&
	       !(*l->p == '{' && quote == '"')) {
		if (*l->p == '\\')
			lexer_escaped(l, text, &n);
		else
			text[n++] = *l->p++;
	}
	bool expression = l->p < l->end && *l->p == '{';
	if (!expression && (l->p == l->end || *l->p != quote))
		fault_add(l->faults, lexer_place(l, from), "this string has no end in its line");
	else
		l->p++;
	if (expression && l->strings == LEXER_NESTING_MAX) {
		fault_add(l->faults, lexer_place(l, l->p - 1),
			  "strings within strings are nested too deeply here");
		expression = false;
	}
	struct token *t = lexer_add(l, expression ? cut : whole, from);
	t->text = (struct span){text, n};
	if (expression) {
		l->outer[l->strings++] = l->braces;
		l->braces = 0;
	}
}

static void lexer_string(struct lexer *l)
{
	const char *from = l->p;
	if (lexer_sees(l, "\"\"\""))
		fault_add(l->faults, lexer_place(l, from),
			  "strings in triple quotes are not supported here");
	lexer_piece(l, from, *l->p++, TOKEN_STRING, TOKEN_STRING_BEGIN);
}

/* The brace that ends an expression in a string. */
static void lexer_resume(struct lexer *l)
{
	const char *from = l->p++;
	l->braces = l->outer[--l->strings];
	lexer_piece(l, from, '"', TOKEN_STRING_FINISH, TOKEN_STRING_MIDDLE);
}

/* --- names and numbers ------------------------------------------------------------------------ */

static bool lexer_is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       ((unsigned char)c & 0x80) != 0;
}

static bool lexer_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void lexer_name(struct lexer *l)
{
	const char *from = l->p;
	while (l->p < l->end && (lexer_is_letter(*l->p) || lexer_is_digit(*l->p)))
		l->p++;
	struct token *t = lexer_add(l, TOKEN_NAME, from);
	t->text = (struct span){from, (size_t)(l->p - from)};
	if (l->p < l->end && *l->p == '"' && t->text.n == 1 && (*from == 'r' || *from == 'f'))
		fault_add(l->faults, t->at,
			  "strings with a letter in front (%c\"...\") are not supported here",
			  *from);
	for (size_t i = 0; i < LEXER_COUNT(lexer_keywords); i++)
		if (lexer_keywords[i].n == t->text.n &&
		    memcmp(lexer_keywords[i].text, from, t->text.n) == 0)
			t->kind = (enum token_kind)lexer_keywords[i].kind;
}

static int lexer_digit_value(char c)
{
	return lexer_is_digit(c)		    ? c - '0'
	       : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
						    : 99;
}

/* Behind 0x, 0b or 0o. */
static double lexer_in_base(struct lexer *l, int base)
{
	double value = 0;
	const char *from = l->p;
	l->p += 2;
	for (; l->p < l->end && (*l->p == '_' || lexer_digit_value(*l->p) < base); l->p++)
		if (*l->p != '_')
			value = value * base + lexer_digit_value(*l->p);
	if (l->p - from == 2)
		fault_add(l->faults, lexer_place(l, from), "a number without digits");
	return value;
}

/* Copies digits without the underscores between them. */
static void lexer_digits(struct lexer *l, char *text, size_t *n, size_t cap)
{
	for (; l->p < l->end && (lexer_is_digit(*l->p) || *l->p == '_'); l->p++)
		if (*l->p != '_' && *n < cap)
			text[(*n)++] = *l->p;
}

static double lexer_decimal(struct lexer *l)
{
	char text[400];
	size_t n = 0, cap = sizeof text - 8;
	const char *from = l->p;
	lexer_digits(l, text, &n, cap);
	if (l->end - l->p > 1 && *l->p == '.' && lexer_is_digit(l->p[1])) {
		text[n++] = *l->p++;
		lexer_digits(l, text, &n, cap);
	}
	if (l->p < l->end && (*l->p | 32) == 'e') {
		size_t sign = l->end - l->p > 1 && (l->p[1] == '+' || l->p[1] == '-');
		if ((size_t)(l->end - l->p) > 1 + sign && lexer_is_digit(l->p[1 + sign])) {
			memcpy(text + n, l->p, 1 + sign);
			n += 1 + sign;
			l->p += 1 + sign;
			lexer_digits(l, text, &n, sizeof text - 1);
		}
	}
	text[n] = '\0';
	if (n >= cap)
		fault_add(l->faults, lexer_place(l, from), "a number with too many digits");
	return strtod(text, NULL);
}

static void lexer_number(struct lexer *l)
{
	const char *from = l->p;
	int mark = l->end - l->p > 1 && *l->p == '0' ? l->p[1] | 32 : 0;
	int base = mark == 'x' ? 16 : mark == 'b' ? 2 : mark == 'o' ? 8 : 0;
	double value = base != 0 ? lexer_in_base(l, base) : lexer_decimal(l);
	lexer_add(l, TOKEN_NUMBER, from)->number = value;
	if (l->p < l->end && lexer_is_letter(*l->p))
		fault_add(l->faults, lexer_place(l, l->p), "a number that goes on with a letter");
	while (l->p < l->end && (lexer_is_letter(*l->p) || lexer_is_digit(*l->p)))
		l->p++;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void lexer_sign(struct lexer *l)
{
	for (size_t i = 0; i < LEXER_COUNT(lexer_signs); i++) {
		if (!lexer_sees(l, lexer_signs[i].text))
			continue;
		l->braces += lexer_signs[i].kind == TOKEN_OPEN_BRACE;
		l->braces -= lexer_signs[i].kind == TOKEN_CLOSE_BRACE && l->braces > 0;
		lexer_add(l, (enum token_kind)lexer_signs[i].kind, l->p);
		l->p += lexer_signs[i].n;
		return;
	}
	unsigned char c = (unsigned char)*l->p;
	if (c == '#')
		fault_add(l->faults, lexer_place(l, l->p),
			  "'#' means nothing here: comments begin with //");
	else if (c == '`')
		fault_add(
			l->faults, lexer_place(l, l->p),
			"'`' means nothing here: strings with values in them are \"Hello {name}\"");
	else if (c > ' ' && c < 127)
		fault_add(l->faults, lexer_place(l, l->p), "'%c' means nothing here", c);
	else
		fault_add(l->faults, lexer_place(l, l->p), "the byte %u means nothing here", c);
	l->p++;
}

static void lexer_token(struct lexer *l)
{
	if (*l->p == '"' || *l->p == '\'')
		lexer_string(l);
	else if (*l->p == '}' && l->braces == 0 && l->strings > 0)
		lexer_resume(l);
	else if (lexer_is_letter(*l->p))
		lexer_name(l);
	else if (lexer_is_digit(*l->p))
		lexer_number(l);
	else
		lexer_sign(l);
}

const struct token *lexer_read(struct arena *arena, struct span text, struct faults *faults)
{
	struct lexer l = {.arena = arena,
			  .faults = faults,
			  .p = text.p,
			  .end = text.p + text.n,
			  .seen = text.p,
			  .at = {1, 1},
			  .first = true};
	if (text.n > 1 && memcmp(text.p, "#!", 2) == 0) /* for the shell */
		while (l.p < l.end && *l.p != '\n')
			l.p++;
	if (!utf8_valid(text.p, text.n)) {
		fault_add(faults, (struct position){0, 0}, "the file is not UTF-8");
		l.p = l.end;
	}
	for (lexer_skip(&l); l.p < l.end; lexer_skip(&l))
		lexer_token(&l);
	l.first = true;
	lexer_add(&l, TOKEN_END, l.end);
	return l.tokens;
}
