/* loop_lag: how late the hub's loop comes to what is due: a timer that looks at a clock. */
#ifndef TOVA_OPS_LOOP_LAG_H
#define TOVA_OPS_LOOP_LAG_H

#include "base/histogram.h"
#include "net/loop.h"

struct loop_lag {
	struct loop_timer timer;
	uint64_t due; /* microseconds */
	struct histogram lag;
};

/* Looks several times a second from now on. */
void loop_lag_start(struct loop_lag *l, struct loop *loop);
/* It may never have been started; all zero then. */
void loop_lag_stop(struct loop_lag *l);

#endif
