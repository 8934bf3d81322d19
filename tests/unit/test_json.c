/* The JSON reader and writer, with jansson as the oracle: what both read means the same, what one
 * refuses the other refuses too. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "common/json.h"
#include "common/utf8.h"
#include "run.h"

static uint64_t state;

static unsigned below(unsigned n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

static unsigned rounds(unsigned n)
{
	return RUNNING_ON_VALGRIND ? n / 50 : n;
}

static struct json reader(const char *p, size_t n)
{
	return (struct json){.p = p, .end = p + n};
}
#define READER(literal) reader((literal), sizeof(literal) - 1)

/* --- random documents ------------------------------------------------------------------------- */

struct text {
	char p[1 << 16];
	size_t n;
};

static void add(struct text *t, const char *s)
{
	size_t n = strlen(s);
	if (t->n + n < sizeof t->p) {
		memcpy(t->p + t->n, s, n);
		t->n += n;
	}
}

static void add_space(struct text *t)
{
	static const char *const some[] = {"", "", "", "", " ", "\t", "\r\n", "   "};
	add(t, some[below(8)]);
}

static void add_string(struct text *t)
{
	static const char *const pieces[] = {"a",
					     "plain text",
					     "\\n",
					     "\\\"",
					     "\\\\",
					     "\\/",
					     "\\b\\f\\r\\t",
					     "\\u0041",
					     "\\u0000",
					     "\\u001F",
					     "\\u00e9",
					     "\\u20AC",
					     "\\uFFFF",
					     "\\uD83D\\uDE00",
					     "\xc3\xa9",
					     "\xe2\x82\xac",
					     "\xf0\x9f\x98\x80",
					     " ",
					     "\x7f",
					     "'",
					     "0123456789",
					     "[{,:}]",
					     "\\ud800\\udc00",
					     "/"};
	add(t, "\"");
	for (unsigned n = below(9); n > 0; n--)
		add(t, pieces[below(sizeof pieces / sizeof *pieces)]);
	add(t, "\"");
}

static void add_number(struct text *t)
{
	static const char *const fixed[] = {"0",
					    "-0",
					    "1",
					    "-1",
					    "9007199254740991",
					    "9007199254740992",
					    "-9223372036854775808",
					    "9223372036854775807",
					    "1e3",
					    "1E+3",
					    "0.5",
					    "-1.25e-3",
					    "0e0",
					    "10",
					    "1.0",
					    "123456789"};
	char text[32];
	if (below(2) == 0) {
		add(t, fixed[below(16)]);
		return;
	}
	snprintf(text, sizeof text, "%u", below(1u << (1 + below(30))));
	add(t, text);
}

static void add_value(struct text *t, unsigned depth)
{
	static const char *const words[] = {"true", "false", "null"};
	char key[16];
	unsigned kind = below(depth < 5 ? 8 : 5), n = below(5);
	add_space(t);
	if (kind < 2)
		add_string(t);
	else if (kind < 4)
		add_number(t);
	else if (kind == 4)
		add(t, words[below(3)]);
	else if (kind == 5) {
		add(t, "[");
		for (unsigned i = 0; i < n; i++) {
			add(t, i > 0 ? "," : "");
			add_value(t, depth + 1);
		}
		add_space(t);
		add(t, "]");
	} else {
		add(t, "{");
		for (unsigned i = 0; i < n; i++) {
			add(t, i > 0 ? "," : "");
			add_space(t);
			snprintf(key, sizeof key, "\"k%u\xc3\xa9\"", i);
			add(t, key);
			add_space(t);
			add(t, ":");
			add_value(t, depth + 1);
		}
		add_space(t);
		add(t, "}");
	}
	add_space(t);
}

/* --- comparing -------------------------------------------------------------------------------- */

static void same(struct json *j, const json_t *v);

static void same_string(struct json *j, const json_t *v)
{
	struct json_string s;
	ck_assert(json_read_string(j, &s));
	size_t raw = s.n, n = json_unescape(&s, (char *)s.p); /* where it stands */
	ck_assert_uint_le(n, raw);
	ck_assert_uint_eq(n, json_string_length(v));
	ck_assert_int_eq(memcmp(s.p, json_string_value(v), n), 0);
}

