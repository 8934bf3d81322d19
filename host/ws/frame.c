#include "ws/frame.h"

#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "common/utf8.h"
#include "common/wide.h"

/* How far a buffer may run ahead of what was really received because a header promises more. */
#define AHEAD_MAX (16 * 1024)
/* A buffer beyond GROW_HEAP grows by GROW_MAX: so it is so large that it has pages of its own
 * (main.c), of which those that nothing was written to are not there, and which are moved without a
 * copy; and none of its smaller selves leaves a large hole in the heap. */
#define GROW_HEAP (32 * 1024)
#define GROW_MAX (512 * 1024)
/* Below this many bytes to come, receiving the payload directly saves less than it costs to receive
 * what follows on its own. */
#define DIRECT_MIN (8 * 1024)

/* Room for inflated bytes that is first made, and the most that is kept for the next message. */
#define INFLATED_MIN 1024
#define INFLATED_KEEP (256 * 1024)

#define OPCODE_CONTROL 0x8
#define RSV1 0x40 /* RFC 7692 6: the message is compressed */

enum stage {
	STAGE_HEAD, /* must be 0, as in a fresh reader */
	STAGE_PAYLOAD,
	STAGE_CLOSED, /* a close frame came: what follows it is ignored (RFC 6455 1.4) */
	STAGE_BROKEN,
};

struct frame_part {
	size_t len, cap; /* of bytes, which has one writable byte more */
	/* where it is kept for the next message that comes compressed and whole; NULL: nowhere */
	struct frame_part **home;
	uint8_t control_len;
	uint8_t control[FRAME_CONTROL_MAX + 1];
	uint8_t bytes[];
};

typedef uint64_t vec __attribute__((vector_size(16)));

/* XORs n bytes with the mask on their way from src to dst, which may be the same. The high bits of
 * all results are collected in the return value: 0 means that everything is ASCII. */
static uint64_t frame_unmask_short(uint8_t *dst, const uint8_t *src, size_t n, uint32_t mask)
{
	const uint64_t wide = (uint64_t)mask << 32 | mask;
	const vec m = {wide, wide};
	vec a, b, c, d, seen = {0, 0};
	uint64_t w, bits = 0;
	uint32_t h;

	for (; n >= 64; n -= 64, src += 64, dst += 64) {
		memcpy(&a, src, 16);
		memcpy(&b, src + 16, 16);
		memcpy(&c, src + 32, 16);
		memcpy(&d, src + 48, 16);
		a ^= m, b ^= m, c ^= m, d ^= m;
		seen |= (a | b) | (c | d);
		memcpy(dst, &a, 16);
		memcpy(dst + 16, &b, 16);
		memcpy(dst + 32, &c, 16);
		memcpy(dst + 48, &d, 16);
	}
	for (; n >= 8; n -= 8, src += 8, dst += 8) {
		memcpy(&w, src, 8);
		w ^= wide;
		bits |= w;
		memcpy(dst, &w, 8);
	}
	if (n >= 4) {
		memcpy(&h, src, 4);
		h ^= mask;
		bits |= h;
		memcpy(dst, &h, 4);
		n -= 4, src += 4, dst += 4;
	}
	for (size_t i = 0; i < n; i++) {
		dst[i] = src[i] ^ ((const uint8_t *)&mask)[i];
		bits |= dst[i];
	}
	return (bits | seen[0] | seen[1]) & UINT64_C(0x8080808080808080);
}

static inline __attribute__((always_inline)) uint64_t frame_unmask(uint8_t *dst, const uint8_t *src,
								   size_t n, uint32_t mask)
{
	uint64_t high;
	if (n < WIDE_MIN || !wide_is_there())
		return frame_unmask_short(dst, src, n, mask);
	size_t done = wide_unmask(dst, src, n, mask, &high);
	return high | frame_unmask_short(dst + done, src + done, n - done, mask);
}

/* Turns the mask so that its first byte is the one for the byte behind the next n. */
static uint32_t frame_mask_turn(uint32_t mask, size_t n)
{
	uint8_t from[4], to[4];

	memcpy(from, &mask, 4);
	for (unsigned i = 0; i < 4; i++)
		to[i] = from[(i + n) & 3];
	memcpy(&mask, to, 4);
	return mask;
}

