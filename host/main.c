/* tova-host: a front process that keeps WebSocket connections and rooms and hands their events to
 * handlers. */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "handler/process.h"
#include "server.h"
#include "version.h"
#include "ws/authority.h"
#include "ws/upgrade.h"

int main(int argc, char **argv)
{
	process_shim(argc, argv);
	guard_main(argv);
	/* Buffers of middling messages come from the heap: a map of pages for each, made and
	 * cleared and taken down again, costs more than the message; what they leave there goes
	 * back later (conns_on_trim). Large ones have maps of their own, as what is counted of them
	 * (net/budget.h) must be what is resident: in a heap they leave holes of their size. */
	mallopt(M_MMAP_THRESHOLD, 512 << 10);
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
	mallopt(M_MMAP_MAX, 16384); /* maps are few (vm.max_map_count), and others need some, too */
	const struct settings_source source = {
		.argc = argc,
		.argv = argv,
		.origin_error = upgrade_origin_pattern_error,
		.host_error = authority_pattern_error,
		.print_features = version_print_features,
		.out = stdout,
		.err = stderr,
	};
	/* A host started without them must not take a client's socket for its log. */
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			return SERVER_FAILED;
	return server_main(&source);
}
