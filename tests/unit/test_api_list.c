/* Lists of the API: whole and in order, however long they are, however slowly they are written or
 * read, and at most about a millisecond of each turn for all of them. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ops/api_list.h"
#include "run.h"

#define PATIENCE_S 60
#define CLIENTS 20

static struct {
	struct loop *loop;
	struct hub hub;
	struct readiness readiness;
	struct api api;
	struct api_door door;
	struct conns conns;
	/* what "/" is answered with */
	unsigned items, nothings; /* how many, and in front of each how many that are none */
	unsigned us;		  /* that each takes to be written */
	bool text;
	unsigned written, lists; /* items so far, of all; lists that are there */
	size_t size;		 /* bytes of each item */
} t;

struct list {
	unsigned at, nothings;
};

static void wait_us(unsigned us)
{
	struct timespec began, now;
	clock_gettime(CLOCK_MONOTONIC, &began);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - began.tv_sec) * 1000000 + (now.tv_nsec - began.tv_nsec) / 1000 < us);
}

static enum api_list_found next(void *ctx, struct codec_out *o)
{
	struct list *l = ctx;
	char text[32];
	if (l->at == t.items)
		return API_LIST_END;
	if (l->nothings++ < t.nothings) {
		codec_raw(o, "nothing", 7);
		return API_LIST_NOTHING;
	}
	l->nothings = 0;
	wait_us(t.us);
	t.written++;
	int n = snprintf(text, sizeof text, t.text ? "%u\n" : "%u", l->at++);
	codec_raw(o, text, (size_t)n);
	for (size_t i = (size_t)n; i < t.size; i++)
		codec_raw(o, " ", 1);
	return API_LIST_ITEM;
}

static void free_list(void *ctx)
{
	t.lists--;
	free(ctx);
}

static void on_request(void *ctx, struct conn *c, struct request *r)
{
	static const struct api_route route = {.method = "GET", .path = "/"};
	struct api_door *door = ctx;
	struct api_call call = {.api = door->api,
				.door = door,
				.conn = c,
				.request = r,
				.route = &route};
	const struct api_list list = {.next = next,
				      .free = free_list,
				      .ctx = calloc(1, sizeof(struct list))};
	t.lists++;
	if (t.text)
		api_list_answer_text(&call, "text/plain", &list);
	else
		api_list_answer(&call, "numbers", &list);
}

static const struct conn_ops ops = {.request = on_request};

static void setup(void)
{
	const struct conn_limits limits = {.head = {.head_max = 4096, .headers_max = 20},
					   .head_ms = 60000,
					   .close_ms = 5000,
					   .max = 100};
	memset(&t, 0, sizeof t);
	t.loop = loop_new(NULL);
	ck_assert_ptr_nonnull(t.loop);
	ck_assert(hub_init(&t.hub, t.loop));
	static const struct api_manage_actions nothing;
	api_init(&t.api, &t.hub, &t.readiness, NULL, &nothing);
	t.door = (struct api_door){.api = &t.api};
	ck_assert(conns_init(&t.conns, t.loop, &ops, &t.door, &limits));
}

static void teardown(void)
{
	conns_free(&t.conns);
	ck_assert_uint_eq(t.lists, 0);
	api_free(&t.api);
	hub_free(&t.hub);
	loop_free(&t.loop);
}

