#include "hub/meters.h"

#include <time.h>

uint64_t meters_micros(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000 + 1;
}

void meters_handled(struct meters *t, enum event_kind kind, uint32_t received, uint64_t began,
		    uint64_t ended)
{
	uint64_t now = meters_micros();
	histogram_add(&t->handler, ended - began);
	histogram_add(&t->latency[kind],
		      received != 0 ? (uint32_t)now - received : (uint32_t)(now - began));
}

void meters_settled(struct meters *t, const struct event_held *h)
{
	uint32_t now = meters_stamp();
	histogram_add(&t->latency[h->event.kind], now - h->received);
	if (h->given != 0)
		histogram_add(&t->handler, now - h->given);
}

void meters_cast(struct meters *t, uint64_t size, uint64_t began)
{
	histogram_add(&t->cast_size, size);
	histogram_add(&t->cast_time, meters_micros() - began);
}
