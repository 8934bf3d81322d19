#include "ws/header.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

bool header_ok(const char *name, const char *value)
{
	static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
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
	if (name == NULL || value == NULL || name[0] == '\0' || name[strspn(name, token)] != '\0')
		return false;
	for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++)
		if ((*c < 32 && *c != '\t') || *c == 127)
			return false;
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (strcasecmp(name, taken[i]) == 0)
			return false;
	return true;
}
