/* What runs in a child before its command does: the host's own binary, under another name. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "handler/process_parts.h"

/* Before anything else runs in the group. If there is no guard any more, the host tells the next
 * one. */
static void process_shim_tell_guard(void)
{
	pid_t group = getpid();
	signal(SIGPIPE, SIG_IGN);
	ssize_t n = write(PROCESS_GUARD_FD, &group, sizeof group);
	(void)n;
	signal(SIGPIPE, SIG_DFL);
}

void process_shim(int argc, char **argv)
{
	if (argc < PROCESS_SHIM_ARGS + 1 || strcmp(argv[0], PROCESS_SHIM) != 0)
		return;
	struct rlimit files;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* low ports are the host's */
	/* the host died before that was set */
	if (getppid() != (pid_t)atoi(argv[1]))
		_exit(127);
	if (strcmp(argv[4], "-") != 0)
		process_shim_tell_guard();
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = strtoull(argv[2], NULL, 10);
	setrlimit(RLIMIT_NOFILE, &files);
	close_range(strcmp(argv[3], "3") == 0 ? 4 : 3, ~0u, 0);
	char **command = argv + PROCESS_SHIM_ARGS;
	execvp(command[0], command);
	fprintf(stderr, "<3>%s can not be started: %s\n", command[0], strerror(errno));
	_exit(127);
}
