/* The log: forms, escaping, limits, and what happens when it can not be written. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "run.h"

static char folder[64], path[96], moved[96];
static int real_stderr;

static void set_up(void)
{
	snprintf(folder, sizeof folder, "/tmp/tova-log-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/log", folder);
	snprintf(moved, sizeof moved, "%s/log.1", folder);
	real_stderr = dup(STDERR_FILENO);
	signal(SIGPIPE, SIG_IGN);
}

static void tear_down(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	unlink(path);
	unlink(moved);
	rmdir(folder);
}

/* The whole file; freed by the caller. */
static char *slurp(const char *name)
{
	FILE *file = fopen(name, "r");
	char *text = NULL;
	size_t cap = 0;

	ck_assert_ptr_nonnull(file);
	if (getdelim(&text, &cap, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	return text;
}

/* Does the file hold exactly this, where '@' stands for a time? */
static void expect(const char *name, const char *wanted)
{
	static const char SHAPE[] = "dddd-dd-ddTdd:dd:dd.dddZ";
	char *text = slurp(name), *got = text;

	for (; *wanted != '\0'; wanted++) {
		if (*wanted != '@') {
			ck_assert_msg(*got == *wanted, "expected \"%s\", got \"%s\" in \"%s\"",
				      wanted, got, text);
			got++;
			continue;
		}
		for (const char *s = SHAPE; *s != '\0'; s++, got++)
			ck_assert_msg(*s == 'd' ? *got >= '0' && *got <= '9' : *got == *s,
				      "no time at \"%s\"", got);
	}
	ck_assert_str_eq(got, "");
	free(text);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what)) != NULL) {
		n++;
		text += strlen(what);
	}
	return n;
}

static unsigned long long sum_of(const char *text, const char *key)
{
	unsigned long long sum = 0;

	for (; (text = strstr(text, key)) != NULL; text += strlen(key))
		sum += strtoull(text + strlen(key), NULL, 10);
	return sum;
}

START_TEST(text_line)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);

	LOG(log, LOG_WARN, LOG_CONN_PROTOCOL, "peer sent a reserved opcode",
	    LOG_STR("conn", "6Zb2kq"), LOG_U64("code", 1002));
	LOG(log, LOG_ERROR, LOG_HOST, "no fields");
	LOG(log, LOG_NOTICE, LOG_LISTEN, "all types", LOG_I64("i", INT64_MIN),
	    LOG_U64("u", UINT64_MAX), LOG_BOOL("t", true), LOG_BOOL("f", false), LOG_ERRNO(ENOENT),
	    LOG_SPAN("s", ((struct span){"abcdef", 3})));
	log_close(&log);
	expect(path,
	       "@ warn conn.protocol: peer sent a reserved opcode conn=6Zb2kq code=1002\n"
	       "@ error host: no fields\n"
	       "@ notice listen: all types i=-9223372036854775808 u=18446744073709551615 t=true f=false "
	       "error=\"No such file or directory\" s=abc\n");
}
END_TEST

START_TEST(json_line)
{
	struct log *log = log_open(path, LOG_FORMAT_JSON, LOG_DEBUG);

	LOG(log, LOG_DEBUG, LOG_CONN_OPEN, "opened", LOG_STR("conn", "x"), LOG_STR("gone", NULL),
	    LOG_I64("i", -5), LOG_U64("n", 7), LOG_BOOL("tls", false));
	log_close(&log);
	expect(path,
	       "{\"time\":\"@\",\"level\":\"debug\",\"kind\":\"conn.open\",\"message\":\"opened\",\"conn\":\"x\",\"i\":-5,\"n\":7,"
	       "\"tls\":false}\n");
}
END_TEST

