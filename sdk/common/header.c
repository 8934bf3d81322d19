#include "common/header.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

bool header_is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7F ||
		    strchr("\"(),/:;<=>?@[\\]{}", s.p[i]) != NULL)
			return false;
	return s.n > 0;
}

bool header_ok(const char *name, const char *value)
{
	static const char *const taken[] = {"Connection",
					    "Upgrade",
					    "Content-Length",
					    "Content-Type",
					    "Date",
					    "Server",
					    "Transfer-Encoding",
					    "Sec-WebSocket-Accept",
					    "Sec-WebSocket-Protocol",
					    "Sec-WebSocket-Extensions",
					    "Sec-WebSocket-Version"};
	if (name == NULL || value == NULL || !header_is_token(span_of(name)))
		return false;
	for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++)
		if ((*c < 32 && *c != '\t') || *c == 127)
			return false;
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (strcasecmp(name, taken[i]) == 0)
			return false;
	return true;
}
