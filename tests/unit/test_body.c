/* Bodies of HTTP requests. Each is read whole and in pieces of every size, and must give the same
 * bytes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "ws/body.h"
#include "run.h"

#define BYTES_MAX 8192

static const struct request_limits limits = {.head_max = 8192, .headers_max = 20};

/* What a body gave: its bytes, or a status. */
struct answer {
	int status; /* 200: all of it came; 100: more is to come; else it is refused */
	size_t used, n;
	const char *why;
	char bytes[BYTES_MAX];
};

static int begin(struct body_reader *b, const char *headers, uint64_t max, const char **why_r)
{
	static struct request r;
	static char head[4096];
	size_t used;
	int status;
	const int n = snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n", headers);

	ck_assert_int_eq(request_parse(&r, &limits, head, (size_t)n, NULL, &used, &status, why_r),
			 REQUEST_OK);
	ck_assert(r.has_body);
	return body_begin(b, &r, max, why_r);
}

/* The bytes come `piece` at a time, each piece in memory of its own. */
static void in_pieces(struct answer *a, const char *headers, uint64_t max, const char *bytes,
		      size_t n, size_t piece)
{
	struct body_reader b;
	enum body_status status = BODY_MORE;

	memset(a, 0, sizeof(*a));
	a->status = begin(&b, headers, max, &a->why);
	if (a->status != 0)
		return;
	for (size_t at = 0; status == BODY_MORE && at < n;) {
		const size_t len = n - at < piece ? n - at : piece;
		char *exact = malloc(len);
		size_t from = 0, used;
		struct span data;

		memcpy(exact, bytes + at, len);
		do {
			status = body_read(&b, exact + from, len - from, &used, &data, &a->status,
					   &a->why);
			from += used;
			if (status == BODY_DATA) {
				ck_assert(data.n > 0 && data.p + data.n == exact + from &&
					  a->n + data.n <= BYTES_MAX);
				memcpy(a->bytes + a->n, data.p, data.n);
				a->n += data.n;
			}
		} while (status == BODY_DATA);
		ck_assert(status != BODY_MORE || from == len);
		a->used += from;
		at += from;
		free(exact);
	}
	if (status == BODY_DONE)
		a->status = 200;
	else if (status == BODY_MORE)
		a->status = 100;
	else
		ck_assert(a->status >= 400 && a->status < 600 && strlen(a->why) > 5);
}

static struct answer whole;

static int answer(const char *headers, uint64_t max, const char *bytes)
{
	static struct answer again;
	const size_t n = strlen(bytes);

	in_pieces(&whole, headers, max, bytes, n, n + 1);
	for (size_t piece = 1; piece <= 9; piece++) {
		in_pieces(&again, headers, max, bytes, n, piece);
		ck_assert_int_eq(again.status, whole.status);
		ck_assert_uint_eq(again.used, whole.used);
		ck_assert_uint_eq(again.n, whole.n);
		ck_assert_mem_eq(again.bytes, whole.bytes, whole.n);
		ck_assert(again.why == whole.why);
	}
	return whole.status;
}

#define CHUNKED "Transfer-Encoding: chunked\r\n"

static int chunked(const char *bytes)
{
	return answer(CHUNKED, BYTES_MAX, bytes);
}

static void expect(const char *text)
{
	ck_assert_uint_eq(whole.n, strlen(text));
	ck_assert_mem_eq(whole.bytes, text, whole.n);
}

START_TEST(a_length)
{
	ck_assert_int_eq(answer("Content-Length: 5\r\n", 5, "helloGET /"), 200);
	expect("hello");
	ck_assert_uint_eq(whole.used, 5);
	ck_assert_int_eq(answer("Content-Length: 5\r\n", 5, "hell"), 100);
	ck_assert_int_eq(answer("Content-Length: 6\r\n", 5, ""), 413);
	ck_assert_int_eq(answer("Content-Length: 999999999999999999\r\n", 5, ""), 413);
}
END_TEST

START_TEST(chunks)
{
	ck_assert_int_eq(chunked("5\r\nhello\r\n0\r\n\r\nGET"), 200);
	expect("hello");
	ck_assert_uint_eq(whole.used, 15);
	ck_assert_int_eq(chunked("1\r\na\r\n0A\r\n0123456789\r\nb\r\nhello world\r\n000\r\n\r\n"),
			 200);
	expect("a0123456789hello world");
	ck_assert_int_eq(answer("Transfer-Encoding: , ChUnKeD ,\r\n", 5,
				"5\r\n\r\n\r\n\r\r\n0\r\n\r\n"),
			 200);
	expect("\r\n\r\n\r");
	ck_assert_int_eq(chunked("0\r\n\r\n"), 200);
	expect("");
	/* not all there: each beginning of a right one wants more */
	for (const char *text = "3;a=\"b\"\r\nabc\r\n0\r\nX: y\r\n\r\n", *end = text + strlen(text);
	     end-- > text + 1;) {
		char begun[64];
		snprintf(begun, sizeof(begun), "%.*s", (int)(end - text), text);
		ck_assert_int_eq(chunked(begun), 100);
	}
}
END_TEST

