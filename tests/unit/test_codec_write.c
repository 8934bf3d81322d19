/* What the host says to workers, read back by jansson: every event with everything that can be in
 * it. */
#include <check.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "common/utf8.h"
#include "handler/worker/codec.h"
#include "run.h"
#include "net/conn.h"

/* --- no memory -------------------------------------------------------------------------------- */

static long allocations_left; /* until the one that fails; 0: none does */

static bool allowed(void)
{
	return allocations_left <= 0 || --allocations_left > 0;
}

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
	return allowed() ? __real_malloc(n) : NULL;
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return allowed() ? __real_realloc(p, n) : NULL;
}

/* --- a batch, and what a worker makes of it --------------------------------------------------- */

static struct codec_out out;
static struct hub hub;
static struct mount mount;
static struct session session;
static struct session_more more;
static struct conns loop_conns; /* of this loop */
static struct conn conn;
static struct room_table rooms;
static struct stats stats;
static json_t *batch;
static uint8_t *binary;
static size_t n_binary, used_binary;
static char *whole;
static bool left; /* all rooms */

static void setup(void)
{
	allocations_left = 0;
	memset(&out, 0, sizeof out);
	memset(&session, 0, sizeof session);
	memset(&more, 0, sizeof more);
	conn = (struct conn){.conns = &loop_conns};
	session.magic = CHECK_SESSION;
	session.more = &more;
	session_attach(&session, &conn);
	hub.host_id = 0x0123456789abcdefu;
	mount.hub = &hub;
	session.mount = &mount;
	session.local = 0xfedcba9876543210u;
	stats = (struct stats){.pushes = 0};
	rooms = (struct room_table){.key = {1, 2}, .stats = &stats};
	batch = NULL;
	whole = NULL;
	left = false;
}

static void leave(void)
{
	if (!left)
		room_leave_all(&rooms, &session);
	left = true;
}

static void forget(void)
{
	json_decref(batch);
	free(whole);
	batch = NULL;
	whole = NULL;
}

static void teardown(void)
{
	forget();
	codec_free(&out);
	leave();
	room_forget_all(&session);
	room_table_free(&rooms);
}

/* Reads the whole batch as a worker would. */
static void receive(void)
{
	struct iovec parts[CODEC_PARTS];
	json_error_t error;
	size_t n = 0, end;
	forget();
	ck_assert(!codec_failed(&out));
	int n_parts = codec_parts(&out, parts);
	ck_assert_int_le(n_parts, CODEC_PARTS);
	for (int i = 0; i < n_parts; i++)
		n += parts[i].iov_len;
	ck_assert_uint_ge(n, codec_size(&out));
	whole = malloc(n + 1);
	n = 0;
	for (int i = 0; i < n_parts; i++) {
		memcpy(whole + n, parts[i].iov_base, parts[i].iov_len);
		n += parts[i].iov_len;
	}
	whole[n] = '\0';
	batch = json_loadb(whole, n, JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &error);
	ck_assert_msg(json_is_array(batch), "%s: %s", error.text, whole);
	end = (size_t)error.position;
	ck_assert_uint_eq(json_array_size(batch), out.n);
	ck_assert(memchr(whole, '\n', end) == NULL);
	/* An LF only where there is something behind it. */
	ck_assert(end == n || (whole[end] == '\n' && n > end + 1));
	binary = (uint8_t *)whole + end + (end < n);
	n_binary = n - end - (end < n);
	used_binary = 0;
}

static json_t *object(size_t i)
{
	json_t *o = json_array_get(batch, i);
	ck_assert(json_is_object(o));
	return o;
}

static void member_is(const json_t *o, const char *key, const void *text, size_t n)
{
	const json_t *v = json_object_get(o, key);
	ck_assert_msg(json_is_string(v), "no %s in %s", key, whole);
	ck_assert_uint_eq(json_string_length(v), n);
	ck_assert(n == 0 || memcmp(json_string_value(v), text, n) == 0);
}

static void text_is(const json_t *o, const char *key, const char *text)
{
	member_is(o, key, text, strlen(text));
}

