/* Frames (RFC 6455 section 5). A conversation is built once together with what it must result in,
 * and fed to the reader whole, byte by byte (the inner part of long ones in small pieces), cut at
 * every place, and straight into the reader's buffer: the results must be the same each time. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "common/utf8.h"
#include "ws/frame.h"
#include "run.h"

#define TEXT (0x80 | FRAME_TEXT)
#define BINARY (0x80 | FRAME_BINARY)
#define CLOSE (0x80 | FRAME_CLOSE)
#define PING (0x80 | FRAME_PING)
#define PONG (0x80 | FRAME_PONG)
#define LAST (0x80 | FRAME_CONTINUATION)

/* --- no memory -------------------------------------------------------------------------------- */

static long allocations_left = -1; /* negative: any number */

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	if (allocations_left == 0)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	return __real_realloc(p, n);
}

/* --- conversations ---------------------------------------------------------------------------- */

struct text {
	char *p;
	size_t n, cap;
};

static void put(struct text *t, const void *bytes, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		char *grown;

		t->cap = (t->n + n + 1) * 2;
		grown = malloc(t->cap);
		if (t->n > 0)
			memcpy(grown, t->p, t->n);
		free(t->p);
		t->p = grown;
	}
	if (n > 0)
		memcpy(t->p + t->n, bytes, n);
	t->n += n;
	t->p[t->n] = '\0';
}

/* What is sent, and what must come of it. */
struct talk {
	struct text sent, expected;
	struct frame_limits limits;
};

static struct talk talk_new(void)
{
	return (struct talk){.limits = {.message_max = 1 << 20, .masked = true}};
}

static void raw(struct talk *t, const char *bytes, size_t n)
{
	put(&t->sent, bytes, n);
}

/* Header with the length in the given number of bytes (0: the fewest), then payload_there bytes,
 * masked. */
static void frame_as(struct talk *t, uint8_t first, const void *payload, uint64_t len,
		     size_t payload_there, unsigned len_bytes)
{
	const uint8_t mask[4] = {0x37, (uint8_t)(0xFA + len), 0x21, 0x80};
	uint8_t head[FRAME_HEAD_MAX];
	size_t n = 2;

	if (len_bytes == 0)
		len_bytes = len < 126 ? 1 : len < 65536 ? 2 : 8;
	head[0] = first;
	head[1] = (uint8_t)(len_bytes == 1 ? len : len_bytes == 2 ? 126 : 127);
	for (unsigned i = len_bytes > 1 ? len_bytes : 0; i > 0; i--)
		head[n++] = (uint8_t)(len >> (8 * (i - 1)));
	if (t->limits.masked) {
		head[1] |= 0x80;
		memcpy(head + n, mask, 4);
		n += 4;
	}
	put(&t->sent, head, n);
	for (size_t i = 0; i < payload_there; i++) {
		const uint8_t b =
			((const uint8_t *)payload)[i] ^ (t->limits.masked ? mask[i % 4] : 0);

		put(&t->sent, &b, 1);
	}
}

static void frame(struct talk *t, uint8_t first, const void *payload, size_t n)
{
	frame_as(t, first, payload, n, n, 0);
}

/* One line of a transcript: long data as length and hash. */
static void line(struct text *t, const char *kind, unsigned code, const uint8_t *p, size_t n)
{
	char head[64];
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 16777619u;
	put(t, head, (size_t)snprintf(head, sizeof head, "%s %u %zu %08x ", kind, code, n, hash));
	put(t, p, n < 40 ? n : 40);
	put(t, "\n", 1);
}

static const char *kind_name(unsigned opcode)
{
	static const char *const names[16] = {[FRAME_TEXT] = "text",
					      [FRAME_BINARY] = "binary",
					      [FRAME_CLOSE] = "close",
					      [FRAME_PING] = "ping",
					      [FRAME_PONG] = "pong"};

	return names[opcode & 15] != NULL ? names[opcode & 15] : "?";
}

static void gives(struct talk *t, unsigned opcode, const void *p, size_t n)
{
	line(&t->expected, kind_name(opcode), 0, p, n);
}

static void gives_close(struct talk *t, unsigned code, const char *reason)
{
	line(&t->expected, "close", code, (const uint8_t *)reason, strlen(reason));
}

static void gives_bad(struct talk *t, unsigned code)
{
	line(&t->expected, "bad", code, NULL, 0);
}

/* --- feeding ---------------------------------------------------------------------------------- */

static void note(struct text *t, enum frame_status status, const struct frame *f)
{
	if (status == FRAME_BAD) {
		ck_assert_ptr_nonnull(f->why);
		line(t, "bad", f->code, NULL, 0);
	} else {
		ck_assert_int_eq(status == FRAME_CONTROL, f->opcode >= 8);
		line(t, kind_name(f->opcode), f->code, f->data, f->len);
		f->data[f->len] = f->data[f->len]; /* one byte behind it is writable */
	}
}