static uint64_t frame_big_endian(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

/* --- the reader's own memory ------------------------------------------------------------------ */

static void frame_part_free(struct frame_reader *r)
{
	struct frame_part *part = r->part;

	r->part = NULL;
	if (part == NULL || part->len == 0 || part->home == NULL || *part->home != NULL ||
	    part->cap > INFLATED_KEEP) {
		free(part);
		return;
	}
	part->len = part->control_len = 0;
	*part->home = part;
}

static size_t frame_part_len(const struct frame_reader *r)
{
	return r->part != NULL ? r->part->len : 0;
}

static bool frame_part_resize(struct frame_reader *r, uint64_t cap)
{
	struct frame_part *part =
		cap <= SIZE_MAX / 2 ? realloc(r->part, sizeof(*part) + (size_t)cap + 1) : NULL;

	if (part == NULL)
		return false;
	if (r->part == NULL)
		*part = (struct frame_part){0};
	part->cap = (size_t)cap;
	r->part = part;
	return true;
}

/* Makes room for `need` bytes of message in all. When it must grow, it grows with what came and a
 * little ahead of it, and never beyond the end of a final frame. */
static bool frame_part_reserve(struct frame_reader *r, uint64_t need)
{
	const uint64_t len = frame_part_len(r), ahead = r->left < AHEAD_MAX ? r->left : AHEAD_MAX;
	uint64_t want = len + (len > ahead ? len : ahead);

	if (r->part != NULL && need <= r->part->cap)
		return true;
	if (want > GROW_HEAP)
		want = len + GROW_MAX;
	if (r->fin && want > len + r->left)
		want = len + r->left;
	return frame_part_resize(r, want < need ? need : want);
}

/* --- what is complete ------------------------------------------------------------------------- */

static enum frame_status frame_bad(struct frame_reader *r, struct frame *out, uint16_t code,
				   const char *why)
{
	frame_part_free(r);
	r->stage = STAGE_BROKEN;
	*out = (struct frame){.code = code, .why = why};
	return FRAME_BAD;
}

static enum frame_status frame_more(struct frame *out)
{
	*out = (struct frame){0};
	return FRAME_MORE;
}

bool frame_close_code_ok(unsigned code)
{
	return code == CLOSE_PROTOCOL || rules_close_code_ok(code);
}

static enum frame_status frame_close_done(struct frame_reader *r, uint8_t *p, size_t n,
					  struct frame *out)
{
	unsigned code = CLOSE_NONE;

	if (n == 1)
		return frame_bad(r, out, CLOSE_PROTOCOL, "close frame with half a code");
	if (n >= 2) {
		code = (unsigned)frame_big_endian(p, 2);
		if (!frame_close_code_ok(code))
			return frame_bad(r, out, CLOSE_PROTOCOL,
					 "close frame with a code that must not be sent");
		p += 2;
		n -= 2;
		if (!utf8_valid(p, n))
			return frame_bad(r, out, CLOSE_BAD_DATA,
					 "close frame with a reason that is not UTF-8");
	}
	r->stage = STAGE_CLOSED;
	r->message = 0;
	*out = (struct frame){.opcode = FRAME_CLOSE, .data = p, .len = n, .code = (uint16_t)code};
	return FRAME_CONTROL;
}

static enum frame_status frame_control_done(struct frame_reader *r, uint8_t *p, size_t n,
					    struct frame *out)
{
	r->stage = STAGE_HEAD;
	if (r->part != NULL)
		r->part->control_len = 0;
	if (r->opcode == FRAME_CLOSE)
		return frame_close_done(r, p, n, out);
	*out = (struct frame){.opcode = r->opcode, .data = p, .len = n};
	return FRAME_CONTROL;
}

/* The current data frame is complete; p and n are the message if it was the last. */
static enum frame_status frame_data_done(struct frame_reader *r, uint8_t *p, size_t n,
					 struct frame *out)
{
	r->stage = STAGE_HEAD;
	if (!r->fin)
		return frame_more(out);
	if (r->utf8 != UTF8_ACCEPT)
		return frame_bad(r, out, CLOSE_BAD_DATA, "text that ends inside a character");
	*out = (struct frame){.opcode = r->message, .data = p, .len = n};
	r->message = 0; /* the part, if the message lies in it, is given up by the next call */
	return FRAME_MESSAGE;
}

/* --- payload ---------------------------------------------------------------------------------- */

/* Moves n payload bytes from src to dst (or leaves them there) as what they mean; false: text that
 * is not UTF-8. */
static bool frame_payload_take(struct frame_reader *r, uint8_t *dst, uint8_t *src, size_t n)
{
	const uint64_t high = frame_unmask(dst, src, n, r->mask);

	r->mask = frame_mask_turn(r->mask, n);
	r->left -= n;
	if (r->message == FRAME_TEXT && !(r->opcode & OPCODE_CONTROL) &&
	    (high != 0 || r->utf8 != UTF8_ACCEPT))
		r->utf8 = utf8_check(r->utf8, dst, n);
	return r->utf8 != UTF8_REJECT;
}

static enum frame_status frame_control_payload(struct frame_reader *r, uint8_t *p, size_t n,
					       struct frame *out)
{
	const size_t whole = (size_t)r->left;

	if (n == whole && (r->part == NULL || r->part->control_len == 0)) {
		frame_payload_take(r, p, p, n);
		return frame_control_done(r, p, n, out);
	}
	if (!frame_part_reserve(r, 0))
		return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
	frame_payload_take(r, r->part->control + r->part->control_len, p, n);
	r->part->control_len = (uint8_t)(r->part->control_len + n);
	return r->left > 0 ? frame_more(out)
			   : frame_control_done(r, r->part->control, r->part->control_len, out);
}

static enum frame_status frame_data_payload(struct frame_reader *r, uint8_t *p, size_t n,
					    struct frame *out)
{
	if (r->fin && n == r->left && frame_part_len(r) == 0) {
		if (!frame_payload_take(r, p, p, n))
			return frame_bad(r, out, CLOSE_BAD_DATA, "text that is not UTF-8");
		return frame_data_done(r, p, n, out);
	}
	if (n > 0) {
		const size_t at = frame_part_len(r);

		if (!frame_part_reserve(r, at + n))
			return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
		if (!frame_payload_take(r, r->part->bytes + at, p, n))
			return frame_bad(r, out, CLOSE_BAD_DATA, "text that is not UTF-8");
		r->part->len += n;
	}
	if (r->left > 0)
		return frame_more(out);
	return frame_part_len(r) > 0 ? frame_data_done(r, r->part->bytes, r->part->len, out)
				     : frame_data_done(r, p, 0, out);
}

/* --- compressed payload ----------------------------------------------------------------------- */

/* How much a compressed message may be before it is inflated: what does not shrink grows a
 * little. */
static uint64_t frame_deflated_max(uint64_t message_max)
{
	return message_max > UINT64_MAX / 2 ? message_max : message_max + message_max / 8 + 1024;
}

/* Where more inflated bytes go and how many of them have room there, which grows with what came,
 * and not beyond the limit; 0: no memory. At the limit it is *beyond, as nothing but the message's
 * end may come then. */
static size_t frame_inflated_room(struct frame_reader *r, const struct frame_limits *limits,
				  size_t n, uint8_t *beyond, uint8_t **dst_r)
{
	const uint64_t len = frame_part_len(r), max = limits->message_max;
	uint64_t want = len > 0 ? 2 * len : 4 * (uint64_t)n;

	*dst_r = beyond;
	if (len >= max)
		return 1;
	if (want < INFLATED_MIN)
		want = INFLATED_MIN;
	if ((r->part == NULL || r->part->cap == len) &&
	    !frame_part_resize(r, want < max ? want : max))
		return 0;
	*dst_r = r->part->bytes + len;
	return (size_t)((r->part->cap < max ? r->part->cap : max) - len);
}

/* Begins the message anew, with what was before it. False: that is not to be had. */
static bool frame_inflate_again(struct frame_reader *r, const struct frame_limits *limits)
{
	if (!inflate_recall(limits->inflate))
		return false;
	if (r->part != NULL)
		r->part->len = 0;
	r->utf8 = UTF8_ACCEPT;
	return true;
}

/* Inflates n bytes behind what is there; `last`: the message ends with them. */
static enum frame_status frame_inflate_more(struct frame_reader *r,
					    const struct frame_limits *limits, const uint8_t *p,
					    size_t n, bool last, struct frame *out)
{
	const uint8_t *const from = p;
	const size_t whole = n;
	enum inflate_status status;
	uint8_t beyond, *dst;
	size_t room, made;

	do {
		room = frame_inflated_room(r, limits, n, &beyond, &dst);
		if (room == 0)
			return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
		status = inflate_some(limits->inflate, &p, &n, last, dst, room, &made);
		if (dst == &beyond && made > 0)
			return frame_bad(r, out, CLOSE_TOO_BIG,
					 "compressed message above the limit");
		if (r->message == FRAME_TEXT && made > 0)
			r->utf8 = utf8_check(r->utf8, dst, made);
		if (r->utf8 == UTF8_REJECT)
			return frame_bad(r, out, CLOSE_BAD_DATA, "text that is not UTF-8");
		if (dst != &beyond)
			r->part->len += made;
		if (status == INFLATE_FAR && frame_inflate_again(r, limits)) {
			p = from;
			n = whole;
			status = INFLATE_FULL;
		}
	} while (status == INFLATE_FULL);
	if (status == INFLATE_FAR)
		return frame_bad(
			r, out, CLOSE_BAD_DATA,
			"compressed data that refers to what is not kept: see --deflate-takeover, "
			"--deflate-memory");
	if (status == INFLATE_NO_MEMORY)
		return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
	return status == INFLATE_BAD ? frame_bad(r, out, CLOSE_BAD_DATA,
						 "compressed data that can not be inflated")
				     : frame_more(out);
}

/* The message is kept as it comes, and inflated at its end. */
static enum frame_status frame_gather_more(struct frame_reader *r,
					   const struct frame_limits *limits, const uint8_t *p,
					   size_t n, bool last, struct frame *out)
{
	struct frame_part *gathered;
	enum frame_status status;

	if (!frame_part_reserve(r, frame_part_len(r) + n))
		return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
	if (n > 0)
		memcpy(r->part->bytes + r->part->len, p, n);
	r->part->len += n;
	if (!last)
		return frame_more(out);
	gathered = r->part;
	r->part = NULL;
	if (inflate_begin(limits->inflate, true) == INFLATE_DONE)
		status = frame_inflate_more(r, limits, gathered->bytes, gathered->len, true, out);
	else
		status = frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
	free(gathered);
	return status;
}

/* The first bytes of a compressed message. One that is there as a whole goes where the one before
 * it was. */
static bool frame_deflated_begin(struct frame_reader *r, struct inflate *in, bool whole)
{
	if (whole && r->part == NULL) {
		r->part = in->pool->part;
		in->pool->part = NULL;
		if (r->part == NULL && frame_part_resize(r, INFLATED_MIN))
			r->part->home = &in->pool->part;
	}
	return inflate_begin(in, whole) == INFLATE_DONE;
}

static enum frame_status frame_deflated_payload(struct frame_reader *r,
						const struct frame_limits *limits, uint8_t *p,
						size_t n, struct frame *out)
{
	struct inflate *const in = limits->inflate;
	const bool last = r->fin && n == r->left;
	enum frame_status status = frame_more(out);

	frame_unmask(p, p, n, r->mask);
	r->mask = frame_mask_turn(r->mask, n);
	r->left -= n;
	in->taken += n;
	if (!in->begun && (n > 0 || last) && !frame_deflated_begin(r, in, last))
		return frame_bad(r, out, CLOSE_INTERNAL, "out of memory");
	if (in->gathers)
		status = frame_gather_more(r, limits, p, n, last, out);
	else if (n > 0 || last)
		status = frame_inflate_more(r, limits, p, n, last, out);
	if (status == FRAME_BAD || r->left > 0)
		return status;
	if (r->fin) {
		if (r->part != NULL)
			inflate_remember(in, r->part->bytes, r->part->len);
		inflate_end(in);
	}
	return frame_part_len(r) > 0 ? frame_data_done(r, r->part->bytes, r->part->len, out)
				     : frame_data_done(r, p, 0, out);
}

/* --- header ----------------------------------------------------------------------------------- */

/* Of the message under way. */
static bool frame_is_deflated(const struct frame_limits *limits)
{
	return limits->inflate != NULL && limits->inflate->compressed;
}

size_t frame_head_bytes(const uint8_t *h)
{
	const unsigned len7 = h[1] & 0x7F;

	return 2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0) + (h[1] & 0x80 ? 4 : 0);
}