static void number_is(const json_t *o, const char *key, uint64_t value)
{
	ck_assert_msg(json_is_integer(json_object_get(o, key)), "no %s in %s", key, whole);
	ck_assert_uint_eq((uint64_t)json_integer_value(json_object_get(o, key)), value);
}

/* The next bytes behind the text. */
static void binary_is(const json_t *o, const char *key, const void *bytes, size_t n)
{
	number_is(o, key, n);
	ck_assert_uint_le(used_binary + n, n_binary);
	ck_assert(n == 0 || memcmp(binary + used_binary, bytes, n) == 0);
	used_binary += n;
}

static void has_no(const json_t *o, const char *key)
{
	ck_assert_msg(json_object_get(o, key) == NULL, "%s in %s", key, whole);
}

static struct event_held held(enum event_kind kind)
{
	return (struct event_held){.event = {.kind = kind,
					     .session = &session,
					     .sequence = 9,
					     .attempt = 2},
				   .number = 7};
}

/* One event as a batch of its own. */
static json_t *event(const struct event_held *h)
{
	codec_reset(&out);
	codec_event(&out, h);
	receive();
	json_t *o = object(0);
	text_is(o, "t", event_name(h->event.kind));
	number_is(o, "s", h->number);
	number_is(o, "seq", h->event.sequence);
	number_is(o, "attempt", h->event.attempt);
	return o;
}

static const char CONN[] = "ASNFZ4mrze_-3LqYdlQyEA";

/* --- small words ------------------------------------------------------------------------------ */

START_TEST(words)
{
	codec_welcome(&out, "link", "/a", 256, 1048576, 1, false);
	codec_word(&out, "ping");
	codec_word(&out, "drain");
	codec_bye(&out, NULL);
	codec_bye(&out, "because \"it\" is so");
	receive();
	ck_assert_str_eq(
		whole,
		"[{\"t\":\"welcome\",\"v\":1,\"link\":\"link\",\"mount\":\"/a\",\"host\":\"" TOVA_VERSION
		"\",\"window\":256,\"batch\":1048576},{\"t\":\"ping\"},{\"t\":\"drain\"},{\"t\":\"bye\"},"
		"{\"t\":\"bye\",\"error\":\"because \\\"it\\\" is so\"}]");
	codec_reset(&out);
	codec_object(&out, "reply");
	codec_member_uint(&out, "zero", 0);
	codec_member_uint(&out, "most", INT64_MAX);
	codec_member_text(&out, "text", SPAN("a\0b"));
	codec_member_text(&out, "none", (struct span){NULL, 0});
	codec_member_raw(&out, "list", "[");
	codec_string(&out, SPAN("x"));
	codec_raw(&out, "]", 1);
	codec_object_end(&out);
	receive();
	ck_assert_str_eq(
		whole,
		"[{\"t\":\"reply\",\"zero\":0,\"most\":9223372036854775807,\"text\":\"a\\u0000b\",\"none\":\"\",\"list\":[\"x\"]}]");
}
END_TEST

/* What somebody else said and is said back must not spoil the batch. */
START_TEST(text_that_is_not_utf8)
{
	static const char *const bad[] = {"\xff", "a\xe2\x82", "\xed\xa0\x80", "\xc0\xaf",
					  "caf\xe9"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char expected[16];
		size_t n = 0;
		for (const unsigned char *p = (const unsigned char *)bad[i]; *p != '\0'; p++) {
			if (*p >= 0x80)
				expected[n++] = (char)(0xC0 | *p >> 6);
			expected[n++] = (char)(*p >= 0x80 ? 0x80 | (*p & 63) : *p);
		}
		codec_reset(&out);
		codec_bye(&out, bad[i]);
		receive();
		member_is(object(0), "error", expected, n);
	}
}
END_TEST

/* --- events ----------------------------------------------------------------------------------- */

