#include <stdio.h>

#include "server.h"

/* A refusal at start is for the person who typed the command. */
bool server_refuse(const struct server *s, const char *option, const char *value, const char *why)
{
	fprintf(s->source->err, "tova-host: --%s: %s: %s\n", option, value, why);
	return false;
}
