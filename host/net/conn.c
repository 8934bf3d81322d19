#include "net/conn.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "net/conn_parts.h"
#include "net/uptake.h"

unsigned conn_loop(const struct conn *c)
{
	return c->conns->shard;
}

struct conn_load conn_load(struct conn *c)
{
	if (c->conns->remote != NULL)
		return c->conns->remote->load(c);
	return (struct conn_load){.waiting = c->out.bytes,
				  .held = (uint32_t)conn_held(c),
				  .given_up = conn_given_up(c),
				  .unread = conn_unread(c),
				  .stalled = c->out.stalled};
}

bool conn_tls_facts(const struct conn *c, struct tls_facts *facts_r)
{
	const struct tls *tls = conn_tls(c);
	*facts_r = c->conns->remote != NULL ? c->conns->remote->tls_facts(c)
					    : (struct tls_facts){.version = NULL};
	if (tls != NULL)
		tls_facts(tls, facts_r);
	return facts_r->version != NULL;
}

/* --- its end ---------------------------------------------------------------------------------- */

static void conn_free_later(struct conn *c)
{
	if (c->to_free || c->state != CONN_DEAD || !c->released)
		return;
	CHECK(c->fd < 0 && c->waiting == CONN_WAIT_NONE);
	c->to_free = true;
	c->to_free_next = c->conns->to_free;
	c->conns->to_free = c;
}

void conn_tell_given_up(struct conn *c, uint32_t messages, bool gone)
{
	if (!c->released)
		c->conns->ops->gave_up(c, messages, gone);
}

void conn_drop_tls(struct conn *c)
{
	if (c->more != NULL)
		tls_free(&c->more->tls);
}

void conn_drop_rest(struct conn *c)
{
	struct answer_rest *rest = c->more != NULL ? c->more->rest : NULL;
	if (rest == NULL)
		return;
	if (rest->fd >= 0)
		close(rest->fd);
	else
		rest->source.free(rest->source.ctx);
	free(rest);
	c->more->rest = NULL;
	conn_less(c);
}

void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	conn_set_state(c, CONN_DEAD);
	client_addr_leave(c);
	conn_unwait(c);
	poller_set(&c->conns->poller, c->fd, c, c->interest, 0);
	close(c->fd);
	c->fd = -1;
	memory_limit_forget(c);
	conn_budget_leave(c);
	if (outq_gives_up(&c->out))
		conn_tell_given_up(c, conn_given_up(c), true);
	outq_clear(&c->out, &c->conns->spare);
	conn_drop_rest(c);
	conn_body_drop(c);
	conn_drop_tls(c);
	if (c->more != NULL) {
		frame_reset(&c->more->reader);
		conn_stash_free(c->more->stash);
		conn_set_stash(c, NULL);
		free(c->more->header);
		c->more->header = NULL;
		free(c->more->farewell);
		c->more->farewell = NULL;
		CHECK(c->conns->outstaying >= c->more->outstays);
		c->conns->outstaying -= c->more->outstays;
		c->more->outstays = false;
	}
	conn_unpack(c);
	if (c->conns->client_addr.addr_limits != NULL)
		addr_limits_give_socket(c->conns->client_addr.addr_limits);
	CHECK(c->conns->count > 0 && c->out.bytes == 0);
	c->conns->count--;
	c->conns->loop->stats.sockets--;
	conns_trim_later(c->conns);
	conn_free_later(c);
	if (c->conns->freed != NULL)
		c->conns->freed(c->conns->freed_ctx);
}

void conn_abort(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->abort(c);
		return;
	}
	c->ended = true;
	conn_kill(c);
}

void conn_cut(struct conn *c, const char *why)
{
	uint64_t waiting = conn_waiting(c), held = uptake_held(c->fd);
	char remote[ADDRESS_TEXT];
	if (conn_has_unsent(c))
		LOG(c->conns->loop->log, LOG_NOTICE, LOG_CONN_SLOW, why,
		    LOG_STR("remote", conn_remote_text(c, remote)), LOG_U64("waiting", waiting),
		    LOG_U64("unacknowledged", held));
	conn_abort(c);
}

void conn_release(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->release(c);
		return;
	}
	c->released = true;
	conn_free_later(c);
}

bool conn_answering(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		return c->conns->remote->answering(c);
	if (c->state == CONN_DEAD)
		return false;
	if (c->state == CONN_ASKING)
		c->released = true;
	conn_set_state(c, CONN_ANSWER);
	conn_wait(c, CONN_WAIT_ANSWER);
	return true;
}

/* --- its beginning ---------------------------------------------------------------------------- */

/* Room for all, so that marking one can not fail. */
static bool conns_reserve_dirty(struct conns *s)
{
	if (s->living < s->cap_dirty)
		return true;
	uint32_t cap = s->cap_dirty == 0 ? 64 : 2 * s->cap_dirty;
	struct conn **dirty = malloc(cap * sizeof(struct conn *));
	if (dirty == NULL)
		return false;
	for (uint32_t i = 0; i < s->n_dirty; i++)
		dirty[i] = s->dirty[(s->dirty_first + i) & (s->cap_dirty - 1)];
	free(s->dirty);
	CHECK(s->n_dirty <= cap);
	s->dirty = dirty;
	s->dirty_first = 0;
	s->cap_dirty = cap;
	return true;
}

static bool conn_begin_tls(struct conn *c, uint8_t group)
{
	struct conn_more *more = c->conns->tls != NULL ? conn_more(c) : NULL;
	if (more != NULL)
		more->tls =
			tls_new(&c->conns->loop->tls, &c->conns->loop->stats, c->conns->tls, group);
	return more != NULL && more->tls != NULL;
}

bool conn_add(struct conns *s, int fd, const struct address *remote, const struct conn_kind *kind)
{
	CHECK(loop_is_own(s->loop));
	struct conn *c = conns_reserve_dirty(s) ? malloc(sizeof *c) : NULL;
	if (c == NULL) {
		close(fd);
		return false;
	}
	*c = (struct conn){.conns = s,
			   .fd = fd,
			   .released = true,
			   .interest = CONN_WANT_READ,
			   .magic = CHECK_CONN};
	conn_set_state(c, kind->proxy ? CONN_PROXY : CONN_HEAD);
	/* A flood of TLS is not told: to say so would take a handshake for each. */
	bool ok = conn_set_remote(c, remote) &&
		  (kind->proxy ? client_addr_may_introduce(c) : client_addr_enter(c, !kind->tls)) &&
		  (!kind->tls || conn_begin_tls(c, kind->tls_group));
	if (!ok || !poller_set(&s->poller, fd, c, 0, CONN_WANT_READ)) {
		client_addr_leave(c);
		close(fd);
		conn_drop_tls(c);
		free(c->more);
		free(c);
		return false;
	}
	s->living++;
	s->count++;
	s->loop->stats.sockets++;
	s->loop->stats.accepted++;
	conn_wait(c, CONN_WAIT_HEAD);
	return true;
}