/* Feeds n bytes in a block that is exactly as long as promised, and looks after what lies behind
 * it. */
static enum frame_status feed(struct frame_reader *r, const struct talk *t, const char *bytes,
			      size_t n, struct text *got)
{
	uint8_t *block = malloc(n + 1), *p = block;
	size_t left = n;
	enum frame_status status;
	struct frame f;

	memcpy(block, bytes, n);
	block[n] = 0xA5;
	do {
		status = frame_read(r, &t->limits, &p, &left, &f);
		ck_assert_ptr_eq(p + left, block + n);
		if (status != FRAME_MORE)
			note(got, status, &f);
		ck_assert(left == 0 || status == FRAME_MESSAGE || status == FRAME_CONTROL);
	} while (status != FRAME_MORE && status != FRAME_BAD);
	ck_assert_uint_eq(block[n], 0xA5);
	free(block);
	return status;
}

/* As conn does: straight into the reader where that is possible. */
static enum frame_status feed_direct(struct frame_reader *r, const struct talk *t,
				     const char *bytes, size_t n, struct text *got)
{
	enum frame_status status = FRAME_MORE;

	while (n > 0 && status != FRAME_BAD) {
		uint8_t *where;
		size_t room = frame_space(r, &t->limits, &where);
		struct frame f;

		if (room == 0) {
			room = n < 100 ? n : 100;
			status = feed(r, t, bytes, room, got);
		} else {
			room = room < n ? room : n;
			memcpy(where, bytes, room);
			status = frame_filled(r, &t->limits, room, &f);
			if (status != FRAME_MORE)
				note(got, status, &f);
		}
		bytes += room;
		n -= room;
	}
	return status;
}

static void compare(const struct talk *t, struct text *got, const char *how, size_t at)
{
	if (got->n != t->expected.n || (got->n > 0 && memcmp(got->p, t->expected.p, got->n) != 0))
		ck_abort_msg("fed %s %zu, expected:\n%s\ngot:\n%s", how, at,
			     t->expected.n > 0 ? t->expected.p : "", got->n > 0 ? got->p : "");
	free(got->p);
	*got = (struct text){0};
}

static void feed_cut(const struct talk *t, size_t at)
{
	struct frame_reader r = {0};
	struct text got = {0};

	if (feed(&r, t, t->sent.p, at, &got) != FRAME_BAD)
		feed(&r, t, t->sent.p + at, t->sent.n - at, &got);
	compare(t, &got, "cut at", at);
	frame_reset(&r);
}

/* Feeds the conversation in every way, and frees it. */
static void run(struct talk *t)
{
	const size_t n = t->sent.n;
	/* Every cut of a short one; valgrind looks for bad accesses, which do not need every cut to
	 * show. */
	const size_t edge = RUNNING_ON_VALGRIND ? 9 : 64, middle = RUNNING_ON_VALGRIND ? n / 5 + 1
								   : n > 3000	       ? n / 499
										       : 1;
	struct frame_reader r = {0};
	struct text got = {0};

	feed(&r, t, t->sent.p, n, &got);
	compare(t, &got, "whole", 0);
	frame_reset(&r);
	for (size_t i = 0, k; i < n; i += k) {
		k = n > 3000 && i >= 64 && i + 64 + 97 <= n ? 97 : 1;
		if (feed(&r, t, t->sent.p + i, k, &got) == FRAME_BAD)
			break;
	}
	compare(t, &got, "in bytes", 0);
	frame_reset(&r);
	feed_direct(&r, t, t->sent.p, n, &got);
	compare(t, &got, "direct", 0);
	frame_reset(&r);
	for (size_t at = 0; at < n; at += at < edge || at + edge > n ? 1 : middle)
		feed_cut(t, at);
	free(t->sent.p);
	free(t->expected.p);
	*t = talk_new();
}

static uint8_t *letters(size_t n)
{
	uint8_t *p = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)('a' + i * 7 % 26 - (i % 1001 == 0 ? 32 : 0));
	return p;
}

/* --- messages --------------------------------------------------------------------------------- */

