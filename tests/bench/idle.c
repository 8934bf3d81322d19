/* Idle: what a connection costs in memory that does nothing, and one that did something and then
 * rests. */
#include "load.h"

#include <time.h>

/* The first connections make a server build what it needs once; they are not counted. */
enum { FIRST = 100 };

/* Garbage collectors and allocators give memory back some time after; waits until the figure stands
 * still. */
static int64_t settled(struct load *l)
{
	int64_t last = -1;
	int still = 0;
	for (int i = 0; i < 50 && still < 5; i++) {
		struct timespec t = {.tv_nsec = 100000000};
		nanosleep(&t, NULL);
		int64_t now = probe_memory(&l->probe);
		still = now == last ? still + 1 : 0;
		last = now;
	}
	if (last < 0)
		load_break(l, "the server has gone");
	return last;
}

/* One echo on each of the clients [from, to), at most 100 under way. */
static void touch(struct load *l, uint32_t from, uint32_t to)
{
	uint32_t next = from, done = from;
	while (done < to && !l->broken) {
		for (; next < to && next - done < FIRST; next++)
			load_send(l, &l->clients[next], 1);
		int n = load_wait(l);
		if (n <= 0) {
			l->lost += next - done;
			load_break(l, "replies are missing");
		}
		for (int i = 0; i < n; i++) {
			struct client *c = l->events[i].data.ptr;
			done += load_take(l, c, c->id);
		}
	}
}

void idle_run(struct load *l)
{
	if (l->conns <= FIRST) {
		load_break(l, "idle needs more connections");
		return;
	}
	double counted = l->conns - FIRST;
	if (load_open(l, 0, FIRST))
		return;
	touch(l, 0, FIRST);
	int64_t before = settled(l);
	if (load_open(l, FIRST, l->conns))
		return;
	int64_t idle = settled(l);
	touch(l, FIRST, l->conns);
	int64_t used = settled(l);
	load_goodbye(l, l->conns);
	l->idle_bytes = (double)(idle - before) / counted;
	l->used_bytes = (double)(used - before) / counted;
}
