#include "settings/option.h"

#include <inttypes.h>
#include <string.h>

#define ROW(field, kind, long_name, short_name, arg, place, moment, from, to, standard, words, \
	    what) \
	[OPTION_ID_##field] = {.name = (long_name), \
			       .letter = (short_name), \
			       .type = OPTION_##kind, \
			       .group = OPTION_##place, \
			       .when = OPTION_WHEN_##moment, \
			       .argument = (arg), \
			       .least = (from), \
			       .most = (to), \
			       .initial = (standard), \
			       .choices = (words), \
			       .text = (what)},
const struct option_row option_table[OPTION_COUNT] = {OPTIONS(ROW)};
#undef ROW

struct unit {
	const char *name;
	uint64_t factor;
};

/* The largest first; option_format takes the first that divides. */
static const struct unit SIZES[] = {{"g", OPTION_G},
				    {"m", OPTION_M},
				    {"k", OPTION_K},
				    {"", 1},
				    {NULL, 0}};
static const struct unit TIMES[] = {{"h", OPTION_H}, {"m", 60 * OPTION_S}, {"s", OPTION_S},
				    {"ms", 1},	     {"", OPTION_S},	   {NULL, 0}};
static const struct unit NUMBERS[] = {{"", 1}, {NULL, 0}};

static const struct unit *option_units(const struct option_row *row)
{
	bool scoped = option_is_scoped_number(row),
	     time = row->type == OPTION_TIME || (scoped && strstr(row->argument, "TIME") != NULL);
	bool size = row->type == OPTION_SIZE || (scoped && strstr(row->argument, "SIZE") != NULL);
	return time ? TIMES : size ? SIZES : NUMBERS;
}

const struct option_row *option_find(const char *name, size_t n)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strlen(option_table[i].name) == n && memcmp(option_table[i].name, name, n) == 0)
			return &option_table[i];
	return NULL;
}

/* When a changed value takes effect; "-" where nothing can change. */
const char *option_when_text(const struct option_row *row)
{
	static const char *const text[] = {[OPTION_WHEN_HUP] = "at once",
					   [OPTION_WHEN_WORKER] = "next worker",
					   [OPTION_WHEN_RESTART] = "restart",
					   [OPTION_WHEN_START] = "-"};
	return row->when > OPTION_WHEN_NONE && row->when <= OPTION_WHEN_START ? text[row->when]
									      : "?";
}

bool option_repeatable(const struct option_row *row)
{
	return row->type == OPTION_LIST || row->type == OPTION_PATHS ||
	       row->type == OPTION_LISTEN || row->type == OPTION_HANDLER ||
	       row->type == OPTION_PAIR || row->type == OPTION_SCOPED;
}

/* Is its value one of some words? */
static bool option_is_word(const struct option_row *row)
{
	return row->type == OPTION_ENUM || (row->type == OPTION_SCOPED && row->choices != NULL);
}

/* --- values ----------------------------------------------------------------------------------- */

void option_format(const struct option_row *row, uint64_t value, char *dst, size_t cap)
{
	const struct unit *unit = option_units(row);

	if (option_is_word(row)) {
		const char *word = row->choices;

		for (; value > 0 && strchr(word, '|') != NULL; value--)
			word = strchr(word, '|') + 1;
		snprintf(dst, cap, "%.*s", (int)strcspn(word, "|"), word);
		return;
	}
	if (value == 0) {
		snprintf(dst, cap, "0");
		return;
	}
	if (row->type == OPTION_RATE) {
		struct bucket_rate rate = option_rate(value);

		for (unit = TIMES; rate.ms % unit->factor != 0;)
			unit++;
		snprintf(dst, cap, "%" PRIu32 "/%" PRIu64 "%s", rate.n, rate.ms / unit->factor,
			 unit->name);
		return;
	}
	while (value % unit->factor != 0)
		unit++;
	snprintf(dst, cap, "%" PRIu64 "%s", value / unit->factor, unit->name);
}

/* Of a rate it is that of its number. */
static void option_range(const struct option_row *row, char least[32], char most[32])
{
	struct option_row number = *row;

	if (row->type == OPTION_RATE)
		number.type = OPTION_NUMBER;
	option_format(&number, row->least, least, 32);
	option_format(&number, row->most, most, 32);
}

