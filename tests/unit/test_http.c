/* Requests with bodies, answers that are made while they are sent, and many requests on one
 * connection: conns whose owner is the test, with clients at socketpairs. What a request was is
 * told to the test as "POST /a=body". */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/answer.h"
#include "net/conn.h"
#include "run.h"

#define PATIENCE_S 60
#define BODY_MAX 100000
#define BLOCK 65536

static struct {
	struct loop *loop;
	struct conns conns;
	char said[8192];
	int refusal;	/* what the head is answered with; 0: bodies are taken */
	unsigned turns; /* of the loop */
	unsigned told;	/* turn of the last request */
	bool two_a_turn;
	/* the source of "/long": so many pieces of so many bytes */
	unsigned pieces, given, freed, later;
	size_t piece;
	enum answer_next end;
} t;

static char block[BLOCK];

static enum answer_next on_next(void *ctx, struct span *piece_r)
{
	ck_assert_ptr_eq(ctx, &t);
	ck_assert_uint_eq(t.freed, 0);
	if (t.later > 0) {
		t.later--;
		return ANSWER_LATER;
	}
	if (t.given == t.pieces)
		return t.end;
	memset(block, 'a' + (int)(t.given++ % 26), sizeof(block));
	*piece_r = (struct span){block, t.piece};
	return ANSWER_MORE;
}

static void on_free(void *ctx)
{
	ck_assert_ptr_eq(ctx, &t);
	t.freed++;
}

static void on_request(void *ctx, struct conn *c, struct request *r)
{
	const struct answer_source source = {.next = on_next, .free = on_free, .ctx = &t};
	size_t n = strlen(t.said);
	(void)ctx;
	t.two_a_turn = t.two_a_turn || t.told == t.turns;
	t.told = t.turns;
	if (span_eq(r->path, SPAN("/long"))) {
		answer_source(c, r, 200, (struct span){NULL, 0}, "text/plain", &source);
		return;
	}
	snprintf(t.said + n, sizeof(t.said) - n, "%s%.*s %.*s=%.*s", n > 0 ? " " : "",
		 (int)r->method.n, r->method.p, (int)r->path.n, r->path.p,
		 (int)(r->body.n < 100 ? r->body.n : 100), r->body.p);
	answer_respond(c, 200, (struct span){NULL, 0}, NULL, r->body);
}

static bool on_body(void *ctx, struct conn *c, struct request *r, uint64_t *max_r)
{
	(void)ctx;
	ck_assert_uint_eq(r->body.n, 0);
	*max_r = BODY_MAX;
	if (t.refusal == 0)
		return true;
	c->keep_alive = false;
	answer_error(c, t.refusal, (struct span){NULL, 0}, "by its head");
	return false;
}

static void on_error(struct conn *c, int status, struct span head, const char *why)
{
	char body[256];
	int n = snprintf(body, sizeof(body), "{%d %s}", status, why);
	answer_respond(c, status, head, "application/json", (struct span){body, (size_t)n});
}

static const struct conn_ops ops = {.request = on_request, .body = on_body, .error = on_error};

static void turn(void)
{
	t.turns++;
	ck_assert(loop_turn(t.loop, false));
}

static void start(uint32_t head_ms)
{
	const struct conn_limits limits = {.head = {.head_max = 4096, .headers_max = 20},
					   .head_ms = head_ms,
					   .close_ms = 5000,
					   .max = 10};
	memset(&t, 0, sizeof(t));
	t.end = ANSWER_END;
	t.piece = 1000;
	t.loop = loop_new(NULL);
	ck_assert_ptr_nonnull(t.loop);
	ck_assert(conns_init(&t.conns, t.loop, &ops, &t, &limits));
}

static void stop(void)
{
	conns_free(&t.conns);
	ck_assert_uint_eq(t.conns.count, 0);
	loop_free(&t.loop);
}

static int client(void)
{
	const struct address remote = {.family = AF_UNIX};
	const int small = 65536;
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	ck_assert(conn_add(&t.conns, fds[0], &remote, &(const struct conn_kind){.proxy = false}));
	return fds[1];
}

static void say_n(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
		ck_assert(sent > 0 || errno == EAGAIN);
		text += sent > 0 ? sent : 0;
		n -= sent > 0 ? (size_t)sent : 0;
		turn();
	}
}

