/* The frame reader against a slow one written from the RFC, and with the bytes whole, in pieces,
 * and straight into its buffer. The input's first bytes choose the limits and the pieces, the rest
 * is what the peer sends. */
#include "common/utf8.h"
#include "record.h"
#include "ws/frame.h"

/* --- the slow reader -------------------------------------------------------------------------- */

struct slow_consumer {
	uint8_t *message; /* of the largest size that can come */
	size_t len;
	int opcode; /* of the message under way, 0: none */
	uint64_t max;
	bool masked;
	struct record *out;
};

static bool slow_consumer_bad(struct slow_consumer *s, uint16_t code)
{
	record_add_result(s->out, 0xFF, code, NULL, 0);
	return false;
}

static bool slow_consumer_close(struct slow_consumer *s, const uint8_t *p, size_t n)
{
	unsigned code = n >= 2 ? (unsigned)(p[0] * 256 + p[1]) : 1005;

	if (n == 1)
		return slow_consumer_bad(s, 1002);
	if (n >= 2 && !(code >= 1000 && code <= 1003) && !(code >= 1007 && code <= 1014) &&
	    !(code >= 3000 && code <= 4999))
		return slow_consumer_bad(s, 1002);
	if (n >= 2 && utf8_check(UTF8_ACCEPT, p + 2, n - 2) != UTF8_ACCEPT)
		return slow_consumer_bad(s, 1007);
	record_add_result(s->out, 8, (uint16_t)code, n >= 2 ? p + 2 : NULL, n >= 2 ? n - 2 : 0);
	return false; /* nothing counts after it */
}

/* The payload of a data frame, as far as it is there. */
static bool slow_consumer_data(struct slow_consumer *s, const uint8_t *p, size_t n, bool whole,
			       bool fin)
{
	uint32_t state = UTF8_ACCEPT;

	if (n > 0)
		memcpy(s->message + s->len, p, n);
	s->len += n;
	for (size_t i = 0; s->opcode == 1 && i < s->len; i++)
		state = utf8_check(state, s->message + i, 1);
	if (state == UTF8_REJECT)
		return slow_consumer_bad(s, 1007);
	if (!whole || !fin)
		return whole;
	if (state != UTF8_ACCEPT)
		return slow_consumer_bad(s, 1007);
	record_add_result(s->out, (uint8_t)s->opcode, 0, s->message, s->len);
	s->len = 0;
	s->opcode = 0;
	return true;
}

/* The rules that need two bytes, RFC 6455 5.2 to 5.5. */
static bool slow_consumer_allowed(const struct slow_consumer *s, unsigned a, unsigned b)
{
	const unsigned opcode = a % 16, length = b % 128;

	if (a & 0x70 || (b >= 128) != s->masked)
		return false;
	switch (opcode) {
	case 0:
		return s->opcode != 0;
	case 1:
	case 2:
		return s->opcode == 0;
	case 8:
	case 9:
	case 10:
		return a >= 128 && length < 126;
	default:
		return false;
	}
}

/* Reads one frame; false: that was the last thing. */
static bool slow_consumer_frame(struct slow_consumer *s, const uint8_t **p, size_t *n)
{
	const uint8_t *h = *p;
	size_t head = 2, there;
	uint64_t len;
	uint8_t *payload;
	bool more;

	if (*n < 2)
		return false;
	if (!slow_consumer_allowed(s, h[0], h[1]))
		return slow_consumer_bad(s, 1002);
	len = h[1] % 128;
	head += len == 126 ? 2 : len == 127 ? 8 : 0;
	if (*n < head + (s->masked ? 4 : 0))
		return false;
	if (head > 2) {
		const uint64_t least = len == 126 ? 126 : 65536;

		len = 0;
		for (size_t i = 2; i < head; i++)
			len = len * 256 + h[i];
		if (len < least || (head == 10 && h[2] >= 128))
			return slow_consumer_bad(s, 1002);
	}
	if (h[0] % 16 < 8 && (len > s->max || s->len + len > s->max))
		return slow_consumer_bad(s, 1009);
	head += s->masked ? 4 : 0;
	there = len < *n - head ? (size_t)len : *n - head;
	payload = malloc(there + 1);
	for (size_t i = 0; i < there; i++)
		payload[i] = s->masked ? h[head + i] ^ h[head - 4 + i % 4] : h[head + i];
	if (h[0] % 16 >= 8) {
		more = there == len && (h[0] % 16 != 8 || slow_consumer_close(s, payload, there));
		if (more)
			record_add_result(s->out, h[0] % 16, 0, payload, there);
	} else {
		s->opcode = h[0] % 16 != 0 ? h[0] % 16 : s->opcode;
		more = slow_consumer_data(s, payload, there, there == len, h[0] >= 128);
	}
	free(payload);
	*p += head + there;
	*n -= head + there;
	return more;
}