START_TEST(extensions_and_trailers_are_dropped)
{
	ck_assert_int_eq(
		chunked("5;a=b;c=\"d e\"\r\nhello\r\n0;last\r\nX-A: b\r\nY:\r\nContent-Length: 3\r\n\r\nabc"),
		200);
	expect("hello");
	ck_assert_int_eq(chunked("5 ;a\r\nhello\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5;a\nhello\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5;a\x01\r\nhello\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nX: y\r\n z\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\n X: y\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nX : y\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\n: y\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nX\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nGET / HTTP/1.1\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nX: y\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\nX: \x7F\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("0\r\n\n"), 400);
	ck_assert_int_eq(chunked("0\r\n\rX"), 400);
}
END_TEST

/* What means nothing is bounded all the same, over all chunks of a body. */
START_TEST(nothing_without_end)
{
	char text[2 * BODY_EXTRA_MAX + 100], *to = text;

	snprintf(text, sizeof(text), "1;%0*d\r\na\r\n0\r\n\r\n", BODY_EXTRA_MAX - 1, 0);
	ck_assert_int_eq(chunked(text), 200);
	snprintf(text, sizeof(text), "1;%0*d\r\na\r\n0\r\n\r\n", BODY_EXTRA_MAX, 0);
	ck_assert_int_eq(chunked(text), 400);
	for (int i = 0; i < 3; i++)
		to += sprintf(to, "1;%0*d\r\na\r\n", BODY_EXTRA_MAX / 3, 0);
	strcpy(to, "0\r\n\r\n");
	ck_assert_int_eq(chunked(text), 400);
	snprintf(text, sizeof(text), "0\r\nX: %0*d\r\n\r\n", BODY_EXTRA_MAX, 0);
	ck_assert_int_eq(chunked(text), 431);
	ck_assert_int_eq(chunked("0000000000000001\r\na\r\n0\r\n\r\n"), 200);
	ck_assert_int_eq(chunked("00000000000000001\r\na\r\n0\r\n\r\n"), 400);
}
END_TEST

START_TEST(sizes_that_are_none)
{
	static const char *const sizes[] = {"",	   "+5",  "-5",	 "0x5",		 " 5",	"5 ", "\t5",
					    "5\t", "g",	  "5_0", "5.0",		 "5,5", "5h", "\r",
					    "\n",  "5\r", "5\n", "\xEF\xBC\x95", "\v5", ";a"};
	char text[64];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		snprintf(text, sizeof(text), "%s\r\nhello\r\n0\r\n\r\n", sizes[i]);
		ck_assert_msg(chunked(text) == 400, "\"%s\" was taken for a size", sizes[i]);
	}
	/* what stands behind the data is no part of it, nor a size */
	ck_assert_int_eq(chunked("5\r\nhello!\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5\r\nhello\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5\r\nhello\r0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5\r\nhell\r\n0\r\n\r\n"), 400);
	ck_assert_int_eq(chunked("5\r\nhello\r\n\r\n0\r\n\r\n"), 400);
}
END_TEST

START_TEST(more_than_is_taken)
{
	ck_assert_int_eq(answer(CHUNKED, 10, "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"), 200);
	ck_assert_int_eq(answer(CHUNKED, 9, "5\r\nhello\r\n5\r\n"), 413);
	ck_assert_int_eq(answer(CHUNKED, 9, "a\r\n"), 413);
	ck_assert_int_eq(answer(CHUNKED, 9, "ffffffffffffffff\r\n"), 413);
	ck_assert_int_eq(answer(CHUNKED, UINT64_MAX, "5\r\nhello\r\nFFFFFFFFFFFFFFFB\r\n"), 413);
	ck_assert_int_eq(answer(CHUNKED, 0, "0\r\n\r\n"), 200);
}
END_TEST

START_TEST(codings)
{
	static const struct {
		const char *headers;
		int status;
	} cases[] = {
		{"Transfer-Encoding: gzip, chunked\r\n", 501},
		{"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501},
		{"Transfer-Encoding: identity, chunked\r\n", 501},
		{"Transfer-Encoding: chunked, chunked\r\n", 400},
		{"Transfer-Encoding: chunked, gzip\r\n", 400},
		{"Transfer-Encoding: identity\r\n", 400},
		{"Transfer-Encoding: xchunked\r\n", 400},
		{"Transfer-Encoding: chunked;a=b\r\n", 400},
		{"Transfer-Encoding: \"chunked\"\r\n", 400},
		{"Transfer-Encoding:\r\n", 400},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		ck_assert_msg(answer(cases[i].headers, 100, "0\r\n\r\n") == cases[i].status, "%s",
			      cases[i].headers);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("body");
	TCase *tc = tcase_create("bodies");

	tcase_add_test(tc, a_length);
	tcase_add_test(tc, chunks);
	tcase_add_test(tc, extensions_and_trailers_are_dropped);
	tcase_add_test(tc, nothing_without_end);
	tcase_add_test(tc, sizes_that_are_none);
	tcase_add_test(tc, more_than_is_taken);
	tcase_add_test(tc, codings);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
