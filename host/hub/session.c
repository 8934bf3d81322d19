#include "hub/session.h"

#include <stdlib.h>

struct session_more *session_more(struct session *s)
{
	if (s->more == NULL)
		s->more = calloc(1, sizeof *s->more);
	return s->more;
}

static const char session_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 128 bits are 21 characters of 6 bits and one of 2. */
void session_id_text(struct session_id id, char text[SESSION_ID_TEXT])
{
	unsigned __int128 bits = (unsigned __int128)id.host << 64 | id.local;
	for (int i = 0; i < SESSION_ID_TEXT - 2; i++)
		text[i] = session_alphabet[(unsigned)(bits >> (122 - 6 * i)) & 63];
	text[SESSION_ID_TEXT - 2] = session_alphabet[((unsigned)bits & 3) << 4];
	text[SESSION_ID_TEXT - 1] = '\0';
}

bool session_id_parse(struct span text, struct session_id *id_r)
{
	unsigned __int128 bits = 0;
	if (text.n != SESSION_ID_TEXT - 1)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		const char *at = text.p[i] != '\0' ? strchr(session_alphabet, text.p[i]) : NULL;
		if (at == NULL)
			return false;
		unsigned value = (unsigned)(at - session_alphabet);
		if (i < text.n - 1)
			bits = bits << 6 | value;
		else if ((value & 15) != 0)
			return false; /* another spelling of the same id */
		else
			bits = bits << 2 | value >> 4;
	}
	*id_r = (struct session_id){.host = (uint64_t)(bits >> 64), .local = (uint64_t)bits};
	return true;
}
