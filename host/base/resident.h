/* resident: how much memory a process has. */
#ifndef TOVA_BASE_RESIDENT_H
#define TOVA_BASE_RESIDENT_H

#include <stdint.h>
#include <sys/types.h>

/* Its resident bytes; pid 0: this one's. 0: it is not to be known. */
uint64_t resident_bytes(pid_t pid);

#endif
