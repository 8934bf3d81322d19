/* .tova programs and what is wrong with them: each fault with its place, all of them, and programs
 * that are right. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tova/translate.h"
#include "run.h"

/* The faults as "LINE:COLUMN TEXT", one in a line. */
static void faults_of(const char *text, char *said, size_t cap)
{
	struct translation t;
	size_t at = 0;
	said[0] = '\0';
	translate(text, strlen(text), &t);
	for (size_t i = 0; i < t.faults.n && at < cap; i++)
		at += (size_t)snprintf(said + at, cap - at, "%u:%u %s\n", t.faults.v[i].at.line,
				       t.faults.v[i].at.column, t.faults.v[i].text);
	translation_free(&t);
}

static const struct {
	const char *text, *faults;
} CASES[] = {
	{"", ""},
	{"#!/usr/bin/env tova\nx = 1\n", ""},
	{"server { ws { on_open fn(ws) { ws.send(\"hi\") } } }", ""},
	{"x = 5\nx = 6", "2:1 \"x\" is made in line 1 and can not be changed: write var there\n"},
	{"var x = 5\nx = 6\nx += 1", ""},
	{"fn f(a) { a = 2 }",
	 "1:11 \"a\" is a parameter and can not be changed: write var, with another name\n"},
	{"print(coutn)\ncount = 1", "1:7 there is no \"coutn\"; did you mean count?\n"},
	{"fn f() { g() }\nfn g() { f() }", ""},
	{"print(x)\nx = 1", "1:7 \"x\" is used here and made in line 2\n"},
	{"fn f() { print(x) }\nx = 1", ""},
	{"break", "1:1 break stands in no loop\n"},
	{"for x in [1] { fn f() { continue } }", "1:25 continue stands in no loop\n"},
	{"return 1", "1:1 return stands in no function\n"},
	{"fn f() { x = 1 + if true { return 1 } else { 2 } }",
	 "1:28 return can not stand in the middle of a value: make it a statement\n"},
	{"fn f() { x = if true { return 1 } else { 2 } }", ""},
	{"server { ws { on_mesage fn(ws, m) { } } }",
	 "1:15 there is no event \"on_mesage\": on_open, on_message, on_close, on_error, on_away, on_back, on_join, on_leave\n"},
	{"server { ws { on_open fn(ws, m) { } } }", "1:15 on_open is given 1 values, not 2\n"},
	{"server { ws { on_open fn(ws) { }\non_open fn(ws) { } } }",
	 "2:1 on_open is there already, in line 1\n"},
	{"import { a } from \"b\"\ntype A { B }\ncomponent C() { }\nasync fn f() { }",
	 "1:1 imports are not supported here ('import'): a program is one file\n"
	 "2:1 types are not supported here ('type')\n"
	 "3:1 components are not supported here: the page is a file of --static\n"
	 "4:1 'async' is not supported here: handlers do not wait\n"},
	{"x: Int = 1", "1:2 types are not supported here (': ...' behind a name)\n"},
	{"fn f(a: Int) { }", "1:7 types are not supported here (': ...' behind a parameter)\n"},
	{"fn f() -> Int { 1 }", "1:8 types are not supported here ('-> ...')\n"},
	{"{ a, b } = x", "1:1 taking values apart is not supported here\n"},
	{"a, b = 1, 2", "1:2 several names in one statement are not supported here\n"},
	{"x = \"abc", "1:5 this string has no end in its line\n"},
	{"x = \"a\\q\"",
	 "1:7 an unknown escape in a string; there are \\n \\t \\r \\\\ \\\" \\' \\{ \\}\n"},
	{"/* a /* b */", "1:1 this comment has no end\n"},
	{"x = 1 $ 2", "1:7 '$' means nothing here\n"},
	{"x = [1, 2\ny = 3", "2:1 ',' or ']' was expected, not \"y\"\n"},
	{"x = 12ab", "1:7 a number that goes on with a letter\n"},
	{"if x { } else if y { }", "1:15 write elif, not else if\n"},
	{"match 1 { _ => 1\n2 => 3 }",
	 "2:1 this arm is never reached: the one in line 1 takes all\n"},
	{"match 1 { 5..2 => 1 }", "1:11 no number lies in this range\n"},
	{"match 1 { Ok(x) => 1 }", "1:11 types are not supported here (the pattern Ok)\n"},
	{"x = {a: 1, a: 2}", "1:12 the key \"a\" is there twice\n"},
	{"x = len()", "1:5 len takes at least 1 values, not 0\n"},
	{"x = len(1, 2)", "1:5 len takes at most 1 values, not 2\n"},
	{"fn f(a, a) { }", "1:9 there are two parameters \"a\"\n"},
	{"fn f() { }\nfn f() { }", "2:4 \"f\" is there already, in line 1\n"},
	{"fn f() { }\nf = 1", "2:1 \"f\" is a function, made in line 1: take another name\n"},
	{"len = 1\nprint(len)", ""},
	{"1 = 2", "1:3 only names, members and elements can be assigned to\n"},
	{"x = r\"a\"", "1:5 strings with a letter in front (r\"...\") are not supported here\n"},
	{"x = [1][0:1]", "1:10 slices ([a:b]) are not supported here: see slice(a, b)\n"},
	{"\xC3\xA9\xC3\xA9 = 1\n\xC3\xA9\xC3\xA9 = $", "2:6 '$' means nothing here\n"},
	{"x = \xFF", "0:0 the file is not UTF-8\n"},
};

