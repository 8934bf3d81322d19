#include "common/printable.h"

size_t printable_decode(const unsigned char *p, size_t n, uint32_t *code_r)
{
	size_t len = p[0] < 0x80   ? 1
		     : p[0] < 0xC2 ? 0
		     : p[0] < 0xE0 ? 2
		     : p[0] < 0xF0 ? 3
		     : p[0] < 0xF5 ? 4
				   : 0;
	static const uint32_t LEAST[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t code;

	if (len == 0 || len > n)
		return 0;
	code = len == 1 ? p[0] : p[0] & (0x7Fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3F);
	}
	if (code < LEAST[len] || (code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF)
		return 0;
	*code_r = code;
	return len;
}

/* The joiners U+200C and U+200D are left: Persian and emoji need them. */
bool printable_deceives(uint32_t code)
{
	static const struct {
		uint32_t from, to;
	} ranges[] = {{0, 0x1F},	{0x7F, 0x9F},	  {0xAD, 0xAD},	    {0x61C, 0x61C},
		      {0x180E, 0x180E}, {0x200B, 0x200B}, {0x200E, 0x200F}, {0x2028, 0x202E},
		      {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F}};
	size_t i = 0;

	while (i < sizeof(ranges) / sizeof(*ranges) && code > ranges[i].to)
		i++;
	return i < sizeof(ranges) / sizeof(*ranges) && code >= ranges[i].from;
}

/* By hand: a crash is logged inside of a signal's handler. */
static char *printable_unit(char *dst, uint32_t unit)
{
	*dst++ = '\\';
	*dst++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*dst++ = "0123456789abcdef"[unit >> shift & 15];
	*dst = '\0';
	return dst;
}

void printable_escape(uint32_t code, char dst[PRINTABLE_ESCAPE_MAX])
{
	if (code < 0x10000) {
		printable_unit(dst, code);
		return;
	}
	dst = printable_unit(dst, 0xD800 | ((code - 0x10000) >> 10 & 0x3FF));
	printable_unit(dst, 0xDC00 | (code & 0x3FF));
}
