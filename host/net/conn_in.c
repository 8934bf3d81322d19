/* What a conn receives: bytes, from the socket to heads of requests and frames. */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "net/conn_parts.h"
#include "ws/upgrade.h"

/* How frames are read of a connection that has agreed on compression. */
struct conn_unpacking {
	struct frame_limits limits;
	struct inflate inflate; /* where nothing is kept of it */
};

static const struct frame_limits *conn_in_frame_limits(const struct conn *c,
						       struct conn_unpacking *u)
{
	struct deflate_context *kept = conn_kept(c);
	if (!c->packed)
		return &c->conns->limits.frame;
	u->limits = c->conns->limits.frame;
	u->limits.inflate = kept != NULL ? &kept->inflate : &u->inflate;
	if (kept == NULL) {
		inflate_init(&u->inflate, &c->conns->deflate.inflaters, DEFLATE_BITS_MAX, false);
		u->inflate.obeys = c->obeys;
	}
	return &u->limits;
}

/* --- frames ----------------------------------------------------------------------------------- */

static void conn_in_on_control(struct conn *c, const struct frame *f)
{
	if (f->opcode == FRAME_PING && c->state == CONN_OPEN) {
		if (!conn_queue_control(c, FRAME_PONG, f->data, f->len))
			conn_lost(c, "no memory to answer a ping");
	} else if (f->opcode == FRAME_CLOSE && c->state == CONN_OPEN) {
		conn_set_state(c, CONN_CLOSED);
		c->close_code = f->code;
		conn_wait_close(c);
		conn_end(c, CONN_END_CLOSE, f->code, (struct span){(const char *)f->data, f->len},
			 NULL);
	} else if (f->opcode == FRAME_CLOSE && c->state == CONN_CLOSING) {
		conn_set_state(c, CONN_LINGER);
		c->close_exchanged = true;
		conn_finish(c);
	}
}

bool conn_measure(struct conn *c, const struct rate_limit_rule *rule, bool pings)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->measure(c, rule, pings);
		return true;
	}
	struct conn_more *more = conn_more(c);
	struct rate_limit *rate_limit = more != NULL ? malloc(sizeof *rate_limit) : NULL;
	if (rate_limit == NULL)
		return false;
	rate_limit_init(rate_limit, rule, loop_now(c->conns->loop));
	rate_limit->pings = pings;
	CHECK(more->rate_limit == NULL);
	more->rate_limit = rate_limit;
	return true;
}

