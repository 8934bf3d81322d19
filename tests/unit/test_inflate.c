/* Messages that come compressed (RFC 7692), through the frame reader: whole, cut at every place and
 * byte by byte, with a window that is kept and without, and where no stream may be kept for a
 * message in parts. The sender is zlib by itself. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>
#include <zlib.h>

#include "ws/frame.h"
#include "run.h"

#define MESSAGE_MAX 100000
#define FIN 0x80
#define RSV1 0x40

/* --- no memory -------------------------------------------------------------------------------- */

static long allocations_left = -1; /* negative: any number */

static bool allowed(void)
{
	if (allocations_left > 0)
		allocations_left--;
	return allocations_left != 0;
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
	return allowed() ? __real_realloc(p, n) : NULL;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return allowed() ? __real_calloc(n, size) : NULL;
}

/* --- what is sent, and what must come of it --------------------------------------------------- */

struct text {
	char *p;
	size_t n, cap;
};

static void put(struct text *t, const void *bytes, size_t n)
{
	while (t->n + n + 1 > t->cap) {
		size_t cap = t->cap == 0 ? 256 : t->cap * 2;
		char *grown = malloc(cap);

		if (t->n > 0)
			memcpy(grown, t->p, t->n);
		free(t->p);
		t->p = grown;
		t->cap = cap;
	}
	if (n > 0)
		memcpy(t->p + t->n, bytes, n);
	t->n += n;
	t->p[t->n] = '\0';
}

struct talk {
	struct text sent, expected;
	bool keep;    /* context takeover */
	bool unasked; /* the peer takes over though it was told not to */
	unsigned bits;
	uint64_t memory_max; /* of pasts; 0: none are kept */
};

static void frame(struct talk *t, unsigned first, const void *payload, size_t n)
{
	const uint8_t mask[4] = {0x37, (uint8_t)(0xFA + n), 0x21, 0x80};
	uint8_t head[FRAME_HEAD_MAX];
	size_t len = frame_head(head, FRAME_TEXT, n);

	head[0] = (uint8_t)first;
	head[1] |= 0x80;
	put(&t->sent, head, len);
	put(&t->sent, mask, 4);
	for (size_t i = 0; i < n; i++) {
		const uint8_t b = ((const uint8_t *)payload)[i] ^ mask[i % 4];

		put(&t->sent, &b, 1);
	}
}

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
	return opcode == FRAME_TEXT	? "text"
	       : opcode == FRAME_BINARY ? "binary"
	       : opcode == FRAME_PING	? "ping"
					: "other";
}

static void gives(struct talk *t, unsigned opcode, const void *p, size_t n)
{
	line(&t->expected, kind_name(opcode), 0, p, n);
}

static void gives_bad(struct talk *t, unsigned code)
{
	line(&t->expected, "bad", code, NULL, 0);
}

/* --- feeding ---------------------------------------------------------------------------------- */

struct reader {
	struct inflate_pool pool;
	uint64_t memory;
	struct inflate inflate;
	struct frame_reader reader;
	struct frame_limits limits;
	struct text got;
};

static void reader_init(struct reader *r, const struct talk *t, unsigned lent_max)
{
	*r = (struct reader){.pool = {.lent_max = lent_max}};
	if (t->memory_max > 0) {
		r->pool.memory = &r->memory;
		r->pool.memory_max = t->memory_max;
	}
	inflate_init(&r->inflate, &r->pool, t->bits, t->keep);
	r->limits = (struct frame_limits){.message_max = MESSAGE_MAX,
					  .masked = true,
					  .inflate = &r->inflate};
}

static void reader_free(struct reader *r)
{
	frame_reset(&r->reader);
	inflate_reset(&r->inflate);
	ck_assert_uint_eq(r->pool.lent, 0);
	ck_assert_uint_eq(r->memory, 0);
	inflate_pool_free(&r->pool);
	free(r->got.p);
}

