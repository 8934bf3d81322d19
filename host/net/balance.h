/* balance: to which of several loops an accepted socket goes. Any loop may ask it. */
#ifndef TOVA_NET_BALANCE_H
#define TOVA_NET_BALANCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BALANCE_LOOPS 64 /* most loops */

struct balance {
	unsigned n;					      /* loops */
	_Alignas(64) _Atomic uint32_t sockets[BALANCE_LOOPS]; /* of each */
	atomic_bool said; /* that there were too many; one loop says it for all */
};

/* The loop that gets another socket, and has it from now on: `own`, which accepted it, unless
 * others have clearly fewer. */
unsigned balance_choose(struct balance *d, unsigned own);
/* A socket of that loop is closed. */
void balance_give_back(struct balance *d, unsigned loop);

#endif
