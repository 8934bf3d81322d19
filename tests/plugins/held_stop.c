/* held_stop: makes the file of its setting `held` when it is stopped, and takes until somebody has
 * removed that. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "tova_plugin.h"

static void stop(tova_mount *m)
{
	const char *path = tova_setting(m, "held");
	const struct timespec while_ = {.tv_nsec = 1000000};
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	while (access(path, F_OK) == 0)
		nanosleep(&while_, NULL);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("held_stop", "1.0"),
	.stop = stop,
};