START_TEST(messages)
{
	struct event_held h = held(EVENT_MESSAGE);
	uint8_t bytes[256];
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)i;
	h.event.message.bytes = bytes;
	h.event.message.len = 128; /* all of ASCII, control characters too */
	json_t *o = event(&h);
	text_is(o, "conn", CONN);
	member_is(o, "data", bytes, 128);
	has_no(o, "bin");
	has_no(o, "state");
	has_no(o, "state_bin");
	ck_assert_uint_eq(n_binary, 0);
	h.event.message.binary = true;
	h.event.message.len = 256;
	o = event(&h);
	has_no(o, "data");
	binary_is(o, "bin", bytes, 256);
	h.event.message.len = 0;
	o = event(&h);
	binary_is(o, "bin", bytes, 0);
	ck_assert_uint_eq(n_binary, 0);
	h.event.message.binary = false;
	o = event(&h);
	member_is(o, "data", "", 0);
}
END_TEST

/* A message that is made as it is sent is the same as one that is written at once. */
START_TEST(whose_it_is)
{
	struct event_held h = held(EVENT_MESSAGE);
	has_no(event(&h), "subject");
	struct identity identity = {.subject = (char *)"ann \"ü\""};
	more.identity = &identity;
	text_is(event(&h), "subject", identity.subject);
	ck_assert_ptr_null(json_object_get(event(&h), "user"));
	identity.user = (char *)"Ann";
	identity.info = (char *)"{\"name\":\"Ann\"}";
	identity.info_len = 14;
	identity.claims = (char *)"{\"sub\":1}";
	text_is(event(&h), "subject", identity.subject);
	text_is(event(&h), "user", identity.user);
	text_is(event(&h), "info", identity.info);
	ck_assert_ptr_null(json_object_get(event(&h), "claims"));
	out.claims = true;
	ck_assert_int_eq(json_integer_value(
				 json_object_get(json_object_get(event(&h), "claims"), "sub")),
			 1);
	out.claims = false;
	more.identity = NULL;
	has_no(event(&h), "subject");
}
END_TEST

START_TEST(streams)
{
	static const uint8_t state[] = "a\xffstate";
	struct event_held h = held(EVENT_MESSAGE);
	struct codec_out piecewise = {.n = 0};
	struct iovec parts[CODEC_PARTS], tail[CODEC_PARTS];
	struct codec_stream stream;
	enum { LEN = 5000 };
	static uint8_t bytes[LEN], made[6 * LEN + 1000];
	for (unsigned i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(i % 3 == 0 ? i % 128 : i % 7);
	h.event.message.bytes = bytes;
	h.event.message.len = LEN;
	h.event.message.binary = (_i & 1) != 0;
	if (_i & 2) {
		session.data = (void *)(state + ((_i & 4) != 0 ? 0 : 2)); /* bytes, or text */
		more.data_len = 5;
	}
	codec_reset(&out);
	codec_event(&out, &h);
	receive();
	int n_tail = codec_stream(&piecewise, &h, &stream, tail);
	size_t n = piecewise.text.n, to_come = codec_stream_size(&stream);
	memcpy(made, piecewise.text.p, n);
	for (size_t room = 64; to_come > 0; room += 17) {
		uint8_t piece[8192];
		size_t got = codec_stream_next(&stream, piece, room);
		ck_assert(got > 0 && got <= room && got <= to_come);
		memcpy(made + n, piece, got);
		n += got;
		to_come -= got;
	}
	for (int i = 0; i < n_tail; i++) {
		memcpy(made + n, tail[i].iov_base, tail[i].iov_len);
		n += tail[i].iov_len;
	}
	int n_parts = codec_parts(&out, parts);
	size_t at = 0;
	for (int i = 0; i < n_parts; i++) {
		ck_assert(at + parts[i].iov_len <= n);
		ck_assert_int_eq(memcmp(made + at, parts[i].iov_base, parts[i].iov_len), 0);
		at += parts[i].iov_len;
	}
	ck_assert_uint_eq(at, n);
	session.data = NULL;
	more.data_len = 0;
	codec_free(&piecewise);
}
END_TEST

START_TEST(every_character)
{
	struct event_held h = held(EVENT_MESSAGE);
	for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : RUNNING_ON_VALGRIND ? 997 : 97) {
		char text[16] = "ab", *p = text + 2;
		if (c >= 0xD800 && c < 0xE000)
			continue;
		if (c < 0x80) {
			*p++ = (char)c;
		} else if (c < 0x800) {
			*p++ = (char)(0xC0 | c >> 6);
			*p++ = (char)(0x80 | (c & 63));
		} else if (c < 0x10000) {
			*p++ = (char)(0xE0 | c >> 12);
			*p++ = (char)(0x80 | (c >> 6 & 63));
			*p++ = (char)(0x80 | (c & 63));
		} else {
			*p++ = (char)(0xF0 | c >> 18);
			*p++ = (char)(0x80 | (c >> 12 & 63));
			*p++ = (char)(0x80 | (c >> 6 & 63));
			*p++ = (char)(0x80 | (c & 63));
		}
		*p++ = 'z';
		h.event.message.bytes = (uint8_t *)text;
		h.event.message.len = (size_t)(p - text);
		member_is(event(&h), "data", text, (size_t)(p - text));
	}
}
END_TEST

