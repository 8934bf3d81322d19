/* The UTF-8 check against the definition (RFC 3629 section 4), for every character, every short
 * sequence and every cut. */
#include <check.h>
#include <stdlib.h>
#include <valgrind/valgrind.h>

#include "common/utf8.h"
#include "run.h"

/* Writes the code point without any judgement: surrogates and values above U+10FFFF too. */
static size_t encode(uint8_t *p, uint32_t c)
{
	if (c < 0x80) {
		p[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		p[0] = (uint8_t)(0xC0 | c >> 6);
		p[1] = (uint8_t)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		p[0] = (uint8_t)(0xE0 | c >> 12);
		p[1] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
		p[2] = (uint8_t)(0x80 | (c & 0x3F));
		return 3;
	}
	p[0] = (uint8_t)(0xF0 | c >> 18);
	p[1] = (uint8_t)(0x80 | (c >> 12 & 0x3F));
	p[2] = (uint8_t)(0x80 | (c >> 6 & 0x3F));
	p[3] = (uint8_t)(0x80 | (c & 0x3F));
	return 4;
}

/* Valgrind looks for bad reads, which a part of all values shows as well, in a fraction of the
 * time. */
static unsigned step(void)
{
	return RUNNING_ON_VALGRIND ? 61 : 1;
}

START_TEST(every_code_point)
{
	const unsigned by = step();
	uint8_t p[4];

	for (uint32_t c = 0; c < 0x200000; c += by) {
		const size_t n = encode(p, c);
		const bool right = c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF);

		if (utf8_valid(p, n) != right)
			ck_abort_msg("U+%04X: expected %d", c, right);
		for (size_t i = 1; right && i < n; i++) {
			const uint32_t state = utf8_check(UTF8_ACCEPT, p, i);

			if (state == UTF8_ACCEPT || state == UTF8_REJECT ||
			    utf8_check(state, p + i, n - i) != UTF8_ACCEPT)
				ck_abort_msg("U+%04X cut at %zu", c, i);
		}
	}
}
END_TEST

/* By the grammar of RFC 3629 section 4, written out. 1: valid, 0: valid so far, -1: never. */
static int judge(const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n) {
		const uint8_t b = p[i++];
		const int tails = b < 0x80		   ? 0
				  : b >= 0xC2 && b <= 0xDF ? 1
				  : b >= 0xE0 && b <= 0xEF ? 2
				  : b >= 0xF0 && b <= 0xF4 ? 3
							   : -1;

		if (tails < 0)
			return -1;
		for (int t = 0; t < tails; t++, i++) {
			const uint8_t low = t > 0	? 0x80
					    : b == 0xE0 ? 0xA0
					    : b == 0xF0 ? 0x90
							: 0x80;
			const uint8_t high = t > 0	 ? 0xBF
					     : b == 0xED ? 0x9F
					     : b == 0xF4 ? 0x8F
							 : 0xBF;

			if (i == n)
				return 0;
			if (p[i] < low || p[i] > high)
				return -1;
		}
	}
	return 1;
}

static int judged(const uint8_t *p, size_t n)
{
	const uint32_t state = utf8_check(UTF8_ACCEPT, p, n);

	return state == UTF8_ACCEPT ? 1 : state == UTF8_REJECT ? -1 : 0;
}

/* All bytes in the first two places, the interesting ones in two more: rejection comes at the
 * earliest byte. */
START_TEST(every_start_of_a_sequence)
{
	static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
					0xC0, 0xC2, 0xE0, 0xED, 0xF0, 0xF4, 0xF5, 0xFF};
	const unsigned by = step();
	uint8_t p[4];

	for (unsigned ab = 0; ab < 0x10000; ab += by) {
		p[0] = (uint8_t)(ab >> 8);
		p[1] = (uint8_t)ab;
		for (unsigned c = 0; c < 256; c++) {
			p[2] = edges[c / 16];
			p[3] = edges[c % 16];
			for (size_t n = 1; n <= 4; n++)
				if (judged(p, n) != judge(p, n))
					ck_abort_msg("%02X %02X %02X %02X, %zu bytes", p[0], p[1],
						     p[2], p[3], n);
		}
	}
}
END_TEST