/* "a number with k, m or g, 1k to 1g (0: never)" */
static void option_describe(const struct option_row *row, char *dst, size_t cap)
{
	const struct unit *units = option_units(row);
	const char *noun = row->type == OPTION_RATE ? "a number and a time such as 20/10s"
			   : units == SIZES	    ? "a number with k, m or g"
			   : units == TIMES	    ? "a number with ms, s, m or h"
						    : "a number";
	char least[32], most[32];
	size_t n = 0;

	if (option_is_word(row)) {
		for (const char *word = row->choices; *word != '\0' && n < cap;) {
			size_t len = strcspn(word, "|");
			const char *join = n == 0 ? "" : word[len] == '\0' ? " or " : ", ";

			n += (size_t)snprintf(dst + n, cap - n, "%s%.*s", join, (int)len, word);
			word += len + (word[len] == '|');
		}
		return;
	}
	option_range(row, least, most);
	n = (size_t)snprintf(dst, cap, "%s, %s to %s", noun, least, most);
	if (row->choices != NULL && n < cap)
		snprintf(dst + n, cap - n, ", or 0 (%s)", row->choices);
}

struct bucket_rate option_rate(uint64_t value)
{
	return (struct bucket_rate){.n = (uint32_t)value, .ms = (uint32_t)(value >> 32)};
}

static bool option_refuse(const struct option_row *row, const char *text, const char *problem,
			  char why[OPTION_WHY_MAX])
{
	char expected[200];

	option_describe(row, expected, sizeof(expected));
	snprintf(why, OPTION_WHY_MAX, "\"%.80s\" %s; expected %s", text, problem, expected);
	return false;
}

static bool option_in_range(const struct option_row *row, uint64_t value)
{
	return (value >= row->least && value <= row->most) || (value == 0 && row->choices != NULL);
}

static bool option_parse_choice(const struct option_row *row, const char *text, uint64_t *value_r)
{
	uint64_t index = 0;

	for (const char *word = row->choices; *word != '\0'; index++) {
		size_t len = strcspn(word, "|");

		if (strlen(text) == len && memcmp(text, word, len) == 0) {
			*value_r = index;
			return true;
		}
		word += len + (word[len] == '|');
	}
	return false;
}

/* N/TIME; TIME is 1 ms to 1 h. */
static bool option_parse_rate(const struct option_row *row, const char *text, uint64_t *value_r)
{
	static const struct option_row time = {.type = OPTION_TIME, .least = 1, .most = OPTION_H};
	struct option_row number = *row;
	const char *slash = strchr(text, '/');
	char n[24], why[OPTION_WHY_MAX];
	uint64_t most, ms;

	if (strcmp(text, "0") == 0 && row->choices != NULL) {
		*value_r = 0;
		return true;
	}
	if (slash == NULL || (size_t)(slash - text) >= sizeof(n))
		return false;
	memcpy(n, text, (size_t)(slash - text));
	n[slash - text] = '\0';
	number.type = OPTION_NUMBER;
	number.choices = NULL;
	if (!option_parse(&number, n, &most, why) || !option_parse(&time, slash + 1, &ms, why))
		return false;
	*value_r = most | ms << 32;
	return true;
}

bool option_limit(const char *text, struct bucket_rate *rate_r, bool *close_r)
{
	static const struct option_row row = {.type = OPTION_RATE, .least = 1, .most = 1000000};
	const char *comma = strchr(text, ',');
	size_t n = comma != NULL ? (size_t)(comma - text) : strlen(text);
	uint64_t value;
	char rate[64];

	*close_r = comma != NULL && strcmp(comma, ",close") == 0;
	if (n >= sizeof(rate) || (comma != NULL && !*close_r && strcmp(comma, ",drop") != 0))
		return false;
	memcpy(rate, text, n);
	rate[n] = '\0';
	if (!option_parse_rate(&row, rate, &value))
		return false;
	*rate_r = option_rate(value);
	return true;
}

bool option_history(const char *text, uint64_t *n_r, uint64_t *ms_r)
{
	static const struct option_row number = {.type = OPTION_NUMBER,
						 .least = 1,
						 .most = 100000,
						 .choices = "nothing"};
	static const struct option_row time = {.type = OPTION_TIME,
					       .least = OPTION_S,
					       .most = 720 * OPTION_H};
	size_t len = strcspn(text, "/");
	char n[24], why[OPTION_WHY_MAX];

	*ms_r = 0;
	if (len >= sizeof(n))
		return false;
	memcpy(n, text, len);
	n[len] = '\0';
	return option_parse(&number, n, n_r, why) &&
	       (text[len] == '\0' || option_parse(&time, text + len + 1, ms_r, why));
}