static void same_number(struct json *j, const json_t *v)
{
	struct span text;
	uint64_t value;
	char copy[64];
	json_int_t i = json_integer_value(v);
	struct json before = *j;
	json_next_is(&before, '0'); /* skips white space */
	if (json_is_integer(v) && i >= 0 && (uint64_t)i <= JSON_INTEGER_MAX && *before.p != '-') {
		ck_assert(json_read_uint(j, &value));
		ck_assert_uint_eq(value, (uint64_t)i);
		return;
	}
	struct json other = *j;
	ck_assert(!json_read_uint(&other, &value));
	ck_assert(json_skip(j, &text));
	snprintf(copy, sizeof copy, "%.*s", (int)text.n, text.p);
	if (json_is_integer(v))
		ck_assert_int_eq(strtoll(copy, NULL, 10), i);
	else
		ck_assert(strtod(copy, NULL) == json_real_value(v));
}

static void same_object(struct json *j, const json_t *v)
{
	struct span key;
	size_t n = 0;
	for (bool first = json_enter(j, '{'); json_next_key(j, &first, &key); n++) {
		const json_t *member = json_object_getn(v, key.p, key.n);
		ck_assert_ptr_nonnull(member);
		same(j, member);
	}
	ck_assert_ptr_null(j->why);
	ck_assert_uint_eq(n, json_object_size(v));
}

static void same(struct json *j, const json_t *v)
{
	size_t n = 0;
	bool truth;
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		same_object(j, v);
		return;
	case JSON_ARRAY:
		for (bool first = json_enter(j, '['); json_next(j, ']', &first); n++) {
			ck_assert_ptr_nonnull(json_array_get(v, n));
			same(j, json_array_get(v, n));
		}
		ck_assert_ptr_null(j->why);
		ck_assert_uint_eq(n, json_array_size(v));
		return;
	case JSON_STRING:
		same_string(j, v);
		return;
	case JSON_INTEGER:
	case JSON_REAL:
		same_number(j, v);
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		ck_assert(json_read_bool(j, &truth));
		ck_assert(truth == json_is_true(v));
		return;
	case JSON_NULL:
		ck_assert(json_next_is(j, 'n'));
		ck_assert(json_skip(j, NULL));
		return;
	}
}

static bool at_end(struct json *j)
{
	json_next_is(j, '\0');
	return j->p == j->end;
}