/* One character at every place in a longer ASCII text, whose length is not a multiple of any step;
 * and the same one spoiled. */
START_TEST(every_place_in_a_text)
{
	static const char *const chars[] = {"\u00e9", "\u20ac", "\U0001F600", "a"};

	for (size_t size = 1; size < 80; size += step())
		for (size_t at = 0; at < size; at++)
			for (size_t k = 0; k < 4; k++) {
				const size_t n = strlen(chars[k]);
				/* exactly as long as the text, so that a read beyond it is found */
				uint8_t *p = malloc(size);

				memset(p, 'x', size);
				memcpy(p + at, chars[k], n < size - at ? n : size - at);
				ck_assert_int_eq(judged(p, size), n <= size - at ? 1 : 0);
				for (size_t cut = 0; cut <= size; cut++) {
					const uint32_t state = utf8_check(UTF8_ACCEPT, p, cut);

					ck_assert_uint_eq(utf8_check(state, p + cut, size - cut),
							  utf8_check(UTF8_ACCEPT, p, size));
				}
				p[at] = 0xFF;
				ck_assert_int_eq(judged(p, size), -1);
				free(p);
			}
}
END_TEST

/* Characters of all lengths without a gap, long enough for the widest steps: with any byte at any
 * place replaced, and cut anywhere, the verdict is that of a check byte by byte. */
START_TEST(wide_steps_and_single_bytes_agree)
{
	static const char *const mixed[] = {"\u00e9\u20ac\U0001F600a", "\u20ac", "\U0010FFFF",
					    "\u07ff\uFFFD\uD7FF\U00010000", "a\u00e9"};
	static const uint8_t values[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
					 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEE, 0xEF,
					 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF};
	uint8_t p[320];

	for (size_t k = 0; k < sizeof mixed / sizeof *mixed; k++)
		for (size_t shift = 0; shift < 4; shift++) {
			const size_t n = strlen(mixed[k]);
			for (size_t i = 0; i < sizeof p; i++)
				p[i] = i < shift ? 'x' : (uint8_t)mixed[k][(i - shift) % n];
			for (size_t at = 0; at < sizeof p; at += step())
				for (size_t v = 0; v < sizeof values; v++) {
					const uint8_t before = p[at];
					const size_t size =
						at + v < 200 ? sizeof p : sizeof p - at % 7;
					uint32_t one = UTF8_ACCEPT;
					p[at] = values[v];
					for (size_t i = 0; i < size; i++)
						one = utf8_check(one, p + i, 1);
					if (utf8_check(UTF8_ACCEPT, p, size) != one)
						ck_abort_msg("text %zu, %zu bytes, %02X at %zu", k,
							     size, values[v], at);
					p[at] = before;
				}
		}
}
END_TEST

START_TEST(rejection_is_final)
{
	const uint32_t state = utf8_check(UTF8_ACCEPT, (const uint8_t *)"\xC0", 1);

	ck_assert_uint_eq(state, UTF8_REJECT);
	ck_assert_uint_eq(utf8_check(state,
				     (const uint8_t
					      *)"plain text, longer than any step of the check",
				     45),
			  UTF8_REJECT);
	ck_assert_uint_eq(utf8_check(state, NULL, 0), UTF8_REJECT);
	ck_assert_uint_eq(utf8_check(UTF8_ACCEPT, NULL, 0), UTF8_ACCEPT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("utf8");
	TCase *tc = tcase_create("utf8");

	tcase_add_test(tc, every_code_point);
	tcase_add_test(tc, every_start_of_a_sequence);
	tcase_add_test(tc, every_place_in_a_text);
	tcase_add_test(tc, wide_steps_and_single_bytes_agree);
	tcase_add_test(tc, rejection_is_final);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
