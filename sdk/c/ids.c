#include "ids.h"

#define IDS_LEN (TOVA_WS_TEXT - 1)

static const char ids_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 128 bits are 21 characters of 6 bits and one of 2, which is padded with zeroes. */
void ids_text(tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	unsigned __int128 bits = (unsigned __int128)ws.hi << 64 | ws.lo;
	for (int i = 0; i < IDS_LEN - 1; i++)
		text_r[i] = ids_alphabet[(unsigned)(bits >> (122 - 6 * i)) & 63];
	text_r[IDS_LEN - 1] = ids_alphabet[(unsigned)(ws.lo & 3) << 4];
	text_r[IDS_LEN] = '\0';
}

bool ids_parse(const char *text, size_t len, tova_ws *ws_r)
{
	unsigned __int128 bits = 0;
	if (text == NULL || len != IDS_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		const char *at = text[i] != '\0' ? strchr(ids_alphabet, text[i]) : NULL;
		if (at == NULL)
			return false;
		unsigned value = (unsigned)(at - ids_alphabet);
		/* another spelling of the same id */
		if (i == len - 1 && (value & 15) != 0)
			return false;
		bits = i < len - 1 ? bits << 6 | value : bits << 2 | value >> 4;
	}
	*ws_r = (tova_ws){(uint64_t)(bits >> 64), (uint64_t)bits};
	return true;
}