static bool feed(struct reader *r, const char *bytes, size_t n)
{
	uint8_t *block = malloc(n + 1), *p = block;
	enum frame_status status;
	size_t left = n;
	struct frame f;

	memcpy(block, bytes, n);
	block[n] = 0xA5;
	do {
		uint8_t *where;

		status = frame_read(&r->reader, &r->limits, &p, &left, &f);
		ck_assert_ptr_eq(p + left, block + n);
		if (status == FRAME_BAD) {
			ck_assert_ptr_nonnull(f.why);
			line(&r->got, "bad", f.code, NULL, 0);
		} else if (status != FRAME_MORE) {
			line(&r->got, kind_name(f.opcode), f.code, f.data, f.len);
			f.data[f.len] = f.data[f.len]; /* one byte behind it is writable */
		} else if (r->inflate.compressed) {
			ck_assert_uint_eq(frame_space(&r->reader, &r->limits, &where), 0);
		}
	} while (status != FRAME_MORE && status != FRAME_BAD);
	ck_assert_uint_eq(left, 0);
	ck_assert_uint_eq(block[n], 0xA5);
	free(block);
	return status != FRAME_BAD;
}

static void compare(const struct talk *t, struct reader *r, const char *how, size_t at)
{
	if (r->got.n != t->expected.n ||
	    (r->got.n > 0 && memcmp(r->got.p, t->expected.p, r->got.n) != 0))
		ck_abort_msg("fed %s %zu, expected:\n%s\ngot:\n%s", how, at,
			     t->expected.n > 0 ? t->expected.p : "", r->got.n > 0 ? r->got.p : "");
	reader_free(r);
}

/* In every way, for one reader's settings. */
static void run_with(const struct talk *t, unsigned lent_max)
{
	const size_t n = t->sent.n, step = RUNNING_ON_VALGRIND ? n / 3 + 1 : n > 400 ? n / 31 : 1;
	const size_t piece = RUNNING_ON_VALGRIND ? 2000 : n > 3000 ? 97 : 1;
	struct reader r;

	reader_init(&r, t, lent_max);
	feed(&r, t->sent.p, n);
	compare(t, &r, "whole", 0);
	reader_init(&r, t, lent_max);
	for (size_t i = 0, k; i < n; i += k) {
		k = i > 100 && i + piece + 100 < n ? piece : 1;
		if (!feed(&r, t->sent.p + i, k))
			break;
	}
	compare(t, &r, "in bytes", 0);
	for (size_t at = 1; at < n; at += at < 20 && !RUNNING_ON_VALGRIND ? 1 : step) {
		reader_init(&r, t, lent_max);
		if (feed(&r, t->sent.p, at))
			feed(&r, t->sent.p + at, n - at);
		compare(t, &r, "cut at", at);
	}
}

static void run(struct talk *t)
{
	run_with(t, 100);
	if (!t->keep)
		run_with(t, 0);
	free(t->sent.p);
	free(t->expected.p);
	t->sent = t->expected = (struct text){0};
}

/* --- the peer --------------------------------------------------------------------------------- */

struct peer {
	z_stream z;
};

static void peer_start(struct peer *p, int level, unsigned bits)
{
	p->z = (z_stream){0};
	ck_assert_int_eq(deflateInit2(&p->z, level, Z_DEFLATED, -(int)bits, 8, Z_DEFAULT_STRATEGY),
			 Z_OK);
}

/* Compresses; the flush says what ends it. */
static uint8_t *peer_pack(struct peer *p, const void *bytes, size_t n, int flush, size_t *n_r)
{
	uint8_t *packed = malloc(n + n / 8 + 1000);

	p->z.next_in = (Bytef *)(uintptr_t)bytes;
	p->z.avail_in = (uInt)n;
	p->z.next_out = packed;
	p->z.avail_out = (uInt)(n + n / 8 + 1000);
	deflate(&p->z, flush);
	*n_r = n + n / 8 + 1000 - p->z.avail_out;
	return packed;
}

/* One message in one frame. */
static void peer_message(struct peer *p, struct talk *t, unsigned opcode, const void *bytes,
			 size_t n)
{
	size_t len;
	uint8_t *packed = peer_pack(p, bytes, n, Z_SYNC_FLUSH, &len);

	if (n == 0) /* zlib does not flush nothing twice */
		frame(t, FIN | RSV1 | opcode, "\0", 1);
	else
		frame(t, FIN | RSV1 | opcode, packed, len - 4);
	gives(t, opcode, bytes, n);
	free(packed);
	if (!t->keep && !t->unasked)
		deflateReset(&p->z);
}

static uint8_t *letters(size_t n)
{
	uint8_t *p = malloc(n + 1);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)('a' + i * 7 % 26 - (i % 1001 == 0 ? 32 : 0) + (i / 300) % 5);
	return p;
}

/* --- messages --------------------------------------------------------------------------------- */

