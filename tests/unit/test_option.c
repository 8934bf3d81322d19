/* The option table: its rows agree with themselves, every type's edges, and what people read. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "common/nearest.h"
#include "settings/option.h"
#include "run.h"

#define ROW(field) (&option_table[OPTION_ID_##field])

START_TEST(rows_are_sound)
{
	const struct option_row *row = &option_table[_i];
	char why[OPTION_WHY_MAX];
	uint64_t value;

	ck_assert_ptr_eq(option_find(row->name, strlen(row->name)), row);
	ck_assert_uint_eq(strspn(row->name, "abcdefghijklmnopqrstuvwxyz-"), strlen(row->name));
	ck_assert_int_ne(row->text[strlen(row->text) - 1], '.');
	ck_assert((row->argument == NULL) == (row->type == OPTION_FLAG));
	/* When does a changed value take effect? What only the command line has does not change. */
	ck_assert_msg(row->when != OPTION_WHEN_NONE, "%s", row->name);
	ck_assert((row->when == OPTION_WHEN_START) == (row->group >= OPTION_COMMAND));
	for (size_t i = 0; i < OPTION_COUNT; i++)
		ck_assert(i == (size_t)_i || option_table[i].letter == 0 ||
			  option_table[i].letter != row->letter);
	if (row->type == OPTION_NUMBER || row->type == OPTION_SIZE || row->type == OPTION_TIME ||
	    row->type == OPTION_ENUM) {
		ck_assert_ptr_nonnull(row->initial);
		ck_assert_msg(option_parse(row, row->initial, &value, why), "%s: %s", row->name,
			      why);
	}
}
END_TEST

START_TEST(choices_are_the_enums_of_the_log)
{
	static const char *const LEVELS[] = {[LOG_ERROR] = "error",
					     [LOG_WARN] = "warn",
					     [LOG_NOTICE] = "notice",
					     [LOG_INFO] = "info",
					     [LOG_DEBUG] = "debug"};
	char text[32], why[OPTION_WHY_MAX];
	uint64_t value;

	for (uint64_t i = LOG_ERROR; i <= LOG_DEBUG; i++) {
		ck_assert(option_parse(ROW(log_level), LEVELS[i], &value, why));
		ck_assert_uint_eq(value, i);
		option_format(ROW(log_level), i, text, sizeof text);
		ck_assert_str_eq(text, LEVELS[i]);
	}
	ck_assert(option_parse(ROW(log_format), "text", &value, why) && value == LOG_FORMAT_TEXT);
	ck_assert(option_parse(ROW(log_format), "json", &value, why) && value == LOG_FORMAT_JSON);
}
END_TEST

static const struct option_row NUMBER = {.name = "n",
					 .type = OPTION_NUMBER,
					 .least = 3,
					 .most = UINT64_MAX};
static const struct option_row SIZE = {.name = "s",
				       .type = OPTION_SIZE,
				       .least = 0,
				       .most = UINT64_MAX};
static const struct option_row TIME = {.name = "t",
				       .type = OPTION_TIME,
				       .least = 0,
				       .most = UINT64_MAX};
static const struct option_row RATE = {.name = "r",
				       .type = OPTION_RATE,
				       .least = 3,
				       .most = 9,
				       .choices = "any number"};
static const struct option_row NEVER = {.name = "z",
					.type = OPTION_TIME,
					.least = 1000,
					.most = 5000,
					.choices = "never"};

