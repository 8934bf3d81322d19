/* Heads of HTTP requests. Each is parsed whole and in growing pieces (every length), and must give
 * the same answer. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <valgrind/valgrind.h>

#include "ws/request.h"
#include "run.h"

#define GET "GET / HTTP/1.1\r\n"
#define HOST "Host: example.com\r\n"

static struct request parsed;
static const struct request_limits limits = {.head_max = 8192, .headers_max = 100};

/* Answer of one head: 0 for "more", 200 for a right one, else the status. */
struct answer {
	int status;
	size_t used;
	const char *why;
};

static struct answer parse(const struct request_limits *l, const char *bytes, size_t n,
			   struct request_progress *progress)
{
	static const struct request_progress none;
	struct answer a = {0, 0, ""};
	char *exact = malloc(n + (n == 0)); /* so that reading beyond it is found */

	if (n > 0)
		memcpy(exact, bytes, n);
	switch (request_parse(&parsed, l, exact, n, progress, &a.used, &a.status, &a.why)) {
	case REQUEST_EMPTY:
		a.status = 1;
		break;
	case REQUEST_OK:
		a.status = 200;
		break;
	case REQUEST_MORE:
		a.status = 0;
		break;
	case REQUEST_BAD:
		ck_assert_int_ge(a.status, 400);
		ck_assert_uint_gt(strlen(a.why), 5);
	}
	if (progress != NULL && a.status != 0)
		ck_assert_mem_eq(progress, &none, sizeof none);
	free(exact);
	return a;
}

/* Parses a prefix of every length as if the bytes came so, `piece` at a time, until there is an
 * answer. */
static void in_pieces(const struct request_limits *l, const char *bytes, size_t n, size_t piece,
		      const struct answer *whole)
{
	struct answer a = {0, 0, ""};

	struct request_progress progress = {0};

	for (size_t have = 0; a.status == 0 && have < n;) {
		have = n - have < piece ? n : have + piece;
		a = parse(l, bytes, have, &progress);
	}
	if (a.status != whole->status || a.used != whole->used || strcmp(a.why, whole->why) != 0)
		ck_abort_msg("in pieces of %zu: %d %zu %s\nwhole: %d %zu %s\n%.200s", piece,
			     a.status, a.used, a.why, whole->status, whole->used, whole->why,
			     bytes);
}

/* The answer to a head, which leaves `parsed` pointing into the bytes when it is a right one. */
static int answer_n(const struct request_limits *l, const char *bytes, size_t n)
{
	const struct answer whole = parse(l, bytes, n, NULL);
	struct answer a = {0, 0, ""};

	in_pieces(l, bytes, n, 1, &whole);
	in_pieces(l, bytes, n, 7, &whole);
	in_pieces(l, bytes, n, 1000, &whole);
	if (whole.status == 200) {
		ck_assert_uint_eq(whole.used, n);
		for (size_t i = 0; i < n; i += RUNNING_ON_VALGRIND ? 17 : 1)
			ck_assert_int_eq(parse(l, bytes, i, NULL).status, 0);
		request_parse(&parsed, l, bytes, n, NULL, &a.used, &a.status, &a.why);
	}
	return whole.status;
}

static int answer(const char *head)
{
	return answer_n(&limits, head, strlen(head));
}

#define ck_span(got, text) \
	do { \
		const struct span span_ = (got); \
		ck_assert_ptr_nonnull(span_.p); \
		if (!span_eq(span_, span_of(text))) \
			ck_abort_msg("expected \"%s\", got \"%.*s\"", text, (int)span_.n, \
				     span_.p); \
	} while (0)

/* --- right ones ------------------------------------------------------------------------------- */

