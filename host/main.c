/* tova-host: a front process that keeps WebSocket connections and rooms and hands their events to handlers. */
#include <stdio.h>

#include "server.h"
#include "ws/upgrade.h"

int main(int argc, char **argv)
{
	const struct settings_source source = {
		.argc = argc,
		.argv = argv,
		.origin_error = upgrade_origin_pattern_error,
		.out = stdout,
		.err = stderr,
	};
	return server_main(&source);
}
