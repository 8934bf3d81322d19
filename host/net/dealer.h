/* dealer: to which of several loops an accepted socket goes. Any loop may ask it. */
#ifndef TOVA_NET_DEALER_H
#define TOVA_NET_DEALER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DEALER_LOOPS 64 /* most loops */

struct dealer {
	unsigned n;					     /* loops */
	_Alignas(64) _Atomic uint32_t sockets[DEALER_LOOPS]; /* of each */
	atomic_bool said; /* that there were too many; one loop says it for all */
};

/* The loop that gets another socket, and has it from now on: `own`, which accepted it, unless
 * others have clearly fewer. */
unsigned dealer_choose(struct dealer *d, unsigned own);
/* A socket of that loop is closed. */
void dealer_give_back(struct dealer *d, unsigned loop);

#endif