/* RFC 7692 7.2.3.1 to 7.2.3.6 */
START_TEST(the_examples_of_the_rfc)
{
	static const uint8_t hello[] = {0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00},
			     again[] = {0xf2, 0x00, 0x11, 0x00, 0x00},
			     stored[] = {0x00, 0x05, 0x00, 0xfa, 0xff, 0x48,
					 0x65, 0x6c, 0x6c, 0x6f, 0x00},
			     final[] = {0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00},
			     blocks[] = {0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff,
					 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00};
	struct talk t = {.keep = true, .bits = 15};

	frame(&t, FIN | RSV1 | FRAME_TEXT, hello, sizeof hello);
	frame(&t, FIN | RSV1 | FRAME_TEXT, again, sizeof again);
	frame(&t, FIN | RSV1 | FRAME_TEXT, stored, sizeof stored);
	frame(&t, FIN | RSV1 | FRAME_TEXT, final, sizeof final);
	frame(&t, FIN | RSV1 | FRAME_TEXT, blocks, sizeof blocks);
	frame(&t, RSV1 | FRAME_TEXT, hello, 3);
	frame(&t, FIN | FRAME_CONTINUATION, hello + 3, 4);
	for (int i = 0; i < 6; i++)
		gives(&t, FRAME_TEXT, "Hello", 5);
	frame(&t, FIN | RSV1 | FRAME_BINARY, "\0", 1);
	gives(&t, FRAME_BINARY, "", 0);
	run(&t);
	frame(&t, FIN | RSV1 | FRAME_TEXT, hello, sizeof hello);
	frame(&t, FIN | RSV1 | FRAME_TEXT, again, sizeof again);
	gives(&t, FRAME_TEXT, "Hello", 5);
	t.keep = false; /* there is nothing to refer back to */
	gives_bad(&t, CLOSE_BAD_DATA);
	run(&t);
}
END_TEST

START_TEST(messages_of_every_size)
{
	static const size_t sizes[] = {0,	   1,	 2,	3,     10,
				       125,	   126,	 1000,	1023,  1024,
				       1025,	   4096, 30000, 65536, MESSAGE_MAX - 1,
				       MESSAGE_MAX};

	for (int keep = 0; keep < 2; keep++) {
		for (unsigned bits = 9; bits <= 15; bits += 3) {
			for (size_t i = 0; i < sizeof sizes / sizeof sizes[0];
			     i += RUNNING_ON_VALGRIND ? 5 : 1) {
				struct talk t = {.keep = keep, .bits = bits};
				uint8_t *p = letters(sizes[i]);
				struct peer peer;

				peer_start(&peer, 6, bits);
				peer_message(&peer, &t, FRAME_TEXT, p, sizes[i]);
				frame(&t, FIN | FRAME_TEXT, "plain", 5);
				gives(&t, FRAME_TEXT, "plain", 5);
				peer_message(&peer, &t, FRAME_BINARY, p, sizes[i]);
				run(&t);
				deflateEnd(&peer.z);
				free(p);
			}
		}
	}
}
END_TEST

/* Stored blocks, fixed codes, flushes in the middle, small windows, and a final block in every
 * message. */
START_TEST(all_ways_to_compress)
{
	static const struct {
		int level, flush;
	} ways[] = {{0, Z_SYNC_FLUSH}, {1, Z_SYNC_FLUSH}, {9, Z_FULL_FLUSH}, {6, Z_FINISH}};
	uint8_t *p = letters(5000);

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		for (int keep = 0; keep < 2; keep++) {
			struct talk t = {.keep = keep, .bits = 15};
			struct peer peer;
			struct text packed = {0};
			size_t n;

			peer_start(&peer, ways[i].level, 15);
			for (size_t at = 0; at < 5000; at += 1000) {
				uint8_t *some = peer_pack(&peer, p + at, 1000, ways[i].flush, &n);

				put(&packed, some, n);
				free(some);
				if (ways[i].flush == Z_FINISH)
					deflateReset(&peer.z);
			}
			if (ways[i].flush == Z_FINISH)
				put(&packed, "\0", 1); /* 7.2.3.4 */
			else
				packed.n -= 4;
			frame(&t, FIN | RSV1 | FRAME_BINARY, packed.p, packed.n);
			gives(&t, FRAME_BINARY, p, 5000);
			/* The same without the byte behind the last final block, which some leave
			 * out. */
			if (ways[i].flush == Z_FINISH) {
				frame(&t, FIN | RSV1 | FRAME_BINARY, packed.p, packed.n - 1);
				gives(&t, FRAME_BINARY, p, 5000);
				frame(&t, RSV1 | FRAME_BINARY, packed.p, packed.n - 1);
				frame(&t, FIN | FRAME_CONTINUATION, "", 0);
				gives(&t, FRAME_BINARY, p, 5000);
			}
			frame(&t, FIN | RSV1 | FRAME_TEXT, "\x02\x00", 2);
			gives(&t, FRAME_TEXT, "", 0);
			free(packed.p);
			run(&t);
			deflateEnd(&peer.z);
		}
	}
	free(p);
}
END_TEST