/* What a handler that reads lines makes of it. */
static uint32_t conn_in_lines(const struct frame *f)
{
	uint32_t n = 1;
	const uint8_t *end = f->data + f->len;
	for (const uint8_t *at = f->data;
	     at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
		n++;
	return n;
}

/* Messages count, and pings, as each is answered; what costs nothing does not. */
static bool conn_in_takes(struct conn *c, enum frame_status status, const struct frame *f)
{
	struct rate_limit *rate_limit = c->more->rate_limit;
	uint64_t now = loop_now(c->conns->loop);
	bool counts = (status == FRAME_MESSAGE && !rate_limit->pings) ||
		      (status == FRAME_CONTROL && f->opcode == FRAME_PING);
	if (!counts || c->state != CONN_OPEN)
		return true;
	bool takes = rate_limit_take(rate_limit, now,
				     rate_limit->rule->lines && status == FRAME_MESSAGE
					     ? conn_in_lines(f)
					     : 1);
	c->conns->loop->stats.rate_dropped += !takes;
	if (!takes && rate_limit->rule->close) {
		conn_fail(c, CONN_END_LIMIT, CLOSE_POLICY,
			  "more messages than --rate-limit allows");
		return false;
	}
	uint32_t untold = rate_limit_due(rate_limit, now);
	if (untold > 0)
		c->conns->ops->dropped(c, untold);
	return takes;
}

static void conn_in_on_frame(struct conn *c, struct frame_reader *r, enum frame_status status,
			     const struct frame *f)
{
	bool measured = c->more != NULL && c->more->rate_limit != NULL;
	if (measured && !conn_in_takes(c, status, f)) {
		frame_release(r);
		return;
	}
	if (status == FRAME_MESSAGE && c->state == CONN_OPEN) {
		c->conns->loop->stats.messages_in++;
		if (c->metered)
			conn_count_in(c, f->len);
		c->conns->reader = r;
		c->conns->ops->message(c, f->opcode, f->data, f->len);
		c->conns->reader = NULL;
	} else if (status == FRAME_CONTROL) {
		conn_in_on_control(c, f);
	} else if (status == FRAME_BAD) {
		c->conns->loop->stats.protocol_errors++;
		conn_fail(c, CONN_END_PROTOCOL, f->code, f->why);
	}
	frame_release(r); /* a quiet connection holds nothing */
}

/* Is what comes frames that will be looked at, now or later? */
static bool conn_in_has_frames(const struct conn *c)
{
	return c->state == CONN_OPEN || c->state == CONN_LEAVING || c->state == CONN_CLOSING;
}

void *conn_take(struct conn *c, uint8_t **data_r, size_t *size_r)
{
	if (c->conns->remote != NULL)
		return c->conns->remote->take(c, data_r, size_r);
	return c->conns->reader != NULL ? frame_take(c->conns->reader, data_r, size_r) : NULL;
}

/* Only a connection that stopped in the middle of something has a reader of its own. */
static void conn_in_keep_reader(struct conn *c, struct frame_reader *r)
{
	bool goes_on = conn_in_has_frames(c);
	if (goes_on && frame_at_rest(r)) {
		if (c->more != NULL)
			conn_less(c);
		return;
	}
	if (goes_on && conn_more(c) != NULL) {
		c->more->reader = *r;
		return;
	}
	frame_reset(r);
	if (goes_on)
		conn_lost(c, "no memory for its input");
}

/* Keeps where it stopped in the middle of a compressed message, and what its client may refer to
 * though it should not. */
static void conn_in_keep_inflate(struct conn *c, struct conn_unpacking *u)
{
	struct deflate_context *kept = conn_kept(c);
	if (u->limits.inflate == &u->inflate) {
		c->obeys = u->inflate.obeys;
		if (!inflate_has_state(&u->inflate))
			return;
		bool goes_on = conn_in_has_frames(c), half = u->inflate.compressed;
		kept = goes_on && conn_more(c) != NULL ? deflate_context_keep(&u->inflate) : NULL;
		if (kept != NULL) {
			c->more->deflate = kept;
			return;
		}
		inflate_reset(&u->inflate);
		if (goes_on && half)
			conn_lost(c, "no memory for its input");
	} else if (kept != NULL && deflate_context_is_done(kept)) {
		c->obeys = kept->inflate.obeys;
		deflate_context_free(&c->conns->deflate, &c->more->deflate);
	}
}

static size_t conn_in_consume_frames(struct conn *c, uint8_t *data, size_t len)
{
	size_t left = len;
	struct frame f;
	struct conn_unpacking u;
	const struct frame_limits *limits = conn_in_frame_limits(c, &u);
	struct frame_reader r = {.part = NULL};
	if (c->more != NULL) {
		r = c->more->reader;
		c->more->reader = (struct frame_reader){.part = NULL};
	}
	while (left > 0 &&
	       (c->state == CONN_CLOSING || (c->state == CONN_OPEN && c->paused == 0))) {
		enum frame_status status = frame_read(&r, limits, &data, &left, &f);
		if (status != FRAME_MORE)
			conn_in_on_frame(c, &r, status, &f);
	}
	if (limits == &u.limits)
		conn_in_keep_inflate(c, &u);
	conn_in_keep_reader(c, &r);
	return len - left;
}

/* --- requests --------------------------------------------------------------------------------- */

void conn_refuse(struct conn *c, const struct request *r, int status, const char *why)
{
	c->keep_alive = false;
	answer_refuse(c, r != NULL ? LOG_UPGRADE : LOG_HTTP, r, status,
		      status == 426 ? SPAN(UPGRADE_WANTED) : (struct span){0}, why);
}

static void conn_in_on_request(struct conn *c, struct request *r)
{
	struct conns *s = c->conns;
	const char *why;
	/* where a body is not read, what follows it can't be found */
	c->keep_alive = r->keep_alive && (!r->has_body || c->state == CONN_BODY);
	c->head_only = span_eq(r->method, SPAN("HEAD"));
	if (!client_addr_request(c, r))
		return;
	if (!upgrade_is_meant(r)) {
		if (r->has_body && c->state == CONN_HEAD && s->ops->body != NULL) {
			conn_body_begin(c, r);
			return;
		}
		s->loop->stats.requests++;
		s->ops->request(s->ctx, c, r);
		return;
	}
	int status = upgrade_check(r, &why);
	if (status != 0) {
		stats_refuse(&s->loop->stats, status);
		conn_refuse(c, r, status, why);
		return;
	}
	/* one that is refused ends its connection: what follows may be frames */
	c->keep_alive = false;
	conn_set_state(c, CONN_ASKING);
	c->released = false;
	conn_wait(c, CONN_WAIT_ASK);
	s->ops->upgrade(s->ctx, c, r);
}

/* Returns the bytes used. What a request carries outlives the conn's end. */
static size_t conn_in_consume_body(struct conn *c, const uint8_t *data, size_t len)
{
	bool whole;
	size_t used = conn_body_consume(c, data, len, &whole);
	if (!whole)
		return used;
	struct request *r = &c->conns->request;
	struct buffer body = conn_body_take(c, r);
	conn_in_on_request(c, r);
	buffer_free(&body);
	if (c->state != CONN_DEAD)
		conn_less(c);
	return used;
}

/* Returns the bytes used; what is left is kept and *progress says how much of it is known. */
static size_t conn_in_consume_head(struct conn *c, uint8_t *data, size_t len,
				   struct request_progress *progress)
{
	struct request *r = &c->conns->request;
	size_t used = 0;
	int status = 400;
	const char *why = "bad request";
	switch (request_parse(r, &c->conns->limits.head, (const char *)data, len, progress, &used,
			      &status, &why)) {
	case REQUEST_MORE:
		return 0;
	case REQUEST_EMPTY:
		return used;
	case REQUEST_BAD:
		c->head_only = false;
		conn_refuse(c, NULL, status, why);
		return len;
	case REQUEST_OK:
		conn_in_on_request(c, r);
		return used;
	}
	return len;
}

/* --- input ------------------------------------------------------------------------------------ */

/* Uses what can be used now; returns how much that was. */
static size_t conn_in_consume(struct conn *c, uint8_t *data, size_t len,
			      struct request_progress *progress)
{
	size_t used = 0;
	for (;;) {
		size_t n = 0;
		if (c->state == CONN_HEAD && used < len)
			n = conn_in_consume_head(c, data + used, len - used, progress);
		else if (c->state == CONN_BODY && used < len)
			n = conn_in_consume_body(c, data + used, len - used);
		else if (c->state == CONN_OPEN || c->state == CONN_CLOSING)
			n = conn_in_consume_frames(c, data + used, len - used);
		else if (c->state == CONN_LINGER || c->state == CONN_DEAD ||
			 c->state == CONN_CLOSED)
			return len;
		used += n;
		if (n == 0 || used == len)
			return used;
	}
}

static bool conn_in_stash_append(struct conn *c, const uint8_t *data, size_t len)
{
	struct conn_more *more = conn_more(c);
	struct conn_stash *st = more != NULL ? more->stash : NULL;
	if (more == NULL || (st == NULL && (st = calloc(1, sizeof *st)) == NULL))
		return false;
	conn_set_stash(c, st);
	return buffer_append(&st->in, data, len);
}

void conn_consume_stash(struct conn *c)
{
	struct conn_stash *st = conn_stash(c);
	if (st == NULL)
		return;
	/* so that it outlives the conn's end, which frees what the conn has */
	conn_set_stash(c, NULL);
	size_t used = conn_in_consume(c, (uint8_t *)st->in.p, st->in.n, &st->progress);
	if (used == st->in.n || c->state == CONN_DEAD || conn_more(c) == NULL) {
		if (used < st->in.n && c->state != CONN_DEAD)
			conn_lost(c, "no memory for its input");
		conn_stash_free(st);
		conn_less(c);
		return;
	}
	buffer_drop(&st->in, used);
	conn_set_stash(c, st);
}

static void conn_in_feed(struct conn *c, uint8_t *data, size_t len)
{
	struct request_progress progress = {0};
	if (conn_stash(c) != NULL) {
		if (!conn_in_stash_append(c, data, len))
			conn_lost(c, "no memory for its input");
		else
			conn_consume_stash(c);
		return;
	}
	size_t used = conn_in_consume(c, data, len, &progress);
	if (used == len || c->state == CONN_DEAD)
		return;
	if (!conn_in_stash_append(c, data + used, len - used))
		conn_lost(c, "no memory for its input");
	else
		c->more->stash->progress = progress;
}

/* --- its end ---------------------------------------------------------------------------------- */

/* Even when its handler is behind: this is the last of it. */
void conn_hear_out(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->hear_out(c);
		return;
	}
	conn_budget_unwait(c);
	c->paused = 0;
	conn_consume_stash(c);
}