/* Who reads it stamps each line, and takes the level from its front. */
START_TEST(lines_for_the_journal)
{
	struct stat st;
	char stream[64];
	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(stat(path, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_DEBUG);
	LOG(log, LOG_ERROR, LOG_HOST, "first", LOG_U64("n", 1));
	LOG(log, LOG_DEBUG, LOG_CONN_OPEN, "last");
	log_configure(log, LOG_FORMAT_JSON, LOG_INFO);
	LOG(log, LOG_WARN, LOG_HOST, "m");
	ck_assert_int_eq(log_move(log, moved), 0); /* where nobody stamps anything */
	LOG(log, LOG_WARN, LOG_HOST, "m");
	log_close(&log);
	expect(path, "<3>host: first n=1\n<7>conn.open: last\n<4>{\"time\":\"@\",\"level\":\"warn\",\"kind\":\"host\",\"message\":\"m\"}\n");
	expect(moved, "{\"time\":\"@\",\"level\":\"warn\",\"kind\":\"host\",\"message\":\"m\"}\n");
	setenv("JOURNAL_STREAM", "12:nonsense", 1);
	unlink(path);
	log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	LOG(log, LOG_INFO, LOG_HOST, "m");
	log_close(&log);
	expect(path, "@ info host: m\n");
	unsetenv("JOURNAL_STREAM");
}
END_TEST

/* What was refused of peers pushes no trouble out, lines are whole JSON, and the oldest go. */
START_TEST(the_last_lines_are_kept)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char line[LOG_RECENT_LINE_MAX], long_text[5000];
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = '\0';
	LOG(log, LOG_INFO, LOG_HOST, "nobody's business");
	LOG(log, LOG_ERROR, LOG_QUARANTINE, "trouble", LOG_STR("long", long_text),
	    LOG_U64("n", 7));
	for (unsigned i = 0; i < LOG_RECENT_LINES + 5; i++)
		LOG(log, LOG_WARN, LOG_DRAIN, "again", LOG_U64("i", i));
	LOG(log, LOG_NOTICE, LOG_API, "turned away", LOG_STR("who", "\"\n\xff"));
	ck_assert_uint_eq(log_recent_count(log, LOG_RECENT_REFUSED), 1);
	ck_assert_uint_eq(log_recent_count(log, LOG_RECENT_TROUBLE), LOG_RECENT_LINES + 6);
	for (uint64_t n = 0; n < 6; n++)
		ck_assert_uint_eq(log_recent_line(log, LOG_RECENT_TROUBLE, n, line), 0);
	ck_assert_uint_eq(log_recent_line(log, LOG_RECENT_REFUSED, 1, line), 0);
	for (uint64_t n = 6; n < LOG_RECENT_LINES + 6; n++) {
		size_t len = log_recent_line(log, LOG_RECENT_TROUBLE, n, line);
		json_t *said = json_loadb(line, len, 0, NULL);
		ck_assert_int_eq(json_integer_value(json_object_get(said, "i")), (int)n - 1);
		json_decref(said);
	}
	size_t len = log_recent_line(log, LOG_RECENT_REFUSED, 0, line);
	json_t *said = json_loadb(line, len, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(said, "message")), "turned away");
	json_decref(said);
	log_close(&log);
}
END_TEST

START_TEST(null_text_is_left_out)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);

	LOG(log, LOG_INFO, LOG_HOST, "m", LOG_STR("a", NULL), LOG_STR("b", ""));
	log_close(&log);
	expect(path, "@ info host: m b=\"\"\n");
}
END_TEST

static int evaluated;

static uint64_t evaluate(void)
{
	return (uint64_t)++evaluated;
}

START_TEST(level_filters)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_WARN);

	evaluated = 0;
	LOG(log, LOG_NOTICE, LOG_HOST, "hidden", LOG_U64("n", evaluate()));
	ck_assert_int_eq(evaluated, 0);
	ck_assert(log_would(log, LOG_ERROR) && log_would(log, LOG_WARN) &&
		  !log_would(log, LOG_NOTICE));
	log_configure(log, LOG_FORMAT_JSON, LOG_NOTICE);
	LOG(log, LOG_NOTICE, LOG_HOST, "shown", LOG_U64("n", evaluate()));
	LOG((struct log *)NULL, LOG_ERROR, LOG_HOST, "nowhere", LOG_U64("n", evaluate()));
	ck_assert_int_eq(evaluated, 1);
	log_close(&log);
	struct log *none = NULL;
	log_close(&none);
	expect(path,
	       "{\"time\":\"@\",\"level\":\"notice\",\"kind\":\"host\",\"message\":\"shown\",\"n\":1}\n");
}
END_TEST