START_TEST(messages_of_every_size)
{
	static const size_t sizes[] = {0,   1,	 2,   3,    4,	  5,	 7,	8,     9,     15,
				       16,  17,	 63,  64,   65,	  124,	 125,	126,   127,   128,
				       255, 256, 300, 1024, 4095, 65535, 65536, 65537, 200000};
	struct talk t = talk_new();

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint8_t *p = letters(sizes[i]);

		frame(&t, TEXT, p, sizes[i]);
		gives(&t, FRAME_TEXT, p, sizes[i]);
		run(&t);
		p[sizes[i] / 2] ^= 0xFF; /* not UTF-8 any more, which binary does not mind */
		frame(&t, BINARY, p, sizes[i]);
		frame(&t, TEXT, "next", 4);
		gives(&t, FRAME_BINARY, p, sizes[i]);
		gives(&t, FRAME_TEXT, "next", 4);
		run(&t);
		free(p);
	}
}
END_TEST

/* What is unmasked begins and ends at every place of a word, and of a wide step. */
START_TEST(messages_of_each_short_size)
{
	struct talk t = talk_new();
	uint8_t p[201];

	for (size_t n = 0; n < sizeof p; n++) {
		p[n] = (uint8_t)(n * 31);
		frame(&t, BINARY, p, n);
		gives(&t, FRAME_BINARY, p, n);
	}
	run(&t);
}
END_TEST

START_TEST(fragments)
{
	struct talk t = talk_new();

	frame(&t, FRAME_TEXT, "one ", 4);
	frame(&t, FRAME_CONTINUATION, "", 0);
	frame(&t, FRAME_CONTINUATION, "two ", 4);
	frame(&t, LAST, "three", 5);
	gives(&t, FRAME_TEXT, "one two three", 13);
	frame(&t, FRAME_BINARY, "", 0);
	frame(&t, LAST, "", 0);
	gives(&t, FRAME_BINARY, "", 0);
	frame(&t, FRAME_TEXT, "", 0);
	frame(&t, LAST, "tail", 4);
	gives(&t, FRAME_TEXT, "tail", 4);
	frame(&t, FRAME_TEXT, "head", 4);
	frame(&t, LAST, "", 0);
	gives(&t, FRAME_TEXT, "head", 4);
	run(&t);
}
END_TEST

START_TEST(many_fragments)
{
	struct talk t = talk_new();
	uint8_t *p = letters(60000);

	for (size_t at = 0, n = 1; at < 60000; at += n, n = n % 997 + 31) {
		if (n > 60000 - at)
			n = 60000 - at;
		frame(&t,
		      (uint8_t)((at == 0 ? FRAME_BINARY : FRAME_CONTINUATION) |
				(at + n == 60000 ? 0x80 : 0)),
		      p + at, n);
	}
	gives(&t, FRAME_BINARY, p, 60000);
	free(p);
	run(&t);
}
END_TEST

START_TEST(control_frames_between_fragments)
{
	struct talk t = talk_new();
	uint8_t *p = letters(125);

	frame(&t, PONG, "unasked", 7);
	gives(&t, FRAME_PONG, "unasked", 7);
	frame(&t, FRAME_TEXT, "a", 1);
	frame(&t, PING, "", 0);
	gives(&t, FRAME_PING, "", 0);
	frame(&t, PING, p, 125);
	gives(&t, FRAME_PING, p, 125);
	frame(&t, FRAME_CONTINUATION, "b", 1);
	frame(&t, PONG, "x", 1);
	gives(&t, FRAME_PONG, "x", 1);
	frame(&t, LAST, "c", 1);
	gives(&t, FRAME_TEXT, "abc", 3);
	frame(&t, FRAME_BINARY, "", 0);
	frame(&t, PING, "p", 1);
	gives(&t, FRAME_PING, "p", 1);
	frame(&t, LAST, "", 0);
	gives(&t, FRAME_BINARY, "", 0);
	frame(&t, FRAME_TEXT, "lost", 4);
	frame(&t, CLOSE, "\x03\xE9gone", 6);
	gives_close(&t, 1001, "gone");
	free(p);
	run(&t);
}
END_TEST

