/* Churn: connect, upgrade, one echo, close handshake, and again, on `conns` connections at a time.
 * The unit is such a cycle. */
#include "load.h"

#include <errno.h>
#include <string.h>

enum step { UPGRADING, ECHOING, CLOSING, ENDING };

static void begin(struct load *l, struct client *c)
{
	/* goes on counting, so that no two cycles of a connection send the same */
	uint32_t cycle = c->sent;
	uint32_t source = (c->id + cycle) % l->sources;
	if (client_open(c, l->port, l->path, (int)source, l->squeeze)) {
		load_break(l, strerror(errno));
		return;
	}
	c->state = UPGRADING;
	load_watch(l, c);
}

static void say_goodbye(struct load *l, struct client *c)
{
	memcpy(client_put_space(&l->out, 2), "\x03\xe8", 2);
	client_put_frame(c, &l->out, CLIENT_CLOSE, 2);
	load_flush(l, c);
	c->state = CLOSING;
}

static void take_101(struct load *l, struct client *c)
{
	int r = load_take_upgrade(l, c);
	if (r < 0)
		load_break(l, "upgrade refused or wrong");
	if (r <= 0)
		return;
	load_send(l, c, 1);
	c->state = ECHOING;
}

static void take_frame(struct load *l, struct client *c, const struct client_frame *f)
{
	uint32_t seq;
	if (c->state == ECHOING && f->opcode == l->opcode &&
	    message_check(f->data, f->len, l->size, c->id, c->got, &seq) == MESSAGE_RIGHT) {
		c->got++;
		say_goodbye(l, c);
	} else if (c->state == CLOSING && f->opcode == CLIENT_CLOSE && f->len >= 2 &&
		   memcmp(f->data, "\x03\xe8", 2) == 0) {
		c->state = ENDING;
	} else {
		l->wrong++;
		load_break(l, "a frame that is not due");
	}
}

/* 1: the cycle is complete. */
static int step(struct load *l, struct client *c)
{
	struct client_frame f;
	int r = client_read(c, &l->in);
	if (r < 0) {
		if (c->state != ENDING)
			load_break(
				l,
				"the server closed a connection before the close handshake was done");
		client_close(c);
		return 1;
	}
	if (r == 0)
		return 0;
	if (c->state == UPGRADING)
		take_101(l, c);
	while (c->state != UPGRADING && (r = client_take_frame(c, &l->in, &f)) > 0)
		take_frame(l, c, &f);
	if (r < 0)
		load_break(l, "not a frame that a server may send");
	client_keep(c, &l->in);
	if (!c->transport.ended || c->state != ENDING)
		return 0;
	client_close(c);
	return 1;
}

void churn_run(struct load *l)
{
	uint32_t open = l->conns;
	for (uint32_t i = 0; i < l->conns; i++) {
		l->clients[i].id = i;
		begin(l, &l->clients[i]);
	}
	while (open) {
		int n = load_wait(l);
		if (n <= 0) {
			l->lost += open;
			load_break(l, "cycles do not complete");
			return;
		}
		for (int i = 0; i < n; i++)
			if (step(l, l->events[i].data.ptr))
				l->turn[l->turns++] = l->events[i].data.ptr;
		l->units += (uint64_t)l->turns;
		/* the warm-up starts with the first answer: a worker may have to start before it */
		load_tick(l);
		for (int i = 0; i < l->turns; i++) {
			if (l->phase == LOAD_DRAINING)
				open--;
			else
				begin(l, l->turn[i]);
		}
	}
}