/* value, and how it stands in a text line and in JSON. */
static const struct {
	const char *value, *text, *json;
} VALUES[] = {
	{"plain", "plain", "\"plain\""},
	{"two words", "\"two words\"", "\"two words\""},
	{"a=b", "\"a=b\"", "\"a=b\""},
	{"say \"hi\"", "\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""},
	{"back\\slash", "\"back\\\\slash\"", "\"back\\\\slash\""},
	{"x\n2025-01-31T00:00:00.000Z error host: forged",
	 "\"x\\n2025-01-31T00:00:00.000Z error host: forged\"",
	 "\"x\\n2025-01-31T00:00:00.000Z error host: forged\""},
	{"\r\t\x01\x1b[31m\x7f", "\"\\r\\t\\u0001\\u001b[31m\\u007f\"",
	 "\"\\r\\t\\u0001\\u001b[31m\\u007f\""},
	{"caf\xC3\xA9 \xF0\x9F\x98\x80", "\"caf\xC3\xA9 \xF0\x9F\x98\x80\"",
	 "\"caf\xC3\xA9 \xF0\x9F\x98\x80\""},
	{"\xC2\x85", "\"\\u0085\"", "\"\\u0085\""}, /* NEL ends a line for some */
	/* turned direction, line separator */
	{"\xE2\x80\xAE\xE2\x80\xA8", "\"\\u202e\\u2028\"", "\"\\u202e\\u2028\""},
	/* no UTF-8: lone continuation, overlong, surrogate, above U+10FFFF, cut short */
	{"\x80", "\"\xEF\xBF\xBD\"", "\"\xEF\xBF\xBD\""},
	{"\xC0\xAF", "\"\xEF\xBF\xBD\xEF\xBF\xBD\"", "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},
	{"\xE0\x9F\xBF", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"",
	 "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
	{"\xED\xA0\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"",
	 "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
	{"\xF4\x90\x80\x80", "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"",
	 "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},
	{"a\xE2\x82", "\"a\xEF\xBF\xBD\xEF\xBF\xBD\"", "\"a\xEF\xBF\xBD\xEF\xBF\xBD\""},
	{"\xF4\x8F\xBF\xBF", "\"\xF4\x8F\xBF\xBF\"", "\"\xF4\x8F\xBF\xBF\""},
};

START_TEST(values_are_escaped)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char wanted[512];

	LOG(log, LOG_INFO, LOG_HOST, "m", LOG_STR("v", VALUES[_i].value));
	log_configure(log, LOG_FORMAT_JSON, LOG_INFO);
	LOG(log, LOG_INFO, LOG_HOST, "m", LOG_STR("v", VALUES[_i].value));
	log_close(&log);
	snprintf(
		wanted, sizeof wanted,
		"@ info host: m v=%s\n{\"time\":\"@\",\"level\":\"info\",\"kind\":\"host\",\"message\":\"m\",\"v\":%s}\n",
		VALUES[_i].text, VALUES[_i].json);
	expect(path, wanted);
}
END_TEST

START_TEST(nul_byte_in_a_span)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);

	LOG(log, LOG_INFO, LOG_HOST, "m", LOG_SPAN("v", SPAN("a\0b")));
	log_close(&log);
	expect(path, "@ info host: m v=\"a\\u0000b\"\n");
}
END_TEST

/* A plugin's message may hold what a peer sent. */
START_TEST(message_can_not_forge_fields)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);

	LOG(log, LOG_INFO, LOG_PLUGIN, "got admin=true\nfrom", LOG_STR("mount", "/"));
	LOG(log, LOG_INFO, LOG_PLUGIN, "");
	log_close(&log);
	expect(path, "@ info plugin: \"got admin=true\\nfrom\" mount=/\n@ info plugin: \"\"\n");
}
END_TEST

/* Whatever bytes come, a JSON line is one line of valid JSON that fits. */
START_TEST(any_bytes_make_valid_json)
{
	struct log *log = log_open(path, LOG_FORMAT_JSON, LOG_INFO);
	unsigned seed = 7;
	char bytes[3000], *text, *rest;
	size_t lines = 0;

	for (int i = 0; i < 300; i++) {
		size_t n = (size_t)rand_r(&seed) % sizeof bytes;

		for (size_t j = 0; j < n; j++)
			bytes[j] = (char)rand_r(&seed);
		LOG(log, LOG_INFO, LOG_HOST, "m", LOG_SPAN("a", ((struct span){bytes, n})),
		    LOG_SPAN("b", ((struct span){bytes, n / 2})),
		    LOG_SPAN("c", ((struct span){bytes, n / 3})),
		    LOG_SPAN("d", ((struct span){bytes, n / 4})));
	}
	log_close(&log);
	text = slurp(path);
	rest = text;
	for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; lines++) {
		json_error_t error;
		json_t *json = json_loads(line, JSON_ALLOW_NUL, &error);

		ck_assert_msg(json_is_object(json), "%s in %s", error.text, line);
		ck_assert_uint_lt(strlen(line), LOG_LINE_MAX);
		json_decref(json);
	}
	ck_assert_uint_eq(lines, 300);
	free(text);
}
END_TEST

