/* utf8: streaming check of UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above
 * U+10FFFF). */
#ifndef TOVA_COMMON_UTF8_H
#define TOVA_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UTF8_ACCEPT 0u /* start state, and the state between two characters */
#define UTF8_REJECT 6u /* no continuation can make it valid */

/* Runs n bytes through the check from `state`; any other value than the two above means inside a
 * character. Rejects at the earliest byte that cannot be part of valid UTF-8. */
uint32_t utf8_check(uint32_t state, const uint8_t *p, size_t n);

/* A whole text at once. */
static inline bool utf8_valid(const void *p, size_t n)
{
	return utf8_check(UTF8_ACCEPT, (const uint8_t *)p, n) == UTF8_ACCEPT;
}

#endif