START_TEST(faults_and_their_places)
{
	char said[8192];
	faults_of(CASES[_i].text, said, sizeof said);
	ck_assert_msg(strcmp(said, CASES[_i].faults) == 0, "of\n%s\nit said\n%snot\n%s",
		      CASES[_i].text, said, CASES[_i].faults);
}
END_TEST

/* A text of n pieces between two others. */
static char *text_of(const char *before, const char *piece, size_t n, const char *behind)
{
	size_t size = strlen(before) + n * strlen(piece) + strlen(behind) + 1;
	char *text = malloc(size), *at = stpcpy(text, before);
	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, piece);
	strcpy(at, behind);
	return text;
}

/* However deep or long: a fault, or a translation; never the end of the stack. */
START_TEST(nesting_without_end)
{
	static const char *const pieces[][3] = {{"x = ", "(", ""},
						{"x = ", "[", "]"},
						{"x = ", "-", "1"},
						{"x = ", "not ", "1"},
						{"x = 1", " + 1", ""},
						{"x = 1", " |> f()", ""},
						{"x = f", "(1)", ""},
						{"x = f", ".a", ""},
						{"x = 1", " ** 1", ""},
						{"", "if true { ", ""},
						{"x = ", "{a: ", "1"},
						{"x = ", "\"{", "1"},
						{"x = ", "fn(x) ", "1"},
						{"if a { }", " elif a { }", ""},
						{"", "/*", ""},
						{"x = 1", " < 1", ""},
						{"x = ", "match 1 { _ => ", "1"},
						{"", "{", ""},
						{"x = 1", " ?? 1", ""},
						{"", "}", ""},
						{"x = ", "try { ", "1"},
						{"x = \"", "{1}", "\""},
						{"x = [", "1,", "]"},
						{"", "x = (\n", ""},
						{"x = a", "?.a", ""},
						{"x = [", "...a,", "]"},
						{"x = ", "a => ", "1"}};
	for (size_t n = 1; n <= 100000; n *= 10) {
		char *text = text_of(pieces[_i][0], pieces[_i][1], n, pieces[_i][2]);
		struct translation t;
		bool ok = translate(text, strlen(text), &t);
		ck_assert(ok == (t.faults.n == 0));
		translation_free(&t);
		free(text);
	}
}
END_TEST

START_TEST(a_program_that_is_too_large)
{
	char said[8192], *text = text_of("", "// 345678\n", TRANSLATE_MAX / 10 + 1, "");
	faults_of(text, said, sizeof said);
	ck_assert_str_eq(said, "0:0 a program is at most 1048576 bytes long, not 1048580\n");
	free(text);
}
END_TEST

START_TEST(more_faults_than_are_kept)
{
	char *text = text_of("", "break\n", FAULTS_MAX + 7, "");
	struct translation t;
	ck_assert(!translate(text, strlen(text), &t));
	ck_assert_uint_eq(t.faults.n, FAULTS_MAX);
	ck_assert_uint_eq(t.faults.dropped, 7);
	translation_free(&t);
	free(text);
}
END_TEST

START_TEST(what_else_it_finds)
{
	static const char text[] = "var a = 1\nb = 2\nvar c = []\nfn f() { var d = stats() }\n"
				   "server { var e = 0; ws { on_close fn(ws) { } } }";
	struct translation t;
	ck_assert(translate(text, strlen(text), &t));
	ck_assert(t.stats && t.handlers[CHECKER_CLOSE] && !t.handlers[CHECKER_OPEN]);
	ck_assert_uint_eq(t.n_vars, 3);
	ck_assert_str_eq(t.vars[0], "a");
	ck_assert_str_eq(t.vars[1], "c");
	ck_assert_str_eq(t.vars[2], "e");
	translation_free(&t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tova_translate");
	TCase *tc = tcase_create("translate");
	tcase_add_loop_test(tc, faults_and_their_places, 0, sizeof CASES / sizeof *CASES);
	tcase_add_loop_test(tc, nesting_without_end, 0, 27);
	tcase_add_test(tc, a_program_that_is_too_large);
	tcase_add_test(tc, more_faults_than_are_kept);
	tcase_add_test(tc, what_else_it_finds);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