START_TEST(states)
{
	struct event_held h = held(EVENT_MESSAGE);
	uint8_t message[] = "message", state[4096];
	h.event.message.bytes = message;
	h.event.message.len = 7;
	session.data = state;
	memcpy(state, "text \xe2\x82\xac\0", 9);
	more.data_len = 9;
	json_t *o = event(&h);
	member_is(o, "state", state, 9);
	has_no(o, "state_bin");
	/* Bytes of both: the state's come first. */
	memset(state, 0xF0, sizeof state);
	more.data_len = sizeof state;
	h.event.message.binary = true;
	o = event(&h);
	binary_is(o, "state_bin", state, sizeof state);
	binary_is(o, "bin", "message", 7);
	has_no(o, "state");
	ck_assert_uint_eq(used_binary, n_binary);
	more.data_len = 0; /* none was set */
	o = event(&h);
	has_no(o, "state");
	has_no(o, "state_bin");
}
END_TEST

START_TEST(many_in_a_batch)
{
	struct event_held h = held(EVENT_MESSAGE);
	uint8_t bytes[100];
	for (unsigned i = 0; i < 100; i++) {
		memset(bytes, (int)i, sizeof bytes);
		h.number = i + 1;
		h.event.message.bytes = bytes;
		h.event.message.len = i;
		h.event.message.binary = i % 3 != 0;
		codec_event(&out, &h);
	}
	receive();
	for (unsigned i = 0; i < 100; i++) {
		memset(bytes, (int)i, sizeof bytes);
		number_is(object(i), "s", i + 1);
		if (i % 3 != 0)
			binary_is(object(i), "bin", bytes, i);
		else
			member_is(object(i), "data", bytes, i);
	}
	ck_assert_uint_eq(used_binary, n_binary);
}
END_TEST

static void join(const char *name, size_t n)
{
	ck_assert_int_eq(room_join(&rooms, (struct span){name, n}, &session), ROOM_JOINED);
}

START_TEST(closes)
{
	struct event_held h = held(EVENT_CLOSE);
	char longest[255];
	h.event.close.code = 1006;
	h.event.close.rooms = &session.rooms;
	json_t *o = event(&h);
	number_is(o, "code", 1006);
	text_is(o, "reason", "");
	ck_assert_uint_eq(json_array_size(json_object_get(o, "rooms")), 0);
	ck_assert(json_is_array(json_object_get(o, "rooms")));
	memset(longest, '"', sizeof longest);
	join("a", 1);
	join(longest, sizeof longest);
	join("\x01 \xe2\x82\xac\\", 6);
	leave();
	h.event.close.code = 4999;
	h.event.close.reason = SPAN("\"because\"\n");
	o = event(&h);
	number_is(o, "code", 4999);
	text_is(o, "reason", "\"because\"\n");
	json_t *list = json_object_get(o, "rooms");
	ck_assert_uint_eq(json_array_size(list), 3);
	ck_assert_str_eq(json_string_value(json_array_get(list, 0)), "a");
	ck_assert_uint_eq(json_string_length(json_array_get(list, 1)), 255);
	ck_assert_str_eq(json_string_value(json_array_get(list, 2)), "\x01 \xe2\x82\xac\\");
}
END_TEST

