#include "probe.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pid_t parent_of(pid_t pid)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return -1;
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = 0;
	/* The command in parentheses may itself hold any character, hence the last one. */
	const char *end = strrchr(text, ')');
	int ppid = -1;
	if (!end || sscanf(end + 1, " %*c %d", &ppid) != 1)
		return -1;
	return ppid;
}

static int knows(const struct probe *p, pid_t pid)
{
	for (int i = 0; i < p->count; i++)
		if (p->pids[i] == pid)
			return 1;
	return 0;
}

/* One pass over /proc; children can be listed before their parents, so the caller repeats until
 * nothing is new. */
static int add_children(struct probe *p)
{
	DIR *d = opendir("/proc");
	if (!d)
		return 0;
	int added = 0;
	for (struct dirent *e; (e = readdir(d)) && p->count < PROBE_MAX;) {
		pid_t pid = (pid_t)atoi(e->d_name);
		if (pid > 0 && !knows(p, pid) && knows(p, parent_of(pid))) {
			p->pids[p->count++] = pid;
			added++;
		}
	}
	closedir(d);
	return added;
}

int probe_open(struct probe *p, pid_t root)
{
	p->count = 1;
	p->pids[0] = root;
	if (parent_of(root) < 0)
		return -1;
	while (add_children(p) > 0)
		continue;
	return 0;
}

/* Fields 16 and 17 of /proc/PID/stat, in ticks (proc(5)). */
static int64_t reaped_ns(pid_t pid)
{
	char path[64], text[1024];
	long long user, system;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return -1;
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = 0;
	const char *end = strrchr(text, ')');
	if (!end ||
	    sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lld %lld", &user,
		   &system) != 2)
		return -1;
	return (user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
}

int64_t probe_cpu_ns(const struct probe *p, int forks, int64_t *root_r)
{
	int64_t sum = 0;
	for (int i = 0; i < (forks ? 1 : p->count); i++) {
		/* The CPU clock of a process counts all its threads, ended ones too, in
		 * nanoseconds; /proc/PID/stat has only 10 ms ticks. */
		clockid_t clock;
		struct timespec t;
		if (clock_getcpuclockid(p->pids[i], &clock) || clock_gettime(clock, &t))
			return -1;
		sum += (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
		if (i == 0)
			*root_r = sum;
	}
	return forks ? sum + reaped_ns(p->pids[0]) : sum;
}

static int64_t resident(pid_t pid)
{
	char path[64], line[256];
	/* smaps_rollup walks the page tables; the counter in status lags behind by some pages per
	 * thread. */
	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return -1;
	long long kb = -1;
	while (kb < 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "Pss: %lld kB", &kb) != 1)
			kb = -1;
	fclose(f);
	return kb < 0 ? -1 : kb * 1024;
}

int64_t probe_memory(struct probe *p)
{
	int64_t sum = 0;
	if (probe_open(p, p->pids[0]))
		return -1;
	for (int i = 0; i < p->count; i++) {
		int64_t bytes = resident(p->pids[i]);
		if (bytes < 0 && i == 0)
			return -1;
		sum += bytes < 0 ? 0 : bytes;
	}
	return sum;
}
