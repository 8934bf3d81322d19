#include "common/utf8.h"

#include <string.h>

#include "common/wide.h"

/* The check is a finite automaton whose state is a bit offset. Each byte has one 64-bit row that
 * holds the next state for every state, six bits each at the offset of that state; a step is one
 * load and one shift, without a branch, so that its cost does not depend on the script of the text.
 */
enum {
	ACCEPT = UTF8_ACCEPT,
	REJECT = UTF8_REJECT,
	TAIL1 = 12, /* one continuation byte to come */
	TAIL2 = 18,
	TAIL3 = 24,
	AFTER_E0 = 30, /* A0..BF, else overlong */
	AFTER_ED = 36, /* 80..9F, else a surrogate */
	AFTER_F0 = 42, /* 90..BF, else overlong */
	AFTER_F4 = 48, /* 80..8F, else above U+10FFFF */
};

#define NEXT(from, to) ((uint64_t)(to) << (from))
/* Rejected from every state; the other rows begin as this one and clear what they replace. */
#define ALL_REJECT \
	(NEXT(ACCEPT, REJECT) | NEXT(REJECT, REJECT) | NEXT(TAIL1, REJECT) | NEXT(TAIL2, REJECT) | \
	 NEXT(TAIL3, REJECT) | NEXT(AFTER_E0, REJECT) | NEXT(AFTER_ED, REJECT) | \
	 NEXT(AFTER_F0, REJECT) | NEXT(AFTER_F4, REJECT))
#define INSTEAD(from, to) NEXT(from, (to) ^ REJECT)

#define LEAD(to) (ALL_REJECT ^ INSTEAD(ACCEPT, to))
#define TAIL (ALL_REJECT ^ INSTEAD(TAIL1, ACCEPT) ^ INSTEAD(TAIL2, TAIL1) ^ INSTEAD(TAIL3, TAIL2))

static const uint64_t rows[256] = {
	[0x00 ... 0x7F] = LEAD(ACCEPT),
	[0x80 ... 0x8F] = TAIL ^ INSTEAD(AFTER_ED, TAIL1) ^ INSTEAD(AFTER_F4, TAIL2),
	[0x90 ... 0x9F] = TAIL ^ INSTEAD(AFTER_ED, TAIL1) ^ INSTEAD(AFTER_F0, TAIL2),
	[0xA0 ... 0xBF] = TAIL ^ INSTEAD(AFTER_E0, TAIL1) ^ INSTEAD(AFTER_F0, TAIL2),
	[0xC0 ... 0xC1] = ALL_REJECT, /* overlong forms of ASCII */
	[0xC2 ... 0xDF] = LEAD(TAIL1),
	[0xE0] = LEAD(AFTER_E0),
	[0xE1 ... 0xEC] = LEAD(TAIL2),
	[0xED] = LEAD(AFTER_ED),
	[0xEE ... 0xEF] = LEAD(TAIL2),
	[0xF0] = LEAD(AFTER_F0),
	[0xF1 ... 0xF3] = LEAD(TAIL3),
	[0xF4] = LEAD(AFTER_F4),
	[0xF5 ... 0xFF] = ALL_REJECT,
};

typedef uint64_t vec __attribute__((vector_size(16)));

static inline bool utf8_ascii16(const uint8_t *p)
{
	vec a;

	memcpy(&a, p, 16);
	return ((a[0] | a[1]) & UINT64_C(0x8080808080808080)) == 0;
}

static inline bool utf8_ascii64(const uint8_t *p)
{
	vec a, b, c, d;

	memcpy(&a, p, 16);
	memcpy(&b, p + 16, 16);
	memcpy(&c, p + 32, 16);
	memcpy(&d, p + 48, 16);
	a |= b | c | d;
	return ((a[0] | a[1]) & UINT64_C(0x8080808080808080)) == 0;
}

uint32_t utf8_check(uint32_t state, const uint8_t *p, size_t n)
{
	uint64_t s = state;

	if (n >= WIDE_MIN && s == UTF8_ACCEPT && wide_is_there()) {
		size_t done = wide_utf8(p, n);
		p += done;
		n -= done;
	}
	for (; n >= 64 && s == UTF8_ACCEPT && utf8_ascii64(p); n -= 64)
		p += 64;
	while (n >= 16) {
		if (s == UTF8_ACCEPT && utf8_ascii16(p)) {
			p += 16;
			n -= 16;
			continue;
		}
		for (unsigned i = 0; i < 16; i++)
			s = rows[p[i]] >> (s & 63);
		s &= 63;
		if (s == UTF8_REJECT)
			return UTF8_REJECT;
		p += 16;
		n -= 16;
	}
	for (; n > 0; n--)
		s = rows[*p++] >> (s & 63);
	return (uint32_t)(s & 63);
}