START_TEST(valid_documents)
{
	static struct text t;
	state = 88172645463325252u;
	for (unsigned i = 0; i < rounds(30000); i++) {
		json_error_t error;
		t.n = 0;
		add_value(&t, 0);
		if (t.n > sizeof t.p - 64)
			continue;
		char *exact = malloc(t.n);
		memcpy(exact, t.p, t.n);
		json_t *v = json_loadb(exact, t.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
		ck_assert_msg(v != NULL, "%s in %.*s", error.text, (int)t.n, t.p);
		struct json skip = {.p = exact, .end = exact + t.n}, j = skip;
		struct span whole;
		ck_assert_msg(json_skip(&skip, &whole), "%s in %.*s", skip.why, (int)t.n, t.p);
		ck_assert(at_end(&skip) && whole.n > 0 && whole.p + whole.n <= exact + t.n);
		same(&j, v);
		ck_assert(at_end(&j));
		json_decref(v);
		free(exact);
	}
}
END_TEST

/* What jansson refuses for reasons that are none of the reader's, and the reader for its own. */
static bool may_differ(const struct json *j, const json_error_t *error)
{
	static const char *const theirs[] = {"invalid Unicode", "too big", "real number overflow",
					     "NUL byte in object key", "unable to decode byte"};
	for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
		if (strncmp(error->text, theirs[i], strlen(theirs[i])) == 0)
			return true;
	return j->why != NULL && strcmp(j->why, "nested too deeply") == 0;
}

static void mutate(struct text *t)
{
	static const char bytes[] = "\"\\[]{},:0123456789-+.eEtrufalsn \n\tDd\x01\x1f";
	size_t at = below((unsigned)t->n + 1);
	switch (below(5)) {
	case 0:
		t->n = at;
		break;
	case 1:
		if (at < t->n)
			memmove(t->p + at, t->p + at + 1, --t->n - at);
		break;
	case 2:
		if (at < t->n)
			t->p[at] = bytes[below(sizeof bytes - 1)];
		break;
	case 3:
		memmove(t->p + at + 1, t->p + at, t->n++ - at);
		t->p[at] = bytes[below(sizeof bytes - 1)];
		break;
	default:
		if (at < t->n)
			t->p[at] ^= (char)(1u << below(8));
		break;
	}
}

START_TEST(damaged_documents)
{
	static struct text t;
	unsigned good = 0, bad = 0;
	state = 1181783497276652981u;
	for (unsigned i = 0; i < rounds(100000); i++) {
		json_error_t error = {.line = 0};
		t.n = 0;
		add_value(&t, 2);
		if (t.n > sizeof t.p - 64)
			continue;
		for (unsigned k = 1 + below(3); k > 0; k--)
			mutate(&t);
		if (memchr(t.p, '\0', t.n) != NULL)
			continue; /* jansson loses a NUL behind a number */
		char *exact = malloc(t.n + (t.n == 0));
		memcpy(exact, t.p, t.n);
		json_t *v = json_loadb(exact, t.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
		struct json j = {.p = exact, .end = exact + t.n};
		bool ok = json_skip(&j, NULL) && at_end(&j);
		ck_assert(ok || j.why != NULL || j.p < j.end);
		ck_assert_msg(ok == (v != NULL) || may_differ(&j, &error),
			      "jansson: %s, we: %s, of %.*s", v != NULL ? "good" : error.text,
			      ok ? "good" : j.why, (int)t.n, t.p);
		*(ok ? &good : &bad) += 1;
		json_decref(v);
		free(exact);
	}
	ck_assert_uint_gt(good, rounds(100000) / 20);
	ck_assert_uint_gt(bad, rounds(100000) / 20);
}
END_TEST

/* --- what is wrong, in words ------------------------------------------------------------------ */

static const struct {
	const char *text, *why;
} WRONG[] = {
	{"", "a value was expected"},
	{" \t\r\n", "a value was expected"},
	{"[1 2]", "a comma or ] was expected"},
	{"[1", "a comma or ] was expected"},
	{"[", "the text ends too early"},
	{"[1,", "the text ends too early"},
	{"[1,]", "a value was expected"},
	{"[,1]", "a value was expected"},
	{"[1}", "a comma or ] was expected"},
	{"{", "the text ends too early"},
	{"{\"a\":1", "a comma or } was expected"},
	{"{\"a\":1,}", "a string was expected"},
	{"{\"a\" 1}", "a colon was expected"},
	{"{\"a\"", "a colon was expected"},
	{"{\"a\":}", "a value was expected"},
	{"{\"a\":", "a value was expected"},
	{"{a:1}", "a string was expected"},
	{"{1:1}", "a string was expected"},
	{"tru", "a value was expected"},
	{"True", "a value was expected"},
	{"nul", "a value was expected"},
	{"falsch", "a value was expected"},
	{"undefined", "a value was expected"},
	{"'a'", "a value was expected"},
	{"\"", "the text ends inside a string"},
	{"\"abc", "the text ends inside a string"},
	{"\"abc\\", "the text ends inside a string"},
	{"\"\\u", "a \\u without four hexadecimal digits"},
	{"\"\\u12\"", "a \\u without four hexadecimal digits"},
	{"\"\\u12g4\"", "a \\u without four hexadecimal digits"},
	{"\"\\u+123\"", "a \\u without four hexadecimal digits"},
	{"\"\\x41\"", "an unknown escape in a string"},
	{"\"\\U0041\"", "an unknown escape in a string"},
	{"\"\\'\"", "an unknown escape in a string"},
	{"\"a\nb\"", "a control character in a string"},
	{"\"a\tb\"", "a control character in a string"},
	{"\"\x1f\"", "a control character in a string"},
	{"-", "a digit was expected"},
	{"-a", "a digit was expected"},
	{"01", "a number with a leading zero"},
	{"-00", "a number with a leading zero"},
	{"1.", "a digit was expected"},
	{"1.e1", "a digit was expected"},
	{"1e", "a digit was expected"},
	{"1e+", "a digit was expected"},
	{"+1", "a value was expected"},
	{".5", "a value was expected"},
	{"\xef\xbb\xbf[]", "a value was expected"},
};

START_TEST(wrong_texts)
{
	size_t n = strlen(WRONG[_i].text);
	char *exact = malloc(n + (n == 0));
	memcpy(exact, WRONG[_i].text, n);
	struct json j = {.p = exact, .end = exact + n};
	struct span value = {"kept", 4};
	ck_assert(!json_skip(&j, &value));
	ck_assert_str_eq(j.why, WRONG[_i].why);
	ck_assert_str_eq(value.p, "kept");
	ck_assert_ptr_eq(j.p, j.end);
	free(exact);
}
END_TEST

START_TEST(a_nul_is_no_escape)
{
	struct json j = READER("\"\\\0\"");
	ck_assert(!json_skip(&j, NULL));
	ck_assert_str_eq(j.why, "an unknown escape in a string");
}
END_TEST

/* Everything fails from the first failure on, and the first reason stays. */
START_TEST(failures_stay)
{
	const char text[] = "[1,2] \"a\" true {} 5";
	struct json j = {.p = text, .end = text + sizeof text - 1};
	struct json_string s;
	struct span key;
	uint64_t n;
	bool b, first;
	ck_assert(!json_read_string(&j, &s));
	ck_assert_str_eq(j.why, "a string was expected");
	ck_assert(!json_read_string(&j, &s) && !json_read_uint(&j, &n) && !json_read_bool(&j, &b) &&
		  !json_skip(&j, NULL));
	first = json_enter(&j, '[');
	ck_assert(!json_next(&j, ']', &first) && !json_next_key(&j, &first, &key) &&
		  !json_next_is(&j, '['));
	ck_assert(!json_fail(&j, "something else"));
	ck_assert_str_eq(j.why, "a string was expected");
}
END_TEST

/* Whoever looks at it all the same finds nothing, whatever stood there before. */
START_TEST(a_string_without_an_end_is_empty)
{
	static const char *const texts[] = {"\"long enough for a block", "\"x\\", "\"x\\u12",
					    "\"x\x01\""};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct json_string s = {.p = "an earlier one", .n = 14};
		struct json j = {.p = texts[i], .end = texts[i] + strlen(texts[i])};
		ck_assert(!json_read_string(&j, &s) && s.n == 0);
	}
}
END_TEST

START_TEST(every_beginning_of_a_text)
{
	static const char text[] =
		" [ \"a\\u20ac\\n\" , { \"k\" : -12.5e+3 , \"l\" : [ ] , \"m\" : { } } , true , false , null , 0 , \"\" ] ";
	for (size_t n = 0; n <= sizeof text - 1; n++) {
		char *exact = malloc(n + (n == 0));
		memcpy(exact, text, n);
		struct json j = {.p = exact, .end = exact + n};
		ck_assert_msg(json_skip(&j, NULL) == (n >= sizeof text - 2), "%zu", n);
		free(exact);
	}
}
END_TEST

START_TEST(depth)
{
	static const char opens[] = {'[', '{'};
	for (int object = 0; object < 2; object++) {
		for (size_t n = JSON_DEPTH_MAX; n <= JSON_DEPTH_MAX + 2; n++) {
			char text[(JSON_DEPTH_MAX + 2) * 6], *p = text;
			for (size_t i = 0; i < n; i++) {
				*p++ = opens[object];
				if (object && i + 1 < n)
					p += sprintf(p, "\"\":");
			}
			for (size_t i = 0; i < n; i++)
				*p++ = object ? '}' : ']';
			struct json j = {.p = text, .end = p};
			ck_assert(json_skip(&j, NULL) == (n <= JSON_DEPTH_MAX + 1));
			if (n > JSON_DEPTH_MAX + 1)
				ck_assert_str_eq(j.why, "nested too deeply");
		}
	}
	char *deep = malloc(1 << 20);
	memset(deep, '[', 1 << 20);
	struct json j = {.p = deep, .end = deep + (1 << 20)};
	ck_assert(!json_skip(&j, NULL));
	ck_assert_str_eq(j.why, "nested too deeply");
	free(deep);
}
END_TEST

static const struct {
	const char *text;
	bool ok;
	uint64_t value;
	const char *why;
} NUMBERS[] = {
	{"0", true, 0, NULL},
	{" 7 ", true, 7, NULL},
	{"9007199254740991", true, JSON_INTEGER_MAX, NULL},
	{"9007199254740992", false, 0, "a number above 2^53 - 1"},
	{"99999999999999999999999999999999", false, 0, "a number above 2^53 - 1"},
	{"18446744073709551617", false, 0, "a number above 2^53 - 1"},
	{"-1", false, 0, "a whole number was expected"},
	{"-0", false, 0, "a whole number was expected"},
	{"1.0", false, 0, "a whole number was expected"},
	{"1e2", false, 0, "a whole number was expected"},
	{"1E2", false, 0, "a whole number was expected"},
	{"007", false, 0, "a number with a leading zero"},
	{"00", false, 0, "a number with a leading zero"},
	{"\"1\"", false, 0, "a whole number was expected"},
	{"true", false, 0, "a whole number was expected"},
	{"", false, 0, "a whole number was expected"},
};

START_TEST(numbers)
{
	size_t n = strlen(NUMBERS[_i].text);
	char *exact = malloc(n + (n == 0));
	memcpy(exact, NUMBERS[_i].text, n);
	struct json j = {.p = exact, .end = exact + n};
	uint64_t value = 99;
	ck_assert(json_read_uint(&j, &value) == NUMBERS[_i].ok);
	ck_assert_uint_eq(value, NUMBERS[_i].ok ? NUMBERS[_i].value : 99);
	ck_assert_pstr_eq(j.why, NUMBERS[_i].why);
	free(exact);
}
END_TEST

/* For numbers that spoil only what they are for: what is none is skipped, and so are words that are
 * no JSON. */
START_TEST(numbers_or_not)
{
	static const struct {
		const char *text;
		bool bad;
		uint64_t value;
	} rows[] = {{"7", false, 7},
		    {"9007199254740991", false, JSON_INTEGER_MAX},
		    {"9007199254740992", true, 0},
		    {"-5", true, 0},
		    {"1e300", true, 0},
		    {"0.5", true, 0},
		    {"NaN", true, 0},
		    {"Infinity", true, 0},
		    {"-Infinity", true, 0},
		    {"\"5\"", true, 0},
		    {"null", true, 0},
		    {"[1,{\"a\":2}]", true, 0}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char text[64];
		uint64_t value = 99;
		bool bad = false, first = true;
		int n = snprintf(text, sizeof text, "[ %s ]", rows[i].text);
		struct json j = {.p = text, .end = text + n};
		ck_assert(json_enter(&j, '[') && json_next(&j, ']', &first));
		ck_assert_msg(json_read_uint_or_skip(&j, &value, &bad), "%s: %s", text, j.why);
		ck_assert_msg(bad == rows[i].bad && value == rows[i].value, "%s", text);
		ck_assert(!json_next(&j, ']', &first) && j.why == NULL);
	}
	static const char *const none[] = {"", "Nan", "-Inf", "01x", "[1", "-"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		uint64_t value;
		bool bad = false;
		struct json j = {.p = none[i], .end = none[i] + strlen(none[i])};
		ck_assert_msg(!json_read_uint_or_skip(&j, &value, &bad) && j.why != NULL, "%s",
			      none[i]);
	}
}
END_TEST

START_TEST(booleans)
{
	static const char *const bad[] = {"", "t", "tru", "fals", "null", "1", "\"true\"", "TRUE"};
	bool value = false;
	struct json j = READER(" true false");
	ck_assert(json_read_bool(&j, &value) && value);
	ck_assert(json_read_bool(&j, &value) && !value && j.p == j.end);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct json wrong = {.p = bad[i], .end = bad[i] + strlen(bad[i])};
		ck_assert(!json_read_bool(&wrong, &value) && wrong.why != NULL);
	}
}
END_TEST