START_TEST(long_values_are_cut)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text, big[20000], fits[1025];

	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	memset(fits, 'y', sizeof fits - 1);
	fits[sizeof fits - 1] = '\0';
	LOG(log, LOG_INFO, LOG_HOST, big, LOG_STR("a", big), LOG_STR("b", fits));
	LOG(log, LOG_INFO, LOG_HOST, "m", LOG_STR("a", big), LOG_STR("b", big), LOG_STR("c", big),
	    LOG_STR("d", big), LOG_U64("e", 5));
	log_close(&log);
	text = slurp(path);
	ck_assert_uint_eq(count(text, "\n"), 2);
	ck_assert_uint_lt(strlen(text), 2 * LOG_LINE_MAX);
	ck_assert_ptr_nonnull(strstr(text, "yyyy\n")); /* the limit itself fits whole */
	ck_assert_uint_eq(count(text, "...\""), 5);
	/* d did not fit: it is gone, what came after it is there, and the line says so */
	ck_assert_ptr_null(strstr(text, " d="));
	ck_assert_ptr_nonnull(strstr(text, " e=5 truncated=true\n"));
	free(text);
}
END_TEST

START_TEST(kinds_are_limited)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text;

	for (int i = 0; i < 1000; i++)
		LOG(log, i == 900 ? LOG_ERROR : LOG_WARN, LOG_LIMIT, "flood");
	LOG(log, LOG_INFO, LOG_HOST, "another kind passes");
	log_close(&log);
	text = slurp(path);
	ck_assert_ptr_nonnull(strstr(text, "another kind passes"));
	ck_assert_uint_ge(count(text, ": flood"), 5);
	ck_assert_uint_lt(count(text, ": flood"), 500); /* the second may have changed on the way */
	ck_assert_ptr_nonnull(
		strstr(text, " limit: lines of this kind were suppressed suppressed="));
	ck_assert_uint_eq(count(text, ": flood") + sum_of(text, "suppressed="), 1000);
	free(text);
}
END_TEST

START_TEST(report_takes_the_worst_level)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text;

	/* Every other line a warning: whichever are suppressed, errors are among them. */
	for (int i = 0; i < 1000; i++)
		LOG(log, i % 2 == 0 ? LOG_INFO : LOG_ERROR, LOG_LIMIT, "flood");
	log_close(&log);
	text = slurp(path);
	ck_assert_ptr_nonnull(strstr(text, "error limit: lines of this kind were suppressed"));
	free(text);
}
END_TEST

START_TEST(unlimited_kinds_pass)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text;

	for (int i = 0; i < 500; i++)
		LOG(log, LOG_INFO, LOG_RELOAD, "line");
	log_close(&log);
	text = slurp(path);
	ck_assert_uint_eq(count(text, "reload: line\n"), 500);
	free(text);
}
END_TEST

START_TEST(next_line_tells_what_was_suppressed)
{
	struct log *log = log_open(path, LOG_FORMAT_JSON, LOG_INFO);
	char *text = NULL;

	/* Until the second changes a line is suppressed, then one passes and says how many were. */
	for (bool told = false; !told;) {
		free(text);
		for (int i = 0; i < 50; i++)
			LOG(log, LOG_WARN, LOG_LIMIT, "flood");
		text = slurp(path);
		told = strstr(text, "\"message\":\"flood\",\"suppressed\":") != NULL;
	}
	free(text);
	log_close(&log);
}
END_TEST

START_TEST(flush_reports_when_the_second_is_over)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text = NULL;

	for (int i = 0; i < 100; i++)
		LOG(log, LOG_WARN, LOG_LIMIT, "flood");
	do {
		free(text);
		log_flush(log);
		text = slurp(path);
	} while (strstr(text, "were suppressed suppressed=") == NULL);
	free(text);
	log_flush(log);
	log_close(&log);
	text = slurp(path);
	ck_assert_uint_eq(count(text, ": flood") + sum_of(text, "suppressed="), 100);
	free(text);
}
END_TEST

