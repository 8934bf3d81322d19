#include "handler/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define GUARD_NAME "tova-guard"
#define GUARD_FD_MIN 10 /* above what children get */

/* --- in the host ------------------------------------------------------------------------------ */

static int guard_spawn(struct guard *g, int theirs)
{
	char *const argv[] = {(char *)GUARD_NAME, NULL}, *const env[] = {NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int error = posix_spawn_file_actions_init(&files);
	if (error != 0)
		return error;
	error = posix_spawn_file_actions_adddup2(&files, theirs, 0);
	if (error == 0 && (error = posix_spawnattr_init(&attr)) == 0) {
		/* A session of its own: what a terminal tells the host's group is not for it. */
		posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID);
		error = posix_spawn(&g->pid, "/proc/self/exe", &files, &attr, argv, env);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&files);
	return error;
}

bool guard_start(struct guard *g)
{
	int pipe[2], error;
	*g = (struct guard){.fd = -1};
	if (pipe2(pipe, O_CLOEXEC) != 0)
		return false;
	g->fd = fcntl(pipe[1], F_DUPFD_CLOEXEC, GUARD_FD_MIN);
	error = g->fd < 0 || fcntl(g->fd, F_SETFL, O_NONBLOCK) != 0 ? errno
								    : guard_spawn(g, pipe[0]);
	close(pipe[0]);
	close(pipe[1]);
	if (error == 0)
		return true;
	if (g->fd >= 0)
		close(g->fd);
	*g = (struct guard){.fd = -1};
	errno = error;
	return false;
}

/* One that does not read (somebody has stopped it) is of no use, and with an old list it would be
 * of harm. */
static void guard_tell(struct guard *g, pid_t word)
{
	if (g->pid != 0 && write(g->fd, &word, sizeof word) != (ssize_t)sizeof word)
		kill(g->pid, SIGKILL);
}

void guard_add(struct guard *g, pid_t group)
{
	guard_tell(g, group);
}

void guard_remove(struct guard *g, pid_t group)
{
	guard_tell(g, -group);
}

void guard_lost(struct guard *g)
{
	close(g->fd);
	*g = (struct guard){.fd = -1};
}

void guard_stop(struct guard *g)
{
	pid_t pid = g->pid;
	if (pid == 0)
		return;
	guard_lost(g);
	waitpid(pid, NULL, 0);
}

/* --- the guard itself ------------------------------------------------------------------------- */

struct guard_groups {
	pid_t *v;
	size_t n, cap;
};

static void guard_groups_add(struct guard_groups *g, pid_t group)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->v[i] == group)
			return;
	if (g->n == g->cap) {
		size_t cap = g->cap == 0 ? 64 : 2 * g->cap;
		pid_t *wider = realloc(g->v, cap * sizeof *wider);
		if (wider == NULL)
			return;
		g->v = wider;
		g->cap = cap;
	}
	g->v[g->n++] = group;
}

static void guard_groups_remove(struct guard_groups *g, pid_t group)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->v[i] == group) {
			g->v[i] = g->v[--g->n];
			return;
		}
}

/* Words are written whole and are shorter than PIPE_BUF: none is torn. */
static bool guard_groups_read(struct guard_groups *g)
{
	pid_t words[256];
	ssize_t n = read(0, words, sizeof words);
	if (n < 0 && errno == EINTR)
		return true;
	for (ssize_t i = 0; i < n / (ssize_t)sizeof *words; i++) {
		if (words[i] > 1)
			guard_groups_add(g, words[i]);
		else if (words[i] < -1)
			guard_groups_remove(g, -words[i]);
	}
	return n > 0;
}

void guard_main(char **argv)
{
	struct guard_groups groups = {.n = 0};
	if (argv[0] == NULL || strcmp(argv[0], GUARD_NAME) != 0)
		return;
	prctl(PR_SET_NAME, GUARD_NAME);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* A service manager may tell all of the host's processes to go: the host sees to its
	 * children then, until it is gone. */
	static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	close_range(3, ~0u, 0);
	while (guard_groups_read(&groups))
		;
	for (size_t i = 0; i < groups.n; i++)
		kill(-groups.v[i], SIGKILL);
	_exit(0);
}
