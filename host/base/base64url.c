#include "base/base64url.h"

static int base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

long base64url_decode(struct span text, uint8_t *dst)
{
	uint32_t bits = 0;
	unsigned have = 0;
	long n = 0;

	if (text.n % 4 == 1)
		return -1;
	for (size_t i = 0; i < text.n; i++) {
		const int value = base64url_value(text.p[i]);

		if (value < 0)
			return -1;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			dst[n++] = (uint8_t)(bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	return bits == 0 ? n : -1;
}