START_TEST(errors)
{
	static const char *const kinds[] = {"", "handler", "protocol", "transport"};
	for (int kind = EVENT_ERROR_HANDLER; kind <= EVENT_ERROR_TRANSPORT; kind++) {
		struct event_held h = held(EVENT_ERROR);
		h.event.error.kind = (enum event_error)kind;
		h.event.error.text = SPAN("it \"broke\"\t\xff");
		json_t *o = event(&h);
		text_is(o, "kind", kinds[kind]);
		text_is(o, "error", "it \"broke\"\t\xc3\xbf");
	}
}
END_TEST

START_TEST(away)
{
	struct event_held h = held(EVENT_AWAY);
	h.event.away.code = 1006;
	json_t *o = event(&h);
	text_is(o, "t", "away");
	text_is(o, "conn", CONN);
	number_is(o, "code", 1006);
}
END_TEST

START_TEST(timers)
{
	struct event_held h = held(EVENT_TIMER);
	h.event.timer = (struct event_timer){.name = "t\xc3\xa9",
					     .id = 0,
					     .delay_ms = 1500,
					     .period_ms = (1ull << 53) - 1};
	json_t *o = event(&h);
	text_is(o, "conn", CONN);
	text_is(o, "name", "t\xc3\xa9");
	number_is(o, "id", 0);
	number_is(o, "delay", 1500);
	number_is(o, "period", (1ull << 53) - 1);
	h.event.session = NULL; /* the mount's own */
	o = event(&h);
	has_no(o, "conn");
	has_no(o, "state");
}
END_TEST

/* --- requests --------------------------------------------------------------------------------- */

static const char HEAD[] = "GET /caf%C3%A9/%22?q=%20&x=+ HTTP/1.1\r\n"
			   "Host: example.com:8080\r\n"
			   "Connection: Upgrade\r\nUpgrade: websocket\r\n"
			   "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\n"
			   "X-Latin: gr\xfc\xdf"
			   "e\r\n"
			   "X-Utf8: \xe2\x82\xac\r\n"
			   "X-Quote: a\"b\\c\td\r\n"
			   "X-Empty:\r\n"
			   "X-Twice: 1\r\nX-Twice: 2\r\n"
			   "Sec-WebSocket-Protocol: last\r\n"
			   "\r\n";

static const char *const HEADERS[][2] = {
	{"Host", "example.com:8080"},
	{"Connection", "Upgrade"},
	{"Upgrade", "websocket"},
	{"Sec-WebSocket-Protocol", "chat.v1, chat.v2"},
	{"X-Latin", "gr\xc3\xbc\xc3\x9f"
		    "e"},
	{"X-Utf8", "\xe2\x82\xac"},
	{"X-Quote", "a\"b\\c\td"},
	{"X-Empty", ""},
	{"X-Twice", "1"},
	{"X-Twice", "2"},
	{"Sec-WebSocket-Protocol", "last"},
};

static void address_is(const json_t *request, const char *key, const char *address, int port)
{
	const json_t *v = json_object_get(request, key);
	ck_assert_uint_eq(json_array_size(v), 2);
	ck_assert_str_eq(json_string_value(json_array_get(v, 0)), address);
	ck_assert_int_eq(json_integer_value(json_array_get(v, 1)), port);
}

static void request_is(const json_t *r)
{
	static const char *const subprotocols[] = {"chat.v1", "chat.v2", "last"};
	text_is(r, "method", "GET");
	text_is(r, "path", "/caf\xc3\xa9/\"");
	text_is(r, "query", "q=%20&x=+");
	text_is(r, "mount", "/caf\xc3\xa9");
	text_is(r, "host", "example.com:8080");
	ck_assert(json_is_null(json_object_get(r, "tls")));
	ck_assert(json_is_false(json_object_get(r, "secure")));
	address_is(r, "remote", "192.0.2.1", 65535);
	address_is(r, "local", "2001:db8::1", 443);
	const json_t *headers = json_object_get(r, "headers"),
		     *list = json_object_get(r, "subprotocols");
	ck_assert_uint_eq(json_array_size(headers), sizeof HEADERS / sizeof *HEADERS);
	for (size_t i = 0; i < sizeof HEADERS / sizeof *HEADERS; i++) {
		const json_t *pair = json_array_get(headers, i);
		ck_assert_uint_eq(json_array_size(pair), 2);
		ck_assert_str_eq(json_string_value(json_array_get(pair, 0)), HEADERS[i][0]);
		ck_assert_str_eq(json_string_value(json_array_get(pair, 1)), HEADERS[i][1]);
	}
	ck_assert_uint_eq(json_array_size(list), 3);
	for (size_t i = 0; i < 3; i++)
		ck_assert_str_eq(json_string_value(json_array_get(list, i)), subprotocols[i]);
}

