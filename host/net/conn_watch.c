/* What a conn waits for at its socket, and why nothing is read from it. */
#include "net/conn_parts.h"

static unsigned conn_watch_wanted(const struct conn *c)
{
	bool quiet = conn_rest_is_quiet(c);
	bool later = c->pipelined || (conn_has_rest(c) && !quiet); /* in the next turn */
	unsigned want = c->out.stalled || later ? CONN_WANT_WRITE : 0;
	switch ((enum conn_state)c->state) {
	case CONN_OPEN:
		if (c->paused != 0)
			return want != 0 || c->hup_seen ? want : CONN_WANT_HUP;
		return want | (c->eof ? 0 : CONN_WANT_READ);
	case CONN_PROXY:
	case CONN_HEAD:
	case CONN_BODY:
	case CONN_CLOSING:
	case CONN_LINGER:
		return want | (c->eof ? 0 : CONN_WANT_READ);
	case CONN_ASKING:
		return want | CONN_WANT_HUP;
	default:
		return quiet ? want | CONN_WANT_HUP : want;
	}
}

void conn_watch(struct conn *c)
{
	if (c->more != NULL && conn_end_pending(c))
		conn_mark_dirty(c);
	unsigned want = conn_watch_wanted(c), before = c->interest;
	if (want == before || c->state == CONN_DEAD)
		return;
	c->interest = (uint16_t)want;
	if (!poller_set(&c->conns->poller, c->fd, c, before, want)) {
		c->interest = (uint16_t)before;
		conn_lost(c, "no memory to watch it");
	}
}

void conn_pause(struct conn *c, enum conn_pause why, bool pause)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->hold(c, why, pause);
		return;
	}
	if (pause) {
		c->paused |= (uint8_t)why;
	} else {
		c->paused &= (uint8_t)~why;
		conn_consume_stash(c);
	}
	conn_watch(c);
	conn_budget_weigh(c);
}

void conn_answer_later(struct conn *c)
{
	conn_check(c);
	conn_set_state(c, CONN_ASKING);
	c->released = false;
	conn_wait(c, CONN_WAIT_ASK);
	conn_watch(c);
}
