#include "common/id.h"

#define ID_LEN (ID_TEXT - 1)

static const char id_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 128 bits are 21 characters of 6 bits and one of 2, which is padded with zeroes. */
void id_text(uint64_t hi, uint64_t lo, char text_r[ID_TEXT])
{
	unsigned __int128 bits = (unsigned __int128)hi << 64 | lo;
	for (int i = 0; i < ID_LEN - 1; i++)
		text_r[i] = id_alphabet[(unsigned)(bits >> (122 - 6 * i)) & 63];
	text_r[ID_LEN - 1] = id_alphabet[((unsigned)bits & 3) << 4];
	text_r[ID_LEN] = '\0';
}

bool id_parse(struct span text, uint64_t *hi_r, uint64_t *lo_r)
{
	unsigned __int128 bits = 0;
	if (text.p == NULL || text.n != ID_LEN)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		const char *at = text.p[i] != '\0' ? strchr(id_alphabet, text.p[i]) : NULL;
		if (at == NULL)
			return false;
		unsigned value = (unsigned)(at - id_alphabet);
		if (i < text.n - 1)
			bits = bits << 6 | value;
		else if ((value & 15) != 0)
			return false; /* another spelling of the same id */
		else
			bits = bits << 2 | value >> 4;
	}
	*hi_r = (uint64_t)(bits >> 64);
	*lo_r = (uint64_t)bits;
	return true;
}
