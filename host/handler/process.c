#include "handler/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/environment.h"
#include "handler/process_parts.h"

#define PROCESS_OUTPUT_MS 1000

/* --- the end ---------------------------------------------------------------------------------- */

static void process_free(struct process *p)
{
	struct process **at = &p->set->list;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	process_output_close(&p->out);
	process_output_close(&p->err);
	loop_timer_cancel(&p->limit);
	output_rate_leave(p->rate);
	free(p);
}

/* Told once it was reaped and its output is at its end, or has had its second: a grandchild may
 * hold it open for ever. */
static void process_finish(struct process *p)
{
	if (!p->reaped || ((p->out.fd >= 0 || p->err.fd >= 0) && loop_timer_is_set(&p->limit)))
		return;
	if (!p->abandoned)
		p->ended(p->ctx, p, p->status);
	process_free(p);
}

static void process_on_limit(void *arg)
{
	struct process *p = arg;
	CHECK_IS(p, CHECK_PROCESS);
	process_output_close(&p->out);
	process_output_close(&p->err);
	process_finish(p);
}

static struct process *processes_find(const struct processes *set, pid_t pid)
{
	struct process *p = set->list;
	while (p != NULL && (p->pid != pid || p->reaped))
		p = p->next;
	return p;
}

/* What it started and left behind goes before it is reaped: from then on its number may be another
 * group's. */
static void process_reap(struct process *p)
{
	CHECK(!p->reaped && p->pid > 1); /* not every process of the host's group, or the system */
	kill(-p->pid, SIGKILL);
	guard_remove(&p->set->guard, p->pid);
	waitpid(p->pid, &p->status, 0);
	p->reaped = true;
	loop_timer_set(&p->limit, PROCESS_OUTPUT_MS);
	process_finish(p);
}

static void processes_guard_lost(struct processes *set)
{
	waitpid(set->guard.pid, NULL, 0);
	guard_lost(&set->guard);
	LOG(set->loop->log, LOG_WARN, LOG_WORKER,
	    "the guard of child processes was killed; the next child starts another");
}

static void processes_on_child(void *arg, int signal)
{
	struct processes *set = arg;
	CHECK(set->magic == CHECK_PROCESSES && loop_is_own(set->loop));
	siginfo_t dead = {.si_pid = 0};
	(void)signal;
	while (waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT) == 0 && dead.si_pid != 0) {
		struct process *p = processes_find(set, dead.si_pid);
		if (p != NULL)
			process_reap(p);
		else if (set->guard.pid == dead.si_pid)
			processes_guard_lost(set);
		else
			waitpid(dead.si_pid, NULL, 0); /* left to us by who executed this program */
		dead.si_pid = 0;
	}
}

bool processes_init(struct processes *set, struct loop *loop, uint64_t descriptors)
{
	*set = (struct processes){.magic = CHECK_PROCESSES,
				  .loop = loop,
				  .descriptors = descriptors,
				  .rates = {.loop = loop},
				  .guard = {.fd = -1}};
	return loop_signal_add(loop, &set->on_child, SIGCHLD, processes_on_child, set);
}

void processes_free(struct processes *set)
{
	while (set->list != NULL) {
		struct process *p = set->list;
		if (!p->reaped) {
			kill(-p->pid, SIGKILL);
			waitpid(p->pid, &p->status, 0);
		}
		process_free(p);
	}
	output_rates_free(&set->rates);
	guard_stop(&set->guard);
	if (set->loop != NULL)
		loop_signal_remove(&set->on_child);
}

/* --- the start -------------------------------------------------------------------------------- */

static const char **process_environment(const struct processes *set, const char *const *own)
{
	size_t n = 0, k = 0;
	for (char **e = environ; *e != NULL; e++)
		n++;
	for (const char *const *e = own; *e != NULL; e++)
		n++;
	const char **env = calloc(n + 1, sizeof *env);
	if (env == NULL)
		return NULL;
	for (char **e = environ; *e != NULL; e++)
		if (environment_passes(*e, set->passenv, set->n_passenv))
			env[k++] = *e;
	for (const char *const *e = own; *e != NULL; e++)
		env[k++] = *e;
	return env;
}

/* From the first child on; groups that it is to know already are told anew. */
static void processes_watch(struct processes *set)
{
	if (set->guard.pid != 0)
		return;
	if (!guard_start(&set->guard)) {
		LOG(set->loop->log, LOG_WARN, LOG_WORKER,
		    "child processes have no guard: if the host is killed, what they have started "
		    "goes on",
		    LOG_ERRNO(errno));
		return;
	}
	for (const struct process *p = set->list; p != NULL; p = p->next)
		if (!p->reaped && p->pid != 0)
			guard_add(&set->guard, p->pid);
}

