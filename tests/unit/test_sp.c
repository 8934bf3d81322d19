/* nng's PAIR0 against raw sockets: handshakes and messages cut anywhere, lies about lengths, slow
 * peers, and every way to end. */
#include <arpa/inet.h>
#include <check.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "handler/worker/sp.h"
#include "run.h"

#define PATIENCE_MS 60000
#define MESSAGE_MAX (8u << 20)
#define HANDSHAKE_MS 10000
#define UNREAD_MS 20000

static const uint8_t HELLO[8] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};

/* --- no memory, and a shorter wait ------------------------------------------------------------ */

static bool memory_denied;

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return memory_denied ? NULL : __real_realloc(p, n);
}

static bool impatient; /* the time for a handshake is over at once */
static struct loop_timer *handshake_timer;

bool __real_loop_timer_set(struct loop_timer *t, uint64_t ms);
bool __wrap_loop_timer_set(struct loop_timer *t, uint64_t ms);
bool __wrap_loop_timer_set(struct loop_timer *t, uint64_t ms)
{
	if (ms == HANDSHAKE_MS)
		handshake_timer = t;
	return __real_loop_timer_set(t,
				     impatient && (ms == HANDSHAKE_MS || ms == UNREAD_MS) ? 1 : ms);
}

static int accept_error; /* instead of a peer */
static unsigned accepts_failed;

int __real_accept4(int s, struct sockaddr *from, socklen_t *len, int flags);
int __wrap_accept4(int s, struct sockaddr *from, socklen_t *len, int flags);
int __wrap_accept4(int s, struct sockaddr *from, socklen_t *len, int flags)
{
	if (accept_error == 0)
		return __real_accept4(s, from, len, flags);
	accepts_failed++;
	errno = accept_error;
	return -1;
}

/* --- the host's side -------------------------------------------------------------------------- */

#define MESSAGES_MAX 4096

static struct {
	struct sp_pipe *pipe; /* the last that opened */
	unsigned opened, closed;
	char why[200]; /* of the last end; empty: none was given */
	struct {
		uint8_t *bytes;
		size_t len;
	} messages[MESSAGES_MAX];
	size_t n;
	bool close_on_open, close_on_message;
	unsigned finish_on_message; /* ms */
} host;

static struct loop *loop;
static struct sp_listener *listener;
static struct loop_timer tick;
static char folder[64], path[96];
static uint64_t deadline;
static bool (*wanted)(void);
static void (*pump)(void); /* what the test does meanwhile, at every tick */

static void on_opened(void *ctx, struct sp_pipe *p, void **user_r)
{
	ck_assert_ptr_eq(ctx, &host);
	*user_r = &host.pipe;
	host.pipe = p;
	host.opened++;
	if (host.close_on_open)
		sp_close(p);
}

static void on_message(void *ctx, struct sp_pipe *p, void *user, uint8_t *bytes, size_t len)
{
	ck_assert(ctx == &host && user == &host.pipe && !sp_is_closed(p));
	ck_assert_uint_lt(host.n, MESSAGES_MAX);
	host.messages[host.n].bytes = malloc(len + 1);
	memcpy(host.messages[host.n].bytes, bytes, len);
	host.messages[host.n++].len = len;
	/* It may be written to, and the byte behind it for a while. */
	uint8_t behind = bytes[len];
	memset(bytes, 0xEE, len + 1);
	bytes[len] = behind;
	if (host.close_on_message)
		sp_close(p);
	if (host.finish_on_message > 0)
		sp_finish(p, host.finish_on_message);
}

static void on_closed(void *ctx, struct sp_pipe *p, void *user, const char *why)
{
	ck_assert(ctx == &host && user == &host.pipe && p == host.pipe);
	host.closed++;
	snprintf(host.why, sizeof host.why, "%s", why != NULL ? why : "");
}

static const struct sp_ops ops = {.opened = on_opened, .message = on_message, .closed = on_closed};
static const struct sp_limits limits = {.message_max = MESSAGE_MAX};

static void on_tick(void *arg)
{
	(void)arg;
	ck_assert_msg(loop_now(loop) < deadline, "nothing happened");
	if (pump != NULL)
		pump();
	if (wanted())
		loop_stop(loop);
	else
		__real_loop_timer_set(&tick, 1);
}

