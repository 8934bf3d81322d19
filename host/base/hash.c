#include "base/hash.h"

#include <string.h>

struct sip {
	uint64_t a, b, c, d;
};

static inline uint64_t hash_rotate(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

/* SipRound of Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. */
static inline void hash_sip_round(struct sip *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = hash_rotate(s->b, 13) ^ s->a;
	s->d = hash_rotate(s->d, 16) ^ s->c;
	s->a = hash_rotate(s->a, 32);
	s->c += s->b;
	s->a += s->d;
	s->b = hash_rotate(s->b, 17) ^ s->c;
	s->d = hash_rotate(s->d, 21) ^ s->a;
	s->c = hash_rotate(s->c, 32);
}

uint64_t hash_bytes(const struct hash_key *key, const void *p, size_t n)
{
	const uint8_t *at = p;
	struct sip s = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d,
			key->k0 ^ 0x6c7967656e657261, key->k1 ^ 0x7465646279746573};
	uint64_t word, last = (uint64_t)n << 56;
	for (; n >= 8; n -= 8, at += 8) {
		memcpy(&word, at, 8);
		s.d ^= word;
		hash_sip_round(&s);
		s.a ^= word;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)at[i] << 8 * i;
	s.d ^= last;
	hash_sip_round(&s);
	s.a ^= last;
	s.c ^= 0xff;
	for (int i = 0; i < 3; i++)
		hash_sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}