START_TEST(a_server_does_not_mask)
{
	struct talk t = talk_new();
	uint8_t *p = letters(70000);

	t.limits.masked = false;
	frame(&t, TEXT, p, 70000);
	gives(&t, FRAME_TEXT, p, 70000);
	frame(&t, TEXT, "short", 5);
	gives(&t, FRAME_TEXT, "short", 5);
	raw(&t, "\x81\x81....x", 7);
	gives_bad(&t, 1002);
	run(&t);
	free(p);
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

START_TEST(first_byte)
{
	struct talk t = talk_new();

	for (unsigned first = 0; first < 256; first++) {
		const unsigned opcode = first & 15;
		const bool fin = first & 0x80;
		const bool right =
			!(first & 0x70) && (opcode == FRAME_TEXT || opcode == FRAME_BINARY ||
					    (fin && opcode >= FRAME_CLOSE && opcode <= FRAME_PONG));

		frame(&t, BINARY, "before", 6);
		gives(&t, FRAME_BINARY, "before", 6);
		frame(&t, (uint8_t)first, "", 0);
		if (!right)
			gives_bad(&t, 1002);
		else if (opcode == FRAME_CLOSE)
			gives_close(&t, 1005, "");
		else if (fin)
			gives(&t, opcode, "", 0);
		run(&t);
	}
}
END_TEST

START_TEST(no_mask)
{
	struct talk t = talk_new();

	raw(&t, "\x81\x05Hello", 7);
	gives_bad(&t, 1002);
	run(&t);
	raw(&t, "\x89", 1); /* alone it is not wrong yet */
	run(&t);
	raw(&t, "\x89\x00", 2);
	gives_bad(&t, 1002);
	run(&t);
}
END_TEST

START_TEST(control_frames_are_short_and_whole)
{
	struct talk t = talk_new();
	uint8_t *p = letters(200);

	for (uint8_t opcode = FRAME_CLOSE; opcode <= FRAME_PONG; opcode++) {
		frame(&t, (uint8_t)(0x80 | opcode), p, 126);
		gives_bad(&t, 1002);
		run(&t);
		frame_as(&t, (uint8_t)(0x80 | opcode), p, 70000, 0, 8);
		gives_bad(&t, 1002);
		run(&t);
		frame_as(&t, (uint8_t)(0x80 | opcode), p, 5, 5, 2);
		gives_bad(&t, 1002);
		run(&t);
		frame(&t, opcode, p, 5);
		gives_bad(&t, 1002);
		run(&t);
	}
	free(p);
}
END_TEST

START_TEST(lengths_are_minimal)
{
	static const struct {
		uint64_t len;
		unsigned bytes;
	} wrong[] = {{0, 2},	     {125, 2}, {0, 8}, {126, 8}, {65535, 8}, {UINT64_C(1) << 63, 8},
		     {UINT64_MAX, 8}};
	struct talk t = talk_new();
	uint8_t *p = letters(65535);

	t.limits.message_max = UINT64_MAX;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		frame_as(&t, BINARY, p, wrong[i].len,
			 wrong[i].len <= 65535 ? (size_t)wrong[i].len : 0, wrong[i].bytes);
		gives_bad(&t, 1002);
		run(&t);
		t.limits.message_max = UINT64_MAX;
	}
	frame_as(&t, BINARY, p, UINT64_MAX >> 1, 1000, 8); /* right, if somewhat ambitious */
	run(&t);
	free(p);
}
END_TEST

START_TEST(order_of_fragments)
{
	struct talk t = talk_new();

	frame(&t, LAST, "x", 1);
	gives_bad(&t, 1002);
	run(&t);
	frame(&t, FRAME_CONTINUATION, "x", 1);
	gives_bad(&t, 1002);
	run(&t);
	frame(&t, TEXT, "whole", 5);
	gives(&t, FRAME_TEXT, "whole", 5);
	frame(&t, LAST, "x", 1);
	gives_bad(&t, 1002);
	run(&t);
	frame(&t, FRAME_TEXT, "open", 4);
	frame(&t, TEXT, "another", 7);
	gives_bad(&t, 1002);
	run(&t);
	frame(&t, FRAME_TEXT, "", 0);
	frame(&t, FRAME_BINARY, "", 0);
	gives_bad(&t, 1002);
	run(&t);
}
END_TEST

START_TEST(too_big)
{
	struct talk t = talk_new();
	uint8_t *p = letters(1001);

	for (unsigned parts = 1; parts <= 4; parts++) {
		for (size_t size = 1000; size <= 1001; size++) {
			t.limits.message_max = 1000;
			for (size_t i = 0, at = 0; i < parts; i++) {
				const size_t n = i + 1 < parts ? size / parts : size - at;

				frame(&t,
				      (uint8_t)((i > 0 ? FRAME_CONTINUATION : FRAME_BINARY) |
						(i + 1 == parts ? 0x80 : 0)),
				      p + at, n);
				at += n;
			}
			if (size == 1000)
				gives(&t, FRAME_BINARY, p, size);
			else
				gives_bad(&t, 1009);
			run(&t);
		}
	}
	/* The header is enough, and an empty message is fine even if nothing else is. */
	frame_as(&t, TEXT, p, (1 << 20) + 1, 0, 0);
	gives_bad(&t, 1009);
	run(&t);
	frame(&t, FRAME_TEXT, "12345", 5);
	frame_as(&t, FRAME_CONTINUATION, p, (1 << 20) - 4, 0, 0);
	gives_bad(&t, 1009);
	run(&t);
	t.limits.message_max = 0;
	frame(&t, TEXT, "", 0);
	gives(&t, FRAME_TEXT, "", 0);
	frame(&t, TEXT, "x", 1);
	gives_bad(&t, 1009);
	run(&t);
	free(p);
}
END_TEST