/* What a final block ends is not the window. */
START_TEST(back_over_a_final_block)
{
	static const uint8_t final[] = {0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07,
					0x00, 0xf2, 0x00, 0x11, 0x00, 0x00};
	struct talk t = {.bits = 15};

	frame(&t, FIN | RSV1 | FRAME_TEXT, final, sizeof final);
	gives(&t, FRAME_TEXT, "HelloHello", 10);
	run(&t);
}
END_TEST

START_TEST(fragments)
{
	for (int keep = 0; keep < 2; keep++) {
		struct talk t = {.keep = keep, .bits = 15};
		uint8_t *p = letters(3000), *packed;
		struct peer peer;
		size_t n;

		peer_start(&peer, 6, 15);
		for (int round = 0; round < 3; round++) {
			packed = peer_pack(&peer, p, 3000, Z_SYNC_FLUSH, &n);
			n -= 4;
			frame(&t, RSV1 | FRAME_TEXT, "", 0);
			for (size_t at = 0; at < n; at += 7) {
				frame(&t, FRAME_CONTINUATION, packed + at, n - at < 7 ? n - at : 7);
				if (at % 3 == 0) {
					frame(&t, FIN | FRAME_PING, "p\xFF", 2);
					gives(&t, FRAME_PING, "p\xFF", 2);
				}
				if (at % 5 == 0)
					frame(&t, FRAME_CONTINUATION, "", 0);
			}
			frame(&t, FIN | FRAME_CONTINUATION, "", 0);
			gives(&t, FRAME_TEXT, p, 3000);
			frame(&t, FRAME_TEXT, "not ", 4);
			frame(&t, FIN | FRAME_CONTINUATION, "compressed", 10);
			gives(&t, FRAME_TEXT, "not compressed", 14);
			free(packed);
			if (!keep)
				deflateReset(&peer.z);
		}
		run(&t);
		deflateEnd(&peer.z);
		free(p);
	}
}
END_TEST

/* RSV1 on an empty frame: nothing at all, where the RFC would have a byte (7.2.3.6). */
START_TEST(empty)
{
	struct talk t = {.bits = 15};

	frame(&t, FIN | RSV1 | FRAME_TEXT, "", 0);
	gives(&t, FRAME_TEXT, "", 0);
	frame(&t, RSV1 | FRAME_BINARY, "", 0);
	frame(&t, FRAME_CONTINUATION, "", 0);
	frame(&t, FIN | FRAME_CONTINUATION, "", 0);
	gives(&t, FRAME_BINARY, "", 0);
	run(&t);
}
END_TEST

/* --- refused ---------------------------------------------------------------------------------- */

START_TEST(reserved_bits)
{
	for (unsigned first = 0; first < 256; first++) {
		const unsigned opcode = first & 15, reserved = first & 0x70;
		struct talk t = {.bits = 15};
		const bool data = opcode == FRAME_TEXT || opcode == FRAME_BINARY;

		if (!(first & FIN) || (reserved == 0 && opcode <= FRAME_PONG))
			continue;
		frame(&t, first, "\0", data ? 1 : 0);
		if (data && reserved == RSV1)
			gives(&t, opcode, "", 0);
		else
			gives_bad(&t, CLOSE_PROTOCOL);
		run(&t);
		/* Inside of a message nothing may be reserved. */
		frame(&t, RSV1 | FRAME_TEXT, "\0", 1);
		frame(&t, FIN | reserved | FRAME_CONTINUATION, "", 0);
		if (reserved != 0)
			gives_bad(&t, CLOSE_PROTOCOL);
		else
			gives(&t, FRAME_TEXT, "", 0);
		run(&t);
	}
}
END_TEST