static struct event_request facts_of(const char *head, size_t n)
{
	return (struct event_request){
		.head = {head, n},
		.remote = {.ip = {192, 0, 2, 1}, .port = 65535, .family = AF_INET},
		.local = {.ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1},
			  .port = 443,
			  .family = AF_INET6},
		.mount_path = "/caf\xc3\xa9",
	};
}

START_TEST(requests)
{
	struct event_request facts = facts_of(HEAD, sizeof HEAD - 1);
	struct event_held h = held(EVENT_OPEN);
	h.event.request = &facts;
	json_t *o = event(&h);
	text_is(o, "conn", CONN);
	request_is(json_object_get(o, "request"));
	/* Before the connection there is none. */
	h = held(EVENT_UPGRADE);
	h.event.request = &facts;
	h.event.session = NULL;
	h.event.sequence = 0;
	o = event(&h);
	has_no(o, "conn");
	request_is(json_object_get(o, "request"));
	/* The least there can be. */
	static const char bare[] = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
	facts = facts_of(bare, sizeof bare - 1);
	facts.remote.family = AF_UNIX;
	facts.remote.port = 0;
	const json_t *r = json_object_get(event(&h), "request");
	text_is(r, "path", "/");
	text_is(r, "query", "");
	address_is(r, "remote", "unix", 0);
	ck_assert(json_is_array(json_object_get(r, "subprotocols")) &&
		  json_array_size(json_object_get(r, "subprotocols")) == 0);
}
END_TEST

/* Every byte that a header's value may have. */
START_TEST(bytes_of_headers)
{
	for (unsigned c = 0x20; c < 256; c++) {
		char head[100];
		int n = sprintf(head,
				"GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Protocol: a%cb\r\n\r\n",
				(int)c);
		struct event_request facts = facts_of(head, (size_t)n);
		struct event_held h = held(EVENT_OPEN);
		char expected[8];
		if (c == 0x7F)
			continue;
		snprintf(expected, sizeof expected, c < 0x80 ? "a%cb" : "a%c%cb",
			 (int)(c < 0x80 ? c : 0xC0 | c >> 6),
			 (int)(c < 0x80 ? 'b' : 0x80 | (c & 63)));
		expected[c < 0x80 ? 3 : 4] = '\0';
		h.event.request = &facts;
		const json_t *r = json_object_get(event(&h), "request");
		ck_assert_str_eq(json_string_value(
					 json_array_get(json_array_get(json_object_get(r,
										       "headers"),
								       1),
							1)),
				 expected);
		if (c != ',')
			ck_assert_str_eq(json_string_value(
						 json_array_get(json_object_get(r, "subprotocols"),
								0)),
					 expected);
	}
}
END_TEST

/* --- dead letters ----------------------------------------------------------------------------- */

static json_t *dead(const struct event_held *h)
{
	codec_reset(&out);
	codec_object(&out, event_name(h->event.kind));
	codec_dead_event(&out, h);
	codec_object_end(&out);
	ck_assert_uint_eq(out.binary.n, 0);
	receive();
	number_is(object(0), "seq", 9);
	number_is(object(0), "attempt", 2);
	has_no(object(0), "s");
	return object(0);
}

static void base64_is(const json_t *o, const char *key, const uint8_t *bytes, size_t n)
{
	unsigned char expected[1000];
	size_t len = n > 0 ? (size_t)EVP_EncodeBlock(expected, bytes, (int)n) : 0;
	member_is(o, key, expected, len);
}