START_TEST(reopen_follows_a_rotation)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	struct stat st;

	LOG(log, LOG_INFO, LOG_HOST, "before");
	ck_assert_int_eq(rename(path, moved), 0);
	LOG(log, LOG_INFO, LOG_HOST, "still the old file");
	ck_assert_int_eq(log_reopen(log), 0);
	LOG(log, LOG_INFO, LOG_HOST, "after");
	log_close(&log);
	expect(moved, "@ info host: before\n@ info host: still the old file\n");
	expect(path, "@ info host: after\n");
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0007, 0); /* nobody else's business */
}
END_TEST

START_TEST(reopen_that_fails_keeps_the_old_file)
{
	char below[128], inside[160];
	struct log *log;

	snprintf(below, sizeof below, "%s/sub", folder);
	snprintf(inside, sizeof inside, "%s/log", below);
	ck_assert_int_eq(mkdir(below, 0700), 0);
	log = log_open(inside, LOG_FORMAT_TEXT, LOG_INFO);
	ck_assert_ptr_nonnull(log);
	ck_assert_int_eq(rename(inside, path), 0);
	ck_assert_int_eq(rmdir(below), 0);
	ck_assert_int_eq(log_reopen(log), ENOENT);
	LOG(log, LOG_INFO, LOG_HOST, "here");
	log_close(&log);
	expect(path, "@ info host: here\n");
}
END_TEST

START_TEST(open_appends)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);

	LOG(log, LOG_INFO, LOG_HOST, "one");
	log_close(&log);
	log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	LOG(log, LOG_INFO, LOG_HOST, "two");
	log_close(&log);
	expect(path, "@ info host: one\n@ info host: two\n");
}
END_TEST

START_TEST(open_can_fail)
{
	char nowhere[128];

	snprintf(nowhere, sizeof nowhere, "%s/no/such/folder", folder);
	ck_assert_ptr_null(log_open(nowhere, LOG_FORMAT_TEXT, LOG_INFO));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(log_open(folder, LOG_FORMAT_TEXT, LOG_INFO));
	ck_assert_int_eq(errno, EISDIR);
	/* A FIFO without a reader must not hang. */
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_ptr_null(log_open(path, LOG_FORMAT_TEXT, LOG_INFO));
	ck_assert_int_eq(errno, ENXIO);
}
END_TEST

START_TEST(errno_survives)
{
	struct log *log = log_open("/dev/full", LOG_FORMAT_TEXT, LOG_INFO);

	errno = EMFILE;
	LOG(log, LOG_INFO, LOG_HOST, "m");
	ck_assert_int_eq(errno, EMFILE);
	log_close(&log);
}
END_TEST

START_TEST(full_disk_counts_lost_lines)
{
	struct log *log = log_open("/dev/full", LOG_FORMAT_TEXT, LOG_INFO);
	int file;

	ck_assert_ptr_nonnull(log);
	for (int i = 0; i < 3; i++)
		LOG(log, LOG_INFO, LOG_HOST, "no space");
	log_flush(log); /* still full: nothing can be said, and nothing is counted twice */
	file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	ck_assert_int_ge(dup2(file, log->fd), 0);
	close(file);
	LOG(log, LOG_INFO, LOG_HOST, "space again");
	LOG(log, LOG_INFO, LOG_HOST, "all well");
	log_close(&log);
	expect(path, "@ info host: space again lost=3\n@ info host: all well\n");
}
END_TEST

START_TEST(flush_reports_lost_lines)
{
	struct log *log = log_open("/dev/full", LOG_FORMAT_TEXT, LOG_INFO);
	int file;

	LOG(log, LOG_INFO, LOG_HOST, "no space");
	file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	dup2(file, log->fd);
	close(file);
	log_flush(log);
	log_flush(log);
	log_close(&log);
	expect(path, "@ warn host: log lines could not be written lost=1\n");
}
END_TEST

/* A disk that fills up in the middle of a line: the stump must not swallow the next line. */
START_TEST(torn_line_is_ended)
{
	struct rlimit old, small;
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	char *text;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 40;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	LOG(log, LOG_INFO, LOG_HOST, "a line that is longer than the room");
	LOG(log, LOG_INFO, LOG_HOST, "no room at all");
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	LOG(log, LOG_INFO, LOG_HOST, "room");
	log_close(&log);
	text = slurp(path);
	ck_assert_uint_eq(strcspn(text, "\n"), 40);
	ck_assert_uint_eq(count(text, "\n"), 2);
	ck_assert_ptr_nonnull(strstr(text, "info host: room lost=2\n"));
	free(text);
}
END_TEST

