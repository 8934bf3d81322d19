/* Echo: every connection keeps `depth` messages under way; each reply must be what it sent, in
 * order. */
#include "load.h"

static uint64_t outstanding(const struct load *l)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < l->conns; i++)
		sum += l->clients[i].sent - l->clients[i].got;
	return sum;
}

/* All replies of a batch are read before the next messages leave, so that the server too finds many
 * connections ready at once. */
static void read_batch(struct load *l, int n)
{
	for (int i = 0; i < n; i++) {
		struct client *c = l->events[i].data.ptr;
		if (l->events[i].events & EPOLLOUT)
			load_flush(l, c);
		c->credit = load_take(l, c, c->id);
		l->units += c->credit;
		if (c->credit)
			l->turn[l->turns++] = c;
	}
}

void echo_run(struct load *l)
{
	if (load_open(l, 0, l->conns))
		return;
	for (uint32_t i = 0; i < l->conns; i++)
		load_send(l, &l->clients[i], l->depth);
	while (l->phase != LOAD_DRAINING || outstanding(l)) {
		int n = load_wait(l);
		if (n <= 0) {
			l->lost += outstanding(l);
			load_break(l, "replies are missing");
			return;
		}
		read_batch(l, n);
		/* the warm-up starts with the first reply: a worker may have to start before it */
		load_tick(l);
		for (int i = 0; i < l->turns && l->phase != LOAD_DRAINING; i++)
			load_send(l, l->turn[i], l->turn[i]->credit);
	}
	load_goodbye(l, l->conns);
}