/* Answers go nowhere. */
void conn_hear_last(struct conn *c)
{
	c->broken = ECANCELED;
	conn_hear_out(c);
}

void conn_lost(struct conn *c, const char *why)
{
	bool open = c->state == CONN_OPEN, asking = c->state == CONN_ASKING;
	if (open && !c->ended) {
		c->conns->loop->stats.transport_errors++;
		conn_hear_last(c);
	}
	conn_kill(c);
	if (open)
		conn_end(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, (struct span){0}, why);
	else if (asking)
		c->conns->ops->withdrawn(c);
}

/* The peer ended its side of the stream. */
static void conn_in_on_eof(struct conn *c)
{
	c->eof = true;
	if (c->state == CONN_OPEN) { /* half closed: it may still read what its messages caused */
		conn_set_state(c, CONN_CLOSED);
		conn_wait_close(c);
		conn_end(c, CONN_END_EOF, CLOSE_ABNORMAL, (struct span){0},
			 "the peer ended the stream without a close frame");
	} else if (c->state == CONN_LEAVING) { /* its end waits for ours */
	} else if (c->fin || c->out.bytes > 0) {
		conn_finish(c);
	} else {
		conn_fin(c);
	}
}

/* --- the socket ------------------------------------------------------------------------------- */

static void conn_in_heard(struct conn *c, size_t n)
{
	c->last_in = (uint32_t)loop_now(c->conns->loop);
	c->conns->loop->stats.bytes_in += n;
}

