/* Pause: every connection sends a message each interval and waits for its reply before the next; in
 * the middle the server gets a HUP. How long did each connection wait at most, in as long a time
 * without a reload, and in the one with it? */
#include "load.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* The parts of a run. */
enum { WARMUP, QUIET, RELOAD, OVER };

struct waiting {
	int64_t due;	 /* when its next message is to leave */
	int64_t since;	 /* when the one under way left */
	int64_t most[2]; /* longest wait without the reload, and since it */
};

struct pause {
	struct load *l;
	struct waiting *of; /* for each connection */
	int part;
	int64_t part_ends;
};

static double unix_seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void next_part(struct pause *p, int64_t now)
{
	p->part++;
	p->part_ends = now + (int64_t)(p->l->seconds * 1e9);
	if (p->part == RELOAD) {
		p->l->reload_at = unix_seconds();
		if (kill(p->l->pid, SIGHUP))
			load_break(p->l, "the server has gone");
	}
}

/* A wait counts for the part in which it ends: one that began before the HUP may be long because of
 * it. What ends behind the last part, too, has waited since the reload. */
static void take(struct pause *p, struct client *c)
{
	struct waiting *w = &p->of[c->id];
	if (c->late_len)
		load_flush(p->l, c);
	if (!load_take(p->l, c, c->id))
		return;
	int64_t waited = load_now() - w->since, *most = &w->most[p->part > QUIET];
	if (p->part > WARMUP && waited > *most)
		*most = waited;
}

static void send_due(struct pause *p, int64_t now)
{
	int64_t interval = (int64_t)p->l->interval_ms * 1000000;
	for (uint32_t i = 0; i < p->l->conns; i++) {
		struct client *c = &p->l->clients[i];
		if (c->sent != c->got || now < p->of[i].due)
			continue;
		p->of[i].since = now;
		while (p->of[i].due <= now)
			p->of[i].due += interval;
		load_send(p->l, c, 1);
	}
}

static uint32_t under_way(const struct load *l)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < l->conns; i++)
		n += l->clients[i].sent != l->clients[i].got;
	return n;
}

static void turns(struct pause *p)
{
	struct load *l = p->l;
	int64_t heard = load_now();
	while (!l->broken) {
		int64_t now = load_now();
		if (p->part < OVER && now >= p->part_ends)
			next_part(p, now);
		if (p->part < OVER)
			send_due(p, now);
		else if (!under_way(l))
			return;
		int n = epoll_wait(l->epoll, l->events, LOAD_EVENTS, 1);
		for (int i = 0; i < n; i++)
			take(p, l->events[i].data.ptr);
		if (n > 0 || !under_way(l))
			heard = now;
		else if (now - heard > (int64_t)l->patience_ms * 1000000) {
			l->lost += under_way(l);
			load_break(l, "replies are missing");
		}
	}
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static struct load_gaps judge(const struct pause *p, int which, int64_t *sorted)
{
	uint32_t n = p->l->conns;
	for (uint32_t i = 0; i < n; i++)
		sorted[i] = p->of[i].most[which];
	qsort(sorted, n, sizeof *sorted, compare);
	return (struct load_gaps){(double)sorted[n / 2] / 1e6, (double)sorted[n - 1] / 1e6};
}

void pause_run(struct load *l)
{
	struct pause p = {.l = l, .of = calloc(l->conns, sizeof *p.of), .part = WARMUP};
	int64_t *sorted = calloc(l->conns, sizeof *sorted);
	if (!p.of || !sorted)
		load_break(l, "no memory");
	else if (load_open(l, 0, l->conns) == 0) {
		int64_t now = load_now();
		for (uint32_t i = 0; i < l->conns; i++)
			p.of[i].due = now + (int64_t)l->interval_ms * 1000000 * i / l->conns;
		p.part_ends = now + (int64_t)(l->warmup * 1e9);
		turns(&p);
		l->ended_at = unix_seconds();
		l->quiet = judge(&p, 0, sorted);
		l->reload = judge(&p, 1, sorted);
		load_goodbye(l, l->conns);
	}
	free(sorted);
	free(p.of);
}
