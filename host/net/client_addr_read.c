/* Whose connection it is, by the word of a trusted peer: in a PROXY header, or in a request. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/conn_parts.h"
#include "ws/authority.h"
#include "ws/proxy.h"
#include "ws/upgrade.h"

/* bytes that are first made for a header that comes in pieces */
#define CLIENT_ADDR_HEADER_MIN 256

/* --- requests --------------------------------------------------------------------------------- */

static void client_addr_read_answer(struct conn *c, const struct request *r, const char *why)
{
	char head[40];
	struct address a = conn_remote(c);
	uint32_t seconds =
		addr_limits_retry(c->conns->client_addr.addr_limits, &a, loop_now(c->conns->loop));
	int n = snprintf(head, sizeof head, "Retry-After: %u\r\n", (unsigned)seconds);
	c->keep_alive = false;
	const char *wrong;
	bool v1 = upgrade_is_meant(r) && tova_v1_is_offered(r) && upgrade_check(r, &wrong) == 0;
	answer_error_upgrade(c, r, v1, 429, (struct span){head, (size_t)n}, why);
}

/* From the upgrade on the conn is the client's. Before it, there may come requests of other clients
 * on a connection of their proxy. */
static bool client_addr_read_adopt(struct conn *c, const struct request *r,
				   const struct address *client)
{
	client_addr_leave(c);
	if (!conn_set_remote(c, client)) {
		conn_abort(c);
		return false;
	}
	if (c->conns->client_addr.addr_limits == NULL || client_addr_count(c, false))
		return true;
	stats_refuse(&c->conns->loop->stats, 429);
	client_addr_read_answer(c, r, "too many connections of this address");
	return false;
}

/* Only HTTP/1.0 may come without a name, which no browser speaks: nobody's page can have sent it
 * here. */
static bool client_addr_read_serves(const struct client_addr *g, const struct request *r)
{
	struct span asked = r->forwarded_host.n > 0 ? r->forwarded_host : r->host;
	return g->hosts == NULL || asked.n == 0 || authority_listed(g->hosts, asked);
}

bool client_addr_request(struct conn *c, struct request *r)
{
	const struct client_addr *g = &c->conns->client_addr;
	struct address peer = conn_remote(c);
	struct forwarded f;
	if (c->over_limit) {
		client_addr_read_answer(c, r, "too many connections of this address");
		return false;
	}
	f.client.family = AF_UNSPEC;
	if (client_addr_trusts(g, &peer)) {
		forwarded_read(&f, r, g->forwarded, g->trusted);
		r->forwarded_host = f.host;
		r->secure = span_eq_nocase(f.scheme, SPAN("https")) ||
			    span_eq_nocase(f.scheme, SPAN("wss"));
	}
	if (!client_addr_read_serves(g, r)) {
		if (r->wants_upgrade)
			stats_refuse(&c->conns->loop->stats, 421);
		c->keep_alive = false;
		answer_refuse(c, LOG_HTTP, r, 421, (struct span){0},
			      "nothing is served under this name: see --host");
		return false;
	}
	if (!r->wants_upgrade || f.client.family == AF_UNSPEC)
		return true;
	return client_addr_read_adopt(c, r, &f.client);
}

/* --- the PROXY protocol ----------------------------------------------------------------------- */

static void client_addr_read_refuse(struct conn *c, const char *why)
{
	char text[ADDRESS_TEXT];
	LOG(c->conns->loop->log, LOG_NOTICE, LOG_ACCEPT, why,
	    LOG_STR("remote", conn_remote_text(c, text)));
	conn_abort(c);
}

void client_addr_late(struct conn *c)
{
	client_addr_read_refuse(c, "no PROXY header came in time");
}

/* Makes a header record with room for n bytes of it. */
static struct client_addr_header *client_addr_read_header(struct conn *c, size_t n)
{
	struct conn_more *more = conn_more(c);
	struct client_addr_header *wider =
		more != NULL ? realloc(more->header, sizeof *wider + n) : NULL;
	if (wider == NULL)
		return NULL;
	if (more->header == NULL)
		*wider = (struct client_addr_header){.n = 0};
	more->header = wider;
	return wider;
}

/* Keeps the n bytes that have come of the header. What follows is read behind them, where there is
 * room for as much again. */
static bool client_addr_read_keep(struct conn *c, const uint8_t *bytes, size_t n)
{
	struct client_addr_header *h = c->more != NULL ? c->more->header : NULL;
	bool first = h == NULL, full = first || n == h->cap;
	size_t cap = 2 * n < CLIENT_ADDR_HEADER_MIN ? CLIENT_ADDR_HEADER_MIN
		     : 2 * n < PROXY_MAX	    ? 2 * n
						    : PROXY_MAX;
	if (full && (h = client_addr_read_header(c, cap)) == NULL)
		return false;
	if (first)
		memcpy(h->bytes, bytes, n);
	if (full)
		h->cap = cap;
	h->n = n;
	return true;
}

static void client_addr_read_introduce(struct conn *c, const struct proxy_header *said)
{
	struct client_addr_header *h = client_addr_read_header(c, 0);
	conn_set_state(c, CONN_HEAD);
	if (h == NULL || (!said->local && !conn_set_remote(c, &said->source))) {
		client_addr_read_refuse(c, "no memory for a PROXY header");
		return;
	}
	*h = (struct client_addr_header){.local = said->destination, .secure = said->secure};
	if (!client_addr_enter(c, c->more->tls == NULL))
		conn_abort(c);
}

/* Bytes behind the header may be those of a TLS handshake, which others read from the socket. */
static bool client_addr_read_consume(struct conn *c, uint8_t *where, size_t n)
{
	if (recv(c->fd, where, n, 0) != (ssize_t)n)
		return false;
	c->conns->loop->stats.bytes_in += n;
	return true;
}

void client_addr_on_readable(struct conn *c)
{
	struct client_addr_header *h = c->more != NULL ? c->more->header : NULL;
	size_t have = h != NULL ? h->n : 0, used = 0;
	uint8_t *bytes = h != NULL ? h->bytes : c->conns->loop->input;
	struct proxy_header said;
	const char *why = "";
	ssize_t n = recv(c->fd, bytes + have, (h != NULL ? h->cap : PROXY_MAX) - have, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) { /* as those do who only look whether the port is open */
		conn_abort(c);
		return;
	}
	switch (proxy_read(&said, bytes, have + (size_t)n, &used, &why)) {
	case PROXY_BAD:
		client_addr_read_refuse(c, why);
		break;
	case PROXY_MORE:
		if (!client_addr_read_consume(c, bytes + have, (size_t)n) ||
		    !client_addr_read_keep(c, bytes, have + (size_t)n))
			conn_abort(c);
		break;
	case PROXY_OK:
		if (client_addr_read_consume(c, bytes + have, used - have))
			client_addr_read_introduce(c, &said);
		else
			conn_abort(c);
		break;
	}
}