/* --- strings ---------------------------------------------------------------------------------- */

/* Each byte at each place of a string, so that no place in a word or a vector escapes the search.
 */
START_TEST(each_byte_at_each_place)
{
	for (size_t n = 1; n <= 41; n++) {
		for (size_t at = 0; at < n; at++) {
			for (unsigned byte = 0; byte < 256; byte += RUNNING_ON_VALGRIND ? 5 : 1) {
				char *exact = malloc(n + 2);
				/* high bytes are no end and no control characters */
				memset(exact, (int)(0x80 + at), n + 2);
				exact[0] = exact[n + 1] = '"';
				exact[1 + at] = (char)byte;
				struct json j = {.p = exact, .end = exact + n + 2};
				struct json_string s;
				bool ok = json_read_string(&j, &s);
				if (byte < 0x20)
					ck_assert(!ok &&
						  strcmp(j.why,
							 "a control character in a string") == 0);
				else if (byte == '"')
					ck_assert(ok && s.n == at && j.p == exact + at + 2);
				else if (byte == '\\')
					ck_assert(!ok || at + 1 == n);
				else
					ck_assert(ok && s.n == n && !s.escaped &&
						  s.p == exact + 1 && j.p == j.end);
				free(exact);
			}
		}
	}
}
END_TEST