START_TEST(bad_data)
{
	static const struct {
		const char *p;
		size_t n;
	} cases[] = {
		{"\x07", 1},		     /* a block of the type that is none */
		{"\x00\x05\x00\xfa\xfe", 5}, /* a stored block whose lengths differ */
		{"\xf2\x48\xcd\xc9\xc9", 5}, /* ends inside a block */
		{"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff",
		 11},				     /* with the tail that must be left out */
		{"\x00\x05\x00\xfa\xff\x48\x65", 7}, /* a stored block that is cut */
		{"\xf2\x00\x11\x00\x00", 5},	     /* back to before the beginning */
		/* codes of the wrong lengths */
		{"\xed\xfd\x01\x01\x00\x00\x00\x80\x90\xfe\xaf\xee", 12},
		{"\x03\x00\x05", 3}, /* a final block, and half of another */
		{"Hello, this is no deflate", 25},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		for (int keep = 0; keep < 2; keep++) {
			struct talk t = {.keep = keep, .bits = 15};

			frame(&t, FIN | RSV1 | FRAME_BINARY, cases[i].p, cases[i].n);
			gives_bad(&t, CLOSE_BAD_DATA);
			frame(&t, FIN | FRAME_TEXT, "late", 4);
			run(&t);
		}
	}
}
END_TEST

/* A client that has promised a window must not refer back further. Inside of a message zlib does
 * not mind. */
START_TEST(a_window_too_far)
{
	uint8_t *p = letters(4000), *rest = p + 200;
	struct talk t = {.keep = true, .bits = 10};
	struct peer peer;

	for (size_t i = 0; i < 3600; i++)
		rest[i] = (uint8_t)(128 + i * i / 7 % 100);
	peer_start(&peer, 9, 15);
	peer_message(&peer, &t, FRAME_BINARY, p, 3800);
	peer_message(&peer, &t, FRAME_BINARY, p, 200); /* 3800 bytes back */
	t.expected.n = 0;
	gives(&t, FRAME_BINARY, p, 3800);
	gives_bad(&t, CLOSE_BAD_DATA);
	run(&t);
	deflateEnd(&peer.z);
	free(p);
}
END_TEST

START_TEST(text_is_checked_inflated)
{
	static const struct {
		const char *p;
		bool good;
	} cases[] = {{"k\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80", true},
		     {"abc\xff", false},
		     {"abc\xe2\x82", false},
		     {"\xed\xa0\x80", false}};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct talk t = {.bits = 15};
		struct peer peer;

		peer_start(&peer, 6, 15);
		peer_message(&peer, &t, FRAME_TEXT, cases[i].p, strlen(cases[i].p));
		if (!cases[i].good) {
			t.expected.n = 0;
			gives_bad(&t, CLOSE_BAD_DATA);
		}
		run(&t);
		deflateEnd(&peer.z);
	}
}
END_TEST

