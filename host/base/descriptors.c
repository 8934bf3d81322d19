#include "base/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

struct descriptors descriptors_of_process(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return (struct descriptors){.most = 1024};
	return (struct descriptors){.most = limit.rlim_cur > UINT32_MAX ? UINT32_MAX
									: (uint32_t)limit.rlim_cur};
}

/* That this user has to leave to those who matter more. */
static uint32_t descriptors_held(const struct descriptors *d, enum descriptors_user user)
{
	uint32_t all = d->most / 4 < DESCRIPTORS_HELD_MAX ? d->most / 4 : DESCRIPTORS_HELD_MAX;
	return user == DESCRIPTORS_CLIENT ? all : user == DESCRIPTORS_WORKER ? all / 4 : 0;
}

bool descriptors_may(const struct descriptors *d, enum descriptors_user user, int fd)
{
	return (uint32_t)fd < d->most - descriptors_held(d, user);
}

int descriptors_take(const struct descriptors *d, enum descriptors_user user, int fd)
{
	if (fd < 0 || descriptors_may(d, user, fd))
		return fd;
	close(fd);
	errno = EMFILE;
	return -1;
}

bool descriptors_pipe(const struct descriptors *d, enum descriptors_user user, int pipe[2])
{
	if (pipe2(pipe, O_CLOEXEC) != 0)
		return false;
	if (descriptors_may(d, user, pipe[0]) && descriptors_may(d, user, pipe[1]))
		return true;
	close(pipe[0]);
	close(pipe[1]);
	errno = EMFILE;
	return false;
}

bool descriptors_left(const struct descriptors *d, enum descriptors_user user)
{
	int fd = open("/", O_PATH | O_CLOEXEC);
	bool left = fd >= 0 && descriptors_may(d, user, fd);
	if (fd >= 0)
		close(fd);
	return left;
}