static void say(int fd, const char *text)
{
	say_n(fd, text, strlen(text));
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One byte; -1: the end of the stream. Turns until there is one. */
static int hear(int fd)
{
	for (double end = seconds() + PATIENCE_S;;) {
		unsigned char byte;
		ssize_t got = recv(fd, &byte, 1, 0);
		if (got == 1)
			return byte;
		if (got == 0)
			return -1;
		ck_assert_int_eq(errno, EAGAIN);
		ck_assert_msg(seconds() < end, "nothing comes; %s", t.said);
		turn();
	}
}

static void expect_end(int fd)
{
	ck_assert_int_eq(hear(fd), -1);
	close(fd);
}

static char body[1 << 20], head[4096];

/* An answer whose length its head tells; its status. */
static int answer(int fd)
{
	size_t n = 0;
	while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0) {
		int byte = hear(fd);
		ck_assert_msg(byte >= 0, "the stream ended in a head: %.*s", (int)n, head);
		ck_assert_uint_lt(n, sizeof(head) - 1);
		head[n++] = (char)byte;
	}
	head[n] = '\0';
	const char *length = strstr(head, "Content-Length: ");
	size_t len = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
	ck_assert_uint_lt(len, sizeof(body));
	for (n = 0; n < len; n++)
		body[n] = (char)hear(fd);
	body[n] = '\0';
	return (int)strtol(head + 9, NULL, 10);
}

#define EXPECT(text) \
	do { \
		ck_assert_str_eq(t.said, (text)); \
		t.said[0] = '\0'; \
	} while (0)

#define POST(path) "POST " path " HTTP/1.1\r\nHost: h\r\n"

START_TEST(bodies)
{
	start(10000);
	int fd = client();
	say(fd, POST("/a") "Content-Length: 5\r\n\r\nhello");
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /a=hello");
	ck_assert_ptr_nonnull(strstr(head, "Connection: keep-alive"));
	say(fd,
	    POST("/b") "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX: y\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /b=hello");
	say(fd, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("GET /c=");
	/* byte by byte: head and body */
	const char *text =
		POST("/d") "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
	for (size_t i = 0; i < strlen(text); i++)
		say_n(fd, text + i, 1);
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /d=hello");
	/* with an empty line in front, as old clients send behind a body */
	say(fd, "\r\n" POST("/e") "Content-Length: 0\r\nConnection: close\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /e=");
	expect_end(fd);
	stop();
}
END_TEST

START_TEST(a_large_body)
{
	static char large[BODY_MAX];
	char line[128];
	start(10000);
	int fd = client();
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (char)('a' + i * 7 % 26);
	int n = snprintf(line, sizeof(line), POST("/a") "Content-Length: %d\r\n\r\n", BODY_MAX);
	say_n(fd, line, (size_t)n);
	say_n(fd, large, sizeof(large));
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_mem_eq(body, large, sizeof(large));
	n = snprintf(line, sizeof(line), POST("/a") "Content-Length: %d\r\n\r\n", BODY_MAX + 1);
	say_n(fd, line, (size_t)n);
	ck_assert_int_eq(answer(fd), 413);
	ck_assert_str_eq(body, "{413 a larger body than is taken}");
	expect_end(fd);
	stop();
}
END_TEST

/* Many requests in one write: each is answered, in order, and one a turn. */
START_TEST(pipelining)
{
	start(10000);
	int fd = client();
	char text[4096], expected[1024] = "";
	size_t n = 0;
	for (int i = 0; i < 20; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n,
				      POST("/%d") "Content-Length: 2\r\n\r\n%02d", i, i);
		snprintf(expected + strlen(expected), sizeof(expected) - strlen(expected),
			 "%sPOST /%d=%02d", i > 0 ? " " : "", i, i);
	}
	say_n(fd, text, n);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(answer(fd), 200);
		ck_assert_int_eq(atoi(body), i);
	}
	EXPECT(expected);
	ck_assert(!t.two_a_turn);
	say(fd, "GET /last HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	close(fd);
	stop();
}
END_TEST

