/* The close handshake, as it is asked for from above. */
#include <stdlib.h>

#include "net/conn_parts.h"

/* Our close frame is queued: the peer's is awaited. */
static void conn_close_await_close(struct conn *c)
{
	conn_set_state(c, CONN_CLOSING);
	if (c->eof) {
		conn_finish(c);
		return;
	}
	conn_wait_close(c);
	conn_budget_unwait(c);
	c->paused = 0;
	conn_consume_stash(c);
	conn_watch(c);
	conn_budget_weigh(c);
}

static void conn_close_say_farewell(struct conn *c)
{
	struct conn_farewell *f = c->more->farewell;
	bool fault = f->fault;
	c->more->farewell = NULL;
	conn_queue_close(c, f->code, f->reason, f->len);
	free(f);
	if (c->state == CONN_DEAD)
		return;
	if (!fault) {
		conn_close_await_close(c);
		return;
	}
	conn_set_state(c, CONN_LINGER);
	conn_finish(c);
}

void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->close(c, code, reason, len, urgent);
		return;
	}
	/* the peer was faster; its close frame decides the code */
	if (c->state == CONN_CLOSED && urgent)
		conn_echo_close(c);
	if (c->state != CONN_OPEN || c->ended)
		return;
	c->ended = true;
	if (!urgent && !memory_limit_gives_way(c) &&
	    conn_close_later(c, code, reason, len, false)) {
		conn_budget_weigh(c);
		return;
	}
	if (urgent)
		outq_cut(&c->out, &c->conns->spare);
	if (memory_limit_gives_way(c) && c->more->memory_limit->cut_short) {
		conn_kill(c);
		return;
	}
	conn_queue_close(c, code, reason, len);
	if (c->state == CONN_DEAD)
		return;
	/* what it sends is not looked at any more, and what it has sent is forgotten */
	if (memory_limit_gives_way(c)) {
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
		return;
	}
	conn_close_await_close(c);
}

void conn_echo_close(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		c->conns->remote->echo_close(c);
	if (c->state != CONN_CLOSED && c->state != CONN_LEAVING)
		return;
	if (c->more != NULL && c->more->farewell != NULL) {
		conn_close_say_farewell(c);
		return;
	}
	if (c->eof) { /* there was no close frame to echo */
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
		return;
	}
	conn_set_state(c, CONN_CLOSING);
	c->close_exchanged = true;
	/* 5.5.1: the echo carries the status code that came. */
	conn_queue_close(c, c->close_code == CLOSE_NONE ? 0 : c->close_code, NULL, 0);
	if (c->state != CONN_DEAD)
		conn_finish(c);
}