START_TEST(gone_reader_is_survived)
{
	int ends[2];
	struct log *log;

	ck_assert_int_eq(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log = log_open(NULL, LOG_FORMAT_TEXT, LOG_INFO);
	close(ends[0]);
	LOG(log, LOG_INFO, LOG_HOST, "nobody reads");
	ck_assert_uint_eq(log->lost, 1);
	ck_assert_int_eq(log_reopen(log), 0); /* nothing to open again */
	log_close(&log);
	ck_assert_int_eq(fcntl(STDERR_FILENO, F_GETFD), 0); /* not ours to close */
}
END_TEST

/* A reader that stands still must not stop the host: lines are dropped, those that come are whole,
 * and the gap is told. */
static void stalled(int read_end)
{
	struct log *log = log_open(NULL, LOG_FORMAT_TEXT, LOG_INFO);
	char text[8192], all[4096] = "";
	uint64_t lost;

	memset(text, 'x', 500);
	text[500] = '\0';
	for (int i = 0; i < 20000 && log->lost < 10; i++)
		LOG(log, LOG_INFO, LOG_HOST, "filling", LOG_STR("v", text));
	ck_assert_uint_eq(log->lost, 10);
	lost = log->lost;
	fcntl(read_end, F_SETFL, O_NONBLOCK);
	while (read(read_end, text, sizeof text) > 0)
		;
	LOG(log, LOG_INFO, LOG_HOST, "goes on");
	log_close(&log);
	ck_assert_int_gt(read(read_end, all, sizeof all - 1), 0);
	ck_assert_uint_eq(sum_of(all, "host: goes on lost="), lost);
}

START_TEST(stalled_pipe_does_not_block)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	stalled(ends[0]);
	close(ends[0]);
}
END_TEST

START_TEST(stalled_socket_does_not_block)
{
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	stalled(ends[0]);
	close(ends[0]);
}
END_TEST

static void *writer(void *arg)
{
	struct log *log = arg;

	for (unsigned i = 0; i < 500; i++) {
		LOG(log, LOG_INFO, LOG_HOST, "from a thread", LOG_U64("i", i));
		LOG(log, LOG_INFO, LOG_LIMIT, "limited", LOG_U64("i", i));
	}
	return NULL;
}

START_TEST(threads_may_write)
{
	struct log *log = log_open(path, LOG_FORMAT_TEXT, LOG_INFO);
	pthread_t threads[4];
	char *text;

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, log), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	log_close(&log);
	text = slurp(path);
	ck_assert_uint_eq(count(text, " info host: from a thread i="), 2000);
	ck_assert_uint_eq(count(text, ": limited") + sum_of(text, "suppressed="), 2000);
	ck_assert_uint_eq(count(text, "\n"), count(text, "Z info "));
	free(text);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, text_line);
	tcase_add_test(tc, json_line);
	tcase_add_test(tc, lines_for_the_journal);
	tcase_add_test(tc, the_last_lines_are_kept);
	tcase_add_test(tc, null_text_is_left_out);
	tcase_add_test(tc, level_filters);
	tcase_add_loop_test(tc, values_are_escaped, 0, (int)(sizeof VALUES / sizeof VALUES[0]));
	tcase_add_test(tc, nul_byte_in_a_span);
	tcase_add_test(tc, message_can_not_forge_fields);
	tcase_add_test(tc, any_bytes_make_valid_json);
	tcase_add_test(tc, long_values_are_cut);
	tcase_add_test(tc, kinds_are_limited);
	tcase_add_test(tc, report_takes_the_worst_level);
	tcase_add_test(tc, unlimited_kinds_pass);
	tcase_add_test(tc, next_line_tells_what_was_suppressed);
	tcase_add_test(tc, flush_reports_when_the_second_is_over);
	tcase_add_test(tc, reopen_follows_a_rotation);
	tcase_add_test(tc, reopen_that_fails_keeps_the_old_file);
	tcase_add_test(tc, open_appends);
	tcase_add_test(tc, open_can_fail);
	tcase_add_test(tc, errno_survives);
	tcase_add_test(tc, full_disk_counts_lost_lines);
	tcase_add_test(tc, flush_reports_lost_lines);
	tcase_add_test(tc, torn_line_is_ended);
	tcase_add_test(tc, gone_reader_is_survived);
	tcase_add_test(tc, stalled_pipe_does_not_block);
	tcase_add_test(tc, stalled_socket_does_not_block);
	tcase_add_test(tc, threads_may_write);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
