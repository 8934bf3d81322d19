/* Rooms: what joining and leaving a room costs, and the end of a connection that is in 1,000, while
 * there are `rooms` others. The server is the host with plugins/rooms.c, which does what its
 * clients say and answers with their words. */
#include "load.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { HOLDERS = 16, BATCH = 1000, PREPARE = 20000, ENDS = 20, WORDS = 64 };

static void say(struct load *l, struct client *c, const char *verb, uint32_t first, uint32_t count)
{
	char text[WORDS];
	int n = snprintf(text, sizeof text, "%s %u %u", verb, first, count);
	memcpy(client_put_space(&l->out, (size_t)n), text, (size_t)n);
	client_put_frame(c, &l->out, CLIENT_TEXT, (size_t)n);
	load_flush(l, c);
}

/* The answer has to be what was said, and it comes when it is done. */
static void hear(struct load *l, struct client *c, const char *verb, uint32_t first, uint32_t count)
{
	char text[WORDS];
	struct client_frame f;
	size_t n = (size_t)snprintf(text, sizeof text, "%s %u %u", verb, first, count);
	while (!l->broken) {
		if (load_wait(l) <= 0) {
			l->lost++;
			load_break(l, "an answer is missing");
			return;
		}
		int r = client_read(c, &l->in);
		if (r > 0 && client_take_frame(c, &l->in, &f) > 0) {
			if (f.opcode != CLIENT_TEXT || f.len != n || memcmp(f.data, text, n) != 0)
				l->wrong++;
			client_keep(c, &l->in);
			return;
		}
		if (r < 0)
			load_break(l, "the server closed a connection");
		client_keep(c, &l->in);
	}
}

static void tell(struct load *l, struct client *c, const char *verb, uint32_t first, uint32_t count)
{
	say(l, c, verb, first, count);
	hear(l, c, verb, first, count);
}

static int64_t server_ns(struct load *l)
{
	int64_t root, ns = probe_cpu_ns(&l->probe, 0, &root);
	if (ns < 0)
		load_break(l, "the server has gone");
	return ns;
}

/* Each room is held by one connection, so that it stays. */
static void prepare(struct load *l)
{
	int64_t before = probe_memory(&l->probe);
	for (uint32_t done = 0, turn = 0; done < l->rooms && !l->broken; turn++) {
		uint32_t n = l->rooms - done < PREPARE ? l->rooms - done : PREPARE;
		tell(l, &l->clients[turn % HOLDERS], "joins", done, n);
		done += n;
	}
	if (l->rooms >= BATCH) /* pages are too coarse for fewer */
		l->room_bytes = (double)(probe_memory(&l->probe) - before) / l->rooms;
}

/* Joins and leaves rooms that are new and vanish again, and, where there are enough, rooms that
 * stay. */
static void join_and_leave(struct load *l, struct client *c)
{
	int64_t join[2] = {0}, leave[2] = {0}, end = load_now() + (int64_t)(l->seconds * 1e9);
	uint64_t n = 0;
	int kinds = l->rooms >= BATCH ? 2 : 1;
	for (uint32_t i = 0; load_now() < end && !l->broken; i++, n += BATCH) {
		for (int kind = 0; kind < kinds; kind++) {
			/* Spread over all of them by a step that has no common divisor with powers
			 * of ten. */
			uint32_t first = kind == 0 ? l->rooms
						   : (uint32_t)((uint64_t)i * 7919 * BATCH %
								(l->rooms - BATCH + 1));
			int64_t at[3];
			at[0] = server_ns(l);
			tell(l, c, "joins", first, BATCH);
			at[1] = server_ns(l);
			tell(l, c, "leaves", first, BATCH);
			at[2] = server_ns(l);
			join[kind] += at[1] - at[0];
			leave[kind] += at[2] - at[1];
		}
	}
	if (!n)
		return;
	l->join_us = (double)join[0] / 1e3 / (double)n;
	l->leave_us = (double)leave[0] / 1e3 / (double)n;
	l->join_there_us = (double)join[1] / 1e3 / (double)n;
	l->leave_there_us = (double)leave[1] / 1e3 / (double)n;
}

/* Connections that are in `in` rooms each go with a close handshake; microseconds of the server for
 * one of them. */
static double end_some(struct load *l, uint32_t in)
{
	struct client *mine = l->clients;
	l->clients = &mine[HOLDERS + 1];
	if (load_open(l, 0, ENDS) == 0) {
		for (uint32_t i = 0; i < ENDS && in; i++)
			tell(l, &l->clients[i], "joins", l->rooms + i * in, in);
		int64_t before = server_ns(l);
		load_goodbye(l, ENDS);
		/* What the server does behind the last byte: until its clock stands still. */
		for (int64_t last = -1, now; (now = server_ns(l)) != last; last = now)
			nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
		l->clients = mine;
		return (double)(server_ns(l) - before) / 1e3 / ENDS;
	}
	l->clients = mine;
	return 0;
}

void rooms_run(struct load *l)
{
	if (load_open(l, 0, HOLDERS + 1))
		return;
	prepare(l);
	join_and_leave(l, &l->clients[HOLDERS]);
	double without = end_some(l, 0), with = end_some(l, BATCH);
	l->end_us = with - without;
	load_goodbye(l, HOLDERS + 1);
}