/* What the first two bytes show (RFC 6455 5.2, 5.4, 5.5); NULL when they are right. */
static const char *frame_head_error(const struct frame_reader *r, const struct frame_limits *limits,
				    const uint8_t *h)
{
	const bool fin = (h[0] & 0x80) != 0;
	const uint8_t opcode = h[0] & 0x0F;

	if (h[0] & 0x70 && (limits->inflate == NULL || (h[0] & 0x70) != RSV1))
		return "reserved bit set";
	if (h[0] & RSV1 && opcode != FRAME_TEXT && opcode != FRAME_BINARY)
		return "compressed frame that does not begin a message";
	if (opcode > FRAME_PONG || (opcode > FRAME_BINARY && opcode < FRAME_CLOSE))
		return "reserved opcode";
	if (((h[1] & 0x80) != 0) != limits->masked)
		return limits->masked ? "frame without a mask" : "frame with a mask";
	if (opcode & OPCODE_CONTROL) {
		if (!fin)
			return "fragmented control frame";
		return (h[1] & 0x7F) > FRAME_CONTROL_MAX ? "control frame above 125 bytes" : NULL;
	}
	if (opcode == FRAME_CONTINUATION && r->message == 0)
		return "continuation of nothing";
	return opcode != FRAME_CONTINUATION && r->message != 0
		       ? "new message inside an unfinished one"
		       : NULL;
}

