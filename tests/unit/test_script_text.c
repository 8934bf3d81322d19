/* What goes through a script's pipes: messages to it and from it, and the words of its commands. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "handler/script/script_text.h"
#include "run.h"

/* All of it, written in steps of at most `step` bytes. */
static char *written(enum script_framing framing, struct span message, bool binary, size_t step,
		     size_t *n_r)
{
	struct script_writer w;
	static char piece[SCRIPT_WRITE];
	char *all = malloc(16 * message.n + 64);
	size_t n = 0;
	script_writer_begin(&w, framing, message, binary);
	while (!script_writer_is_done(&w)) {
		size_t got = script_writer_fill(&w, piece, sizeof piece);
		if (got > step)
			got = step;
		memcpy(all + n, piece, got);
		n += got;
		script_writer_wrote(&w, got);
	}
	ck_assert_uint_eq(script_writer_fill(&w, piece, sizeof piece), 0);
	*n_r = n;
	return all;
}

static void check_written(enum script_framing framing, struct span message, bool binary,
			  struct span expected)
{
	static const size_t steps[] = {1, 2, 3, 7, 64, 4095, 4096, 65536};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		size_t n;
		char *got = written(framing, message, binary, steps[i], &n);
		ck_assert_uint_eq(n, expected.n);
		ck_assert_int_eq(memcmp(got, expected.p, n), 0);
		free(got);
	}
}

START_TEST(messages_are_written)
{
	check_written(SCRIPT_LINES, SPAN("a b"), false, SPAN("a b\n"));
	check_written(SCRIPT_LINES, SPAN(""), false, SPAN("\n"));
	check_written(SCRIPT_LINES, SPAN("a\nb"), true, SPAN("a\nb\n"));
	check_written(SCRIPT_FRAMES, SPAN("abc"), false, SPAN("\0\0\0\3abc"));
	check_written(SCRIPT_FRAMES, SPAN(""), true, SPAN("\0\0\0\0"));
	check_written(SCRIPT_JSON, SPAN("a\n\"b\"\\\x01\0"), false,
		      SPAN("\"a\\n\\\"b\\\"\\\\\\u0001\\u0000\"\n"));
	check_written(SCRIPT_JSON, SPAN(""), false, SPAN("\"\"\n"));
	check_written(SCRIPT_JSON, SPAN("\0\xff\n"), true, SPAN("{\"bin\":\"AP8K\"}\n"));
	check_written(SCRIPT_JSON, SPAN("ab"), true, SPAN("{\"bin\":\"YWI=\"}\n"));
	check_written(SCRIPT_JSON, SPAN(""), true, SPAN("{\"bin\":\"\"}\n"));
}
END_TEST

/* What is written is read as what it was, at each length around the pieces that it goes in. */
START_TEST(what_is_written_can_be_read)
{
	static const size_t lengths[] = {0, 1, 2, 3, 3071, 3072, 3073, 6144, 9217, 100000};
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		for (int binary = 0; binary <= 1; binary++) {
			struct script_message m;
			size_t n, len = lengths[i];
			char *bytes = malloc(len + 1);
			for (size_t k = 0; k < len; k++)
				bytes[k] = (char)(binary       ? k * 7 + k / 251
						  : k % 3 == 0 ? k % 32
							       : 'a' + k % 26);
			char *line =
				written(SCRIPT_JSON, (struct span){bytes, len}, binary, 4096, &n);
			ck_assert_int_eq(line[n - 1], '\n');
			ck_assert_ptr_null(script_message_read(line, n - 1, SCRIPT_JSON, &m));
			ck_assert_int_eq(m.binary, binary);
			ck_assert_uint_eq(m.bytes.n, len);
			ck_assert_int_eq(memcmp(m.bytes.p, bytes, len), 0);
			free(line);
			free(bytes);
		}
}
END_TEST

static const char *read_line(const char *text, struct script_message *m_r)
{
	static char line[256];
	strcpy(line, text);
	return script_message_read(line, strlen(line), SCRIPT_JSON, m_r);
}

