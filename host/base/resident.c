#include "base/resident.h"

#include <stdio.h>
#include <unistd.h>

/* The second number of statm, in pages (proc(5)). */
uint64_t resident_bytes(pid_t pid)
{
	char path[64];
	unsigned long long size, resident = 0;
	snprintf(path, sizeof path, "/proc/%ld/statm", (long)(pid != 0 ? pid : getpid()));
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
