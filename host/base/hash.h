/* hash: SipHash-1-3, a keyed hash. Room names come from clients, who without the key can not choose
 * names that collide. */
#ifndef TOVA_BASE_HASH_H
#define TOVA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t k0, k1;
};

/* n may be 0, and p NULL then. The same bytes give the same hash as long as the key is the same. */
uint64_t hash_bytes(const struct hash_key *key, const void *p, size_t n);

#endif