static const struct {
	const struct option_row *row;
	const char *text;
	uint64_t value;
	const char *formatted;
} GOOD[] = {
	{&NUMBER, "3", 3, "3"},
	{&NUMBER, "007", 7, "7"},
	{&NUMBER, "18446744073709551615", UINT64_MAX, "18446744073709551615"},
	{&RATE, "3/1s", 3 | 1000ull << 32, "3/1s"},
	{&RATE, "9/1500", 9 | 1500000ull << 32, "9/25m"},
	{&RATE, "9/1500ms", 9 | 1500ull << 32, "9/1500ms"},
	{&RATE, "4/1h", 4 | 3600000ull << 32, "4/1h"},
	{&RATE, "0", 0, "0"},
	{&SIZE, "0", 0, "0"},
	{&SIZE, "0g", 0, "0"},
	{&SIZE, "1", 1, "1"},
	{&SIZE, "1023", 1023, "1023"},
	{&SIZE, "1024", 1024, "1k"},
	{&SIZE, "1k", 1024, "1k"},
	{&SIZE, "1m", 1048576, "1m"},
	{&SIZE, "1g", 1073741824, "1g"},
	{&SIZE, "1536k", 1572864, "1536k"},
	{&SIZE, "1025", 1025, "1025"},
	{&SIZE, "17179869183g", 18446744072635809792u, "17179869183g"},
	{&TIME, "0", 0, "0"},
	{&TIME, "1", 1000, "1s"},
	{&TIME, "1ms", 1, "1ms"},
	{&TIME, "1s", 1000, "1s"},
	{&TIME, "1m", 60000, "1m"},
	{&TIME, "1h", 3600000, "1h"},
	{&TIME, "90s", 90000, "90s"},
	{&TIME, "1500ms", 1500, "1500ms"},
	{&TIME, "120", 120000, "2m"},
	{&TIME, "24h", 86400000, "24h"},
	{&NEVER, "0", 0, "0"},
	{&NEVER, "0s", 0, "0"},
	{&NEVER, "1000ms", 1000, "1s"},
	{&NEVER, "5s", 5000, "5s"},
};

START_TEST(good_values)
{
	char text[64], why[OPTION_WHY_MAX] = "";
	uint64_t value = 99, again = 98;

	ck_assert_msg(option_parse(GOOD[_i].row, GOOD[_i].text, &value, why), "%s", why);
	ck_assert_uint_eq(value, GOOD[_i].value);
	option_format(GOOD[_i].row, value, text, sizeof text);
	ck_assert_str_eq(text, GOOD[_i].formatted);
	ck_assert(option_parse(GOOD[_i].row, text, &again, why));
	ck_assert_uint_eq(again, value);
}
END_TEST

#define WANT_RATE "; expected a number and a time such as 20/10s, 3 to 9, or 0 (any number)"
#define WANT_SIZE "; expected a number with k, m or g, 0 to 18446744073709551615"
#define WANT_TIME "; expected a number with ms, s, m or h, 0 to 18446744073709551615ms"
#define WANT_NUMBER "; expected a number, 3 to 18446744073709551615"
#define WANT_NEVER "; expected a number with ms, s, m or h, 1s to 5s, or 0 (never)"

