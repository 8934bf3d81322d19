/* The UTF-8 check against a decoder that computes code points, and in pieces against the whole. */
#include "common/utf8.h"
#include "fuzz.h"

/* Can a character with this lead byte and these tails be valid, if the tails not there yet may be
 * anything? Compares the range of code points it may become with what RFC 3629 allows. */
static bool possible(const uint8_t *p, size_t there, size_t tails)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	uint32_t low = tails == 0 ? p[0] : p[0] & (0x3Fu >> tails), high = low;

	for (size_t i = 1; i <= tails; i++) {
		if (i < there && (p[i] & 0xC0) != 0x80)
			return false;
		low = low << 6 | (i < there ? p[i] & 0x3Fu : 0);
		high = high << 6 | (i < there ? p[i] & 0x3Fu : 0x3Fu);
	}
	if (low < least[tails])
		low = least[tails];
	if (high > 0x10FFFF)
		high = 0x10FFFF;
	return low <= high && !(low >= 0xD800 && high <= 0xDFFF);
}

static int judge(const uint8_t *p, size_t n)
{
	for (size_t i = 0, tails; i < n; i += tails + 1) {
		tails = p[i] < 0x80		? 0
			: (p[i] & 0xE0) == 0xC0 ? 1
			: (p[i] & 0xF0) == 0xE0 ? 2
			: (p[i] & 0xF8) == 0xF0 ? 3
						: 4;
		if (tails == 4 || !possible(p + i, n - i < tails + 1 ? n - i : tails + 1, tails))
			return -1;
		if (n - i < tails + 1)
			return 0;
	}
	return 1;
}

static int verdict(uint32_t state)
{
	return state == UTF8_ACCEPT ? 1 : state == UTF8_REJECT ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed = 1, state = UTF8_ACCEPT;

	if (size > 0)
		seed = data[0];
	MUST(verdict(utf8_check(UTF8_ACCEPT, data, size)) == judge(data, size));
	MUST(utf8_valid(data, size) == (judge(data, size) == 1));
	for (size_t at = 0, n; at < size; at += n) {
		n = fuzz_piece(&seed, size - at);
		state = utf8_check(state, data + at, n);
		MUST(verdict(state) == judge(data, at + n)); /* at the earliest byte */
	}
	return 0;
}