static void until(bool (*condition)(void))
{
	wanted = condition;
	deadline = loop_now(loop) + PATIENCE_MS;
	loop->stop = false;
	__real_loop_timer_set(&tick, 0);
	loop_run(loop);
}

static bool has_opened(void)
{
	return host.opened > 0;
}

static bool has_closed(void)
{
	return host.closed > 0;
}

static size_t n_wanted;

static bool has_messages(void)
{
	return host.n >= n_wanted;
}

static void until_messages(size_t n)
{
	n_wanted = n;
	until(has_messages);
	ck_assert_uint_eq(host.n, n);
}

/* --- the peer's side -------------------------------------------------------------------------- */

static bool ipc;
static int fd; /* the peer's end */
static uint8_t *got;
static size_t n_got, cap_got;
static bool got_end;

static int dial(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(ipc ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const char *url = sp_url(listener);
	if (ipc)
		strcpy(un.sun_path, url + 6);
	else
		in.sin_port = htons((uint16_t)atoi(strrchr(url, ':') + 1));
	ck_assert_int_eq(connect(s, ipc ? (struct sockaddr *)&un : (struct sockaddr *)&in,
				 ipc ? sizeof un : sizeof in),
			 0);
	return s;
}

static void put(const void *bytes, size_t n)
{
	ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static size_t wire_head(uint8_t *dst, uint64_t len)
{
	uint64_t wire = htobe64(len);
	dst[0] = 1;
	memcpy(dst + ipc, &wire, 8);
	return 8 + (size_t)ipc;
}

static void put_message(const void *bytes, size_t n)
{
	uint8_t wire[1024];
	size_t head = wire_head(wire, n);
	memcpy(wire + head, bytes, n);
	put(wire, head + n);
}

/* Reads what is there. */
static void receive(void)
{
	for (;;) {
		if (cap_got - n_got < 65536)
			got = realloc(got, cap_got += 1 << 20);
		ssize_t n = recv(fd, got + n_got, 65536, MSG_DONTWAIT);
		if (n <= 0) {
			got_end = got_end || n == 0 || errno == ECONNRESET;
			return;
		}
		n_got += (size_t)n;
	}
}

static size_t got_wanted;

static bool has_got(void)
{
	receive();
	return n_got >= got_wanted;
}

static bool has_end(void)
{
	receive();
	return got_end;
}

static void until_got(size_t n)
{
	got_wanted = n;
	until(has_got);
	ck_assert_uint_eq(n_got, n);
}

static void expect_message(size_t at, const void *bytes, size_t n)
{
	ck_assert_uint_lt(at, host.n);
	ck_assert_uint_eq(host.messages[at].len, n);
	ck_assert(n == 0 || memcmp(host.messages[at].bytes, bytes, n) == 0);
}

static void hang_up(void)
{
	close(fd);
	fd = -1;
}

static void forget(void)
{
	for (size_t i = 0; i < host.n; i++)
		free(host.messages[i].bytes);
	memset(&host, 0, sizeof host);
	n_got = 0;
	got_end = false;
	if (fd >= 0)
		hang_up();
}

/* A connection whose handshake is done. */
static void meet(void)
{
	fd = dial();
	put(HELLO, sizeof HELLO);
	until(has_opened);
	until_got(sizeof HELLO);
	ck_assert_int_eq(memcmp(got, HELLO, sizeof HELLO), 0);
	n_got = 0;
}

static void setup(void)
{
	char url[128], why[200] = "";
	snprintf(folder, sizeof folder, "/tmp/tova-sp-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	snprintf(url, sizeof url, "ipc://%s", path);
	fd = -1;
	pump = NULL;
	impatient = memory_denied = false;
	loop = loop_new(NULL);
	loop_timer_init(loop, &tick, on_tick, NULL);
	listener = sp_listen(loop, ipc ? url : "tcp://127.0.0.1:0", &ops, &host, &limits, why,
			     sizeof why);
	ck_assert_msg(listener != NULL, "%s", why);
}

static void setup_ipc(void)
{
	ipc = true;
	setup();
}

static void setup_tcp(void)
{
	ipc = false;
	setup();
}

static void teardown(void)
{
	sp_listener_free(&listener);
	ck_assert(access(path, F_OK) != 0);
	loop_timer_cancel(&tick);
	loop_free(&loop);
	forget();
	free(got);
	got = NULL;
	cap_got = 0;
	rmdir(folder);
}

/* --- conversations ---------------------------------------------------------------------------- */

static void reply(const char *first, const char *second)
{
	const struct iovec parts[] = {{(void *)first, strlen(first)},
				      {NULL, 0},
				      {(void *)second, strlen(second)}};
	ck_assert(sp_send(host.pipe, parts, 3));
}

START_TEST(messages_go_both_ways)
{
	uint8_t wire[32];
	meet();
	put_message("hello", 5);
	put_message("", 0);
	put_message("\0\xff", 2);
	until_messages(3);
	expect_message(0, "hello", 5);
	expect_message(1, "", 0);
	expect_message(2, "\0\xff", 2);
	reply("ab", "c");
	reply("", "");
	size_t head = wire_head(wire, 3);
	memcpy(wire + head, "abc", 3);
	until_got(2 * head + 3);
	ck_assert_int_eq(memcmp(got, wire, head + 3), 0);
	wire_head(wire, 0);
	ck_assert_int_eq(memcmp(got + head + 3, wire, head), 0);
	ck_assert_uint_eq(sp_waiting(host.pipe), 0);
	ck_assert_int_eq(sp_peer(host.pipe), ipc ? getpid() : 0);
	hang_up();
	until(has_closed);
	ck_assert_str_eq(host.why, "");
	ck_assert(host.opened == 1 && host.closed == 1);
}
END_TEST

/* The host's half comes at once, whatever the peer says. */
START_TEST(the_host_speaks_first)
{
	fd = dial();
	until_got(sizeof HELLO);
	ck_assert_int_eq(memcmp(got, HELLO, sizeof HELLO), 0);
	ck_assert_uint_eq(host.opened, 0);
}
END_TEST

/* Bytes of a message that is made as it is sent. */
#define MADE (3u << 20)
static uint32_t made, pieces;

static size_t make_more(void *ctx, uint8_t *dst, size_t room)
{
	ck_assert_ptr_eq(ctx, &made);
	ck_assert_uint_ge(room, SP_PIECE);
	size_t n = room < MADE - made ? room : MADE - made;
	n = pieces++ % 3 == 0 ? 1 : n;
	for (size_t i = 0; i < n; i++)
		dst[i] = (uint8_t)((made + i) % 251);
	made += (uint32_t)n;
	return n;
}

/* What is sent meanwhile follows, and nothing is made ahead of what the peer reads. */
START_TEST(made_as_it_is_sent)
{
	const struct sp_source source = {.next = make_more, .ctx = &made, .left = MADE};
	uint8_t wire[32];
	made = pieces = 0;
	meet();
	reply("a", "");
	ck_assert(sp_stream(host.pipe, &(struct iovec){(void *)"<", 1}, 1, &source,
			    &(struct iovec){(void *)">\n", 2}, 1));
	ck_assert(sp_streams(host.pipe));
	reply("be", "hind");
	size_t waiting = sp_waiting(host.pipe), head = wire_head(wire, 1);
	ck_assert_uint_lt(made, MADE);
	ck_assert_uint_le(sp_held(host.pipe), 3 * SP_PIECE);
	until_got(3 * head + 1 + 1 + MADE + 2 + 6);
	ck_assert_uint_gt(waiting, MADE / 2);
	ck_assert(!sp_streams(host.pipe));
	ck_assert_uint_eq(sp_waiting(host.pipe), 0);
	const uint8_t *at = got + head + 1;
	wire_head(wire, 1 + MADE + 2);
	ck_assert_int_eq(memcmp(at, wire, head), 0);
	at += head;
	ck_assert_int_eq(*at++, '<');
	for (uint32_t i = 0; i < MADE; i++)
		if (*at++ != i % 251)
			ck_abort_msg("byte %u is wrong", i);
	ck_assert_int_eq(memcmp(at, ">\n", 2), 0);
	ck_assert_int_eq(memcmp(at + 2 + head, "behind", 6), 0);
	hang_up();
	until(has_closed);
}
END_TEST

/* The peer ends in the middle of it, or it is given up. */
START_TEST(made_in_vain)
{
	const struct sp_source source = {.next = make_more, .ctx = &made, .left = MADE};
	made = pieces = 0;
	meet();
	ck_assert(sp_stream(host.pipe, &(struct iovec){(void *)"<", 1}, 1, &source, NULL, 0));
	if (_i == 1)
		sp_give_up(host.pipe);
	ck_assert_int_eq(sp_streams(host.pipe), _i == 0);
	hang_up();
	until(has_closed);
}
END_TEST

/* Nobody above hears of who left before his handshake. */
START_TEST(handshake_cut_anywhere)
{
	for (size_t n = 0; n < sizeof HELLO; n++) {
		fd = dial();
		put(HELLO, n);
		until_got(sizeof HELLO);
		shutdown(fd, SHUT_WR);
		until(has_end);
		ck_assert(host.opened == 0 && host.closed == 0);
		forget();
		fd = dial(); /* and with a reset, where there are any */
		put(HELLO, n);
		hang_up();
		meet();
		ck_assert(host.opened == 1 && host.closed == 0);
		hang_up();
		until(has_closed);
		forget();
	}
}
END_TEST

START_TEST(other_protocols)
{
	for (size_t i = 0; i < sizeof HELLO; i++) {
		uint8_t other[sizeof HELLO];
		memcpy(other, HELLO, sizeof other);
		other[i] ^= 0x11;
		fd = dial();
		put(other, i + 1); /* it is not waited for the rest */
		until(has_end);
		ck_assert(host.opened == 0 && host.closed == 0);
		forget();
	}
	fd = dial();
	put("GET / HTTP/1.1\r\n\r\n", 18);
	until(has_end);
	ck_assert(host.opened == 0 && host.closed == 0);
}
END_TEST

START_TEST(handshakes_have_a_time)
{
	impatient = true;
	fd = dial();
	put(HELLO, 7);
	until(has_end);
	ck_assert(host.opened == 0 && host.closed == 0);
	forget();
	/* Who has made it is given all the time. */
	impatient = false;
	handshake_timer = NULL;
	meet();
	ck_assert_uint_eq(host.closed, 0);
	ck_assert(handshake_timer != NULL && !loop_timer_is_set(handshake_timer));
}
END_TEST

static uint8_t script[64];
static size_t n_script, at_script, cut_script;

/* A piece at each tick. */
static void pump_script(void)
{
	size_t n = at_script == 0 ? cut_script : cut_script == 1 ? 1 : n_script;
	n = n < n_script - at_script ? n : n_script - at_script;
	if (n > 0)
		put(script + at_script, n);
	at_script += n;
}

/* Handshake and two messages in one stream, cut in two at each place, and byte for byte. */
START_TEST(cut_at_each_place)
{
	memcpy(script, HELLO, 8);
	n_script = 8 + wire_head(script + 8, 5);
	memcpy(script + n_script, "first", 5);
	n_script += 5;
	n_script += wire_head(script + n_script, 2);
	memcpy(script + n_script, "2.", 2);
	n_script += 2;
	pump = pump_script;
	for (cut_script = 1; cut_script <= n_script; cut_script++) {
		at_script = 0;
		fd = dial();
		until_messages(2);
		expect_message(0, "first", 5);
		expect_message(1, "2.", 2);
		ck_assert_uint_eq(host.opened, 1);
		hang_up();
		pump = NULL;
		until(has_closed);
		ck_assert_str_eq(host.why, "");
		forget();
		pump = pump_script;
	}
}
END_TEST

/* What was whole is handed over, then the end is told, once. */
START_TEST(ends_in_the_middle)
{
	uint8_t wire[32];
	size_t n = wire_head(wire, 10);
	memcpy(wire + n, "abcdefghij", 10);
	n += 10;
	for (size_t cut = 0; cut < n; cut++) {
		meet();
		put_message("whole", 5);
		put(wire, cut);
		hang_up();
		until(has_closed);
		ck_assert_uint_eq(host.n, 1);
		expect_message(0, "whole", 5);
		ck_assert_str_eq(host.why,
				 cut > 0 ? "the peer ended in the middle of a message" : "");
		ck_assert(host.closed == 1 && host.opened == 1);
		forget();
	}
}
END_TEST

START_TEST(lies_about_lengths)
{
	static const uint64_t lies[] = {MESSAGE_MAX + 1,   UINT32_MAX,	   (uint64_t)1 << 32,
					(uint64_t)1 << 63, UINT64_MAX - 8, UINT64_MAX};
	uint8_t head[9];
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		meet();
		put_message("ok", 2);
		put(head, wire_head(head, lies[i]));
		until(has_closed);
		ck_assert_str_eq(host.why, "the peer announced a message above the limit");
		ck_assert_uint_eq(host.n, 1);
		until(has_end);
		forget();
	}
}
END_TEST

/* ipc has a byte before each message, and it is always the same. */
START_TEST(other_kinds_of_messages)
{
	for (unsigned kind = 0; kind < 256; kind += kind == 0 ? 2 : 11) {
		uint8_t head[9];
		meet();
		wire_head(head, 0);
		head[0] = (uint8_t)kind;
		put(head, 9);
		until(has_closed);
		ck_assert_str_eq(host.why, "the peer sent something that is no message");
		forget();
	}
}
END_TEST

/* --- large and slow --------------------------------------------------------------------------- */

static uint8_t *big;
static size_t n_big, at_big;

static void make_big(size_t n)
{
	uint32_t x = 12345;
	big = malloc(n + 9);
	n_big = wire_head(big, n) + n;
	for (size_t i = n_big - n; i < n_big; i++)
		big[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
	at_big = 0;
}

static void pump_big(void)
{
	ssize_t n = 1;
	while (at_big < n_big && n > 0) {
		n = send(fd, big + at_big, n_big - at_big, MSG_NOSIGNAL | MSG_DONTWAIT);
		at_big += n > 0 ? (size_t)n : 0;
	}
}

START_TEST(largest_message)
{
	size_t head = 8 + (size_t)ipc;
	meet();
	make_big(MESSAGE_MAX);
	pump = pump_big;
	until_messages(1);
	expect_message(0, big + head, MESSAGE_MAX);
	/* And back again, to a peer that takes its time. */
	pump = NULL;
	const struct iovec parts[] = {{big + head, 1000}, {big + head + 1000, MESSAGE_MAX - 1000}};
	ck_assert(sp_send(host.pipe, parts, 2));
	ck_assert_uint_gt(sp_waiting(host.pipe), 0);
	until_got(n_big);
	ck_assert_int_eq(memcmp(got, big, n_big), 0);
	ck_assert_uint_eq(sp_waiting(host.pipe), 0);
	put_message("still here", 10);
	until_messages(2);
	free(big);
}
END_TEST

#define MANY 3000u
#define LARGE 300000u /* some of these fill any socket */

static size_t size_of(unsigned i)
{
	return i % 97 == 0 ? LARGE : i % 13 == 0 ? 0 : i % 250;
}

/* Nobody reads for a while: everything waits, and comes in order and whole. */
START_TEST(slow_consumer_peers)
{
	static char text[LARGE];
	size_t total = 0, at = 0, head = 8 + (size_t)ipc;
	meet();
	for (unsigned i = 0; i < MANY; i++) {
		memset(text, 'a' + (int)(i % 26), sizeof text);
		const struct iovec part = {text, size_of(i)};
		ck_assert(sp_send(host.pipe, &part, 1));
		total += head + size_of(i);
	}
	ck_assert_uint_gt(sp_waiting(host.pipe), 0);
	ck_assert_uint_lt(sp_waiting(host.pipe), total);
	put_message("I read later", 12);
	until_messages(1); /* the other way is open */
	until_got(total);
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t expected[9];
		wire_head(expected, size_of(i));
		ck_assert_int_eq(memcmp(got + at, expected, head), 0);
		at += head;
		memset(text, 'a' + (int)(i % 26), sizeof text);
		ck_assert_int_eq(memcmp(got + at, text, size_of(i)), 0);
		at += size_of(i);
	}
	ck_assert_uint_eq(sp_waiting(host.pipe), 0);
}
END_TEST

static bool can_be_sent(void)
{
	static char text[LARGE];
	const struct iovec part = {text, sizeof text};
	if (sp_waiting(host.pipe) < 2 * LARGE)
		ck_assert(sp_send(host.pipe, &part, 1));
	return sp_waiting(host.pipe) >= 2 * LARGE;
}

/* Nothing of it is handed over while what it has not read is more than it may be; then all of it,
 * in order, and the rest of the batch that was cut, too. */
START_TEST(who_has_to_read_first)
{
	meet();
	until(can_be_sent);
	sp_wait_for_reader(host.pipe, LARGE);
	put_message("one", 3);
	put_message("two", 3);
	sp_wait_for_reader(host.pipe, LARGE); /* again changes nothing */
	for (int i = 0; i < 20; i++)
		loop_turn(loop, false);
	ck_assert_uint_eq(host.n, 0);
	ck_assert_uint_gt(sp_waiting(host.pipe), LARGE);
	pump = receive;
	until_messages(2);
	ck_assert_uint_le(sp_waiting(host.pipe), LARGE);
	expect_message(0, "one", 3);
	expect_message(1, "two", 3);
	put_message("three", 5);
	until_messages(3);
	ck_assert(host.closed == 0 && !loop_timer_is_set(handshake_timer));
}
END_TEST

START_TEST(who_does_not_read_at_all)
{
	meet();
	until(can_be_sent);
	impatient = true;
	sp_wait_for_reader(host.pipe, LARGE);
	put_message("never", 5);
	until(has_closed);
	ck_assert_str_eq(host.why, "it does not read the answers to what it asks");
	ck_assert_uint_eq(host.n, 0);
}
END_TEST

/* One that has to read first and goes away, or is to finish: its last words are heard. */
START_TEST(who_has_to_read_first_and_leaves)
{
	meet();
	until(can_be_sent);
	sp_wait_for_reader(host.pipe, LARGE);
	put_message("last words", 10);
	if (_i == 0 && !ipc)
		return; /* TCP does not tell that nobody reads any more */
	if (_i == 0)
		shutdown(fd, SHUT_RD);
	else
		sp_finish(host.pipe, 1000);
	shutdown(fd, SHUT_WR);
	if (_i == 1)
		pump = receive;
	until(has_closed);
	ck_assert_uint_eq(host.n, 1);
}
END_TEST

static unsigned later;

static bool is_later(void)
{
	return ++later > 100;
}

/* Neither the host nor the loop suffers from accept's failures, whichever they are; and it goes on.
 */
START_TEST(accepting_fails)
{
	static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};
	accept_error = errors[_i];
	accepts_failed = later = 0;
	fd = dial();
	put(HELLO, sizeof HELLO);
	uint64_t since = loop_now(loop);
	until(is_later); /* 100 ms, and more where others want the processor */
	ck_assert_uint_gt(accepts_failed, 0);
	ck_assert_uint_le(accepts_failed, 3 + (loop_now(loop) - since) / 100);
	accept_error = 0;
	until(has_opened);
}
END_TEST

/* A peer that has died with our output unread: what it had said before is heard to the end. */
START_TEST(last_words)
{
	static char text[100000];
	const struct iovec part = {text, sizeof text};
	meet();
	for (int i = 0; i < 20; i++)
		put_message("word", 4);
	shutdown(fd, SHUT_RD);
	for (int i = 0; i < 30; i++)
		ck_assert(sp_send(host.pipe, &part, 1));
	shutdown(fd, SHUT_WR);
	until(has_closed);
	ck_assert_uint_eq(host.n, 20);
	ck_assert_uint_eq(host.closed, 1);
}
END_TEST

/* --- ways to end ------------------------------------------------------------------------------ */

START_TEST(closed_by_the_host)
{
	meet();
	host.close_on_message = true;
	put_message("1", 1);
	put_message("2", 1);
	until(has_end);
	ck_assert_uint_eq(host.n, 1);
	ck_assert_uint_eq(host.closed, 0);
	forget();
	host.close_on_open = true;
	fd = dial();
	put(HELLO, 8);
	put_message("1", 1);
	until(has_end);
	ck_assert(host.opened == 1 && host.n == 0 && host.closed == 0);
}
END_TEST

/* Between sp_close and the end of the turn the pipe is still something one may ask. */
static void close_and_use(void *arg)
{
	const struct iovec part = {"x", 1};
	int pair[2];
	char byte;
	(void)arg;
	sp_close(host.pipe);
	sp_close(host.pipe);
	ck_assert(sp_is_closed(host.pipe));
	/* Whoever has its descriptor's number now gets nothing of it. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	ck_assert(sp_send(host.pipe, &part, 1));
	sp_finish(host.pipe, 1000);
	ck_assert(recv(pair[0], &byte, 1, 0) == -1 && recv(pair[1], &byte, 1, 0) == -1);
	close(pair[0]);
	close(pair[1]);
}

START_TEST(closing_twice)
{
	struct loop_timer t;
	meet();
	loop_timer_init(loop, &t, close_and_use, NULL);
	loop_timer_set(&t, 0);
	until(has_end);
	ck_assert_uint_eq(host.closed, 0);
	loop_timer_cancel(&t);
}
END_TEST

START_TEST(finishing)
{
	static char text[8 << 20];
	const struct iovec part = {text, sizeof text};
	size_t head = 8 + (size_t)ipc;
	meet();
	ck_assert(sp_send(host.pipe, &part, 1));
	ck_assert_uint_gt(sp_waiting(host.pipe), 0);
	sp_finish(host.pipe, PATIENCE_MS);
	ck_assert(sp_send(host.pipe, &part, 1)); /* follows what waits */
	until(has_end);
	ck_assert_uint_eq(n_got, 2 * (head + sizeof text));
	ck_assert_uint_eq(host.closed, 0);
	/* The peer may still say something. */
	put_message("bye", 3);
	put_message("bye!", 4);
	hang_up();
	until(has_closed);
	ck_assert_str_eq(host.why, "");
	ck_assert_uint_eq(host.n, 2);
	expect_message(1, "bye!", 4);
}
END_TEST

START_TEST(finishing_has_a_time)
{
	static char text[8 << 20];
	const struct iovec part = {text, sizeof text};
	meet();
	sp_finish(host.pipe, 20); /* the peer keeps its end open */
	until(has_closed);
	ck_assert_str_eq(host.why, "");
	until(has_end);
	forget();
	meet();
	ck_assert(sp_send(host.pipe, &part, 1));
	sp_finish(host.pipe, 20); /* the peer does not even read */
	until(has_closed);
	until(has_end);
	ck_assert_uint_lt(n_got, sizeof text);
	forget();
	meet();
	host.finish_on_message = 20;
	put_message("go", 2);
	put_message("on", 2);
	until(has_closed);
	ck_assert_uint_eq(host.n, 2);
}
END_TEST

START_TEST(no_memory)
{
	const struct iovec parts[] = {{"abc", 3}};
	meet();
	memory_denied = true;
	ck_assert(!sp_send(host.pipe, parts, 1) || sp_waiting(host.pipe) == 0);
	memory_denied = false;
	make_big(MESSAGE_MAX);
	pump = pump_big;
	n_wanted = 0;
	until(has_messages); /* some of it */
	memory_denied = true;
	until(has_closed);
	memory_denied = false;
	ck_assert_str_eq(host.why, "no memory for its messages");
	ck_assert_uint_eq(host.n, 0);
	free(big);
}
END_TEST

/* --- listeners -------------------------------------------------------------------------------- */

START_TEST(freed_with_open_pipes)
{
	char url[128], why[200];
	meet();
	int other = dial();
	snprintf(url, sizeof url, "%s", sp_url(listener));
	sp_listener_free(&listener);
	until(has_end);
	ck_assert_uint_eq(host.closed, 0);
	close(other);
	/* the place is free again */
	listener = sp_listen(loop, url, &ops, &host, &limits, why, sizeof why);
	ck_assert_msg(listener != NULL, "%s", why);
	forget();
	meet();
}
END_TEST

static void refused(const char *url, const char *expected)
{
	char why[300] = "";
	struct sp_listener *l = sp_listen(loop, url, &ops, &host, &limits, why, sizeof why);
	ck_assert_msg(l == NULL, "%s", url);
	ck_assert_msg(strstr(why, expected) != NULL, "%s: %s", url, why);
}

START_TEST(ipc_paths)
{
	struct stat st;
	char url[128], why[200], long_url[200] = "ipc:///";
	ck_assert(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
	refused(sp_url(listener), "another process listens there");
	meet(); /* which has hurt nobody */
	snprintf(url, sizeof url, "ipc://%s.file", path);
	fclose(fopen(url + 6, "w"));
	refused(url, "there is a file of that name that is no socket");
	/* what is no socket is not taken away */
	ck_assert(stat(url + 6, &st) == 0 && S_ISREG(st.st_mode));
	unlink(url + 6);
	/* One that a crash left behind is. */
	int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	strcpy(un.sun_path, url + 6);
	ck_assert_int_eq(bind(stale, (struct sockaddr *)&un, sizeof un), 0);
	close(stale);
	struct sp_listener *second = sp_listen(loop, url, &ops, &host, &limits, why, sizeof why);
	ck_assert_msg(second != NULL, "%s", why);
	ck_assert_str_eq(sp_url(second), url);
	sp_listener_free(&second);
	ck_assert(stat(url + 6, &st) != 0);
	memset(long_url + 7, 'x', 110);
	refused(long_url, "expected ipc:// and an absolute path of at most 107 bytes");
	refused("ipc://relative", "expected ipc:// and an absolute path");
	refused("ipc://", "expected ipc:// and an absolute path");
	refused("ipc://@abstract", "expected ipc:// and an absolute path");
	refused("ipc:///no/such/folder/socket", "No such file or directory");
}
END_TEST

START_TEST(tcp_addresses)
{
	static const char *const bad[] = {"tcp://127.0.0.1",
					  "tcp://:80",
					  "tcp://127.0.0.1:",
					  "tcp://127.0.0.1:65536",
					  "tcp://127.0.0.1:-1",
					  "tcp://127.0.0.1:8x",
					  "tcp://"};
	char why[200];
	struct sp_listener *six;
	ck_assert_int_eq(strncmp(sp_url(listener), "tcp://127.0.0.1:", 16), 0);
	ck_assert_int_gt(atoi(sp_url(listener) + 16), 0);
	refused(sp_url(listener), "Address already in use");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		refused(bad[i], "expected tcp://ADDRESS:PORT with a numeric address");
	refused("tcp://localhost:0", "\"localhost\" is not a numeric address");
	refused("tcp://*:0", "\"*\" is not a numeric address");
	refused("tcp://[127.0.0.1]:0", "\"127.0.0.1\" is not a numeric address");
	refused("tcp://::1:0", "is not a numeric address");
	refused("ws://127.0.0.1:0", "expected ipc:///PATH");
	refused("", "expected ipc:///PATH");
	six = sp_listen(loop, "tcp://[::1]:0", &ops, &host, &limits, why, sizeof why);
	if (six == NULL) {
		/* a machine without IPv6 */
		ck_assert_ptr_nonnull(strstr(why, "Cannot assign requested address"));
		return;
	}
	ck_assert_int_eq(strncmp(sp_url(six), "tcp://[::1]:", 12), 0);
	ck_assert_int_gt(atoi(sp_url(six) + 12), 0);
	sp_listener_free(&six);
}
END_TEST

static void add_common(TCase *tc)
{
	tcase_add_test(tc, messages_go_both_ways);
	tcase_add_test(tc, the_host_speaks_first);
	tcase_add_test(tc, handshake_cut_anywhere);
	tcase_add_test(tc, other_protocols);
	tcase_add_test(tc, handshakes_have_a_time);
	tcase_add_test(tc, cut_at_each_place);
	tcase_add_test(tc, ends_in_the_middle);
	tcase_add_test(tc, lies_about_lengths);
	tcase_add_test(tc, largest_message);
	tcase_add_test(tc, slow_consumer_peers);
	tcase_add_test(tc, who_has_to_read_first);
	tcase_add_test(tc, who_does_not_read_at_all);
	tcase_add_loop_test(tc, who_has_to_read_first_and_leaves, 0, 2);
	tcase_add_loop_test(tc, accepting_fails, 0, 4);
	tcase_add_test(tc, last_words);
	tcase_add_test(tc, closed_by_the_host);
	tcase_add_test(tc, closing_twice);
	tcase_add_test(tc, finishing);
	tcase_add_test(tc, finishing_has_a_time);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, freed_with_open_pipes);
	tcase_add_test(tc, made_as_it_is_sent);
	tcase_add_loop_test(tc, made_in_vain, 0, 2);
}

int main(void)
{
	Suite *suite = suite_create("sp");
	TCase *over_ipc = tcase_create("ipc"), *over_tcp = tcase_create("tcp");

	tcase_add_checked_fixture(over_ipc, setup_ipc, teardown);
	add_common(over_ipc);
	tcase_add_test(over_ipc, other_kinds_of_messages);
	tcase_add_test(over_ipc, ipc_paths);
	tcase_add_checked_fixture(over_tcp, setup_tcp, teardown);
	add_common(over_tcp);
	tcase_add_test(over_tcp, tcp_addresses);
	suite_add_tcase(suite, over_ipc);
	suite_add_tcase(suite, over_tcp);
	return run_suite(suite);
}