static const struct {
	const struct option_row *row;
	const char *text, *why;
} BAD[] = {
	{&NUMBER, "", "\"\" is not a number" WANT_NUMBER},
	{&NUMBER, "x", "\"x\" is not a number" WANT_NUMBER},
	{&NUMBER, "3 ", "\"3 \" is not a number" WANT_NUMBER},
	{&NUMBER, " 3", "\" 3\" is not a number" WANT_NUMBER},
	{&NUMBER, "+3", "\"+3\" is not a number" WANT_NUMBER},
	{&NUMBER, "-3", "\"-3\" is not a number" WANT_NUMBER},
	{&NUMBER, "0x10", "\"0x10\" is not a number" WANT_NUMBER},
	{&NUMBER, "3k", "\"3k\" is not a number" WANT_NUMBER},
	{&NUMBER, "3.0", "\"3.0\" is not a number" WANT_NUMBER},
	{&NUMBER, "2", "\"2\" is out of range" WANT_NUMBER},
	{&NUMBER, "0", "\"0\" is out of range" WANT_NUMBER},
	{&NUMBER, "18446744073709551616", "\"18446744073709551616\" is out of range" WANT_NUMBER},
	{&NUMBER, "99999999999999999999999",
	 "\"99999999999999999999999\" is out of range" WANT_NUMBER},
	{&RATE, "5", "\"5\" is not a rate" WANT_RATE},
	{&RATE, "/1s", "\"/1s\" is not a rate" WANT_RATE},
	{&RATE, "5/", "\"5/\" is not a rate" WANT_RATE},
	{&RATE, "2/1s", "\"2/1s\" is not a rate" WANT_RATE},
	{&RATE, "10/1s", "\"10/1s\" is not a rate" WANT_RATE},
	{&RATE, "0/1s", "\"0/1s\" is not a rate" WANT_RATE},
	{&RATE, "5/0s", "\"5/0s\" is not a rate" WANT_RATE},
	{&RATE, "5/61m", "\"5/61m\" is not a rate" WANT_RATE},
	{&RATE, "5/1s/1s", "\"5/1s/1s\" is not a rate" WANT_RATE},
	{&RATE, "5000000000000000000000000/1s",
	 "\"5000000000000000000000000/1s\" is not a rate" WANT_RATE},
	{&SIZE, "k", "\"k\" is not a size" WANT_SIZE},
	{&SIZE, "12x", "\"12x\" is not a size" WANT_SIZE},
	{&SIZE, "1K", "\"1K\" is not a size" WANT_SIZE},
	{&SIZE, "1kb", "\"1kb\" is not a size" WANT_SIZE},
	{&SIZE, "1 k", "\"1 k\" is not a size" WANT_SIZE},
	{&SIZE, "1.5m", "\"1.5m\" is not a size" WANT_SIZE},
	{&SIZE, "17179869184g", "\"17179869184g\" is out of range" WANT_SIZE},
	{&TIME, "ms", "\"ms\" is not a time" WANT_TIME},
	{&TIME, "1d", "\"1d\" is not a time" WANT_TIME},
	{&TIME, "1m30s", "\"1m30s\" is not a time" WANT_TIME},
	{&TIME, "forever", "\"forever\" is not a time" WANT_TIME},
	{&TIME, "18446744073709552", "\"18446744073709552\" is out of range" WANT_TIME},
	{&NEVER, "1ms", "\"1ms\" is out of range" WANT_NEVER},
	{&NEVER, "999ms", "\"999ms\" is out of range" WANT_NEVER},
	{&NEVER, "5001ms", "\"5001ms\" is out of range" WANT_NEVER},
	{ROW(max_message), "12x",
	 "\"12x\" is not a size; expected a number with k, m or g, 1k to 1g"},
	{ROW(max_message), "1023",
	 "\"1023\" is out of range; expected a number with k, m or g, 1k to 1g"},
	{ROW(log_level), "", "\"\" is unknown; expected error, warn, notice, info or debug"},
	{ROW(log_level), "warning",
	 "\"warning\" is unknown; expected error, warn, notice, info or debug"},
	{ROW(log_level), "war", "\"war\" is unknown; expected error, warn, notice, info or debug"},
	{ROW(log_level), "warn|info",
	 "\"warn|info\" is unknown; expected error, warn, notice, info or debug"},
	{ROW(log_format), "xml", "\"xml\" is unknown; expected text or json"},
};

START_TEST(bad_values)
{
	char why[OPTION_WHY_MAX];
	uint64_t value = 99;

	ck_assert(!option_parse(BAD[_i].row, BAD[_i].text, &value, why));
	ck_assert_str_eq(why, BAD[_i].why);
	ck_assert_uint_eq(value, 99);
}
END_TEST

START_TEST(long_nonsense_is_cut)
{
	char why[OPTION_WHY_MAX], text[5000];
	uint64_t value;

	memset(text, '9', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ck_assert(!option_parse(ROW(idle_timeout), text, &value, why));
	ck_assert_ptr_nonnull(strstr(
		why,
		"is out of range; expected a number with ms, s, m or h, 1s to 168h, or 0 (never)"));
}
END_TEST

START_TEST(nearest_names)
{
	static const char *const NAMES[] = {"max-message", "max-head",	"max-headers", "listen",
					    "origin",	   "log-level", "check"};
	static const struct {
		const char *typed, *nearest;
	} CASES[] = {
		{"max-mesage", "max-message"},
		{"max_message", "max-message"},
		{"maxmessage", "max-message"},
		{"max-header", "max-headers"},
		{"max-haed", "max-head"},
		{"lisen", "listen"},
		{"orign", "origin"},
		{"loglevel", "log-level"},
		{"max-mes", "max-message"},
		{"log", "log-level"},
		{"chekc", "check"},
		{"zzz", NULL},
		{"", NULL},
		{"l", NULL},
		{"verbose", NULL},
		{"threads", NULL},
	};

	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
		const char *nearest =
			nearest_name(CASES[i].typed, NAMES, sizeof NAMES / sizeof NAMES[0]);

		if (CASES[i].nearest == NULL)
			ck_assert_msg(nearest == NULL, "%s is not like %s", CASES[i].typed,
				      nearest);
		else
			ck_assert_str_eq(nearest, CASES[i].nearest);
	}
}
END_TEST