START_TEST(nothing_behind_an_error)
{
	struct frame_limits limits = {.message_max = 100, .masked = true};
	struct frame_reader r = {0};
	uint8_t bytes[] = "\x81\x81....x\x00\x00";
	uint8_t *p = bytes;
	size_t n = 2;
	struct frame f;

	bytes[0] = 0xF1;
	ck_assert_int_eq(frame_read(&r, &limits, &p, &n, &f), FRAME_BAD);
	bytes[0] = 0x81;
	for (int i = 0; i < 3; i++) {
		p = bytes;
		n = 7;
		ck_assert_int_eq(frame_read(&r, &limits, &p, &n, &f), FRAME_BAD);
		ck_assert_uint_eq(f.code, CLOSE_PROTOCOL);
		ck_assert_uint_eq(frame_space(&r, &limits, &p), 0);
	}
	frame_reset(&r);
	p = bytes;
	n = 7;
	ck_assert_int_eq(frame_read(&r, &limits, &p, &n, &f), FRAME_MESSAGE);
	frame_reset(&r);
}
END_TEST

/* --- text ------------------------------------------------------------------------------------- */

START_TEST(text_is_checked)
{
	static const char good[] =
		"\u03ba\u1f79\u03c3\u03bc\u03b5 \U0001F600 and plain ASCII that is longer than a step \u20ac";
	const size_t n = sizeof good - 1;
	struct talk t = talk_new();

	frame(&t, TEXT, good, n);
	gives(&t, FRAME_TEXT, good, n);
	for (size_t cut = 0; cut <= n; cut++) {
		frame(&t, FRAME_TEXT, good, cut);
		frame(&t, PING, "\xFF", 1);
		/* a ping's payload is no text, and does not disturb the check */
		gives(&t, FRAME_PING, "\xFF", 1);
		frame(&t, LAST, good + cut, n - cut);
		gives(&t, FRAME_TEXT, good, n);
	}
	run(&t);
}
END_TEST

START_TEST(bad_text_fails_fast)
{
	static const char *const wrong[] = {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90", "\x80",
					    "\xE2\x28", "\xFF",		"\xF0\x80"};
	struct talk t = talk_new();
	char text[64];

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		for (size_t at = 0; at < 40; at += RUNNING_ON_VALGRIND ? 13 : 1) {
			const size_t n = at + strlen(wrong[i]);

			memset(text, 'y', sizeof text);
			memcpy(text + at, wrong[i], n - at);
			frame(&t, TEXT, text, sizeof text);
			gives_bad(&t, 1007);
			run(&t);
			/* The rest of a frame, and of a message, need not come. */
			frame_as(&t, at % 2 ? TEXT : FRAME_TEXT, text, 5000, n, 0);
			gives_bad(&t, 1007);
			run(&t);
			frame(&t, FRAME_TEXT, text, n - 1);
			frame_as(&t, FRAME_CONTINUATION, text + n - 1, 500000, 1, 0);
			gives_bad(&t, 1007);
			run(&t);
		}
	}
}
END_TEST

START_TEST(bad_text_far_inside)
{
	struct talk t = talk_new();
	uint8_t *p = letters(50000);

	p[40000] = 0xC0;
	frame(&t, TEXT, p, 50000);
	gives_bad(&t, 1007);
	run(&t);
	p[40000] = 'a';
	p[49999] = 0xC3;
	frame(&t, TEXT, p, 50000);
	gives_bad(&t, 1007);
	run(&t);
	free(p);
}
END_TEST

START_TEST(text_ends_with_a_character)
{
	static const char text[] = "an unfinished euro \xE2\x82";
	const size_t n = sizeof text - 1;
	struct talk t = talk_new();

	frame(&t, TEXT, text, n);
	gives_bad(&t, 1007);
	run(&t);
	frame(&t, FRAME_TEXT, text, n);
	frame(&t, LAST, "", 0);
	gives_bad(&t, 1007);
	run(&t);
	frame(&t, FRAME_TEXT, text, n);
	run(&t);
	frame(&t, BINARY, text, n);
	gives(&t, FRAME_BINARY, text, n);
	frame(&t, FRAME_BINARY, text, n);
	frame(&t, LAST, "", 0);
	gives(&t, FRAME_BINARY, text, n);
	run(&t);
}
END_TEST

/* --- close ------------------------------------------------------------------------------------ */

