#include "ops/loop_lag.h"

#include "hub/meters.h"

#define LOOP_LAG_MS 200

static void loop_lag_set(struct loop_lag *l)
{
	l->due = meters_micros() + LOOP_LAG_MS * 1000;
	loop_timer_set(&l->timer, LOOP_LAG_MS);
}

static void loop_lag_on_timer(void *arg)
{
	struct loop_lag *l = arg;
	uint64_t now = meters_micros();
	histogram_add(&l->lag, now > l->due ? now - l->due : 0);
	loop_lag_set(l);
}

void loop_lag_start(struct loop_lag *l, struct loop *loop)
{
	loop_timer_init(loop, &l->timer, loop_lag_on_timer, l);
	loop_lag_set(l);
}

void loop_lag_stop(struct loop_lag *l)
{
	if (l->due != 0)
		loop_timer_cancel(&l->timer);
}
