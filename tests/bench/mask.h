/* XOR with a WebSocket mask (RFC 6455, 5.3), at vector width, so that neither the generator nor the
 * floor is slow where it need not be. */
#ifndef BENCH_MASK_H
#define BENCH_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t mask_vec __attribute__((vector_size(16)));

/* dst may be src. The mask starts at its first byte. */
static inline void mask_xor(uint8_t *dst, const uint8_t *src, size_t len, const uint8_t key[4])
{
	uint8_t wide[16];
	for (size_t i = 0; i < sizeof wide; i++)
		wide[i] = key[i & 3];
	mask_vec m;
	memcpy(&m, wide, sizeof m);
	size_t i = 0;
	for (; i + sizeof m <= len; i += sizeof m) {
		mask_vec v;
		memcpy(&v, src + i, sizeof v);
		v ^= m;
		memcpy(dst + i, &v, sizeof v);
	}
	for (; i < len; i++)
		dst[i] = src[i] ^ key[i & 3];
}

#endif