START_TEST(close_frames)
{
	struct talk t = talk_new();
	char longest[125];

	frame(&t, CLOSE, "", 0);
	gives_close(&t, 1005, "");
	frame(&t, TEXT, "ignored", 7);
	raw(&t, "\xFF\xFF and garbage", 14);
	run(&t);
	frame(&t, CLOSE, "\x03\xE8", 2);
	gives_close(&t, 1000, "");
	run(&t);
	frame(&t, CLOSE, "\x0F\xA0 \u20ac", 6);
	gives_close(&t, 4000, " \u20ac");
	run(&t);
	frame(&t, CLOSE, "\x03", 1);
	gives_bad(&t, 1002);
	run(&t);
	frame(&t, CLOSE, "\x03\xE8\xE2\x82", 4);
	gives_bad(&t, 1007);
	run(&t);
	memset(longest, 'r', sizeof longest);
	memcpy(longest, "\x03\xE8", 2);
	frame(&t, CLOSE, longest, sizeof longest);
	line(&t.expected, "close", 1000, (const uint8_t *)longest + 2, 123);
	run(&t);
}
END_TEST

START_TEST(close_codes)
{
	static const unsigned right[] = {1000, 1001, 1002, 1003, 1007, 1008,
					 1009, 1010, 1011, 1012, 1013, 1014};
	struct talk t = talk_new();

	for (unsigned code = 0; code <= 65536; code++) {
		bool ok = code >= 3000 && code < 5000;

		for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
			ok |= code == right[i];
		if (frame_close_code_ok(code) != ok)
			ck_abort_msg("%u: expected %d", code, ok);
	}
	for (unsigned code = 990; code < 1020; code++) {
		const uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};

		frame(&t, CLOSE, payload, 2);
		if (frame_close_code_ok(code))
			gives_close(&t, code, "");
		else
			gives_bad(&t, 1002);
		run(&t);
	}
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */

START_TEST(whole_messages_lie_where_they_came)
{
	const struct frame_limits limits = {.message_max = 1 << 20, .masked = true};
	struct frame_reader r = {0};
	struct talk t = talk_new();
	uint8_t *big = letters(100000), *p;
	size_t n;
	struct frame f;

	ck_assert_uint_le(sizeof r, 56);
	frame(&t, TEXT, "first", 5);
	frame(&t, PING, "p", 1);
	frame(&t, BINARY, big, 100000);
	p = (uint8_t *)t.sent.p;
	n = t.sent.n;
	allocations_left = 0;
	for (int i = 0; i < 3; i++) {
		uint8_t *const at = p;

		ck_assert_int_eq(frame_read(&r, &limits, &p, &n, &f),
				 i == 1 ? FRAME_CONTROL : FRAME_MESSAGE);
		ck_assert_ptr_eq(f.data, at + (i < 2 ? 6 : 14));
		ck_assert_uint_eq(frame_held(&r), 0);
	}
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(frame_read(&r, &limits, &p, &n, &f), FRAME_MORE);
	allocations_left = -1;
	free(big);
	free(t.sent.p);
}
END_TEST

/* A header alone costs nothing, and what is held follows what came, not what was promised. */
START_TEST(promises_cost_nothing)
{
	struct talk t = talk_new();
	struct frame_reader r = {0};
	struct text got = {0};
	uint8_t *p = letters(300000);
	size_t head;

	t.limits.message_max = UINT64_C(1) << 40;
	frame_as(&t, FRAME_BINARY, p, UINT64_C(1) << 39, 300000, 0);
	head = t.sent.n - 300000;
	feed(&r, &t, t.sent.p, head, &got);
	ck_assert_uint_eq(frame_held(&r), 0);
	for (size_t at = 0; at < 300000; at += 100) {
		feed(&r, &t, t.sent.p + head + at, 100, &got);
		ck_assert_uint_ge(frame_held(&r), at + 100);
		ck_assert_uint_le(frame_held(&r), (at + 100) * 2 + 65536);
	}
	frame_reset(&r);
	ck_assert_uint_eq(frame_held(&r), 0);
	ck_assert_uint_eq(got.n, 0);
	free(t.sent.p);
	free(p);
}
END_TEST

START_TEST(memory_is_given_up_with_the_message)
{
	struct talk t = talk_new();
	struct frame_reader r = {0};
	struct text got = {0};
	struct frame f;
	size_t n = 1;
	uint8_t *p;

	frame(&t, FRAME_TEXT, "some", 4);
	frame(&t, PING, "in between", 10);
	frame(&t, LAST, "thing", 5);
	frame(&t, TEXT, "cut off", 7);
	for (size_t i = 0; i < t.sent.n - 1; i++)
		feed(&r, &t, t.sent.p + i, 1, &got);
	ck_assert_uint_gt(frame_held(&r), 0);
	p = (uint8_t *)t.sent.p + t.sent.n - 1;
	ck_assert_int_eq(frame_read(&r, &t.limits, &p, &n, &f), FRAME_MESSAGE);
	ck_assert_mem_eq(f.data, "cut off", 7);
	ck_assert_uint_gt(frame_held(&r), 0);
	frame_release(&r);
	ck_assert_uint_eq(frame_held(&r), 0);
	/* What is not complete stays. */
	feed(&r, &t, t.sent.p, 8, &got);
	frame_release(&r);
	ck_assert_uint_gt(frame_held(&r), 0);
	frame_reset(&r);
	free(t.sent.p);
	free(got.p);
}
END_TEST