START_TEST(lines_are_read)
{
	static const char *const good[][2] = {{"\"a b\"", "a b"},
					      {"  \"a\"  ", "a"},
					      {"\"\\u00e4\\n\"", "\xc3\xa4\n"},
					      {"{\"bin\":\"YWI=\"}", "ab"},
					      {" { \"bin\" : \"YQ==\" } ", "a"},
					      {"{\"bin\":\"YW\\u0049=\"}", "ab"}};
	static const char *const bad[] = {"",
					  "a",
					  "\"a",
					  "\"a\" b",
					  "1",
					  "null",
					  "[\"a\"]",
					  "{}",
					  "{\"bin\":1}",
					  "{\"bin\":\"YW\"}",
					  "{\"bin\":\"YWI\"}",
					  "{\"bin\":\"Y=I=\"}",
					  "{\"bin\":\"====\"}",
					  "{\"bin\":\"YWI=\\n\"}",
					  "{\"bin\":\"Y-I_\"}",
					  "{\"bin\":\"YWI=\",\"bin\":\"YWI=\"}",
					  "{\"text\":\"a\"}",
					  "{\"bin\":\"YWI=\"}x",
					  "\"\\x\"",
					  "\"\x01\""};
	struct script_message m;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		ck_assert_msg(read_line(good[i][0], &m) == NULL, "%s", good[i][0]);
		ck_assert_uint_eq(m.bytes.n, strlen(good[i][1]));
		ck_assert_msg(memcmp(m.bytes.p, good[i][1], m.bytes.n) == 0, "%s", good[i][0]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ck_assert_msg(read_line(bad[i], &m) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(words_are_taken)
{
	static const struct {
		const char *line, *words[5], *rest; /* rest NULL: nothing follows */
	} cases[] = {
		{"join lobby", {"join", "lobby"}, NULL},
		{"join lobby ", {"join", "lobby"}, ""},
		{"join  lobby", {"join", "lobby"}, NULL},
		{"join \"team private\"", {"join", "team private"}, NULL},
		{"to \"a b\" X Y", {"to", "a b"}, "X Y"},
		{"to \"a b\"  X", {"to", "a b"}, " X"},
		{"to \"a\\n\\\"\\u00e4\" X", {"to", "a\n\"\xc3\xa4"}, "X"},
		{"to \"\" X", {"to", ""}, "X"},
		{"a\"b c\"", {"a\"b", "c\""}, NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char line[64];
		strcpy(line, cases[i].line);
		struct span rest = span_of(line), word;
		for (size_t k = 0; cases[i].words[k] != NULL; k++) {
			ck_assert_msg(script_word(&rest, &word) == NULL, "%s", cases[i].line);
			ck_assert_ptr_nonnull(word.p);
			ck_assert_msg(span_eq(word, span_of(cases[i].words[k])), "%s: %s",
				      cases[i].line, cases[i].words[k]);
		}
		ck_assert_int_eq(rest.p == NULL, cases[i].rest == NULL);
		ck_assert(span_eq(rest, span_of(cases[i].rest)));
	}
}
END_TEST

START_TEST(there_may_be_no_word)
{
	char blank[] = "  ";
	struct span rest = {NULL, 0}, word;
	ck_assert_ptr_null(script_word(&rest, &word));
	ck_assert_ptr_null(word.p);
	rest = span_of(blank);
	ck_assert_ptr_null(script_word(&rest, &word));
	ck_assert_ptr_null(word.p);
}
END_TEST

START_TEST(quotes_have_to_end)
{
	static const char *const bad[] = {"\"a", "\"a\"b", "\"a\\x\"", "\"a\\\"", "\"\x01\""};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char line[16];
		strcpy(line, bad[i]);
		struct span rest = span_of(line), word;
		ck_assert_msg(script_word(&rest, &word) != NULL, "%s", bad[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("script_text");
	TCase *t = tcase_create("script_text");
	tcase_add_test(t, messages_are_written);
	tcase_add_test(t, what_is_written_can_be_read);
	tcase_add_test(t, lines_are_read);
	tcase_add_test(t, words_are_taken);
	tcase_add_test(t, there_may_be_no_word);
	tcase_add_test(t, quotes_have_to_end);
	suite_add_tcase(s, t);
	return run_suite(s);
}