START_TEST(bad_text_fails_fast)
{
	struct talk t = {.bits = 15};
	struct reader r;
	struct peer peer;
	uint8_t *packed;
	size_t n;

	peer_start(&peer, 6, 15);
	packed = peer_pack(&peer, "abc\xff", 4, Z_SYNC_FLUSH, &n);
	frame(&t, RSV1 | FRAME_TEXT, packed, n); /* more is to come */
	gives_bad(&t, CLOSE_BAD_DATA);
	reader_init(&r, &t, 1);
	ck_assert(!feed(&r, t.sent.p, t.sent.n));
	ck_assert_uint_eq(r.pool.lent, 0);
	compare(&t, &r, "at once", 0);
	free(packed);
	free(t.sent.p);
	free(t.expected.p);
	deflateEnd(&peer.z);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */

START_TEST(bombs)
{
	for (int keep = 0; keep < 2; keep++) {
		static uint8_t zeroes[1 << 20];
		struct talk t = {.keep = keep, .bits = 15};
		struct text packed = {0};
		struct peer peer;
		size_t n;

		peer_start(&peer, 9, 15);
		uint8_t *some = peer_pack(&peer, zeroes, sizeof zeroes, Z_FULL_FLUSH, &n);

		while (packed.n < MESSAGE_MAX) /* about 100 MiB */
			put(&packed, some, n);
		free(some);
		ck_assert_uint_lt(packed.n, MESSAGE_MAX + 20000);
		frame(&t, FIN | RSV1 | FRAME_BINARY, packed.p, packed.n - 4);
		gives_bad(&t, CLOSE_TOO_BIG);
		run(&t);
		free(packed.p);
		deflateEnd(&peer.z);
	}
}
END_TEST

/* One byte too many is; what does not shrink may be larger than the limit on its way, but not by
 * much. */
START_TEST(the_limit_is_of_what_comes_out)
{
	uint8_t *p = malloc(MESSAGE_MAX + 1);
	uint32_t seed = 1;

	for (size_t i = 0; i <= MESSAGE_MAX; i++)
		p[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
	for (size_t n = MESSAGE_MAX; n <= MESSAGE_MAX + 1; n++) {
		struct talk t = {.bits = 15};
		struct text packed = {0};
		struct peer peer;

		peer_start(&peer, 0, 15);
		for (size_t at = 0, k, len; at < n; at += k) { /* many short stored blocks */
			k = n - at < 500 ? n - at : 500;
			uint8_t *some = peer_pack(&peer, p + at, k, Z_SYNC_FLUSH, &len);

			put(&packed, some, len);
			free(some);
		}
		ck_assert_uint_gt(packed.n, MESSAGE_MAX + 500);
		frame(&t, FIN | RSV1 | FRAME_BINARY, packed.p, packed.n - 4);
		if (n > MESSAGE_MAX)
			gives_bad(&t, CLOSE_TOO_BIG);
		else
			gives(&t, FRAME_BINARY, p, n);
		run(&t);
		free(packed.p);
		deflateEnd(&peer.z);
	}
	free(p);
}
END_TEST

/* Blocks of nothing, without an end. */
START_TEST(much_of_nothing)
{
	struct talk t = {.bits = 15};
	struct text nothing = {0};

	for (int i = 0; i < 20000; i++)
		put(&nothing, "\x00\x00\x00\xff\xff", 5);
	frame(&t, RSV1 | FRAME_BINARY, nothing.p, nothing.n);
	frame(&t, FIN | FRAME_CONTINUATION, nothing.p, nothing.n);
	gives_bad(&t, CLOSE_TOO_BIG);
	run(&t);
	free(nothing.p);
}
END_TEST

/* --- memory ----------------------------------------------------------------------------------- */

START_TEST(nothing_is_kept_for_a_quiet_connection)
{
	struct talk t = {.bits = 15};
	struct reader a, b;
	struct peer peer;
	uint8_t *p = letters(50000);

	peer_start(&peer, 6, 15);
	peer_message(&peer, &t, FRAME_TEXT, p, 50000);
	reader_init(&a, &t, 2);
	reader_init(&b, &t, 2);
	b.inflate.pool = &a.pool;
	/* One stream serves both while they do not need it at the same time. */
	ck_assert(feed(&a, t.sent.p, t.sent.n) && feed(&b, t.sent.p, t.sent.n));
	frame_release(&a.reader);
	frame_release(&b.reader);
	ck_assert_uint_eq(frame_held(&a.reader) + frame_held(&b.reader), 0);
	ck_assert_ptr_null(a.inflate.stream);
	ck_assert_ptr_null(b.inflate.stream);
	ck_assert_uint_eq(a.pool.n_spare, 1);
	ck_assert_ptr_nonnull(a.pool.part);
	/* In parts each has its own, and gives it back. */
	ck_assert(feed(&a, t.sent.p, 200) && feed(&b, t.sent.p, 200));
	ck_assert_uint_eq(a.pool.lent, 2);
	ck_assert(a.inflate.stream != b.inflate.stream && a.inflate.stream != NULL &&
		  b.inflate.stream != NULL);
	ck_assert(feed(&a, t.sent.p + 200, t.sent.n - 200) &&
		  feed(&b, t.sent.p + 200, t.sent.n - 200));
	ck_assert_uint_eq(a.pool.lent, 0);
	ck_assert_uint_eq(a.pool.n_spare, 2);
	/* A connection that ends in the middle of a message gives back what it has, too. */
	ck_assert(feed(&b, t.sent.p, 200));
	ck_assert_uint_eq(a.pool.lent, 1);
	reader_free(&b);
	ck_assert_uint_eq(a.pool.lent, 0);
	reader_free(&a);
	free(p);
	free(t.sent.p);
	free(t.expected.p);
	deflateEnd(&peer.z);
}
END_TEST

/* The message of one lies where the last one was; one that is not used up yet stays where it is. */
START_TEST(messages_do_not_meet)
{
	struct talk t = {.bits = 15}, u = {.bits = 15};
	struct frame f, g;
	struct reader a, b;
	struct peer peer;
	uint8_t *p = letters(9000), *at;
	size_t left;

	peer_start(&peer, 6, 15);
	peer_message(&peer, &t, FRAME_TEXT, p, 4000);
	peer_message(&peer, &u, FRAME_TEXT, p + 4000, 5000);
	reader_init(&a, &t, 1);
	reader_init(&b, &t, 1);
	b.inflate.pool = &a.pool;
	at = (uint8_t *)t.sent.p;
	left = t.sent.n;
	ck_assert_int_eq(frame_read(&a.reader, &a.limits, &at, &left, &f), FRAME_MESSAGE);
	at = (uint8_t *)u.sent.p;
	left = u.sent.n;
	ck_assert_int_eq(frame_read(&b.reader, &b.limits, &at, &left, &g), FRAME_MESSAGE);
	ck_assert_mem_eq(f.data, p, 4000);
	ck_assert_mem_eq(g.data, p + 4000, 5000);
	frame_release(&a.reader);
	frame_release(&b.reader);
	reader_free(&b);
	reader_free(&a);
	free(p);
	free(t.sent.p);
	free(u.sent.p);
	free(t.expected.p);
	free(u.expected.p);
	deflateEnd(&peer.z);
}
END_TEST

START_TEST(no_memory)
{
	for (int keep = 0; keep < 2; keep++) {
		uint8_t *p = letters(20000);
		struct talk t = {.keep = keep, .bits = 12}, good;
		struct peer peer;
		bool done = false;

		peer_start(&peer, 6, 12);
		peer_message(&peer, &t, FRAME_TEXT, p, 20000);
		good = t;
		t.expected = (struct text){0};
		gives_bad(&t, CLOSE_INTERNAL);
		for (size_t cut = 0; cut <= 50; cut += 50) {
			for (unsigned lent = 0; lent < 2; lent++) {
				done = false;
				for (long i = 0; !done; i++) {
					struct reader r;

					reader_init(&r, &t, lent);
					put(&r.got, "", 0); /* its first allocation */
					allocations_left = i;
					done = (cut == 0 || feed(&r, t.sent.p, cut)) &&
					       feed(&r, t.sent.p + cut, t.sent.n - cut);
					allocations_left = -1;
					compare(done ? &good : &t, &r, "without memory", (size_t)i);
				}
			}
		}
		free(t.sent.p);
		free(t.expected.p);
		free(good.expected.p);
		deflateEnd(&peer.z);
		free(p);
	}
}
END_TEST

START_TEST(costs)
{
	for (unsigned bits = 8; bits <= 15; bits++)
		ck_assert(inflate_cost(bits) > (size_t)1 << bits &&
			  inflate_cost(bits) < ((size_t)1 << bits) + 10000);
}
END_TEST

/* --- clients that refer back though they were told not to ------------------------------------- */

static void json_message(struct peer *peer, struct talk *t, unsigned i, size_t n)
{
	char *text = malloc(n + 100);
	int len =
		sprintf(text, "{\"type\":\"message\",\"room\":\"general\",\"n\":%u,\"text\":\"", i);

	for (size_t k = 0; k < n; k++)
		text[len++] = (char)('a' + (k * k + i * 7 + k / 9) % 26);
	len += sprintf(text + len, "\"}");
	peer_message(peer, t, FRAME_TEXT, text, (size_t)len);
	free(text);
}

START_TEST(who_refers_back_unasked_is_served)
{
	static const size_t sizes[] = {0, 5, 100, 1000, 20000, 33000, 40000};

	for (int level = 1; level <= 9; level += 4) {
		for (size_t s = 0; s < sizeof sizes / sizeof sizes[0];
		     s += RUNNING_ON_VALGRIND ? 3 : 1) {
			struct talk t = {.bits = 15, .unasked = true, .memory_max = 1 << 20};
			struct peer peer;

			peer_start(&peer, level, 15);
			for (unsigned i = 0; i < 6; i++) {
				json_message(&peer, &t, i, i % 2 == 0 ? sizes[s] : 30);
				frame(&t, FIN | FRAME_TEXT, "plain", 5);
				gives(&t, FRAME_TEXT, "plain", 5);
			}
			run(&t);
			deflateEnd(&peer.z);
		}
	}
}
END_TEST

/* Also when it has had nothing to refer back to for long: random bytes, and then the same once
 * more. */
START_TEST(what_is_known_of_it_grows_to_its_window)
{
	struct talk t = {.bits = 15, .unasked = true, .memory_max = 1 << 20};
	struct peer peer;
	uint8_t bytes[900];

	peer_start(&peer, 6, 15);
	srand(7);
	for (unsigned i = 0; i < 40; i++) {
		for (size_t k = 0; k < sizeof bytes; k++)
			bytes[k] = (uint8_t)rand();
		peer_message(&peer, &t, FRAME_BINARY, bytes, sizeof bytes);
	}
	peer_message(&peer, &t, FRAME_BINARY, bytes, sizeof bytes);
	run(&t);
	deflateEnd(&peer.z);
}
END_TEST

/* Nothing is kept of who has sent again what it could have referred to, and what is kept of others
 * is counted. */
START_TEST(who_obeys_costs_nothing)
{
	struct talk t = {.bits = 15, .memory_max = 1 << 20};
	struct peer peer;
	struct reader r;

	peer_start(&peer, 6, 15);
	reader_init(&r, &t, 100);
	for (unsigned i = 0; i < 10; i++) {
		json_message(&peer, &t, i, 2000);
		ck_assert(feed(&r, t.sent.p, t.sent.n));
		t.sent.n = 0;
		ck_assert_int_eq(r.memory > 2000, i < 3);
		ck_assert_int_eq(r.inflate.obeys, i >= 3);
		ck_assert_int_eq(inflate_has_state(&r.inflate), i < 3);
	}
	compare(&t, &r, "in turn", 0);
	deflateEnd(&peer.z);
	free(t.sent.p);
	free(t.expected.p);
}
END_TEST

/* Where there is no room for its past, or for its window, it is told which option makes some. */
START_TEST(no_room_for_the_past)
{
	static const uint64_t rooms[] = {1, 300, 3000};

	for (size_t i = 0; i < 3; i++) {
		struct talk t = {.bits = 15, .unasked = true, .memory_max = rooms[i]};
		struct peer peer;
		struct reader r;
		struct frame f;
		uint8_t *p;
		size_t left;

		peer_start(&peer, 6, 15);
		reader_init(&r, &t, 100);
		json_message(&peer, &t, 1, 1000);
		ck_assert(feed(&r, t.sent.p, t.sent.n));
		ck_assert_uint_le(r.memory, rooms[i]);
		t.sent.n = 0;
		json_message(&peer, &t, 1, 1000);
		p = (uint8_t *)t.sent.p;
		left = t.sent.n;
		ck_assert_int_eq(frame_read(&r.reader, &r.limits, &p, &left, &f), FRAME_BAD);
		ck_assert_uint_eq(f.code, CLOSE_BAD_DATA);
		ck_assert_ptr_nonnull(strstr(f.why, "--deflate-takeover"));
		ck_assert_uint_le(strlen(f.why), 123);
		reader_free(&r);
		deflateEnd(&peer.z);
		free(t.sent.p);
		free(t.expected.p);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("inflate");
	TCase *tc = tcase_create("inflate");

	tcase_add_test(tc, the_examples_of_the_rfc);
	tcase_add_test(tc, messages_of_every_size);
	tcase_add_test(tc, all_ways_to_compress);
	tcase_add_test(tc, back_over_a_final_block);
	tcase_add_test(tc, fragments);
	tcase_add_test(tc, empty);
	tcase_add_test(tc, reserved_bits);
	tcase_add_test(tc, bad_data);
	tcase_add_test(tc, a_window_too_far);
	tcase_add_test(tc, text_is_checked_inflated);
	tcase_add_test(tc, bad_text_fails_fast);
	tcase_add_test(tc, bombs);
	tcase_add_test(tc, the_limit_is_of_what_comes_out);
	tcase_add_test(tc, much_of_nothing);
	tcase_add_test(tc, nothing_is_kept_for_a_quiet_connection);
	tcase_add_test(tc, messages_do_not_meet);
	tcase_add_test(tc, who_refers_back_unasked_is_served);
	tcase_add_test(tc, what_is_known_of_it_grows_to_its_window);
	tcase_add_test(tc, who_obeys_costs_nothing);
	tcase_add_test(tc, no_room_for_the_past);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, costs);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