static const struct {
	const char *text, *meaning;
	size_t n;
} ESCAPES[] = {
	{"", "", 0},
	{"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", 8},
	{"\\u0000", "\0", 1},
	{"\\u007f\\u0080", "\x7f\xc2\x80", 3},
	{"\\u07FF\\u0800\\uFFFF", "\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 8},
	{"\\uD800\\uDC00", "\xf0\x90\x80\x80", 4},
	{"\\udbff\\udfff", "\xf4\x8f\xbf\xbf", 4},
	{"\\uD800", "\xed\xa0\x80", 3},
	{"\\uD800x", "\xed\xa0\x80x", 4},
	{"\\uD800\\n", "\xed\xa0\x80\n", 4},
	{"\\uD800\\u0041",
	 "\xed\xa0\x80"
	 "A",
	 4},
	{"\\uD800\\uD800\\uDC00", "\xed\xa0\x80\xf0\x90\x80\x80", 7},
	{"\\uDC00\\uD800", "\xed\xb0\x80\xed\xa0\x80", 6},
	{"\\uDFFF", "\xed\xbf\xbf", 3},
	{"\\uDC00\\uDC00", "\xed\xb0\x80\xed\xb0\x80", 6},
	{"\\uD800\\uE000", "\xed\xa0\x80\xee\x80\x80", 6},
	{"\\uD800\\uDBFF", "\xed\xa0\x80\xed\xaf\xbf", 6},
	{"long text before \\u00e9 and behind", "long text before \xc3\xa9 and behind", 30},
	{"\xff\\n\xfe", "\xff\n\xfe", 3},
};

START_TEST(escapes)
{
	char text[100], apart[100];
	size_t len = (size_t)sprintf(text, "\"%s\"", ESCAPES[_i].text);
	struct json j = {.p = text, .end = text + len};
	struct json_string s;
	ck_assert(json_read_string(&j, &s));
	ck_assert(s.escaped == (strchr(ESCAPES[_i].text, '\\') != NULL));
	ck_assert_uint_eq(json_unescape(&s, apart), ESCAPES[_i].n);
	ck_assert_int_eq(memcmp(apart, ESCAPES[_i].meaning, ESCAPES[_i].n), 0);
	ck_assert_uint_eq(json_unescape(&s, (char *)s.p), ESCAPES[_i].n);
	ck_assert_int_eq(memcmp(s.p, ESCAPES[_i].meaning, ESCAPES[_i].n), 0);
	ck_assert(
		utf8_valid(apart, ESCAPES[_i].n) ==
		(strstr(ESCAPES[_i].meaning, "\xed") == NULL && ESCAPES[_i].meaning[0] != '\xff'));
}
END_TEST

START_TEST(words_have_no_escapes)
{
	struct json j = READER("\"ack\" \"\\u0061ck\" \"acks\" \"\"");
	struct json_string s;
	ck_assert(json_read_string(&j, &s) && json_is(&s, "ack") && !json_is(&s, "ac") &&
		  !json_is(&s, ""));
	ck_assert(json_read_string(&j, &s) && !json_is(&s, "ack"));
	ck_assert(json_read_string(&j, &s) && !json_is(&s, "ack"));
	ck_assert(json_read_string(&j, &s) && json_is(&s, "") && j.p == j.end);
}
END_TEST

START_TEST(keys_with_escapes_match_nothing)
{
	struct json j = READER("{\"\\u0061\":1,\"b\":2}");
	struct span key;
	bool first = json_enter(&j, '{');
	ck_assert(json_next_key(&j, &first, &key) && key.n == 0 && json_skip(&j, NULL));
	ck_assert(json_next_key(&j, &first, &key) && span_eq(key, SPAN("b")) &&
		  json_skip(&j, NULL));
	ck_assert(!json_next_key(&j, &first, &key) && j.why == NULL && j.p == j.end);
}
END_TEST

/* Every byte, every pair of bytes from a few, and random text: written within the bound, and
 * jansson reads it back. */
static void reads_back(const char *text, size_t n)
{
	char *exact = malloc(JSON_ESCAPED_MAX(n));
	size_t len = json_escape(exact, text, n);
	ck_assert_uint_le(len, JSON_ESCAPED_MAX(n));
	bool printable = true;
	for (size_t i = 0; i < len; i++)
		printable = printable && (unsigned char)exact[i] >= 0x20;
	ck_assert(printable);
	if (utf8_valid(text, n)) {
		json_t *v = json_loadb(exact, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		ck_assert(json_is_string(v) && json_string_length(v) == n &&
			  memcmp(json_string_value(v), text, n) == 0);
		json_decref(v);
	}
	struct json j = {.p = exact, .end = exact + len};
	struct json_string s;
	ck_assert(json_read_string(&j, &s) && j.p == j.end);
	ck_assert_uint_eq(json_unescape(&s, (char *)s.p), n);
	ck_assert(n == 0 || memcmp(s.p, text, n) == 0);
	free(exact);
}

START_TEST(escaping)
{
	char text[64], expected[32];
	state = 42;
	reads_back("", 0);
	for (unsigned c = 0; c < 256; c++)
		for (unsigned before = 0; before < 10; before++) {
			memset(text, 'x', sizeof text);
			text[before] = (char)c;
			reads_back(text, before + 1);
			reads_back(text, before + 9);
		}
	for (unsigned i = 0; i < rounds(20000); i++) {
		size_t n = below(sizeof text);
		for (size_t k = 0; k < n; k++)
			text[k] = (char)(below(3) == 0 ? below(256) : below(40));
		reads_back(text, n);
	}
	ck_assert_uint_eq(json_escape(expected, "\0\n\x1f/", 4), 17);
	ck_assert_int_eq(memcmp(expected, "\"\\u0000\\n\\u001f/\"", 17), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("json");
	TCase *tc = tcase_create("json");

	tcase_add_test(tc, valid_documents);
	tcase_add_test(tc, damaged_documents);
	tcase_add_loop_test(tc, wrong_texts, 0, (int)(sizeof WRONG / sizeof *WRONG));
	tcase_add_test(tc, a_nul_is_no_escape);
	tcase_add_test(tc, failures_stay);
	tcase_add_test(tc, a_string_without_an_end_is_empty);
	tcase_add_test(tc, every_beginning_of_a_text);
	tcase_add_test(tc, depth);
	tcase_add_loop_test(tc, numbers, 0, (int)(sizeof NUMBERS / sizeof *NUMBERS));
	tcase_add_test(tc, numbers_or_not);
	tcase_add_test(tc, booleans);
	tcase_add_test(tc, each_byte_at_each_place);
	tcase_add_loop_test(tc, escapes, 0, (int)(sizeof ESCAPES / sizeof *ESCAPES));
	tcase_add_test(tc, words_have_no_escapes);
	tcase_add_test(tc, keys_with_escapes_match_nothing);
	tcase_add_test(tc, escaping);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
