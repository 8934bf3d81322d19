/* permessage-deflate. The input's first byte chooses between: what is agreed on, where the rest is
 * the client's offers; a message compressed, which zlib by itself must inflate again; and the frame
 * reader, where the rest is what a peer sends, without masks, and what comes out is compared with
 * what zlib makes of it byte by byte; and that reader before a client that keeps its context though
 * it was told not to. */
#include "common/utf8.h"
#include "record.h"
#include "ws/deflate.h"
#include "ws/frame.h"

/* --- what is agreed on ------------------------------------------------------------------------ */

/* False: the request is none. */
static bool negotiate(const struct deflate_policy *policy, const char *offers, size_t n,
		      struct deflate_terms *terms_r, bool *agreed_r)
{
	static const struct request_limits limits = {.head_max = 1 << 20,
						     .headers_max = REQUEST_HEADERS_MAX};
	static const char before[] = "GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Extensions: ",
			  after[] = "\r\n\r\n";
	static struct request r;
	char *head = malloc(sizeof before + n + sizeof after);
	size_t len = sizeof before - 1, used;
	const char *why;
	bool good;
	int status;

	memcpy(head, before, len);
	memcpy(head + len, offers, n);
	memcpy(head + len + n, after, sizeof after - 1);
	len += n + sizeof after - 1;
	good = request_parse(&r, &limits, head, len, NULL, &used, &status, &why) == REQUEST_OK;
	if (good)
		*agreed_r = deflate_negotiate(&r, policy, terms_r);
	free(head);
	return good;
}

static void fuzz_offers(uint8_t choice, const uint8_t *data, size_t size)
{
	static const char name[] = "Sec-WebSocket-Extensions: ";
	const struct deflate_policy policy = {.on = true,
					      .keep_out = choice & 1,
					      .keep_in = choice & 2,
					      .bits = (uint8_t)(9 + (choice >> 2) % 7)};
	struct deflate_terms terms, again;
	char answer[DEFLATE_ANSWER_MAX];
	bool agreed;
	size_t n;

	if (!negotiate(&policy, (const char *)data, size, &terms, &agreed) || !agreed)
		return;
	MUST(terms.out_bits >= 9 && terms.out_bits <= policy.bits && terms.in_bits >= 8 &&
	     terms.in_bits <= 15);
	MUST((policy.keep_out || !terms.keep_out) && (policy.keep_in || !terms.keep_in));
	MUST(!terms.keep_in || terms.in_bits <= policy.bits);
	n = deflate_answer(&terms, answer);
	MUST(n > sizeof name + 18 && n < sizeof answer &&
	     memcmp(answer, name, sizeof name - 1) == 0);
	/* Who offers what was answered gets the same. */
	MUST(negotiate(&policy, answer + sizeof name - 1, n - sizeof name + 1 - 2, &again,
		       &agreed) &&
	     agreed);
	MUST(terms.out_bits == again.out_bits && terms.keep_out == again.keep_out &&
	     terms.keep_in == again.keep_in);
	MUST(terms.in_bits == again.in_bits || !terms.say_in_bits);
}

/* --- a message there and back ----------------------------------------------------------------- */

static void fuzz_message(uint8_t choice, const uint8_t *data, size_t size)
{
	const unsigned bits = 9 + choice % 7;
	uint8_t *packed = malloc(size + DEFLATE_TAIL), *got = malloc(size + 1);
	z_stream out, in = {0};

	MUST(deflate_start(&out, 1 + choice / 7 % 9, bits) &&
	     inflateInit2(&in, -(int)bits) == Z_OK);
	/* the second refers back to the first, the third must not */
	for (int i = 0; i < 3 && size > 0; i++) {
		const size_t n = deflate_message(&out, data, size, packed);

		MUST(n < size);
		if (n > 0) {
			memcpy(packed + n, "\x00\x00\xFF\xFF", 4);
			in.next_in = packed;
			in.avail_in = (uInt)n + 4;
			in.next_out = got;
			in.avail_out = (uInt)size + 1;
			MUST(inflate(&in, Z_SYNC_FLUSH) == Z_OK && in.avail_in == 0 &&
			     in.avail_out == 1);
			MUST(memcmp(got, data, size) == 0);
		}
		if (n == 0 || i == 1) {
			deflateReset(&out);
			inflateReset(&in);
		}
	}
	deflateEnd(&out);
	inflateEnd(&in);
	free(packed);
	free(got);
}

/* --- the slow reader -------------------------------------------------------------------------- */