/* A client that has asked. */
static int ask(void)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
	const struct address remote = {.family = AF_UNIX};
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	ck_assert(conn_add(&t.conns, fds[0], &remote, &(const struct conn_kind){.proxy = false}));
	ck_assert_int_eq(send(fds[1], text, sizeof text - 1, 0), sizeof text - 1);
	return fds[1];
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Turns until all that the client gets is there: the pieces of its chunked body put together. */
static char *answer(int fd)
{
	size_t n = 0, cap = 1 << 20;
	char *all = malloc(cap + 1), *from, *to;
	for (double end = seconds() + PATIENCE_S;
	     n < 5 || memcmp(all + n - 5, "0\r\n\r\n", 5) != 0;) {
		ck_assert_msg(seconds() < end, "nothing more comes behind %zu bytes", n);
		ck_assert(loop_turn(t.loop, false));
		if (n + 65536 > cap)
			all = realloc(all, (cap *= 2) + 1);
		ssize_t got = recv(fd, all + n, 65536, 0);
		ck_assert(got != 0 && (got > 0 || errno == EAGAIN));
		n += got > 0 ? (size_t)got : 0;
	}
	all[n] = '\0';
	from = strstr(all, "\r\n\r\n") + 4;
	to = all;
	for (size_t size; (size = strtoul(from, &from, 16)) > 0; from += size + 2, to += size)
		memmove(to, from += 2, size);
	*to = '\0';
	close(fd);
	return all;
}

static void expect_numbers(const char *text, unsigned n, const char *begin, const char *between,
			   const char *end)
{
	ck_assert_int_eq(strncmp(text, begin, strlen(begin)), 0);
	text += strlen(begin);
	for (unsigned i = 0; i < n; i++) {
		char *behind;
		ck_assert_uint_eq(strtoul(text, &behind, 10), i);
		behind += strspn(behind, " ");
		const char *what = i + 1 < n ? between : end;
		ck_assert_msg(strncmp(behind, what, strlen(what)) == 0, "behind %u: %.20s", i,
			      behind);
		text = behind + strlen(what);
	}
	ck_assert_str_eq(text, n > 0 ? "" : end);
}

START_TEST(whole_and_in_order)
{
	static const unsigned counts[] = {0, 1, 2, 20000};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
		for (t.nothings = 0; t.nothings <= 2; t.nothings++) {
			t.items = counts[i];
			char *text = answer(ask());
			expect_numbers(text, t.items, "{\"numbers\":[", ",", "]}");
			free(text);
		}
	t.text = true;
	t.items = 5000;
	t.nothings = 1;
	char *text = answer(ask());
	expect_numbers(text, t.items, "", "\n", "\n");
	free(text);
}
END_TEST

/* One that is larger than a slice travels all the same. */
START_TEST(large_items)
{
	t.items = 30;
	t.size = 200000;
	char *text = answer(ask());
	expect_numbers(text, t.items, "{\"numbers\":[", ",", "]}");
	free(text);
}
END_TEST

/* Many at once, each of whose items takes its time: a turn has as many as fit into it, and one. */
START_TEST(a_turn_s_share)
{
	int clients[CLIENTS];
	t.items = 100;
	t.us = 200;
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = ask();
	unsigned most = 0;
	for (double end = seconds() + PATIENCE_S; t.written < CLIENTS * t.items;) {
		unsigned before = t.written;
		ck_assert(seconds() < end);
		ck_assert(loop_turn(t.loop, false));
		most = t.written - before > most ? t.written - before : most;
	}
	ck_assert_msg(most <= 6, "%u items in a turn", most);
	for (int i = 0; i < CLIENTS; i++) {
		char *text = answer(clients[i]);
		expect_numbers(text, t.items, "{\"numbers\":[", ",", "]}");
		free(text);
	}
}
END_TEST

/* What is written for a client that does not read is what its socket takes, and a slice. */
START_TEST(who_does_not_read)
{
	t.items = 10000000;
	int fd = ask();
	for (unsigned i = 0, before = 1; before != t.written || i < 100; i++) {
		before = t.written;
		for (int k = 0; k < 20; k++)
			ck_assert(loop_turn(t.loop, false));
	}
	ck_assert_uint_gt(t.written, 1000);
	ck_assert_uint_lt(t.written, 400000);
	close(fd);
	for (double end = seconds() + PATIENCE_S; t.lists > 0; loop_turn(t.loop, false))
		ck_assert(seconds() < end);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("api_list");
	TCase *tc = tcase_create("api_list");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, whole_and_in_order);
	tcase_add_test(tc, large_items);
	tcase_add_test(tc, a_turn_s_share);
	tcase_add_test(tc, who_does_not_read);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
