/* random: numbers that nobody can guess, from the kernel. It needs no memory. Where it has worked
 * once (the host tries it at its start) it does not fail later. */
#ifndef TOVA_COMMON_RANDOM_H
#define TOVA_COMMON_RANDOM_H

#include <stdbool.h>
#include <sys/random.h>

#define RANDOM_MAX 256 /* so many bytes come whole, whatever signal arrives (getrandom(2)) */

/* Whoever does not look at the result goes on with a number that others can guess: the compiler
 * refuses it. */
__attribute__((warn_unused_result)) static inline bool random_bytes(void *p, size_t n)
{
	return n <= RANDOM_MAX && getrandom(p, n, 0) == (ssize_t)n;
}

#endif
