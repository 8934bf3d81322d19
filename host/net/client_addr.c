#include "net/client_addr.h"

#include "base/check.h"
#include "net/conn.h"

bool client_addr_trusts(const struct client_addr *g, const struct address *a)
{
	return g->trusted != NULL && g->trusted->n > 0 && address_set_has(g->trusted, a);
}

static const char *client_addr_reason(enum addr_limits_verdict verdict)
{
	return verdict == ADDR_LIMITS_CONNECTIONS
		       ? "as many connections of this address as --max-per-address allows"
	       : verdict == ADDR_LIMITS_HANDSHAKES
		       ? "more handshakes of this address than --handshake-rate allows"
		       : "no memory to count the connections of an address";
}

/* A line for an address and a minute, however many it tries. */
bool client_addr_count(struct conn *c, bool tell)
{
	struct loop *loop = c->conns->loop;
	struct addr_limits *addr_limits = c->conns->client_addr.addr_limits;
	struct address a = conn_remote(c);
	char text[ADDRESS_TEXT];
	CHECK(!c->counted);
	struct addr_limits_answer answer = addr_limits_enter(addr_limits, &a, loop_now(loop), tell);
	c->counted = answer.counted;
	c->over_limit = answer.over_limit;
	if (answer.verdict == ADDR_LIMITS_OK)
		return true;
	loop->stats.limited++;
	if (answer.first || answer.verdict == ADDR_LIMITS_NO_MEMORY)
		LOG(loop->log, LOG_NOTICE, LOG_LIMIT, client_addr_reason(answer.verdict),
		    LOG_STR("remote", address_text(&a, text)));
	return answer.over_limit;
}

bool client_addr_enter(struct conn *c, bool tell)
{
	const struct client_addr *g = &c->conns->client_addr;
	if (g->addr_limits == NULL)
		return true;
	struct address a = conn_remote(c);
	return client_addr_trusts(g, &a) /* many stand behind it */ || client_addr_count(c, tell);
}

bool client_addr_may_introduce(struct conn *c)
{
	struct address peer = conn_remote(c);
	char text[ADDRESS_TEXT];
	if (client_addr_trusts(&c->conns->client_addr, &peer))
		return true;
	LOG(c->conns->loop->log, LOG_NOTICE, LOG_ACCEPT,
	    "a peer that is none of --trusted-proxy may not connect here",
	    LOG_STR("remote", address_text(&peer, text)));
	return false;
}

void client_addr_leave(struct conn *c)
{
	if (!c->counted)
		return;
	struct address a = conn_remote(c);
	addr_limits_leave(c->conns->client_addr.addr_limits, &a, c->over_limit,
			  loop_now(c->conns->loop));
	c->counted = c->over_limit = false;
}
