/* guard: a process beside the host that ends what the host's children have left behind when the
 * host itself is killed.
 *
 * That a child dies with the host is the kernel's doing (PR_SET_PDEATHSIG), but it does that for
 * the child alone: what a child has started would go on. The guard knows the process group of each
 * child, which the child's shim tells it before anything else runs, and reads a pipe whose other
 * end only the host has: when that ends, the host is gone, and the guard kills those groups. A
 * process that made a session or a group of its own is in none of them.
 */
#ifndef TOVA_HANDLER_GUARD_H
#define TOVA_HANDLER_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

struct guard {
	pid_t pid; /* 0: there is none */
	int fd;	   /* where groups are told; never one of the numbers that children get */
};

/* Starts it. False with errno. */
bool guard_start(struct guard *g);
/* A group whose leader runs; and one that is over, before its number can be another's. */
void guard_add(struct guard *g, pid_t group);
void guard_remove(struct guard *g, pid_t group);
/* It has been reaped. */
void guard_lost(struct guard *g);
/* Ends it, with all that it knows of. */
void guard_stop(struct guard *g);

/* main() calls this first: does not return when the program was started as the guard. */
void guard_main(char **argv);

#endif
