/* wide: loops over many bytes at 32 bytes a step, where the processor has AVX2. Whether it has is
 * asked at run time; without it the callers' portable loops do the same. */
#ifndef TOVA_COMMON_WIDE_H
#define TOVA_COMMON_WIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIDE_MIN 128 /* fewer bytes are not worth the call */

#ifdef __x86_64__
static inline bool wide_is_there(void)
{
	return __builtin_cpu_supports("avx2");
}
#else
static inline bool wide_is_there(void)
{
	return false;
}
#endif

/* How many bytes at the front are whole characters of UTF-8, as far as whole steps tell: where it
 * stops, a look at single bytes says what is there. */
size_t wide_utf8(const uint8_t *p, size_t n);
/* XORs the front of src into dst, which may be the same, with the mask; returns how many bytes that
 * was, a multiple of 4. *high_r is not 0 if any of the results is no ASCII. */
size_t wide_unmask(uint8_t *dst, const uint8_t *src, size_t n, uint32_t mask, uint64_t *high_r);

#endif