START_TEST(an_upgrade)
{
	ck_assert_int_eq(answer("GET /chat%20room/%C3%A4?x=1&y=%41 HTTP/1.1\r\n"
				"host:server.example.com:8080\r\n"
				"UPGRADE: h2c, WebSocket\r\n"
				"Connection: keep-alive\r\n"
				"connection: foo ,UpGrade\r\n"
				"X-Empty:\r\n"
				"X-Blank: \t \r\n"
				"X-Latin: gr\xFC\xDF"
				"e\tdort \t\r\n"
				"\r\n"),
			 200);
	ck_assert(strncmp(parsed.head.p, "GET /chat", 9) == 0 &&
		  parsed.head.p + parsed.head.n - 2 == strstr(parsed.head.p, "\r\n\r\n") + 2);
	ck_span(parsed.method, "GET");
	ck_span(parsed.target, "/chat%20room/%C3%A4?x=1&y=%41");
	ck_span(parsed.path, "/chat room/\u00e4");
	ck_assert_int_eq(parsed.path.p[parsed.path.n], '\0');
	ck_span(parsed.query, "x=1&y=%41");
	ck_span(parsed.host, "server.example.com:8080");
	ck_assert_uint_eq(parsed.n_headers, 7);
	ck_assert(parsed.wants_upgrade && parsed.keep_alive && !parsed.has_body);
	ck_assert_uint_eq(parsed.minor, 1);
	ck_span(request_header(&parsed, "x-EMPTY"), "");
	ck_span(request_header(&parsed, "x-blank"), "");
	ck_span(request_header(&parsed, "X-Latin"), "gr\xFC\xDF"
						    "e\tdort");
	ck_assert_ptr_null(request_header(&parsed, "X-None").p);
	ck_assert_uint_eq(request_header_count(&parsed, "CONNECTION"), 2);
	ck_assert_uint_eq(request_header_count(&parsed, "Connectio"), 0);
	ck_assert(request_has_token(&parsed, "connection", "FOO"));
	ck_assert(!request_has_token(&parsed, "connection", "keep"));
}
END_TEST

START_TEST(what_follows_is_not_touched)
{
	static const char two[] = GET HOST "\r\n\x81\x05\n\n";
	const struct answer a = parse(&limits, two, sizeof two - 1, NULL);

	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.used, sizeof(GET HOST) - 1 + 2);
	ck_assert_uint_eq(parsed.head.n, a.used);
}
END_TEST