START_TEST(a_close_frame_ends_a_message)
{
	struct talk t = talk_new();
	struct frame_reader r = {0};
	struct text got = {0};

	frame(&t, FRAME_TEXT, "never finished", 14);
	feed(&r, &t, t.sent.p, t.sent.n, &got);
	ck_assert_uint_gt(frame_held(&r), 0);
	t.sent.n = 0;
	frame(&t, CLOSE, "", 0);
	feed(&r, &t, t.sent.p, t.sent.n, &got);
	gives_close(&t, 1005, "");
	compare(&t, &got, "with a close frame", 0);
	frame_release(&r);
	ck_assert_uint_eq(frame_held(&r), 0);
	free(t.sent.p);
	free(t.expected.p);
}
END_TEST

/* Without memory at the first, second, ... allocation: 1011, and no other harm. */
START_TEST(no_memory)
{
	struct talk t = talk_new();
	uint8_t *p = letters(90000);
	long n = 0;
	bool failed = true;

	frame(&t, FRAME_BINARY, p, 50000);
	frame(&t, PING, "ping", 4);
	frame(&t, LAST, p, 90000);
	for (; failed; n++) {
		struct frame_reader r = {0};
		struct text got = {0}, none = {0};
		size_t step = 0;
		enum frame_status status = FRAME_MORE;

		allocations_left = n;
		for (size_t at = 0; at < t.sent.n && status != FRAME_BAD; at += step) {
			step = t.sent.n - at < 777 ? t.sent.n - at : 777;
			status = feed_direct(&r, &t, t.sent.p + at, step, &got);
		}
		failed = status == FRAME_BAD;
		line(&none, "bad", 1011, NULL, 0);
		if (failed)
			ck_assert_str_eq(got.p + got.n - none.n, none.p);
		ck_assert(!failed || frame_held(&r) == 0);
		allocations_left = -1;
		frame_reset(&r);
		free(got.p);
		free(none.p);
	}
	ck_assert_int_gt(n, 3);
	free(p);
	free(t.sent.p);
}
END_TEST

START_TEST(no_memory_for_a_cut_ping)
{
	struct talk t = talk_new();
	struct frame_reader r = {0};
	struct text got = {0};

	frame(&t, PING, "ping", 4);
	allocations_left = 0;
	ck_assert_int_eq(feed(&r, &t, t.sent.p, 8, &got), FRAME_BAD);
	allocations_left = -1;
	gives_bad(&t, 1011);
	compare(&t, &got, "without memory", 0);
	frame_reset(&r);
	free(t.sent.p);
	free(t.expected.p);
}
END_TEST

START_TEST(direct_receiving)
{
	struct talk t = talk_new();
	struct frame_reader r = {0};
	struct text got = {0};
	uint8_t *p = letters(100000), *where;
	size_t room, at;

	ck_assert_uint_eq(frame_space(&r, &t.limits, &where), 0);
	frame_as(&t, BINARY, p, 100000, 1000, 0);
	feed(&r, &t, t.sent.p, t.sent.n - 1000, &got);
	room = frame_space(&r, &t.limits, &where);
	ck_assert_uint_ge(room, 4096);
	ck_assert_uint_le(room, 65536);
	for (at = 0; at < 1000; at += 50) {
		struct frame f;
		uint8_t *again;

		ck_assert_uint_ge(frame_space(&r, &t.limits, &again), 4096);
		memcpy(again, t.sent.p + t.sent.n - 1000 + at, 50);
		ck_assert_int_eq(frame_filled(&r, &t.limits, 50, &f), FRAME_MORE);
	}
	ck_assert_uint_eq(got.n, 0);
	frame_reset(&r);
	/* What is left of a frame is the most there is room for. */
	feed(&r, &t, t.sent.p, t.sent.n - 1000, &got);
	for (at = 0; (room = frame_space(&r, &t.limits, &where)) > 0; at += room) {
		struct frame f;

		ck_assert_uint_le(room, 100000 - at);
		memset(where, 0, room);
		ck_assert_int_eq(frame_filled(&r, &t.limits, room, &f),
				 at + room < 100000 ? FRAME_MORE : FRAME_MESSAGE);
	}
	frame_reset(&r);
	free(t.sent.p);
	free(p);
}
END_TEST

