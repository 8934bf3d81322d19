/* How a conn comes to its end: who is told, the last frame, the end of our stream. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/check.h"
#include "net/conn_parts.h"

void conn_end(struct conn *c, enum conn_end end, uint16_t code, struct span reason, const char *why)
{
	if (c->ended)
		return;
	c->ended = true;
	uint32_t untold = c->more != NULL && c->more->rate_limit != NULL
				  ? rate_limit_rest(c->more->rate_limit)
				  : 0;
	if (untold > 0 && end != CONN_END_LIMIT)
		c->conns->ops->dropped(c, untold);
	c->conns->ops->ended(c, end, code, reason.p, reason.n, why);
}

/* --- why -------------------------------------------------------------------------------------- */

/* What the peer, or the way to it, did. */
#define FAILED(error, why) \
	{ \
		error, "a read failed: " why, "a write failed: " why \
	}
static const struct conn_failure {
	int error;
	const char *read, *write;
} conn_failures[] = {
	FAILED(ECONNRESET, "the peer has reset the connection"),
	FAILED(EPIPE, "the peer has closed the connection"),
	FAILED(ETIMEDOUT, "the peer has not answered for too long"),
	FAILED(EHOSTUNREACH, "there is no way to the peer any more"),
	FAILED(ENETUNREACH, "there is no way to the peer any more"),
	FAILED(ENETDOWN, "the network is down"),
	FAILED(ENOMEM, "no memory"),
	FAILED(ENOBUFS, "no memory"),
};
#undef FAILED

/* Anything else the system has words for. */
static const char *conn_end_failed(int error, bool write)
{
	for (size_t i = 0; i < sizeof conn_failures / sizeof *conn_failures; i++)
		if (conn_failures[i].error == error)
			return write ? conn_failures[i].write : conn_failures[i].read;
	const char *why = strerrordesc_np(error);
	return why != NULL ? why : write ? "a write failed" : "a read failed";
}

const char *conn_failed_read(int error)
{
	return conn_end_failed(error, false);
}

const char *conn_failed_write(const struct conn *c)
{
	return c->broken == EPROTO && conn_tls(c) != NULL ? tls_why(conn_tls(c))
							  : conn_end_failed(c->broken, true);
}

/* --- the last frame --------------------------------------------------------------------------- */

void conn_queue_close(struct conn *c, uint16_t code, const char *reason, size_t len)
{
	uint8_t payload[FRAME_CONTROL_MAX];
	size_t n = frame_close_payload(payload, code, reason, len);
	if (!conn_queue_control(c, FRAME_CLOSE, payload, n))
		conn_kill(c);
}

void conn_finish(struct conn *c)
{
	c->fin = true;
	conn_mark_dirty(c);
	conn_wait_close(c);
}

/* Everything was sent that will be. */
void conn_fin(struct conn *c)
{
	struct tls *tls = conn_tls(c);
	CHECK(c->state != CONN_DEAD);
	c->fin = false;
	if (tls != NULL)
		tls_finish(tls, c->fd);
	/* Both close frames were exchanged and nothing is unread: the server ends TCP at once
	 * (7.1.1). */
	if (c->eof || (c->close_exchanged && !c->unread) || shutdown(c->fd, SHUT_WR) != 0) {
		conn_kill(c);
		return;
	}
	/* A close(2) with unread input resets the connection and can destroy what the peer has not
	 * read yet. */
	conn_set_state(c, CONN_LINGER);
	conn_wait_close(c);
}

/* What came before may have answers that are under way, and leave before our close frame. False,
 * without memory: there is no waiting. */
bool conn_close_later(struct conn *c, uint16_t code, const char *reason, size_t len, bool fault)
{
	struct conn_more *more = c->state == CONN_OPEN ? conn_more(c) : NULL;
	struct conn_farewell *f = more != NULL ? malloc(sizeof *f) : NULL;
	if (f == NULL)
		return false;
	f->code = code;
	f->fault = fault;
	f->len = (uint8_t)(len < sizeof f->reason ? len : sizeof f->reason);
	if (len > 0)
		memcpy(f->reason, reason, f->len);
	CHECK(more->farewell == NULL);
	more->farewell = f;
	/* what comes meanwhile is left to the poller: often there is nothing to wait for */
	conn_set_state(c, fault ? CONN_CLOSED : CONN_LEAVING);
	conn_wait_close(c);
	return true;
}

void conn_fail(struct conn *c, enum conn_end end, uint16_t code, const char *why)
{
	bool was_ended = c->ended;
	if (!was_ended && conn_close_later(c, code, why, strlen(why), true)) {
		conn_end(c, end, code, span_of(why), why);
		return;
	}
	if (!was_ended)
		conn_queue_close(c, code, why, strlen(why));
	if (c->state != CONN_DEAD) {
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
	}
	conn_end(c, end, code, span_of(why), why);
}