/* A whole header: makes its frame the current one. */
static enum frame_status frame_head_done(struct frame_reader *r, const struct frame_limits *limits,
					 const uint8_t *h, struct frame *out)
{
	const unsigned len7 = h[1] & 0x7F;
	const uint64_t n = len7 < 126 ? len7 : frame_big_endian(h + 2, len7 == 126 ? 2 : 8);

	if (n >> 63)
		return frame_bad(r, out, CLOSE_PROTOCOL, "length with its highest bit set");
	if ((len7 == 126 && n < 126) || (len7 == 127 && n <= UINT16_MAX))
		return frame_bad(r, out, CLOSE_PROTOCOL, "length in more bytes than it needs");
	r->opcode = h[0] & 0x0F;
	r->fin = (h[0] & 0x80) != 0;
	r->left = n;
	r->mask = 0;
	if (limits->masked)
		memcpy(&r->mask, h + frame_head_bytes(h) - 4, 4);
	r->stage = STAGE_PAYLOAD;
	if (r->opcode & OPCODE_CONTROL)
		return FRAME_MORE;
	if (r->opcode != FRAME_CONTINUATION) {
		r->message = r->opcode;
		r->utf8 = UTF8_ACCEPT;
	}
	if (h[0] & RSV1)
		limits->inflate->compressed = true;
	if (frame_is_deflated(limits)) {
		const uint64_t max = frame_deflated_max(limits->message_max);

		return n > max || limits->inflate->taken > max - n
			       ? frame_bad(r, out, CLOSE_TOO_BIG,
					   "compressed message above the limit")
			       : FRAME_MORE;
	}
	if (n > limits->message_max || frame_part_len(r) > limits->message_max - n)
		return frame_bad(r, out, CLOSE_TOO_BIG, "message above the limit");
	return FRAME_MORE;
}

