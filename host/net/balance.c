#include "net/balance.h"

#include "base/check.h"
/* A loop keeps what it has accepted as long as it has not more than the emptiest by this and a
 * sixteenth: handing a socket over costs a little, a loop that has more than the others costs all
 * of its clients. */
#define BALANCE_SLACK 1

unsigned balance_choose(struct balance *d, unsigned own)
{
	unsigned least = own;
	uint32_t mine = atomic_load(&d->sockets[own]), few = mine;
	for (unsigned i = 0; i < d->n; i++) {
		uint32_t n = atomic_load_explicit(&d->sockets[i], memory_order_relaxed);
		if (n < few) {
			few = n;
			least = i;
		}
	}
	unsigned chosen = mine > few + few / 16 + BALANCE_SLACK ? least : own;
	atomic_fetch_add(&d->sockets[chosen], 1);
	return chosen;
}

void balance_give_back(struct balance *d, unsigned loop)
{
	CHECK(loop < d->n && atomic_fetch_sub(&d->sockets[loop], 1) > 0);
}