bool option_fraction(const char *text, int32_t *parts_r)
{
	int32_t parts = text[0] == '1' ? 1000000 : 0, unit = 100000;
	if ((text[0] != '0' && text[0] != '1') || (text[1] != '\0' && text[1] != '.'))
		return false;
	if (text[1] == '.' && text[2] == '\0')
		return false;
	for (const char *p = text + 1 + (text[1] == '.'); *p != '\0'; p++, unit /= 10) {
		if (*p < '0' || *p > '9' || unit == 0)
			return false;
		parts += (*p - '0') * unit;
	}
	*parts_r = parts;
	return parts <= 1000000;
}

bool option_parse(const struct option_row *row, const char *text, uint64_t *value_r,
		  char why[OPTION_WHY_MAX])
{
	const char *noun = option_units(row) == SIZES ? "is not a size"
			   : row->type == OPTION_TIME ? "is not a time"
						      : "is not a number";
	const struct unit *unit = option_units(row);
	size_t digits = strspn(text, "0123456789");
	uint64_t value = 0;
	bool overflow = false;

	if (option_is_word(row))
		return option_parse_choice(row, text, value_r) ||
		       option_refuse(row, text, "is unknown", why);
	if (row->type == OPTION_RATE)
		return option_parse_rate(row, text, value_r) ||
		       option_refuse(row, text, "is not a rate", why);
	for (size_t i = 0; i < digits; i++) {
		overflow = overflow || __builtin_mul_overflow(value, 10, &value);
		overflow = overflow ||
			   __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value);
	}
	while (unit->name != NULL && strcmp(unit->name, text + digits) != 0)
		unit++;
	if (digits == 0 || unit->name == NULL)
		return option_refuse(row, text, noun, why);
	overflow = overflow || __builtin_mul_overflow(value, unit->factor, &value);
	if (overflow || !option_in_range(row, value))
		return option_refuse(row, text, "is out of range", why);
	*value_r = value;
	return true;
}

/* --- what people read ------------------------------------------------------------------------- */

static const char *const GROUP_TITLE[OPTION_GROUP_COUNT] =
	{[OPTION_MOUNT] = "Handlers, one for each mount",
	 [OPTION_HANDLERS] = "Workers and scripts",
	 [OPTION_NETWORK] = "Network",
	 [OPTION_OPERATING] = "HTTP API and health",
	 [OPTION_DEFLATE] = "Compression",
	 [OPTION_LIMITS] = "Limits",
	 [OPTION_TIMES] = "Times",
	 [OPTION_LOGGING] = "Log",
	 [OPTION_COMMAND] = "On the command line only"};

/* The text of a row with its range and default, as in "(1k to 1g; default 16m)". */
static void option_explain(const struct option_row *row, char *dst, size_t cap)
{
	char limits[240] = "", least[32], most[32];
	size_t n = 0;

	if (option_is_word(row)) {
		option_describe(row, limits, sizeof(limits));
	} else if (row->most > 0) {
		option_range(row, least, most);
		n = (size_t)snprintf(limits, sizeof(limits), "%s to %s", least, most);
		if (row->choices != NULL)
			snprintf(limits + n, sizeof(limits) - n, ", 0: %s", row->choices);
	}
	n = (size_t)snprintf(dst, cap, "%s", row->text);
	if (n < cap && (limits[0] != '\0' || row->initial != NULL))
		n += (size_t)snprintf(dst + n, cap - n, " (%s%s%s%s)", limits,
				      limits[0] != '\0' && row->initial != NULL ? "; " : "",
				      row->initial != NULL ? "default " : "",
				      row->initial != NULL ? row->initial : "");
	if (n < cap && option_repeatable(row))
		snprintf(dst + n, cap - n, "; repeatable");
}

/* The same, and when HUP gives it another value, where that is not at once. */
static void option_explain_all(const struct option_row *row, char *dst, size_t cap)
{
	option_explain(row, dst, cap);
	size_t n = strlen(dst);
	if (row->when == OPTION_WHEN_WORKER)
		snprintf(dst + n, cap - n, "; changes with the next worker");
	else if (row->when == OPTION_WHEN_RESTART)
		snprintf(dst + n, cap - n, "; changes with a restart");
}

#define OPTION_EXPLAIN_MAX 700 /* the longest text of an option, with what is added to it */

