/* Slow: client 0 publishes into a room at a steady pace, clients 1 to `conns` are members that
 * read, and `stopped` more are members that read nothing until it is over. How long does a message
 * take to those who read, and what becomes of the others? */
#include "load.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { SLOW_RING = 1 << 16, SLOW_STEP_NS = 10000, SLOW_STEPS = 1 << 20 };

struct slow {
	int64_t sent_at[SLOW_RING]; /* by the message's number */
	uint32_t steps[SLOW_STEPS]; /* how many deliveries took so many steps */
	uint64_t samples;
	int64_t next; /* when to send */
};

static void count(struct load *l, struct slow *s, struct client *c)
{
	uint32_t from = c->got, n = load_take(l, c, 0);
	int64_t now = load_now();
	l->units += n;
	for (uint32_t i = 0; i < n && l->phase != LOAD_WARMING; i++) {
		int64_t step = (now - s->sent_at[(from + i) % SLOW_RING]) / SLOW_STEP_NS;
		s->steps[step < SLOW_STEPS ? step : SLOW_STEPS - 1]++;
		s->samples++;
	}
}

static double percentile_us(const struct slow *s, double part)
{
	uint64_t below = 0;
	uint32_t i = 0;
	while (i < SLOW_STEPS - 1 && (below += s->steps[i]) < (uint64_t)((double)s->samples * part))
		i++;
	return (i + 1) * (SLOW_STEP_NS / 1e3);
}

/* It has no sleep in it: what is due is sent when a batch of events was read. */
static void publish(struct load *l, struct slow *s)
{
	int64_t now = load_now();
	struct client *p = &l->clients[0];
	if (s->next == 0)
		s->next = now;
	if (l->phase == LOAD_DRAINING || now < s->next)
		return;
	s->next += (int64_t)l->interval_ms * 1000000;
	s->sent_at[p->sent % SLOW_RING] = now;
	load_send(l, p, 1);
}

/* One batch of events, or until the next message is due. */
static int wait_a_little(struct load *l, const struct slow *s)
{
	int64_t left = (s->next - load_now()) / 1000000;
	int n = epoll_wait(l->epoll, l->events, LOAD_EVENTS,
			   left > 0 && l->phase != LOAD_DRAINING ? (int)left + 1 : 0);
	return n < 0 ? 0 : n;
}

static uint32_t missing(const struct load *l)
{
	uint32_t n = 0;
	for (uint32_t i = 1; i <= l->conns; i++)
		n += l->clients[0].sent - l->clients[i].got;
	return n;
}

static void measure(struct load *l, struct slow *s)
{
	int64_t drained_by = 0;
	while (!l->broken && (l->phase != LOAD_DRAINING || missing(l) > 0)) {
		load_tick(l);
		publish(l, s);
		int n = wait_a_little(l, s);
		for (int i = 0; i < n; i++) {
			struct client *c = l->events[i].data.ptr;
			if (c->id == 0 && (l->events[i].events & EPOLLOUT))
				load_flush(l, c);
			if (c->id > 0)
				count(l, s, c);
			else if (load_take(l, c, 0))
				load_break(l, "the publisher received a message of the room");
		}
		if (l->phase == LOAD_DRAINING && drained_by == 0)
			drained_by = load_now() + (int64_t)l->patience_ms * 1000000;
		if (drained_by > 0 && load_now() > drained_by) {
			l->lost += missing(l);
			load_break(l, "deliveries are missing");
		}
	}
}

/* --- those that do not read ------------------------------------------------------------------- */

static int open_stopped(struct load *l)
{
	transport_receive(4096);
	for (uint32_t i = 0; i < l->stopped; i++) {
		struct client *c = &l->clients[l->conns + 1 + i];
		if (load_open(l, l->conns + 1 + i, l->conns + 2 + i))
			return -1;
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->transport.fd, NULL);
	}
	return 0;
}

/* 1: goes on; 0: it has the newest message; -1: it was closed, with 1013 or, if it did not even
 * read that, without. */
static int hear_stopped(struct load *l, struct client *c)
{
	struct client_frame f;
	uint32_t seq;
	int r, open = client_read(c, &l->in) >= 0;
	while (open && (r = client_take_frame(c, &l->in, &f)) > 0 && f.opcode < CLIENT_CLOSE) {
		enum message_verdict v = message_check(f.data, f.len, l->size, 0, c->got, &seq);
		if (v == MESSAGE_WRONG || v == MESSAGE_REPEATED)
			l->wrong++;
		l->stopped_missed += v == MESSAGE_EARLY ? seq - c->got : 0;
		c->got = v == MESSAGE_EARLY ? seq + 1 : c->got + 1;
	}
	if (open && r > 0 &&
	    (f.opcode != CLIENT_CLOSE || f.len < 2 || f.data[0] != 1013 >> 8 ||
	     f.data[1] != (1013 & 255)))
		load_break(l, "one that did not read was closed with another code than 1013");
	if (open && r < 0)
		load_break(l, "not a frame that a server may send");
	int closed = !open || r > 0 || c->transport.ended;
	client_keep(c, &l->in);
	return closed ? -1 : c->got != l->clients[0].sent;
}

/* Now they read: what they have missed lies between what they get, and nothing else is wrong with
 * that. */
static void let_them_read(struct load *l)
{
	for (uint32_t i = l->conns + 1; i <= l->conns + l->stopped && !l->broken; i++) {
		struct client *c = &l->clients[i];
		const int large = 1 << 20;
		int r = 1;
		setsockopt(c->transport.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
		while (r > 0 && !l->broken) {
			struct pollfd p = {.fd = c->transport.fd, .events = POLLIN};
			if (poll(&p, 1, l->patience_ms) <= 0)
				load_break(
					l,
					"one that did not read neither gets the newest message nor is closed");
			else
				r = hear_stopped(l, c);
		}
		l->stopped_closed += r < 0;
		client_close(c);
	}
}

void slow_run(struct load *l)
{
	struct slow *s = calloc(1, sizeof *s);
	if (!s) {
		load_break(l, "no memory");
		return;
	}
	if (load_open(l, 0, l->conns + 1) == 0 && open_stopped(l) == 0)
		measure(l, s);
	if (!l->broken)
		let_them_read(l);
	if (s->samples > 0) {
		l->p50_us = percentile_us(s, 0.5);
		l->p99_us = percentile_us(s, 0.99);
	}
	if (!l->broken)
		load_goodbye(l, l->conns + 1);
	free(s);
}