/* Takes header bytes until the header is whole (STAGE_PAYLOAD) or they are used up. */
static enum frame_status frame_head_take(struct frame_reader *r, const struct frame_limits *limits,
					 uint8_t **data, size_t *len, struct frame *out)
{
	const uint8_t *h = *data;
	size_t have = *len;
	const char *why;

	if (r->head_len > 0 || have < 2 || have < frame_head_bytes(h)) {
		/* Cut: gather it in the reader. */
		for (have = r->head_len; *len > 0 && (have < 2 || have < frame_head_bytes(r->head));
		     --*len)
			r->head[have++] = *(*data)++;
		h = r->head;
		r->head_len = (uint8_t)have;
	} else {
		*data += frame_head_bytes(h);
		*len -= frame_head_bytes(h);
	}
	if (have < 2)
		return frame_more(out);
	why = frame_head_error(r, limits, h);
	if (why != NULL)
		return frame_bad(r, out, CLOSE_PROTOCOL, why);
	if (have < frame_head_bytes(h))
		return frame_more(out);
	r->head_len = 0;
	return frame_head_done(r, limits, h, out);
}

/* --- reading ---------------------------------------------------------------------------------- */

static enum frame_status frame_read_any(struct frame_reader *r, const struct frame_limits *limits,
					uint8_t **data, size_t *len, struct frame *out)
{
	enum frame_status status = frame_more(out);

	if (r->stage == STAGE_BROKEN)
		return frame_bad(r, out, CLOSE_PROTOCOL, "bytes behind an error");
	while (status == FRAME_MORE && r->stage < STAGE_CLOSED) {
		if (r->stage == STAGE_HEAD && *len > 0)
			status = frame_head_take(r, limits, data, len, out);
		if (r->stage == STAGE_HEAD ||
		    (r->stage == STAGE_PAYLOAD && r->left > 0 && *len == 0))
			return status;
		if (r->stage == STAGE_PAYLOAD) {
			uint8_t *const p = *data;
			const size_t n = r->left < *len ? (size_t)r->left : *len;

			*data += n;
			*len -= n;
			if (r->opcode & OPCODE_CONTROL)
				status = frame_control_payload(r, p, n, out);
			else if (frame_is_deflated(limits))
				status = frame_deflated_payload(r, limits, p, n, out);
			else
				status = frame_data_payload(r, p, n, out);
		}
	}
	if (r->stage == STAGE_CLOSED && status == FRAME_MORE) {
		*data += *len;
		*len = 0;
	}
	if (r->stage >= STAGE_CLOSED && limits->inflate != NULL)
		inflate_end(limits->inflate);
	return status;
}