/* Prints text in lines of at most `width`, each after the first indented. */
static void option_wrap(FILE *out, const char *text, size_t indent, size_t width)
{
	size_t column = 0;

	for (const char *word = text; *word != '\0';) {
		size_t len = strcspn(word, " ");

		if (column > 0 && column + 1 + len > width) {
			fprintf(out, "\n%*s", (int)indent, "");
			column = 0;
		}
		column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : "", (int)len, word);
		word += len + strspn(word + len, " ");
	}
	fputc('\n', out);
}

#define HELP_INDENT 8
#define HELP_WIDTH 72

void option_print_help(FILE *out)
{
	char text[OPTION_EXPLAIN_MAX];

	fprintf(out,
		"usage: tova-host [OPTION...] [[MOUNT=]FILE.tova|FILE.so|FILE.py|FILE.mjs ...]\n"
		"A WebSocket server whose connections, rooms and messages are handled by plugins, "
		"workers or scripts.\nA FILE is short for --plugin or --worker, as its name says; "
		"a .tova program is run by the plugin tova.so.\nMOUNT is a path such as /chat. "
		"Sizes take k, m, g; times take ms, s, m, h, and a bare number is seconds;\na "
		"rate is a number and a time, such as 20/10s. HUP (or tova-ctl reload) reads the "
		"config file again;\nwhat an option says then holds at once, unless its text says "
		"something else.\n");
	for (enum option_group group = 0; group < OPTION_HIDDEN; group++) {
		fprintf(out, "\n%s:\n", GROUP_TITLE[group]);
		for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
		     row++) {
			if (row->group != group)
				continue;
			if (row->letter != 0)
				fprintf(out, "  -%c, --%s", row->letter, row->name);
			else
				fprintf(out, "      --%s", row->name);
			fprintf(out, "%s%s\n%*s", row->argument != NULL ? " " : "",
				row->argument != NULL ? row->argument : "", HELP_INDENT, "");
			option_explain_all(row, text, sizeof(text));
			option_wrap(out, text, HELP_INDENT, HELP_WIDTH);
		}
	}
}

/* In man macros a hyphen is a dash unless escaped, and a line that begins with a dot or quote is a
 * command. */
static void option_print_roff(FILE *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		if (p == text && (*p == '.' || *p == '\''))
			fputs("\\&", out);
		if (*p == '-')
			fputs("\\-", out);
		else if (*p == '\\')
			fputs("\\e", out);
		else
			fputc(*p, out);
	}
}

void option_print_man(FILE *out)
{
	char text[OPTION_EXPLAIN_MAX];

	for (enum option_group group = 0; group < OPTION_HIDDEN; group++) {
		fprintf(out, ".SS %s\n", GROUP_TITLE[group]);
		for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
		     row++) {
			if (row->group != group)
				continue;
			fputs(".TP\n", out);
			if (row->letter != 0)
				fprintf(out, "\\fB\\-%c\\fR, ", row->letter);
			fputs("\\fB\\-\\-", out);
			option_print_roff(out, row->name);
			fputs("\\fR", out);
			if (row->argument != NULL) {
				fputs(" \\fI", out);
				option_print_roff(out, row->argument);
				fputs("\\fR", out);
			}
			fputc('\n', out);
			option_explain_all(row, text, sizeof(text));
			option_print_roff(out, text);
			fputc('\n', out);
		}
	}
}

/* A bar would end the cell, even inside a code span. */
static void option_print_cell(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|' || *text == '*' || *text == '<')
			fputc('\\', out);
		fputc(*text, out);
	}
}

void option_print_markdown(FILE *out)
{
	char text[OPTION_EXPLAIN_MAX];

	fputs("| option | meaning | HUP |\n|---|---|---|\n", out);
	for (enum option_group group = 0; group < OPTION_HIDDEN; group++) {
		for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
		     row++) {
			if (row->group != group)
				continue;
			fputs("| ", out);
			if (row->letter != 0)
				fprintf(out, "`-%c` ", row->letter);
			fprintf(out, "`--%s", row->name);
			if (row->argument != NULL) {
				fputc(' ', out);
				for (const char *p = row->argument; *p != '\0'; p++)
					fprintf(out, *p == '|' ? "\\|" : "%c", *p);
			}
			fputs("` | ", out);
			option_explain(row, text, sizeof(text));
			option_print_cell(out, text);
			fprintf(out, " | %s |\n", option_when_text(row));
		}
	}
}