/* --- the fast reader -------------------------------------------------------------------------- */

static void note(struct record *t, enum frame_status status, const struct frame *f)
{
	if (status == FRAME_BAD) {
		MUST(f->why != NULL);
		record_add_result(t, 0xFF, f->code, NULL, 0);
	} else if (status != FRAME_MORE) {
		MUST((status == FRAME_CONTROL) == (f->opcode >= 8));
		record_add_result(t, f->opcode, f->code, f->data, f->len);
		f->data[f->len] ^= 0; /* writable */
	}
}

static bool feed(struct frame_reader *r, const struct frame_limits *limits, const uint8_t *bytes,
		 size_t n, struct record *t)
{
	uint8_t *block = malloc(n + 1), *p = block;
	enum frame_status status;
	size_t left = n;

	if (n > 0)
		memcpy(block, bytes, n);
	block[n] = 0x5A;
	do {
		struct frame f;

		status = frame_read(r, limits, &p, &left, &f);
		MUST(p + left == block + n);
		note(t, status, &f);
	} while (status == FRAME_MESSAGE || status == FRAME_CONTROL);
	MUST(left == 0);
	MUST(block[n] == 0x5A);
	free(block);
	return status != FRAME_BAD;
}

static void feed_pieces(const struct frame_limits *limits, const uint8_t *bytes, size_t n,
			uint32_t seed, bool direct, struct record *t)
{
	struct frame_reader r = {0};
	bool good = true;

	for (size_t at = 0, k; good && at < n; at += k) {
		uint8_t *where;
		struct frame f;
		const size_t room = direct ? frame_space(&r, limits, &where) : 0;

		k = fuzz_piece(&seed, n - at);
		if (room > 0) {
			enum frame_status status;

			k = k < room ? k : room;
			memcpy(where, bytes + at, k);
			status = frame_filled(&r, limits, k, &f);
			note(t, status, &f);
			good = status != FRAME_BAD;
		} else {
			good = feed(&r, limits, bytes + at, k, t);
		}
		MUST(frame_held(&r) <= 2 * (at + k) + 65536);
	}
	frame_reset(&r);
	MUST(frame_held(&r) == 0);
}

static void same(struct record *t, const struct record *expected)
{
	MUST(t->n == expected->n);
	MUST(t->n == 0 || memcmp(t->bytes, expected->bytes, t->n) == 0);
	t->n = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t maxima[] = {1 << 20, 0, 1, 125, 126, 1000, 70000, UINT64_MAX};
	struct frame_limits limits;
	struct frame_reader r = {0};
	struct record expected = {0}, got = {0};
	struct slow_consumer slow = {.out = &expected};
	const uint8_t *p = data + 2;
	size_t n;

	if (size < 2)
		return 0;
	limits =
		(struct frame_limits){.message_max = maxima[data[0] % 8], .masked = !(data[0] & 8)};
	slow.max = limits.message_max;
	slow.masked = limits.masked;
	slow.message = malloc(size);
	n = size - 2;
	while (slow_consumer_frame(&slow, &p, &n))
		;
	feed(&r, &limits, data + 2, size - 2, &got);
	same(&got, &expected);
	frame_reset(&r);
	feed_pieces(&limits, data + 2, size - 2, data[1], false, &got);
	same(&got, &expected);
	feed_pieces(&limits, data + 2, size - 2, data[1], true, &got);
	same(&got, &expected);
	free(slow.message);
	free(expected.bytes);
	free(got.bytes);
	return 0;
}
