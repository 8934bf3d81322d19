/* What a server costs: CPU time and memory of a process, its threads and its descendants. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stdint.h>
#include <sys/types.h>

enum { PROBE_MAX = 4096 };

struct probe {
	pid_t pids[PROBE_MAX];
	int count;
};

/* Notes the process and its descendants as they are now. Returns 0, or -1 when there is no such
 * process. */
int probe_open(struct probe *p, pid_t root);

/* CPU nanoseconds of all noted processes so far; *root_r: of the first one alone, with its threads.
 * -1 when any has gone. forks: of the first one and of those of its children that have ended and
 * been waited for (in steps of 10 ms). */
int64_t probe_cpu_ns(const struct probe *p, int forks, int64_t *root_r);

/* Resident bytes of the process and its descendants as they are now; pages that several share count
 * once. -1 when the process has gone. */
int64_t probe_memory(struct probe *p);

#endif
