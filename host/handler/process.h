/* process: a child process in a group of its own, with its output in the log, that does not outlive
 * the host.
 *
 * Children are started with posix_spawn through a shim (the host's own binary under another name,
 * process_shim), which sees to what posix_spawn can not do: that the child dies with the host (what
 * the child has started: guard.h), that no descriptor is inherited, and that the limit on
 * descriptors is what the operator's shell had.
 */
#ifndef TOVA_HANDLER_PROCESS_H
#define TOVA_HANDLER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "handler/guard.h"
#include "handler/output_rate.h"
#include "net/loop.h"

struct process;

/* The process has ended and its output was read, at most for a second. status: as of waitpid. The
 * process is freed after the return. */
typedef void process_ended(void *ctx, struct process *p, int status);

/* What processes of one host share. */
struct processes {
	uint16_t magic; /* CHECK_PROCESSES */
	struct loop *loop;
	struct loop_signal on_child;
	struct process *list;
	uint64_t descriptors; /* the soft limit of each */
	struct output_rates rates;
	struct guard guard;   /* there is one from the first child on */
	char *const *passenv; /* see environment_passes; may change at any time */
	size_t n_passenv;
};

/* descriptors: the soft limit of RLIMIT_NOFILE that processes get. */
bool processes_init(struct processes *set, struct loop *loop, uint64_t descriptors);
/* Kills the rest. */
void processes_free(struct processes *set);

struct process_spec {
	const char *name;    /* for the log */
	const char *command; /* for /bin/sh -c; NULL: argv */
	const char *const *argv;
	/* "NAME=value" lines beside what children get of the host's own, ended by NULL */
	const char *const *env;
	const char *mount; /* for the log */
	int in, out;	   /* descriptors for stdin and stdout; -1: /dev/null, and the log */
	int extra;	   /* descriptor that becomes number 3; -1: none */
};

/* NULL with errno set. */
struct process *process_start(struct processes *set, const struct process_spec *spec,
			      process_ended *ended, void *ctx);
pid_t process_pid(const struct process *p);
/* To the whole group. */
void process_kill(struct process *p, int signal);
/* Nobody wants to hear of its end any more: it is killed and reaped quietly. */
void process_abandon(struct process *p);

/* The last line that it has written for its log, as much of it as is kept; empty: none. */
const char *process_last_line(const struct process *p);

/* "killed by SIGSEGV" or "exited with status 3". */
const char *process_status_text(int status, char *text, size_t cap);

/* main() calls this first: does not return when the program was started as the shim. */
void process_shim(int argc, char **argv);

#endif