START_TEST(expectations)
{
	start(10000);
	int fd = client();
	say(fd, POST("/a") "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
	ck_assert_int_eq(answer(fd), 100);
	ck_assert_str_eq(head, "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "hello");
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /a=hello");
	/* whoever does not wait is told so, too */
	say(fd, POST("/b") "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
	ck_assert_int_eq(answer(fd), 100);
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("POST /b=hello");
	say(fd, POST("/c") "Content-Length: 5\r\nExpect: more\r\n\r\n");
	ck_assert_int_eq(answer(fd), 417);
	expect_end(fd);
	fd = client();
	t.refusal = 401;
	say(fd, POST("/d") "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	ck_assert_int_eq(answer(fd), 401);
	expect_end(fd);
	EXPECT("");
	stop();
}
END_TEST

/* What is refused by its head is not read, nor what may be behind it. */
START_TEST(refused)
{
	static const struct {
		const char *lines;
		int status;
	} cases[] = {
		{"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"Transfer-Encoding: identity\r\n\r\n", 400},
		{"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400},
		{"Transfer-Encoding: chunked\r\n\r\nfffff\r\n", 413},
		{"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
		{"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
	};
	start(10000);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[512];
		int fd = client();
		snprintf(text, sizeof(text), POST("/a") "%sGET /behind HTTP/1.1\r\nHost: h\r\n\r\n",
			 cases[i].lines);
		say(fd, text);
		ck_assert_int_eq(answer(fd), cases[i].status);
		expect_end(fd);
		EXPECT("");
	}
	t.refusal = 403;
	int fd = client();
	say(fd, POST("/a") "Content-Length: 5\r\n\r\nhelloGET /behind HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(answer(fd), 403);
	expect_end(fd);
	EXPECT("");
	stop();
}
END_TEST

/* A body that comes byte by byte ends by the clock, one that comes on does not. */
START_TEST(slow_bodies)
{
	start(200);
	int fd = client();
	say(fd, POST("/a") "Content-Length: 50000\r\n\r\n");
	for (char byte;;) {
		const struct timespec pause = {.tv_nsec = 10000000};
		nanosleep(&pause, NULL);
		turn();
		if (recv(fd, &byte, 1, MSG_PEEK) >= 0)
			break;
		send(fd, "x", 1, MSG_NOSIGNAL);
	}
	ck_assert_int_eq(answer(fd), 408);
	expect_end(fd);
	fd = client();
	say(fd, POST("/b") "Content-Length: 50000\r\n\r\n");
	for (int i = 0; i < 100; i++) {
		static const char piece[500] = "y";
		const struct timespec pause = {.tv_nsec = 10000000};
		nanosleep(&pause, NULL);
		say_n(fd, piece, sizeof(piece));
	}
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_uint_eq(strtoul(strstr(head, "Content-Length: ") + 16, NULL, 10), 50000);
	close(fd);
	/* half of one, and its client is gone */
	fd = client();
	say(fd, POST("/c") "Content-Length: 50000\r\n\r\nabc");
	close(fd);
	for (double end = seconds() + PATIENCE_S; t.conns.count > 0; turn())
		ck_assert(seconds() < end);
	stop();
}
END_TEST

/* --- answers that are made while they are sent ------------------------------------------------ */

/* The pieces of a chunked answer, in one: how many bytes. */
static size_t dechunk(int fd)
{
	size_t total = 0;
	for (;;) {
		char line[32];
		size_t n = 0;
		while (n < 2 || memcmp(line + n - 2, "\r\n", 2) != 0) {
			ck_assert_uint_lt(n, sizeof(line));
			line[n++] = (char)hear(fd);
		}
		size_t size = strtoul(line, NULL, 16);
		for (size_t i = 0; i < size; i++, total++)
			ck_assert_int_eq(hear(fd), 'a' + (int)(total / t.piece % 26));
		ck_assert_int_eq(hear(fd), '\r');
		ck_assert_int_eq(hear(fd), '\n');
		if (size == 0)
			return total;
	}
}

#define LONG "GET /long HTTP/1.1\r\nHost: h\r\n\r\n"

START_TEST(sources)
{
	start(10000);
	int fd = client();
	t.pieces = 100;
	t.later = 5;
	/* and what was sent behind the request waits */
	say(fd, LONG "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_ptr_nonnull(strstr(head, "Transfer-Encoding: chunked\r\n"));
	ck_assert_ptr_null(strstr(head, "Content-Length"));
	ck_assert_uint_eq(dechunk(fd), 100000);
	ck_assert_uint_eq(t.freed, 1);
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("GET /next=");
	/* none at all */
	t.given = t.pieces = t.freed = 0;
	say(fd, LONG);
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_uint_eq(dechunk(fd), 0);
	ck_assert_uint_eq(t.freed, 1);
	/* only the head */
	t.freed = 0;
	say(fd, "HEAD /long HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_uint_eq(t.freed, 1);
	ck_assert_int_eq(answer(fd), 200);
	EXPECT("GET /next=");
	close(fd);
	stop();
}
END_TEST

/* A client that is too old for chunks gets the bytes, and the end. */
START_TEST(sources_for_http_1_0)
{
	start(10000);
	int fd = client();
	t.pieces = 3;
	say(fd, "GET /long HTTP/1.0\r\n\r\n");
	ck_assert_int_eq(answer(fd), 200);
	ck_assert_ptr_null(strstr(head, "Transfer-Encoding"));
	ck_assert_ptr_nonnull(strstr(head, "Connection: close"));
	for (size_t i = 0; i < 3000; i++)
		ck_assert_int_eq(hear(fd), 'a' + (int)(i / 1000));
	expect_end(fd);
	ck_assert_uint_eq(t.freed, 1);
	stop();
}
END_TEST

/* Nothing is made for a client that does not read, beyond what its socket takes and one piece. */
START_TEST(sources_wait_for_their_readers)
{
	start(10000);
	int fd = client();
	t.pieces = 100000;
	t.piece = BLOCK;
	say(fd, LONG);
	for (int i = 0; i < 200; i++)
		turn();
	ck_assert_uint_gt(t.given, 0);
	ck_assert_uint_lt(t.given, 20);
	ck_assert_uint_le(t.loop->stats.buffered, 2 * BLOCK);
	/* it goes while that is so */
	close(fd);
	for (double end = seconds() + PATIENCE_S; t.freed == 0; turn())
		ck_assert(seconds() < end);
	ck_assert_uint_eq(t.freed, 1);
	ck_assert_uint_eq(t.loop->stats.buffered, 0);
	stop();
}
END_TEST

/* At most one piece a turn, however fast it is read. */
START_TEST(sources_take_turns)
{
	start(10000);
	int fd = client();
	t.pieces = 50;
	say(fd, LONG);
	unsigned before = t.given, most = 0;
	while (t.freed == 0) {
		char some[8192];
		before = t.given;
		turn();
		most = t.given - before > most ? t.given - before : most;
		while (recv(fd, some, sizeof(some), 0) > 0)
			;
	}
	ck_assert_uint_eq(t.given, 50);
	ck_assert_uint_eq(most, 1);
	close(fd);
	stop();
}
END_TEST

START_TEST(sources_that_break)
{
	start(10000);
	int fd = client();
	t.pieces = 2;
	t.end = ANSWER_BROKEN;
	say(fd, LONG);
	ck_assert_int_eq(answer(fd), 200);
	int byte, n = 0;
	while ((byte = hear(fd)) >= 0)
		n++;
	ck_assert_int_eq(n, 2 * (1000 + 7));
	ck_assert_uint_eq(t.freed, 1);
	close(fd);
	/* or the host stops in the middle of one */
	t.given = t.freed = 0;
	t.pieces = 100000;
	fd = client();
	say(fd, LONG);
	stop();
	ck_assert_uint_eq(t.freed, 1);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("http");
	TCase *tc = tcase_create("requests");

	tcase_add_test(tc, bodies);
	tcase_add_test(tc, a_large_body);
	tcase_add_test(tc, pipelining);
	tcase_add_test(tc, expectations);
	tcase_add_test(tc, refused);
	tcase_add_test(tc, slow_bodies);
	suite_add_tcase(suite, tc);
	tc = tcase_create("sources");
	tcase_add_test(tc, sources);
	tcase_add_test(tc, sources_for_http_1_0);
	tcase_add_test(tc, sources_wait_for_their_readers);
	tcase_add_test(tc, sources_take_turns);
	tcase_add_test(tc, sources_that_break);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