static ssize_t conn_in_recv(struct conn *c, void *bytes, size_t cap)
{
	struct tls *tls = conn_tls(c);
	if (tls == NULL || c->state == CONN_LINGER) /* nobody looks at what comes now */
		return recv(c->fd, bytes, cap, 0);
	ssize_t n = tls_read(tls, c->fd, bytes, cap, loop_read_share(c->conns->loop));
	int error = errno;
	/* its handshake has something to say when the socket lets it */
	if (tls_waits(tls))
		c->out.stalled = true;
	errno = error;
	return n;
}

/* Bytes of a large message go where they belong, without a copy. */
static ssize_t conn_in_read_direct(struct conn *c, size_t most)
{
	uint8_t *where;
	struct frame f;
	struct conn_more *more = c->more;
	if (more == NULL || c->state != CONN_OPEN || more->stash != NULL)
		return -2;
	struct conn_unpacking u;
	const struct frame_limits *limits = conn_in_frame_limits(c, &u);
	size_t space = frame_space(&more->reader, limits, &where);
	if (space == 0)
		return -2;
	ssize_t n = conn_in_recv(c, where, space < most ? space : most);
	if (n > 0) {
		conn_in_heard(c, (size_t)n);
		enum frame_status status = frame_filled(&more->reader, limits, (size_t)n, &f);
		if (status != FRAME_MORE)
			conn_in_on_frame(c, &more->reader, status, &f);
		if (frame_at_rest(&more->reader)) {
			more->reader = (struct frame_reader){.part = NULL};
			conns_trim_later(c->conns);
		}
		conn_less(c);
	}
	return n;
}

/* It is no TLS, or none that we take. */
static void conn_in_tls_failed(struct conn *c)
{
	char text[ADDRESS_TEXT];
	const struct tls *tls = conn_tls(c);
	const char *why = tls_why(tls);
	int stranger = tls_stranger(tls);
	if (tls_is_open(tls)) {
		conn_lost(c, why);
		return;
	}
	c->conns->loop->stats.tls_failures++;
	/* a method: it takes us for a plain server, and is answered as by one */
	if (stranger >= 'A' && stranger <= 'Z') {
		conn_drop_tls(c);
		conn_less(c);
		conn_refuse(c, NULL, 400, "TLS is spoken here: https:// or wss://");
		return;
	}
	LOG(c->conns->loop->log, LOG_INFO, LOG_TLS, "a TLS handshake failed", LOG_STR("error", why),
	    LOG_STR("remote", conn_remote_text(c, text)));
	conn_fin(c); /* what the peer was told about it is to arrive */
}

/* most: bytes that are to be read where TLS does not say it. */
static void conn_in_read(struct conn *c, size_t most)
{
	struct loop *loop = c->conns->loop;
	if (c->state == CONN_PROXY) {
		client_addr_on_readable(c);
		return;
	}
	size_t share = loop_read_share(loop);
	ssize_t n = conn_in_read_direct(c, share);
	if (n == -2) {
		if (most > share)
			most = share;
		n = conn_in_recv(c, loop->input, most);
		if (n > 0) {
			conn_in_heard(c, (size_t)n);
			c->unread = (size_t)n == most;
			if (c->state != CONN_LINGER)
				conn_in_feed(c, loop->input, (size_t)n);
		}
	}
	if (n == 0)
		conn_in_on_eof(c);
	else if (n < 0 && errno == EPROTO && conn_tls(c) != NULL)
		conn_in_tls_failed(c);
	else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		conn_lost(c, conn_failed_read(errno));
}

void conn_on_readable(struct conn *c)
{
	size_t most = conn_admitted(c);
	if (most == 0)
		return;
	c->conns->loop->readers++;
	conn_in_read(c, most);
	/* What TLS has read already no descriptor announces, and the next connection would
	 * overwrite it. */
	while (conn_end_pending(c) ||
	       (conn_tls(c) != NULL && c->state != CONN_LINGER && tls_more(conn_tls(c))))
		conn_in_read(c, LOOP_INPUT);
}

void conn_on_hup(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0 || c->state == CONN_ASKING || conn_rest_is_quiet(c))
		conn_lost(c, error != 0 ? conn_failed_read(error) : "the peer is gone");
	else
		c->hup_seen = true; /* half closed; read() will say so after what came before */
}
