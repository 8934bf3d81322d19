/* What conns wait for: each stands in the list of it, and it is known whether its peer takes what
 * it was sent meanwhile. What is done when the time is over: conn_timeout.c. */
#include "base/check.h"
#include "net/conn_parts.h"
#include "net/uptake.h"

/* --- lists ------------------------------------------------------------------------------------ */

void conn_unwait(struct conn *c)
{
	struct conn_list *list = &c->conns->waits[c->waiting];
	if (c->waiting != CONN_WAIT_NONE) {
		CHECK(list->n > 0);
		TAILQ_REMOVE(&list->list, c, wait);
		list->n--;
	}
	c->waiting = CONN_WAIT_NONE;
}

void conns_set_tick(struct conns *s, uint64_t at)
{
	if (s->tick_at != 0 && s->tick_at <= at)
		return;
	uint64_t now = loop_now(s->loop);
	if (loop_timer_set(&s->tick, at > now ? at - now : 1))
		s->tick_at = at;
}

void conn_wait(struct conn *c, enum conn_wait which)
{
	struct conns *s = c->conns;
	CHECK(which > CONN_WAIT_NONE && which < CONN_WAITS && c->state != CONN_DEAD);
	struct conn_list *list = &s->waits[which];
	if (c->more != NULL && c->waiting != which)
		c->more->taken = 0;
	conn_unwait(c);
	c->waiting = (uint8_t)which;
	c->since = (uint32_t)loop_now(s->loop);
	TAILQ_INSERT_TAIL(&list->list, c, wait);
	list->n++;
	if (list->after_ms != 0) /* 0: it waits for ever, and is in the list to be found */
		conns_set_tick(s, loop_now(s->loop) + list->after_ms);
}

/* --- what the peer takes ---------------------------------------------------------------------- */

/* Bytes that have not left, and those that the kernel has and the peer does not. */
uint64_t conn_waiting(const struct conn *c)
{
	return c->out.bytes + (conn_tls(c) != NULL ? tls_held(conn_tls(c)) : 0);
}

void conn_watch_uptake(struct conn *c)
{
	struct conn_more *more = conn_more(c);
	if (more == NULL)
		return;
	more->taken = uptake_count(c->fd, conn_waiting(c));
	more->taken_at = (uint32_t)loop_now(c->conns->loop);
}

bool conn_has_unsent(const struct conn *c)
{
	return conn_waiting(c) > 0 || uptake_held(c->fd) > (c->state == CONN_LINGER && !c->fin);
}

/* Bytes that leave are life. Has the peer taken enough since it was last seen to? When this is
 * asked for the first time it is not known. */
bool conn_took(struct conn *c)
{
	uint64_t before = c->more != NULL ? c->more->taken : 0;
	if (before != 0) {
		uint64_t least = (uint64_t)CONN_PACE *
				 ((uint32_t)loop_now(c->conns->loop) - c->more->taken_at) / 1000;
		if ((int64_t)(uptake_count(c->fd, conn_waiting(c)) - before) <= (int64_t)least)
			return false;
	}
	conn_watch_uptake(c);
	return before != 0;
}

/* Is it worth while to wait longer for the peer to take what waits for it? A reader that has a
 * large buffer tells the kernel nothing until a part of that is free again, so it may be seen to
 * take nothing for a while: for twice `ms`, after which this is asked. */
bool conn_moves(struct conn *c, uint32_t ms)
{
	bool unsent = conn_has_unsent(c), known = c->more != NULL && c->more->taken != 0;
	if ((known || unsent) && conn_took(c))
		return true;
	return unsent && c->more != NULL &&
	       (uint32_t)loop_now(c->conns->loop) - c->more->taken_at < 2 * ms;
}

/* It has limits.close_ms from now, and again whenever that is over and the peer has taken enough of
 * what waits for it meanwhile. */
void conn_wait_close(struct conn *c)
{
	if (c->out.stalled)
		conn_watch_uptake(c);
	else if (c->more != NULL)
		c->more->taken = 0;
	conn_wait(c, CONN_WAIT_CLOSE);
}