struct slow_consumer {
	z_stream z;
	/* what it has become, and where its parts are gathered what came */
	struct record message, wire;
	uint64_t taken, max;
	uint32_t utf8;
	int opcode;
	bool keep, gathers, compressed, ended;
	struct record *out;
};

static bool slow_consumer_bad(struct slow_consumer *s, uint16_t code)
{
	record_add_result(s->out, 0xFF, code, "", 0);
	return false;
}

static bool slow_consumer_text(struct slow_consumer *s, const uint8_t *p, size_t n)
{
	const size_t room = s->max - s->message.n < n ? (size_t)(s->max - s->message.n) : n;

	if (s->opcode == FRAME_TEXT)
		s->utf8 = utf8_check(s->utf8, p, room);
	record_add(&s->message, p, room);
	if (s->utf8 == UTF8_REJECT)
		return slow_consumer_bad(s, 1007);
	return room == n || slow_consumer_bad(s, 1009);
}

/* One byte into zlib, and out what there is. */
static bool slow_consumer_inflate(struct slow_consumer *s, uint8_t byte)
{
	uint8_t piece[64];
	int code;

	s->z.next_in = &byte;
	s->z.avail_in = 1;
	s->ended = false;
	do {
		s->z.next_out = piece;
		s->z.avail_out = sizeof piece;
		code = inflate(&s->z, Z_SYNC_FLUSH);
		if (!slow_consumer_text(s, piece, sizeof piece - s->z.avail_out))
			return false;
		if (code == Z_STREAM_END) {
			s->ended = s->z.avail_in == 0;
			inflateResetKeep(&s->z);
		} else if (code != Z_OK && code != Z_BUF_ERROR) {
			return slow_consumer_bad(s, 1007);
		}
	} while (s->z.avail_out == 0 || s->z.avail_in > 0);
	return true;
}

static bool slow_consumer_bytes(struct slow_consumer *s, const uint8_t *p, size_t n)
{
	if (!s->compressed)
		return slow_consumer_text(s, p, n);
	for (size_t i = 0; i < n; i++)
		if (!slow_consumer_inflate(s, p[i]))
			return false;
	return true;
}

static bool slow_consumer_end(struct slow_consumer *s)
{
	static const uint8_t tail[4] = {0, 0, 0xFF, 0xFF};

	if (s->gathers && s->compressed && !slow_consumer_bytes(s, s->wire.bytes, s->wire.n))
		return false;
	if (s->compressed && s->taken > 0 && !s->ended) {
		if (!slow_consumer_bytes(s, tail, 4))
			return false;
		if ((s->z.data_type & 128) == 0 || (s->z.data_type & 63) != 0)
			return slow_consumer_bad(s, 1007);
	}
	if (s->utf8 != UTF8_ACCEPT)
		return slow_consumer_bad(s, 1007);
	record_add_result(s->out, (uint8_t)s->opcode, 0, s->message.bytes, s->message.n);
	s->opcode = 0;
	return true;
}

static void slow_consumer_begin(struct slow_consumer *s, uint8_t first)
{
	s->opcode = first & 15;
	s->compressed = (first & 0x40) != 0;
	s->message.n = s->wire.n = 0;
	s->taken = 0;
	s->utf8 = UTF8_ACCEPT;
	s->ended = false;
	if (!s->keep)
		inflateReset(&s->z);
}

static uint64_t slow_consumer_limit(const struct slow_consumer *s)
{
	return s->compressed ? s->max + s->max / 8 + 1024 : s->max;
}

/* One frame with a length of up to 125 bytes or in the two byte form; anything else is not looked
 * at here, fuzz_frame does. */
