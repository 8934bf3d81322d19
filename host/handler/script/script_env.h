/* script_env: a request as the environment of a CGI program (RFC 3875). */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_ENV_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_ENV_H

#include "handler/script/script_folder.h"
#include "hub/event.h"

/* What of it is not in the request. */
struct script_env_facts {
	const char *conn;		  /* the connection's id */
	const char *subprotocols;	  /* the list of which the host has chosen one, or NULL */
	const struct script_found *found; /* the program that the path names, or NULL */
};

/* "NAME=value" lines ended by NULL, for script_env_free; NULL without memory. */
char **script_env_make(const struct event_request *request, const struct script_env_facts *facts);
void script_env_free(char ***env_p);

#endif
