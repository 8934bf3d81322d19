#include "common/wide.h"

#ifdef __x86_64__

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* The check of UTF-8 follows J. Keiser and D. Lemire, "Validating UTF-8 In Less Than One
 * Instruction Per Byte" (2021): every way in which two neighbours can be wrong is a bit; three
 * tables, looked up with the halves of a byte and of the one before it, say which ways are still
 * possible, and what remains in all three is an error. */
enum {
	TOO_SHORT = 1 << 0,  /* a lead, and no continuation behind it */
	TOO_LONG = 1 << 1,   /* ASCII, and a continuation behind it */
	OVERLONG_3 = 1 << 2, /* E0 80..9F */
	TOO_LARGE = 1 << 3,  /* F4 90..BF, F5..FF */
	SURROGATE = 1 << 4,  /* ED A0..BF */
	OVERLONG_2 = 1 << 5, /* C0, C1 */
	OVERLONG_4 = 1 << 6, /* F0 80..8F; and F5..FF 80..8F, which is too large as well */
	/* two continuations: right only as the third or fourth byte of a character */
	TWO_CONTS = 1 << 7,
	ANY_LOW = TOO_SHORT | TOO_LONG | TWO_CONTS,
	LARGE_LOW = ANY_LOW | TOO_LARGE | OVERLONG_4,
	ANY_CONT = TOO_LONG | OVERLONG_2 | TWO_CONTS,
};

AVX2 static inline __m256i table(int a0, int a1, int a2, int a3, int a4, int a5, int a6, int a7,
				 int a8, int a9, int aa, int ab, int ac, int ad, int ae, int af)
{
	return _mm256_broadcastsi128_si256(_mm_setr_epi8((char)a0, (char)a1, (char)a2, (char)a3,
							 (char)a4, (char)a5, (char)a6, (char)a7,
							 (char)a8, (char)a9, (char)aa, (char)ab,
							 (char)ac, (char)ad, (char)ae, (char)af));
}

/* The bytes n places before those of `now`. (The shift wants a constant.) */
#define BEFORE(now, last, n) \
	_mm256_alignr_epi8(now, _mm256_permute2x128_si256(last, now, 0x21), 16 - (n))

AVX2 static inline __m256i pair_errors(__m256i now, __m256i before)
{
	const __m256i low = _mm256_set1_epi8(0x0f);
	const __m256i first_high =
		table(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
		      TOO_LONG, TWO_CONTS, TWO_CONTS, TWO_CONTS, TWO_CONTS, TOO_SHORT | OVERLONG_2,
		      TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
		      TOO_SHORT | TOO_LARGE | OVERLONG_4);
	const __m256i first_low =
		table(ANY_LOW | OVERLONG_2 | OVERLONG_3 | OVERLONG_4, ANY_LOW | OVERLONG_2, ANY_LOW,
		      ANY_LOW, ANY_LOW | TOO_LARGE, LARGE_LOW, LARGE_LOW, LARGE_LOW, LARGE_LOW,
		      LARGE_LOW, LARGE_LOW, LARGE_LOW, LARGE_LOW, LARGE_LOW | SURROGATE, LARGE_LOW,
		      LARGE_LOW);
	const __m256i second_high =
		table(TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
		      TOO_SHORT, ANY_CONT | OVERLONG_3 | OVERLONG_4,
		      ANY_CONT | OVERLONG_3 | TOO_LARGE, ANY_CONT | SURROGATE | TOO_LARGE,
		      ANY_CONT | SURROGATE | TOO_LARGE, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT);
	__m256i a = _mm256_shuffle_epi8(first_high,
					_mm256_and_si256(_mm256_srli_epi16(before, 4), low));
	__m256i b = _mm256_shuffle_epi8(first_low, _mm256_and_si256(before, low));
	__m256i c =
		_mm256_shuffle_epi8(second_high, _mm256_and_si256(_mm256_srli_epi16(now, 4), low));
	return _mm256_and_si256(_mm256_and_si256(a, b), c);
}

/* Two continuations in a row are right, and needed, two places behind E0..FF and three behind
 * F0..FF. */
AVX2 static inline __m256i step_errors(__m256i now, __m256i last)
{
	__m256i third =
		_mm256_subs_epu8(BEFORE(now, last, 2), _mm256_set1_epi8((char)(0xe0 - 0x80)));
	__m256i fourth =
		_mm256_subs_epu8(BEFORE(now, last, 3), _mm256_set1_epi8((char)(0xf0 - 0x80)));
	__m256i due =
		_mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
	return _mm256_xor_si256(due, pair_errors(now, BEFORE(now, last, 1)));
}

/* Goes back to before a character that may reach beyond p[n]. */
static size_t wide_whole(const uint8_t *p, size_t n)
{
	for (size_t back = 1; back <= 3 && back <= n; back++) {
		uint8_t b = p[n - back];
		if (b >= 0xc0)
			return b >= (back == 1 ? 0xc0 : back == 2 ? 0xe0 : 0xf0) ? n - back : n;
		if (b < 0x80)
			break;
	}
	return n;
}

AVX2 size_t wide_utf8(const uint8_t *p, size_t n)
{
	__m256i last = _mm256_setzero_si256();
	size_t at = 0;
	bool rest = true; /* nothing is begun */
	while (n - at >= 64) {
		__m256i a = _mm256_loadu_si256((const __m256i *)(p + at)),
			b = _mm256_loadu_si256((const __m256i *)(p + at + 32));
		/* ASCII behind whole characters is right as it stands. */
		rest = _mm256_movemask_epi8(_mm256_or_si256(a, b)) == 0 &&
		       (rest || wide_whole(p, at) == at);
		if (!rest) {
			__m256i errors = _mm256_or_si256(step_errors(a, last), step_errors(b, a));
			if (!_mm256_testz_si256(errors, errors))
				break;
		}
		last = b;
		at += 64;
	}
	return wide_whole(p, at);
}

AVX2 size_t wide_unmask(uint8_t *dst, const uint8_t *src, size_t n, uint32_t mask, uint64_t *high_r)
{
	const __m256i m = _mm256_set1_epi32((int)mask);
	__m256i seen = _mm256_setzero_si256();
	size_t at = 0;
	for (; n - at >= 128; at += 128) {
		__m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + at)), m);
		__m256i b =
			_mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + at + 32)), m);
		__m256i c =
			_mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + at + 64)), m);
		__m256i d =
			_mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + at + 96)), m);
		seen = _mm256_or_si256(seen, _mm256_or_si256(_mm256_or_si256(a, b),
							     _mm256_or_si256(c, d)));
		_mm256_storeu_si256((__m256i *)(dst + at), a);
		_mm256_storeu_si256((__m256i *)(dst + at + 32), b);
		_mm256_storeu_si256((__m256i *)(dst + at + 64), c);
		_mm256_storeu_si256((__m256i *)(dst + at + 96), d);
	}
	*high_r = (uint32_t)_mm256_movemask_epi8(seen);
	return at;
}

#else

size_t wide_utf8(const uint8_t *p, size_t n)
{
	(void)p, (void)n;
	return 0;
}

size_t wide_unmask(uint8_t *dst, const uint8_t *src, size_t n, uint32_t mask, uint64_t *high_r)
{
	(void)dst, (void)src, (void)n, (void)mask;
	*high_r = 0;
	return 0;
}

#endif