static bool slow_consumer_frame(struct slow_consumer *s, const uint8_t **p, size_t *n)
{
	const uint8_t *h = *p;
	const size_t head = *n >= 2 && h[1] == 126 ? 4 : 2;
	size_t len, there;

	if (*n < 2)
		return false;
	const unsigned opcode = h[0] & 15;
	const bool data = opcode == FRAME_TEXT || opcode == FRAME_BINARY;
	if ((h[0] & 0x30) || ((h[0] & 0x40) && !data) || opcode > 10 ||
	    (opcode > 2 && opcode < 8) || h[1] >= 128)
		return slow_consumer_bad(s, 1002);
	if (opcode >= 8 && (h[0] < 128 || h[1] > 125))
		return slow_consumer_bad(s, 1002);
	if (opcode < 8 && (data ? s->opcode != 0 : s->opcode == 0))
		return slow_consumer_bad(s, 1002);
	if (*n < head)
		return false;
	len = h[1] == 126 ? (size_t)(h[2] * 256 + h[3]) : h[1];
	if (h[1] == 126 && len < 126)
		return slow_consumer_bad(s, 1002);
	there = len < *n - head ? len : *n - head;
	*p += head + there;
	*n -= head + there;
	if (opcode >= 8) {
		if (there == len)
			record_add_result(s->out, (uint8_t)opcode, 0, h + head, len);
		return there == len;
	}
	if (data)
		slow_consumer_begin(s, h[0]);
	if (len > slow_consumer_limit(s) || s->taken > slow_consumer_limit(s) - len)
		return slow_consumer_bad(s, 1009);
	s->taken += there;
	if (s->gathers && s->compressed)
		record_add(&s->wire, h + head, there);
	else if (!slow_consumer_bytes(s, h + head, there))
		return false;
	return there == len && (h[0] < 128 || slow_consumer_end(s));
}

/* --- the fast reader -------------------------------------------------------------------------- */

struct fast {
	struct inflate_pool pool;
	struct inflate inflate;
	struct frame_reader reader;
	struct frame_limits limits;
};

static bool feed(struct fast *f, const uint8_t *bytes, size_t n, struct record *t)
{
	uint8_t *block = malloc(n + 1), *p = block;
	enum frame_status status;
	size_t left = n;
	struct frame frame;

	if (n > 0)
		memcpy(block, bytes, n);
	block[n] = 0x5A;
	do {
		status = frame_read(&f->reader, &f->limits, &p, &left, &frame);
		MUST(p + left == block + n);
		if (status == FRAME_BAD)
			record_add_result(t, 0xFF, frame.code, "", 0);
		else if (status != FRAME_MORE)
			record_add_result(t, frame.opcode, 0, frame.data, frame.len);
	} while (status == FRAME_MESSAGE || status == FRAME_CONTROL);
	MUST(left == 0);
	MUST(block[n] == 0x5A);
	free(block);
	return status != FRAME_BAD;
}

static void fast_run(struct fast *f, const uint8_t *bytes, size_t n, uint32_t seed,
		     struct record *t)
{
	frame_reset(&f->reader);
	inflate_reset(&f->inflate);
	for (size_t at = 0, k; at < n; at += k) {
		k = seed != 0 ? fuzz_piece(&seed, n - at) : n;
		if (!feed(f, bytes + at, k, t))
			break;
		MUST(f->reader.message == 0 ||
		     frame_held(&f->reader) <= 4 * f->limits.message_max + 65536);
	}
	frame_reset(&f->reader);
	inflate_reset(&f->inflate);
	MUST(f->pool.lent == 0 && frame_held(&f->reader) == 0);
}

/* Are there frames that the slow reader does not read? */
static bool beyond_slow(const uint8_t *p, size_t n)
{
	while (n >= 2) {
		const size_t head = p[1] == 126 ? 4 : 2;

		if (p[1] == 127 || (p[0] & 15) == 8)
			return true;
		if (n < head)
			return false;
		const size_t len = head == 4 ? (size_t)(p[2] * 256 + p[3]) : p[1] & 127;
		if (len > n - head)
			return false;
		p += head + len;
		n -= head + len;
	}
	return false;
}

static void fuzz_reader(uint8_t choice, uint8_t seed, const uint8_t *data, size_t size)
{
	static const uint64_t maxima[] = {1 << 16, 0, 1, 100, 5000, 1024, 1 << 20, 40000};
	const unsigned bits = 15 - choice % 7;
	struct record expected = {0}, got = {0};
	struct slow_consumer slow = {.max = maxima[seed % 8],
				     .keep = choice & 128,
				     .out = &expected};
	struct fast fast = {.pool = {.lent_max = choice & 64 ? 0 : 3}};
	const uint8_t *p = data;
	size_t n = size;

	slow.gathers = !slow.keep && fast.pool.lent_max == 0;
	MUST(inflateInit2(&slow.z, slow.keep ? -(int)bits : -15) == Z_OK);
	inflate_init(&fast.inflate, &fast.pool, bits, slow.keep);
	fast.limits = (struct frame_limits){.message_max = slow.max, .inflate = &fast.inflate};
	/* Who refers back beyond a small window is refused or not, as zlib happens to have the
	 * bytes at hand. */
	if (!beyond_slow(data, size) && (!slow.keep || bits == 15)) {
		while (slow_consumer_frame(&slow, &p, &n))
			;
		fast_run(&fast, data, size, 0, &got);
		MUST(got.n == expected.n &&
		     (got.n == 0 || memcmp(got.bytes, expected.bytes, got.n) == 0));
		got.n = 0;
		fast_run(&fast, data, size, seed + 1u, &got);
		MUST(got.n == expected.n &&
		     (got.n == 0 || memcmp(got.bytes, expected.bytes, got.n) == 0));
	} else {
		fast_run(&fast, data, size, seed + 1u, &got);
	}
	inflate_pool_free(&fast.pool);
	inflateEnd(&slow.z);
	free(slow.message.bytes);
	free(slow.wire.bytes);
	free(expected.bytes);
	free(got.bytes);
}