/* --- pieces ----------------------------------------------------------------------------------- */

START_TEST(own_headers)
{
	static const uint64_t sizes[] =
		{0, 1, 125, 126, 127, 65535, 65536, UINT64_C(1) << 32, UINT64_MAX >> 1};
	static const size_t heads[] = {2, 2, 2, 4, 4, 4, 10, 10, 10};
	uint8_t head[FRAME_SERVER_HEAD_MAX];

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		ck_assert_uint_eq(frame_head(head, FRAME_BINARY, sizes[i]), heads[i]);
		ck_assert_uint_eq(frame_head_size(sizes[i]), heads[i]);
		ck_assert_uint_eq(head[0], 0x82);
		for (size_t n = 0; n < heads[i]; n++)
			ck_assert_uint_eq(frame_size(head, n), 0);
		ck_assert(frame_size(head, heads[i]) == heads[i] + sizes[i]);
	}
	frame_head(head, FRAME_CLOSE, 2);
	ck_assert_mem_eq(head, "\x88\x02", 2);
	frame_head(head, FRAME_TEXT, 0x1234);
	ck_assert_mem_eq(head, "\x81\x7E\x12\x34", 4);
	frame_head(head, FRAME_TEXT, 0x0123456789ABCDEF);
	ck_assert_mem_eq(head, "\x81\x7F\x01\x23\x45\x67\x89\xAB\xCD\xEF", 10);
}
END_TEST

START_TEST(own_close_frames)
{
	uint8_t p[FRAME_CONTROL_MAX];
	char reason[200];

	ck_assert_uint_eq(frame_close_payload(p, 0, "none", 4), 0);
	ck_assert_uint_eq(frame_close_payload(p, 1001, NULL, 0), 2);
	ck_assert_mem_eq(p, "\x03\xE9", 2);
	ck_assert_uint_eq(frame_close_payload(p, 1009, "big", 3), 5);
	ck_assert_mem_eq(p,
			 "\x03\xF1"
			 "big",
			 5);
	for (size_t before = 110; before < 130; before++) {
		size_t n;

		memset(reason, 'r', sizeof reason);
		memcpy(reason + before, "\U0001F600", 4);
		n = frame_close_payload(p, 1000, reason, sizeof reason);
		ck_assert_uint_le(n, FRAME_CONTROL_MAX);
		ck_assert_uint_gt(n, FRAME_CONTROL_MAX - 4);
		ck_assert(utf8_valid(p + 2, n - 2));
		ck_assert_mem_eq(p + 2, reason, n - 2);
	}
}
END_TEST

static TCase *refusals(void)
{
	TCase *tc = tcase_create("refusals");

	tcase_add_test(tc, first_byte);
	tcase_add_test(tc, no_mask);
	tcase_add_test(tc, control_frames_are_short_and_whole);
	tcase_add_test(tc, lengths_are_minimal);
	tcase_add_test(tc, order_of_fragments);
	tcase_add_test(tc, too_big);
	tcase_add_test(tc, nothing_behind_an_error);
	tcase_add_test(tc, bad_text_fails_fast);
	tcase_add_test(tc, bad_text_far_inside);
	tcase_add_test(tc, text_ends_with_a_character);
	tcase_add_test(tc, close_codes);
	return tc;
}

static TCase *messages(void)
{
	TCase *tc = tcase_create("messages");

	tcase_add_test(tc, messages_of_every_size);
	tcase_add_test(tc, messages_of_each_short_size);
	tcase_add_test(tc, fragments);
	tcase_add_test(tc, many_fragments);
	tcase_add_test(tc, control_frames_between_fragments);
	tcase_add_test(tc, a_server_does_not_mask);
	tcase_add_test(tc, text_is_checked);
	tcase_add_test(tc, close_frames);
	tcase_add_test(tc, own_headers);
	tcase_add_test(tc, own_close_frames);
	return tc;
}

static TCase *memory(void)
{
	TCase *tc = tcase_create("memory");

	tcase_add_test(tc, whole_messages_lie_where_they_came);
	tcase_add_test(tc, promises_cost_nothing);
	tcase_add_test(tc, memory_is_given_up_with_the_message);
	tcase_add_test(tc, a_close_frame_ends_a_message);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, no_memory_for_a_cut_ping);
	tcase_add_test(tc, direct_receiving);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("frame");

	suite_add_tcase(suite, messages());
	suite_add_tcase(suite, refusals());
	suite_add_tcase(suite, memory());
	return run_suite(suite);
}