/* What a child finds at its descriptors. Each call may lack memory; without one of them a
 * descriptor would be another. */
static int process_files(posix_spawn_file_actions_t *files, const struct process *p,
			 const struct process_spec *spec, int out, int err)
{
	int error = posix_spawn_file_actions_init(files);
	if (error != 0)
		return error;
	if (spec->in >= 0)
		error = posix_spawn_file_actions_adddup2(files, spec->in, 0);
	else
		error = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(files, spec->out >= 0 ? spec->out : out,
							 1);
	if (error == 0)
		error = posix_spawn_file_actions_adddup2(files, err, 2);
	if (error == 0 && spec->extra >= 0)
		error = posix_spawn_file_actions_adddup2(files, spec->extra, 3);
	if (error == 0 && p->set->guard.pid != 0)
		error = posix_spawn_file_actions_adddup2(files, p->set->guard.fd, PROCESS_GUARD_FD);
	if (error != 0)
		posix_spawn_file_actions_destroy(files);
	return error;
}

static int process_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;
	int error = posix_spawnattr_init(attr);
	if (error != 0)
		return error;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
					       POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setsigmask(attr, &none);
	return 0;
}

static int process_execute(struct process *p, const struct process_spec *spec,
			   const char *const *argv, int out, int err)
{
	const char **env = process_environment(p->set, spec->env);
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int error = env == NULL ? ENOMEM : process_files(&files, p, spec, out, err);
	if (error == 0) {
		error = process_attributes(&attr);
		if (error == 0) {
			error = posix_spawn(&p->pid, "/proc/self/exe", &files, &attr,
					    (char *const *)argv, (char *const *)env);
			posix_spawnattr_destroy(&attr);
		}
		posix_spawn_file_actions_destroy(&files);
	}
	free(env);
	return error;
}

/* argv of the shim: its name, the host's pid, the descriptor limit, whether 3 is kept, whether
 * there is a guard, and then the command. */
static int process_spawn(struct process *p, const struct process_spec *spec, int out, int err)
{
	char parent[16], limit[24];
	processes_watch(p->set);
	const char *argv[64] = {PROCESS_SHIM, parent, limit, spec->extra >= 0 ? "3" : "-",
				p->set->guard.pid != 0 ? "guard" : "-"};
	int n = PROCESS_SHIM_ARGS;
	snprintf(parent, sizeof parent, "%d", (int)getpid());
	snprintf(limit, sizeof limit, "%llu", (unsigned long long)p->set->descriptors);
	if (spec->command != NULL) {
		argv[n++] = "/bin/sh";
		argv[n++] = "-c";
		argv[n++] = spec->command;
	}
	for (const char *const *a = spec->argv; spec->command == NULL && *a != NULL && n < 63; a++)
		argv[n++] = *a;
	return process_execute(p, spec, argv, out, err);
}

struct process *process_start(struct processes *set, const struct process_spec *spec,
			      process_ended *ended, void *ctx)
{
	struct process *p = calloc(1, sizeof *p);
	int out = -1, err = -1;
	if (p == NULL)
		return NULL;
	p->magic = CHECK_PROCESS;
	p->set = set;
	p->ended = ended;
	p->ctx = ctx;
	snprintf(p->name, sizeof p->name, "%s", spec->name);
	snprintf(p->mount, sizeof p->mount, "%s", spec->mount);
	p->rate = output_rate_join(&set->rates, p->mount, p->name);
	loop_timer_init(set->loop, &p->limit, process_on_limit, p);
	p->out = (struct process_output){.fd = -1};
	bool ok =
		process_output_open(&p->err, p, LOG_WARN, process_finish, &err) &&
		(spec->out >= 0 || process_output_open(&p->out, p, LOG_INFO, process_finish, &out));
	int error = ok ? process_spawn(p, spec, out, err) : errno;
	if (out >= 0)
		close(out);
	if (err >= 0)
		close(err);
	p->next = set->list;
	set->list = p;
	if (error != 0) {
		process_free(p);
		errno = error;
		return NULL;
	}
	return p;
}

pid_t process_pid(const struct process *p)
{
	return p->pid;
}

const char *process_last_line(const struct process *p)
{
	return p->last;
}

void process_kill(struct process *p, int signal)
{
	if (!p->reaped)
		kill(-p->pid, signal);
}

void process_abandon(struct process *p)
{
	p->abandoned = true;
	process_kill(p, SIGKILL);
}

const char *process_status_text(int status, char *text, size_t cap)
{
	if (WIFSIGNALED(status)) {
		const char *name = sigabbrev_np(WTERMSIG(status));
		snprintf(text, cap, "killed by SIG%s", name != NULL ? name : "?");
	} else {
		snprintf(text, cap, "exited with status %d", WEXITSTATUS(status));
	}
	return text;
}
