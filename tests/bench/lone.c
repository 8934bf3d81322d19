/* Lone: one connection, one message under way, how long it takes there and back. */
#include "load.h"

#include <stdlib.h>

enum { SAMPLES = 1 << 20 };

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Nanoseconds there and back, or 0 after load_break. A reply may come in parts. */
static int64_t round_trip(struct load *l)
{
	struct client *c = &l->clients[0];
	int64_t began = load_now();
	load_send(l, c, 1);
	while (!l->broken && c->got != c->sent) {
		if (load_wait(l) <= 0) {
			l->lost++;
			load_break(l, "a reply is missing");
			return 0;
		}
		if (c->late_len)
			load_flush(l, c);
		l->units += load_take(l, c, c->id);
	}
	return l->broken ? 0 : load_now() - began;
}

void lone_run(struct load *l)
{
	uint32_t *samples = malloc(SAMPLES * sizeof *samples), n = 0;
	if (!samples) {
		load_break(l, "no memory");
		return;
	}
	l->conns = 1;
	if (load_open(l, 0, 1) == 0) {
		while (l->phase != LOAD_DRAINING && !l->broken) {
			int64_t ns = round_trip(l);
			if (l->phase == LOAD_COUNTING && n < SAMPLES)
				samples[n++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
			load_tick(l);
		}
		load_goodbye(l, 1);
	}
	if (n) {
		qsort(samples, n, sizeof *samples, compare);
		l->p50_us = samples[n / 2] / 1e3;
		l->p99_us = samples[(uint64_t)n * 99 / 100] / 1e3;
	}
	free(samples);
}
