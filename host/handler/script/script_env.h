/* script_env: a request as the environment of a CGI program (RFC 3875). */
#ifndef TOVA_HANDLER_SCRIPT_SCRIPT_ENV_H
#define TOVA_HANDLER_SCRIPT_SCRIPT_ENV_H

#include "hub/event.h"

/* "NAME=value" lines ended by NULL, for script_env_free; NULL without memory. conn: the
 * connection's id. subprotocols: the list of which the host has chosen one, or NULL. */
char **script_env_make(const struct event_request *facts, const char *conn,
		       const char *subprotocols);
void script_env_free(char ***env_p);

#endif