/* --- who refers back unasked ------------------------------------------------------------------ */

/* Adds one frame without a mask: a message compressed by a client that keeps its state though it
 * was told not to. */
static void add_compressed(struct record *wire, z_stream *z, const uint8_t *text, size_t n)
{
	const size_t cap = deflateBound(z, n) + 16;
	uint8_t *packed = malloc(cap), head[4] = {0x80 | 0x40 | FRAME_BINARY};
	size_t len;

	z->next_in = (uint8_t *)text;
	z->avail_in = (uInt)n;
	z->next_out = packed;
	z->avail_out = (uInt)cap;
	MUST(deflate(z, Z_SYNC_FLUSH) == Z_OK && z->avail_out > 0);
	len = cap - z->avail_out - 4;
	MUST(len < 65536);
	head[1] = len < 126 ? (uint8_t)len : 126;
	head[2] = (uint8_t)(len >> 8);
	head[3] = (uint8_t)len;
	record_add(wire, head, len < 126 ? 2 : 4);
	record_add(wire, packed, len);
	free(packed);
}

/* The input, cut into messages, some of which say again what was said before. All arrive as they
 * were, unless there is no memory for what they refer to, or it was taken for a client that refers
 * to nothing. */
static void fuzz_disobedient(uint8_t choice, uint8_t seed, const uint8_t *data, size_t size)
{
	static const uint64_t memory[] = {1 << 20, 1 << 20, 1 << 20, 40000, 1000, 0};
	struct record expected = {0}, wire = {0}, got = {0};
	uint64_t used = 0;
	struct fast fast = {.pool = {.lent_max = choice & 64 ? 0 : 3,
				     .memory = &used,
				     .memory_max = memory[seed % 6]}};
	uint32_t piece = seed * 77u + choice;
	z_stream z;

	if (size > 60000)
		return;
	MUST(deflate_start(&z, 6 + choice % 4, 15));
	for (size_t at = 0, k; at < size; at += k) {
		const bool again = (piece >> 16) % 2 == 0 && at > 300;
		const size_t from = again ? at - 300 : at;

		k = fuzz_piece(&piece, size - at);
		add_compressed(&wire, &z, data + from, at + k - from);
		record_add_result(&expected, FRAME_BINARY, 0, data + from, at + k - from);
	}
	inflate_init(&fast.inflate, &fast.pool, 15, false);
	fast.limits = (struct frame_limits){.message_max = 1 << 20, .inflate = &fast.inflate};
	frame_reset(&fast.reader);
	bool good = true;
	for (size_t at = 0, k; good && at < wire.n; at += k) {
		k = choice & 32 ? wire.n : fuzz_piece(&piece, wire.n - at);
		good = feed(&fast, wire.bytes + at, k, &got);
		MUST(used <= fast.pool.memory_max);
	}
	if (good)
		MUST(got.n == expected.n &&
		     (got.n == 0 || memcmp(got.bytes, expected.bytes, got.n) == 0));
	else
		MUST(fast.inflate.obeys || fast.pool.memory_max < inflate_cost(15));
	frame_reset(&fast.reader);
	inflate_reset(&fast.inflate);
	MUST(used == 0 && fast.pool.lent == 0);
	inflate_pool_free(&fast.pool);
	deflateEnd(&z);
	free(expected.bytes);
	free(wire.bytes);
	free(got.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	switch (data[0] % 4) {
	case 0:
		fuzz_offers(data[1], data + 3, size - 3);
		break;
	case 1:
		fuzz_message(data[1], data + 3, size - 3);
		break;
	case 3:
		fuzz_disobedient(data[1], data[2], data + 3, size - 3);
		break;
	default:
		fuzz_reader(data[1], data[2], data + 3, size - 3);
	}
	return 0;
}
