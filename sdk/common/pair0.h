/* pair0: what nng's PAIR0 looks like on a stream, for both ends of a worker's link: a greeting both
 * ways, then messages, each with its length before it, and on a Unix socket a byte 01 before that.
 */
#ifndef TOVA_COMMON_PAIR0_H
#define TOVA_COMMON_PAIR0_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define PAIR0_GREETING 8
static const uint8_t pair0_greeting[PAIR0_GREETING] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};

#define PAIR0_HEAD 9 /* on a Unix socket; over TCP it is all but the first byte */

static inline void pair0_write_head(uint8_t head[PAIR0_HEAD], uint64_t len)
{
	len = htobe64(len);
	head[0] = 1;
	memcpy(head + 1, &len, sizeof len);
}

/* p: behind the byte 01. */
static inline uint64_t pair0_length(const uint8_t *p)
{
	uint64_t len;
	memcpy(&len, p, sizeof len);
	return be64toh(len);
}

#endif