START_TEST(dead_letters)
{
	struct event_request facts = facts_of(HEAD, sizeof HEAD - 1);
	struct event_held h = held(EVENT_MESSAGE);
	uint8_t bytes[256];
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(255 - i);
	h.event.message.bytes = bytes;
	h.event.message.binary = true;
	for (size_t n = 0; n <= sizeof bytes; n++) {
		h.event.message.len = n;
		json_t *o = dead(&h);
		text_is(o, "conn", CONN);
		base64_is(o, "data_base64", bytes, n);
		has_no(o, "data");
		has_no(o, "bin");
	}
	session.data = bytes;
	more.data_len = 100;
	h.event.message.binary = false;
	h.event.message.bytes = (uint8_t *)"text\n";
	h.event.message.len = 5;
	json_t *o = dead(&h);
	text_is(o, "data", "text\n");
	base64_is(o, "state_base64", bytes, 100);
	h = held(EVENT_OPEN);
	h.event.request = &facts;
	request_is(json_object_get(dead(&h), "request"));
	h = held(EVENT_CLOSE);
	h.event.close.code = 1000;
	h.event.close.rooms = &session.rooms;
	number_is(dead(&h), "code", 1000);
	h = held(EVENT_ERROR);
	h.event.error.kind = EVENT_ERROR_PROTOCOL;
	text_is(dead(&h), "kind", "protocol");
	h = held(EVENT_TIMER);
	h.event.session = NULL;
	h.event.timer.name = "t";
	o = dead(&h);
	text_is(o, "name", "t");
	has_no(o, "conn");
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */

/* Each allocation fails once: it is known that the batch is not whole, and the next one is whole
 * again. */
START_TEST(lack_of_memory_is_known)
{
	struct event_request facts = facts_of(HEAD, sizeof HEAD - 1);
	uint8_t bytes[5000];
	memset(bytes, 0xFE, sizeof bytes);
	bool failed = true;
	for (long n = 1; failed; n++) {
		struct event_held open = held(EVENT_OPEN), message = held(EVENT_MESSAGE);
		open.event.request = &facts;
		message.event.message.bytes = bytes;
		message.event.message.len = sizeof bytes;
		message.event.message.binary = true;
		codec_free(&out);
		allocations_left = n;
		codec_event(&out, &open);
		codec_event(&out, &message);
		codec_bye(&out, "\xff");
		failed = allocations_left == 0;
		allocations_left = 0;
		ck_assert(codec_failed(&out) == failed);
		ck_assert_uint_eq(out.n, 3);
		codec_reset(&out);
		ck_assert(!codec_failed(&out) && out.n == 0);
		codec_word(&out, "ping");
		receive();
		ck_assert_str_eq(whole, "[{\"t\":\"ping\"}]");
		ck_assert_int_lt(n, 50);
		ck_assert(n > 3 || failed); /* there are some */
	}
}
END_TEST

START_TEST(large_batches_give_their_memory_back)
{
	struct event_held h = held(EVENT_MESSAGE);
	uint8_t *bytes = calloc(1, 1 << 20);
	memset(bytes, 'x', 1 << 20);
	h.event.message.bytes = bytes;
	h.event.message.len = 1 << 20;
	member_is(event(&h), "data", bytes, 1 << 20);
	h.event.message.binary = true;
	binary_is(event(&h), "bin", bytes, 1 << 20);
	codec_reset(&out);
	ck_assert_uint_le(out.text.cap + out.binary.cap, 512 << 10);
	h.event.message.len = 1000;
	event(&h);
	codec_reset(&out);
	ck_assert_uint_gt(out.text.cap, 0);
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("codec_write");
	TCase *tc = tcase_create("codec_write");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, words);
	tcase_add_test(tc, text_that_is_not_utf8);
	tcase_add_test(tc, messages);
	tcase_add_test(tc, whose_it_is);
	tcase_add_loop_test(tc, streams, 0, 8);
	tcase_add_test(tc, every_character);
	tcase_add_test(tc, states);
	tcase_add_test(tc, many_in_a_batch);
	tcase_add_test(tc, closes);
	tcase_add_test(tc, errors);
	tcase_add_test(tc, timers);
	tcase_add_test(tc, away);
	tcase_add_test(tc, requests);
	tcase_add_test(tc, bytes_of_headers);
	tcase_add_test(tc, dead_letters);
	tcase_add_test(tc, lack_of_memory_is_known);
	tcase_add_test(tc, large_batches_give_their_memory_back);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
