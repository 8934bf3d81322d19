/* Fan-out: client 0 publishes into a room, clients 1 to `conns` are its members. Each member must
 * receive every message once and in order; `depth` broadcasts are under way at a time. The unit is
 * a delivery. */
#include "load.h"

enum { RING = 65536 };
enum { CALLER = 0xca11 << 8 }; /* no client has this number */
enum { ANY_CALL, LAST_CALL };

struct fanout {
	uint32_t seen[RING]; /* how many members have a message, by its number */
	uint32_t done;	     /* messages that all members have */
	uint32_t heard[2];   /* how many members heard a call of each kind */
};

static void publish(struct load *l, const struct fanout *f)
{
	struct client *p = &l->clients[0];
	uint32_t under_way = p->sent - f->done;
	if (under_way < l->depth)
		load_send(l, p, l->depth - under_way);
}

static void count(struct load *l, struct fanout *f, struct client *c)
{
	uint32_t from = c->got, n = load_take(l, c, 0);
	l->units += n;
	for (uint32_t i = 0; i < n; i++)
		f->seen[(from + i) % RING]++;
	while (f->done != l->clients[0].sent && f->seen[f->done % RING] == l->conns)
		f->seen[f->done++ % RING] = 0;
}

/* Where the publisher has a path of its own, what it hears is about its messages. */
static void hear_answers(struct load *l)
{
	struct client *c = &l->clients[0];
	struct client_frame frame;
	int r = client_read(c, &l->in);
	while (r > 0 && client_take_frame(c, &l->in, &frame) > 0)
		if (frame.opcode == CLIENT_CLOSE)
			r = -1;
	if (r < 0)
		load_break(l, "the server closed the publisher's connection");
	if (r > 0)
		client_keep(c, &l->in);
}

/* Else the publisher is in the room as well; a server that sends it its own message is wrong. */
static void read_publisher(struct load *l)
{
	if (l->publisher)
		hear_answers(l);
	else if (load_take(l, &l->clients[0], CALLER))
		load_break(l, "the publisher received a message of the room");
}

static void call(struct load *l, uint32_t kind)
{
	message_build(client_put_space(&l->out, l->size), l->size, CALLER, kind);
	client_put_frame(&l->clients[0], &l->out, l->opcode, l->size);
	load_flush(l, &l->clients[0]);
}

static void hear(struct load *l, struct fanout *f, struct client *c)
{
	struct client_frame frame;
	uint32_t kind;
	int r = client_read(c, &l->in);
	if (r < 0)
		load_break(l, "the server closed a connection");
	while (r > 0 && client_take_frame(c, &l->in, &frame) > 0) {
		enum message_verdict v =
			message_check(frame.data, frame.len, l->size, CALLER, ANY_CALL, &kind);
		if (c->id == 0 || v == MESSAGE_WRONG || v == MESSAGE_REPEATED) {
			l->wrong++;
			continue;
		}
		f->heard[kind] += !(c->state & (1 << kind));
		c->state |= (uint8_t)(1 << kind);
	}
	if (r > 0)
		client_keep(c, &l->in);
}

/* A member counts from when its open is settled, which a server may do after the 101. So the
 * publisher calls until everybody heard it, then once more; who hears the last call hears
 * everything behind it, and no earlier call is on its way any more. */
static void rally(struct load *l, struct fanout *f)
{
	int64_t end = load_now() + (int64_t)l->patience_ms * 1000000;
	uint32_t kind = ANY_CALL;
	call(l, kind);
	while (f->heard[LAST_CALL] < l->conns && !l->broken) {
		int n = epoll_wait(l->epoll, l->events, LOAD_EVENTS, 100);
		for (int i = 0; i < n; i++) {
			struct client *c = l->events[i].data.ptr;
			if (c->id == 0 && l->publisher)
				hear_answers(l);
			else
				hear(l, f, c);
		}
		if (kind == ANY_CALL && f->heard[kind] == l->conns)
			call(l, kind = LAST_CALL);
		else if (kind == ANY_CALL && n == 0)
			call(l, kind);
		if (load_now() > end)
			load_break(l, "a member of the room hears nothing");
	}
}

static void lose(struct load *l)
{
	for (uint32_t i = 1; i <= l->conns; i++)
		l->lost += l->clients[0].sent - l->clients[i].got;
	load_break(l, "deliveries are missing");
}

void fanout_run(struct load *l)
{
	static struct fanout f;
	if (l->depth >= RING || load_open(l, 0, l->conns + 1))
		return;
	rally(l, &f);
	if (l->broken)
		return;
	load_tick(l);
	publish(l, &f);
	while (l->phase != LOAD_DRAINING || f.done != l->clients[0].sent) {
		int n = load_wait(l);
		if (n <= 0) {
			lose(l);
			return;
		}
		for (int i = 0; i < n; i++) {
			struct client *c = l->events[i].data.ptr;
			if (c->id == 0 && (l->events[i].events & EPOLLOUT))
				load_flush(l, c);
			if (c->id == 0)
				read_publisher(l);
			else
				count(l, &f, c);
		}
		load_tick(l);
		if (l->phase != LOAD_DRAINING)
			publish(l, &f);
	}
	load_goodbye(l, l->conns + 1);
}