START_TEST(find_is_exact)
{
	ck_assert_ptr_eq(option_find("listen=x", 6), ROW(listen));
	ck_assert_ptr_null(option_find("liste", 5));
	ck_assert_ptr_null(option_find("listens", 7));
	ck_assert_ptr_null(option_find("", 0));
}
END_TEST

START_TEST(repeatable_types)
{
	ck_assert(option_repeatable(ROW(listen)) && option_repeatable(ROW(plugin)) &&
		  option_repeatable(ROW(plugin_set)));
	ck_assert(option_repeatable(ROW(worker)) && option_repeatable(ROW(attach)) &&
		  option_repeatable(ROW(script)));
	ck_assert(option_repeatable(ROW(origin)) && !option_repeatable(ROW(max_message)) &&
		  !option_repeatable(ROW(check)));
}
END_TEST

static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	print(out);
	fclose(out);
	return text;
}

START_TEST(help_tells_each_option)
{
	char *help = printed(option_print_help), line[128];

	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		snprintf(line, sizeof line, "%s--%s%s%s\n", row->letter ? ", " : "      ",
			 row->name, row->argument ? " " : "", row->argument ? row->argument : "");
		ck_assert_msg((strstr(help, line) != NULL) == (row->group != OPTION_HIDDEN), "%s",
			      line);
	}
	ck_assert_ptr_nonnull(strstr(help, "  -p, --plugin [MOUNT=]FILE.so\n"));
	ck_assert_ptr_nonnull(strstr(help, "(1k to 1g; default 16m)"));
	ck_assert_ptr_nonnull(strstr(help, "to 168h, 0: never; default 120s)"));
	/* No line is wider than a terminal, except what can not be broken. */
	for (char *rest = help, *row; (row = strsep(&rest, "\n")) != NULL;)
		ck_assert_msg(strlen(row) <= 80 || strchr(row + 8, ' ') == NULL || row[0] != ' ',
			      "%s", row);
	free(help);
}
END_TEST

START_TEST(man_page_is_escaped)
{
	char *man = printed(option_print_man);

	ck_assert_ptr_nonnull(
		strstr(man, ".TP\n\\fB\\-p\\fR, \\fB\\-\\-plugin\\fR \\fI[MOUNT=]FILE.so\\fR\n"));
	ck_assert_ptr_nonnull(strstr(man, ".TP\n\\fB\\-\\-max\\-message\\fR \\fISIZE\\fR\n"));
	ck_assert_ptr_nonnull(strstr(man, ".SS Limits\n"));
	ck_assert_ptr_null(strstr(man, "help\\-man"));
	for (char *rest = man, *line; (line = strsep(&rest, "\n")) != NULL;)
		ck_assert_msg(line[0] != '.' || strncmp(line, ".SS ", 4) == 0 ||
				      strcmp(line, ".TP") == 0,
			      "%s", line);
	free(man);
}
END_TEST

START_TEST(markdown_is_a_table)
{
	char *text = printed(option_print_markdown);
	size_t rows = 0;

	ck_assert_ptr_nonnull(
		strstr(text,
		       "| `-l` `--listen ADDR:PORT\\|PORT\\|unix:PATH\\|systemd:NAME[,tls[=NAME]\\|,plain][,proxy]` | "));
	for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';
	     rows++) {
		size_t bars = 0;

		for (char *p = line; *p != '\0'; p++)
			bars += *p == '|' && (p == line || p[-1] != '\\');
		ck_assert_msg(bars == 4, "%s", line);
	}
	/* a head of two lines; three options are hidden */
	ck_assert_uint_eq(rows, 2 + OPTION_COUNT - 3);
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("option");
	TCase *tc = tcase_create("option");

	tcase_add_loop_test(tc, rows_are_sound, 0, OPTION_COUNT);
	tcase_add_test(tc, choices_are_the_enums_of_the_log);
	tcase_add_loop_test(tc, good_values, 0, (int)(sizeof GOOD / sizeof GOOD[0]));
	tcase_add_loop_test(tc, bad_values, 0, (int)(sizeof BAD / sizeof BAD[0]));
	tcase_add_test(tc, long_nonsense_is_cut);
	tcase_add_test(tc, nearest_names);
	tcase_add_test(tc, find_is_exact);
	tcase_add_test(tc, repeatable_types);
	tcase_add_test(tc, help_tells_each_option);
	tcase_add_test(tc, man_page_is_escaped);
	tcase_add_test(tc, markdown_is_a_table);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
