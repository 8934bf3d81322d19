/* What a server costs: CPU time and memory of a process, its threads and its descendants. */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H

#include <stdint.h>
#include <sys/types.h>

enum { PROBE_MAX = 1024 };

struct probe {
	pid_t pids[PROBE_MAX];
	int count;
};

/* Notes the process and its descendants as they are now. Returns 0, or -1 when there is no such process. */
int probe_open(struct probe *p, pid_t root);

/* CPU nanoseconds of all noted processes so far; *root_r: of the first one alone, with its threads. -1 when any has gone. */
int64_t probe_cpu_ns(const struct probe *p, int64_t *root_r);

/* Resident bytes of all noted processes. -1 when the first of them has gone. */
int64_t probe_rss(const struct probe *p);

#endif