START_TEST(targets)
{
	static const struct {
		const char *target;
		int status;
		const char *path, *query, *host;
	} cases[] = {
		{"/", 200, "/", "", "example.com"},
		{"/?", 200, "/", "", "example.com"},
		{"/a?b?c=/../", 200, "/a", "b?c=/../", "example.com"},
		{"//a//", 200, "//a//", "", "example.com"},
		{"/a%2Fb", 200, "/a/b", "", "example.com"},
		{"/%3f%23", 200, "/?#", "", "example.com"},
		{"/~!$&'()*,;=:@|\"<>[]{}^`\\-_.", 200, "/~!$&'()*,;=:@|\"<>[]{}^`\\-_.", "",
		 "example.com"},
		{"/a+b", 200, "/a+b", "", "example.com"},
		{"/.well-known/..x/x../...", 200, "/.well-known/..x/x../...", "", "example.com"},
		{"http://other.org/x?y", 200, "/x", "y", "other.org"},
		{"HTTPS://other.org:444", 200, "/", "", "other.org:444"},
		{"ws://[::1]:80?q", 200, "/", "q", "[::1]:80"},
		{"ws://[0:ffff::1.2.3.4]/", 200, "/", "", "[0:ffff::1.2.3.4]"},
		{"ws://[g::1]/", 400, "", "", ""},
		{"wss://a/", 200, "/", "", "a"},
		{"*", 400, "", "", ""},
		{"example.com:443", 400, "", "", ""},
		{"a", 400, "", "", ""},
		{"?x", 400, "", "", ""},
		{"http:///x", 400, "", "", ""},
		{"http://u:p@h/", 400, "", "", ""},
		{"http://h:x/", 400, "", "", ""},
		{"ftp://h/", 400, "", "", ""},
		{"http:/h/", 400, "", "", ""},
		{"http://[::1/", 400, "", "", ""},
		{"/#f", 400, "", "", ""},
		{"/a%", 400, "", "", ""},
		{"/a%4", 400, "", "", ""},
		{"/%g0", 400, "", "", ""},
		{"/%0g", 400, "", "", ""},
		{"/%00", 400, "", "", ""},
		{"/%", 400, "", "", ""},
		{"/%%%%%%%%", 400, "", "", ""},
		{"/%ff", 400, "", "", ""},
		{"/%C0%AF", 400, "", "", ""},
		{"/%ED%A0%80", 400, "", "", ""},
		{"/%C3", 400, "", "", ""},
		{"/.", 400, "", "", ""},
		{"/..", 400, "", "", ""},
		{"/./a", 400, "", "", ""},
		{"/a/../b", 400, "", "", ""},
		{"/a/%2e%2E/b", 400, "", "", ""},
		{"/a%2f..%2fb", 400, "", "", ""},
		{"/%2e", 400, "", "", ""},
		{"http://h/..", 400, "", "", ""},
		{"/\xC3\xA4", 400, "", "", ""},
		{"/\x7F", 400, "", "", ""},
		{"/\tx", 400, "", "", ""},
	};
	char head[300];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		snprintf(head, sizeof head, "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
		if (answer(head) != cases[i].status)
			ck_abort_msg("%s: expected %d", cases[i].target, cases[i].status);
		if (cases[i].status != 200)
			continue;
		ck_span(parsed.path, cases[i].path);
		ck_span(parsed.query, cases[i].query);
		ck_span(parsed.host, cases[i].host);
	}
}
END_TEST