/* The common case with few branches: a whole masked message in one frame with a header of 6 or 8
 * bytes. False: it is another case, and nothing was touched. */
static inline bool frame_read_whole(struct frame_reader *r, const struct frame_limits *limits,
				    uint8_t **data, size_t *len, struct frame *out,
				    enum frame_status *status_r)
{
	uint8_t *p = *data;
	size_t head = 6, n;
	uint64_t high;
	uint32_t mask;

	if (*len < 8 || (p[0] != (0x80 | FRAME_TEXT) && p[0] != (0x80 | FRAME_BINARY)) ||
	    !(p[1] & 0x80) || !limits->masked)
		return false;
	n = p[1] & 0x7F;
	if (n >= 126) {
		n = (size_t)p[2] << 8 | p[3];
		head = 8;
		if (p[1] == 0xFF || n < 126)
			return false;
	}
	if (n > *len - head || n > limits->message_max)
		return false;
	memcpy(&mask, p + head - 4, 4);
	*out = (struct frame){.opcode = p[0] & 0x0F, .data = p + head, .len = n};
	*data += head + n;
	*len -= head + n;
	high = frame_unmask(out->data, out->data, n, mask);
	*status_r = FRAME_MESSAGE;
	if (high != 0 && out->opcode == FRAME_TEXT) {
		const uint32_t state = utf8_check(UTF8_ACCEPT, out->data, n);

		if (state != UTF8_ACCEPT)
			*status_r = frame_bad(r, out, CLOSE_BAD_DATA,
					      state == UTF8_REJECT
						      ? "text that is not UTF-8"
						      : "text that ends inside a character");
	}
	return true;
}