START_TEST(connection_facts)
{
	static const struct {
		const char *head;
		bool keep_alive, wants_upgrade, has_body;
	} cases[] = {
		{GET HOST "\r\n", true, false, false},
		{GET HOST "Connection: Close\r\n\r\n", false, false, false},
		{GET HOST "Connection: x,\t close\r\n\r\n", false, false, false},
		{GET HOST "Upgrade: websocket\r\n\r\n", true, false, false},
		{GET HOST "Connection: Upgrade\r\n\r\n", true, false, false},
		{GET HOST "Connection: Upgrade\r\nUpgrade: websockets\r\n\r\n", true, false, false},
		{GET HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true, true, false},
		{"GET / HTTP/1.0\r\n" HOST "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		 false, false, false},
		{"GET / HTTP/1.0\r\n\r\n", false, false, false},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, false, false},
		{"POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", true, false, false},
		{"POST / HTTP/1.1\r\n" HOST "Content-Length: 17\r\n\r\n", true, false, true},
		{"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", true, false,
		 true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ck_assert_int_eq(answer(cases[i].head), 200);
		if (parsed.keep_alive != cases[i].keep_alive ||
		    parsed.wants_upgrade != cases[i].wants_upgrade ||
		    parsed.has_body != cases[i].has_body)
			ck_abort_msg("%s: got %d %d %d", cases[i].head, parsed.keep_alive,
				     parsed.wants_upgrade, parsed.has_body);
	}
	ck_assert_int_eq(answer("PUT / HTTP/1.1\r\n" HOST
				"Content-Length: 000123456789012345\r\n\r\n"),
			 200);
	ck_assert(parsed.content_length == UINT64_C(123456789012345));
	ck_assert_int_eq(answer("GET / HTTP/1.0\r\n\r\n"), 200);
	ck_assert_uint_eq(parsed.host.n, 0);
}
END_TEST

/* --- wrong ones ------------------------------------------------------------------------------- */

START_TEST(wrong_heads)
{
	static const struct {
		const char *head;
		int status;
	} cases[] = {
		/* first line */
		{"\n" GET HOST "\r\n", 400},
		{" " GET, 400},
		{"G(T / HTTP/1.1\r\n", 400},
		{"GET\r\n", 400},
		{"GET /\r\n", 400},
		{"GET  / HTTP/1.1\r\n", 400},
		{"GET /  HTTP/1.1\r\n", 400},
		{"GET / HTTP/1.1 \r\n", 400},
		{"GET / HTTP/1.1\n", 400},
		{"GET / HTTP/1.1\r\r\n", 400},
		{"GET / http/1.1\r\n", 400},
		{"GET / HTTP/11\r\n", 400},
		{"GET / HTTP/1.10\r\n", 400},
		{"GET / HTTP/x.1\r\n", 400},
		{"GET\t/ HTTP/1.1\r\n", 400},
		{"GET / HTTPS\r\n", 400},
		{"\n", 400},
		{"GET / HTTP/2.0\r\n", 505},
		{"GET / HTTP/1.2\r\n", 505},
		{"GET / HTTP/0.9\r\n", 505},
		{"GET / HTTP/3.1\r\n", 505},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
		/* header lines */
		{GET "Host : a\r\n\r\n", 400},
		{GET " Host: a\r\n\r\n", 400},
		{GET HOST " folded\r\n\r\n", 400},
		{GET HOST "X: a\r\n\tb\r\n\r\n", 400},
		{GET HOST "no colon\r\n\r\n", 400},
		{GET HOST ": no name\r\n\r\n", 400},
		{GET HOST "X: a\n\r\n", 400},
		{GET HOST "X: a\r\n\n", 400},
		{GET HOST "\n", 400},
		{GET HOST "X: a\rb\r\n\r\n", 400},
		{GET HOST "X: \x01\r\n\r\n", 400},
		{GET HOST "X: \x7F\r\n\r\n", 400},
		{GET HOST "X\x80: a\r\n\r\n", 400},
		{GET HOST "X: \x1B[31m\r\n\r\n", 400},
		{GET HOST "X(: a\r\n\r\n", 400},
		{GET HOST "\r\r\n\r\n", 400},
		/* Host */
		{GET "\r\n", 400},
		{GET HOST HOST "\r\n", 400},
		{GET "Host:\r\n\r\n", 400},
		{GET "Host: a b\r\n\r\n", 400},
		{GET "Host: a/b\r\n\r\n", 400},
		{GET "Host: u@h\r\n\r\n", 400},
		{GET "Host: a:b\r\n\r\n", 400},
		{GET "Host: [::1\r\n\r\n", 400},
		{GET "Host: [::1]x\r\n\r\n", 400},
		{GET "Host: []\r\n\r\n", 400},
		{GET "Host: :80\r\n\r\n", 400},
		{"GET http://h/ HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400},
		/* body */
		{GET HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
		{GET HOST "Content-Length: \r\n\r\n", 400},
		{GET HOST "Content-Length: 1, 1\r\n\r\n", 400},
		{GET HOST "Content-Length: +1\r\n\r\n", 400},
		{GET HOST "Content-Length: -1\r\n\r\n", 400},
		{GET HOST "Content-Length: 0x1\r\n\r\n", 400},
		{GET HOST "Content-Length: 1234567890123456789\r\n\r\n", 400},
		{GET HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"GET / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const int got = answer(cases[i].head);

		if (got != cases[i].status)
			ck_abort_msg("case %zu: expected %d, got %d for\n%s", i, cases[i].status,
				     got, cases[i].head);
	}
	ck_assert_int_eq(answer_n(&limits, GET HOST "X: a\0b\r\n\r\n",
				  sizeof(GET HOST "X: a\0b\r\n\r\n") - 1),
			 400);
	ck_assert_int_eq(answer_n(&limits, GET "Host: a\0b\r\n\r\n",
				  sizeof(GET "Host: a\0b\r\n\r\n") - 1),
			 400);
	ck_assert_int_eq(answer_n(&limits, "GET /\0 HTTP/1.1\r\n", 17), 400);
	ck_assert_int_eq(answer_n(&limits, "G\0T / HTTP/1.1\r\n", 16), 400);
}
END_TEST

/* What speaks another protocol is told so before a whole head came. */
START_TEST(refused_early)
{
	static const char hello[] = "\x16\x03\x01\x02\x00\x01";

	ck_assert_int_eq(parse(&limits, hello, 1, NULL).status, 400);
	ck_assert_int_eq(parse(&limits, "SSH-2.0-OpenSSH_9\r", 18, NULL).status, 400);
	ck_assert_int_eq(parse(&limits, "GET / FTP", 7, NULL).status, 400);
	ck_assert_int_eq(parse(&limits, "GET / HTTP/2.0\r\n", 16, NULL).status, 505);
	ck_assert_int_eq(parse(&limits, "GET /.. HTTP/1.1\r\n", 18, NULL).status, 400);
	ck_assert_int_eq(parse(&limits, GET "Host: a\n", sizeof GET - 1 + 8, NULL).status, 400);
	ck_assert_int_eq(parse(&limits, "GET / HTTP/1.1\r\nHost", 20, NULL).status, 0);
	ck_assert_int_eq(parse(&limits, "", 0, NULL).status, 0);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */

/* A right head of exactly n bytes. */
static char *head_of(size_t n)
{
	static const char start[] = GET HOST "X-Filler: ";
	char *head = malloc(n + 1);

	memset(head, 'f', n);
	memcpy(head, start, sizeof start - 1);
	memcpy(head + n - 4, "\r\n\r\n", 5);
	return head;
}

START_TEST(limit_of_the_head)
{
	const struct request_limits small = {.head_max = 200, .headers_max = 100};

	for (size_t n = 198; n < 204; n++) {
		char *head = head_of(n);

		ck_assert_int_eq(answer_n(&small, head, n), n <= 200 ? 200 : 431);
		memcpy(head + n - 4, "\r\nX:", 4); /* goes on */
		ck_assert_int_eq(answer_n(&small, head, n), n < 200 ? 0 : 431);
		/* An error before the limit counts more, wherever the rest ends. */
		head[20] = '\x01';
		ck_assert_int_eq(answer_n(&small, head, n), n < 200 ? 0 : 400);
		free(head);
	}
}
END_TEST

START_TEST(limit_of_headers)
{
	static char head[8192];
	struct request_limits few = {.head_max = 8192, .headers_max = 100};
	size_t n;

	for (few.headers_max = 1; few.headers_max < 200; few.headers_max += 33)
		for (unsigned count = 1; count < 105; count++) {
			const unsigned max = few.headers_max < REQUEST_HEADERS_MAX
						     ? few.headers_max
						     : REQUEST_HEADERS_MAX;
			const struct answer right = {200, 0, ""};

			n = (size_t)snprintf(head, sizeof head, GET HOST);
			for (unsigned i = 1; i < count; i++)
				n += (size_t)snprintf(head + n, sizeof head - n, "H%u: %u\r\n", i,
						      i);
			n += (size_t)snprintf(head + n, sizeof head - n, "\r\n");
			ck_assert_int_eq(parse(&few, head, n, NULL).status,
					 count <= max ? right.status : 431);
			if (count <= max)
				ck_assert_uint_eq(parsed.n_headers, count);
		}
}
END_TEST

START_TEST(limit_of_the_path)
{
	static char head[3 * 8192];
	struct request_progress progress = {0};
	const struct request_limits wide = {.head_max = sizeof head, .headers_max = 100};

	for (int escaped = 0; escaped < 2; escaped++)
		for (size_t n = REQUEST_PATH_MAX - 2; n < REQUEST_PATH_MAX + 3; n++) {
			char *p = head + sprintf(head, "GET /");

			for (size_t i = 1; i < n; i++)
				p += sprintf(p, escaped ? "%%41" : "A");
			p += sprintf(p, "?query HTTP/1.1\r\n" HOST "\r\n");
			ck_assert_int_eq(parse(&wide, head, (size_t)(p - head), NULL).status,
					 n <= REQUEST_PATH_MAX ? 200 : 414);
			if (n <= REQUEST_PATH_MAX)
				ck_assert_uint_eq(parsed.path.n, n);
		}
	memset(head, 'a', sizeof head);
	memcpy(head, "GET /", 5);
	ck_assert_int_eq(parse(&limits, head, 8191, &progress).status, 0);
	ck_assert_int_eq(parse(&limits, head, 8192, &progress).status, 414);
	ck_assert_int_eq(parse(&limits, head + 5, 8192, NULL).status, 431);
}
END_TEST

/* Thread's CPU time that a head costs which comes byte by byte, in milliseconds. */
static long byte_by_byte(const char *head, size_t n)
{
	const struct request_limits wide = {.head_max = n, .headers_max = 100};
	struct request_progress progress = {0};
	struct timespec from, to;
	struct answer a = {0, 0, ""};
	enum request_status status = REQUEST_MORE;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (size_t have = 1; have <= n && status == REQUEST_MORE; have++)
		status = request_parse(&parsed, &wide, head, have, &progress, &a.used, &a.status,
				       &a.why);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	ck_assert_int_ne(status, REQUEST_MORE);
	return (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
}

/* What a byte costs does not grow with what came before it: this takes milliseconds, and minutes
 * where the line is read anew for each. */
START_TEST(pieces_cost_what_they_are)
{
	static char head[1 << 20];

	memset(head, 'a', sizeof head);
	ck_assert_int_lt(byte_by_byte(head, sizeof head), 2500); /* a method */
	memcpy(head, "GET /", 5);
	ck_assert_int_lt(byte_by_byte(head, sizeof head), 2500); /* a target */
	memcpy(head, GET "X: ", sizeof(GET "X: ") - 1);
	ck_assert_int_lt(byte_by_byte(head, sizeof head), 2500); /* a header */
	for (size_t i = sizeof GET - 1; i < sizeof head; i++)
		head[i] = "X:\r\n"[(i - sizeof GET + 1) % 4];
	ck_assert_int_lt(byte_by_byte(head, sizeof head), 2500); /* headers */
}
END_TEST

/* RFC 9112 2.2 */
START_TEST(empty_lines_in_front)
{
	static const char *const fronts[] = {"\r\n", "\r\n\r\n", "\r\n\r\n\r\n\r\n"};

	for (size_t i = 0; i < 3; i++) {
		const size_t n = strlen(fronts[i]);
		char head[100];

		snprintf(head, sizeof head, "%s" GET HOST "\r\n", fronts[i]);
		const struct answer a = parse(&limits, head, strlen(head), NULL);
		ck_assert_int_eq(a.status, 1);
		ck_assert_uint_eq(a.used, n);
		ck_assert_int_eq(answer(head + a.used), 200);
	}
	ck_assert_int_eq(answer("\r"), 0);
	ck_assert_int_eq(answer("\r\r\n" GET HOST "\r\n"), 400);
	ck_assert_int_eq(answer("\n" GET HOST "\r\n"), 400);
	ck_assert_int_eq(answer(" \r\n" GET HOST "\r\n"), 400);
}
END_TEST

/* Whose port it is not is told what it took it for, at the first byte that shows it. */
START_TEST(strangers)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *word;
	} rows[] = {{"\x16\x03\x01", 3, "TLS"},
		    {"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 36, "PROXY"},
		    {"PROXY UNKNOWN\r\n", 15, "PROXY"},
		    /* behind the two empty lines that such a header begins with */
		    {"\0\r\nQUIT\n!", 9, "PROXY"},
		    {"\0SP\0\0\x10\0\0", 8, "--attach"}, /* what an nng socket says first */
		    {"\0SP\0", 4, "--attach"},
		    {"\0SPX", 4, "method"},
		    {"\0\0\0\0", 4, "method"},
		    {"\0\r\nQUIET", 8, "method"},
		    {"PROXY / HTTP/1.1\r\n\n", 19, "bare LF"},
		    {"PROXYX\r\n", 8, "method"}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		ck_assert_int_eq(answer_n(&limits, rows[i].bytes, rows[i].n), 400);
		ck_assert_ptr_nonnull(
			strstr(parse(&limits, rows[i].bytes, rows[i].n, NULL).why, rows[i].word));
	}
	/* It could still be either of two, but no request. */
	ck_assert_int_eq(parse(&limits, "\0SP", 3, NULL).status, 0);
	ck_assert_int_eq(parse(&limits, "\0", 1, NULL).status, 0);
}
END_TEST

/* --- pieces ----------------------------------------------------------------------------------- */

START_TEST(lists)
{
	struct span rest = SPAN(" ,a ,, b;q=\"x, \\\",y\" ,\tc\t,"), item;

	ck_assert(request_list_next(&rest, &item));
	ck_span(item, "a");
	ck_assert(request_list_next(&rest, &item));
	ck_span(item, "b;q=\"x, \\\",y\"");
	ck_assert(request_list_next(&rest, &item));
	ck_span(item, "c");
	ck_assert(!request_list_next(&rest, &item));
	rest = SPAN("\"open, ended\\");
	ck_assert(request_list_next(&rest, &item));
	ck_span(item, "\"open, ended\\");
	ck_assert(!request_list_next(&rest, &item));
	rest = (struct span){NULL, 0};
	ck_assert(!request_list_next(&rest, &item));
}
END_TEST

START_TEST(decoding)
{
	char out[8];

	ck_assert_int_eq(request_decode(SPAN("x%20y+z"), out, sizeof out), 5);
	ck_assert_mem_eq(out, "x y+z", 5);
	ck_assert_int_eq(request_decode(SPAN("x%2By+z"), out, sizeof out), 5);
	ck_assert_mem_eq(out, "x+y+z", 5);
	ck_assert_int_eq(request_decode(SPAN("%fF"), out, sizeof out), 1);
	ck_assert_mem_eq(out, "\xFF", 1);
	ck_assert_int_eq(request_decode(SPAN("12345678"), out, sizeof out), 8);
	ck_assert_int_eq(request_decode(SPAN("123456789"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("%00"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("a\0"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("%4"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("%"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("%4x"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN("%-1"), out, sizeof out), -1);
	ck_assert_int_eq(request_decode(SPAN(""), out, 0), 0);
}
END_TEST

START_TEST(status_texts)
{
	ck_assert_str_eq(request_status_text(404), "Not Found");
	ck_assert_str_eq(request_status_text(503), "Service Unavailable");
	ck_assert_ptr_nonnull(request_status_text(299));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("request");
	TCase *tc = tcase_create("request");

	tcase_add_test(tc, an_upgrade);
	tcase_add_test(tc, what_follows_is_not_touched);
	tcase_add_test(tc, targets);
	tcase_add_test(tc, connection_facts);
	tcase_add_test(tc, wrong_heads);
	tcase_add_test(tc, refused_early);
	tcase_add_test(tc, limit_of_the_head);
	tcase_add_test(tc, limit_of_headers);
	tcase_add_test(tc, limit_of_the_path);
	tcase_add_test(tc, pieces_cost_what_they_are);
	tcase_add_test(tc, empty_lines_in_front);
	tcase_add_test(tc, strangers);
	tcase_add_test(tc, lists);
	tcase_add_test(tc, decoding);
	tcase_add_test(tc, status_texts);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