void frame_release(struct frame_reader *r)
{
	if (r->part != NULL && r->message == 0 && r->stage != STAGE_PAYLOAD)
		frame_part_free(r);
}

enum frame_status frame_read(struct frame_reader *r, const struct frame_limits *limits,
			     uint8_t **data, size_t *len, struct frame *out)
{
	enum frame_status status;

	frame_release(r);
	if ((r->stage | r->message | r->head_len) != 0 ||
	    !frame_read_whole(r, limits, data, len, out, &status))
		status = frame_read_any(r, limits, data, len, out);
	if (status == FRAME_BAD) {
		*data += *len;
		*len = 0;
	}
	return status;
}

size_t frame_space(struct frame_reader *r, const struct frame_limits *limits, uint8_t **where_r)
{
	size_t room;

	/* The header was checked against the limits. */
	if (frame_is_deflated(limits) || r->stage != STAGE_PAYLOAD ||
	    (r->opcode & OPCODE_CONTROL) || r->left < DIRECT_MIN)
		return 0;
	/* frame_read says so */
	if (!frame_part_reserve(r, frame_part_len(r) + DIRECT_MIN))
		return 0;
	room = r->part->cap - r->part->len;
	*where_r = r->part->bytes + r->part->len;
	return r->left < room ? (size_t)r->left : room;
}

enum frame_status frame_filled(struct frame_reader *r, const struct frame_limits *limits, size_t n,
			       struct frame *out)
{
	uint8_t *const at = r->part->bytes + r->part->len;

	(void)limits;
	if (!frame_payload_take(r, at, at, n))
		return frame_bad(r, out, CLOSE_BAD_DATA, "text that is not UTF-8");
	r->part->len += n;
	return r->left > 0 ? frame_more(out)
			   : frame_data_done(r, r->part->bytes, r->part->len, out);
}

size_t frame_held(const struct frame_reader *r)
{
	const struct frame_part *part = r->part;

	return part == NULL ? 0
			    : sizeof(*part) + (part->cap > GROW_MAX ? part->len : part->cap) + 1;
}

size_t frame_gathered(const struct frame_reader *r)
{
	return frame_part_len(r);
}

void *frame_take(struct frame_reader *r, uint8_t **data_r, size_t *size_r)
{
	struct frame_part *part = r->part;

	if (part == NULL || part->home != NULL || r->message != 0 || r->stage == STAGE_PAYLOAD)
		return NULL;
	/* inflated: it may be half empty */
	if (part->cap - part->len > AHEAD_MAX && frame_part_resize(r, part->len))
		part = r->part;
	r->part = NULL;
	*data_r = part->bytes;
	*size_r = sizeof(*part) + (part->cap > GROW_MAX ? part->len : part->cap) + 1;
	return part;
}

void frame_reset(struct frame_reader *r)
{
	frame_part_free(r);
	*r = (struct frame_reader){0};
}

/* --- writing ---------------------------------------------------------------------------------- */

uint64_t frame_size(const uint8_t *p, size_t n)
{
	size_t head;

	if (n < 2)
		return 0;
	head = frame_head_bytes(p);
	if (n < head)
		return 0;
	return head + (head == 2 ? p[1] : frame_big_endian(p + 2, head == 4 ? 2 : 8));
}

size_t frame_close_payload(uint8_t dst[FRAME_CONTROL_MAX], uint16_t code, const char *reason,
			   size_t reason_len)
{
	const size_t room = FRAME_CONTROL_MAX - 2;

	if (code == 0)
		return 0;
	dst[0] = (uint8_t)(code >> 8);
	dst[1] = (uint8_t)code;
	if (reason_len > room) {
		/* Back to the first byte of the character that does not fit whole. */
		for (reason_len = room;
		     reason_len > 0 && ((uint8_t)reason[reason_len] & 0xC0) == 0x80;)
			reason_len--;
	}
	if (reason_len > 0)
		memcpy(dst + 2, reason, reason_len);
	return 2 + reason_len;
}
