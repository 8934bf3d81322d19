/* What a conn is beside its socket: the two ends, and what is rarely there. */
#include <stdlib.h>

#include "base/check.h"
#include "net/conn_parts.h"

/* --- the two ends ----------------------------------------------------------------------------- */

struct address conn_remote(const struct conn *c)
{
	struct address a = {.family = c->family, .port = c->port};
	if (c->family == AF_INET)
		memcpy(a.ip, c->ip4, sizeof c->ip4);
	else if (c->family == AF_INET6 && c->more != NULL)
		memcpy(a.ip, c->more->ip6, sizeof a.ip);
	return a;
}

const char *conn_remote_text(const struct conn *c, char text[ADDRESS_TEXT])
{
	struct address a = conn_remote(c);
	return address_text(&a, text);
}

bool conn_set_remote(struct conn *c, const struct address *a)
{
	struct conn_more *more = a->family == AF_INET6 ? conn_more(c) : c->more;
	if (a->family == AF_INET6 && more == NULL)
		return false;
	c->family = a->family;
	c->port = a->port;
	memcpy(c->ip4, a->ip, sizeof c->ip4);
	if (more != NULL) {
		memcpy(more->ip6, a->ip, a->family == AF_INET6 ? sizeof more->ip6 : 0);
		if (a->family != AF_INET6)
			memset(more->ip6, 0, sizeof more->ip6);
		conn_less(c);
	}
	return true;
}

struct address conn_local(const struct conn *c)
{
	struct sockaddr_storage name = {.ss_family = AF_UNIX};
	socklen_t len = sizeof name;
	struct address a;
	if (c->conns->remote != NULL)
		return c->conns->remote->local(c);
	if (c->more != NULL && c->more->header != NULL &&
	    c->more->header->local.family != AF_UNSPEC)
		return c->more->header->local;
	getsockname(c->fd, (struct sockaddr *)&name, &len);
	address_from(&a, (const struct sockaddr *)&name);
	return a;
}

bool conn_is_secure(const struct conn *c)
{
	return c->more != NULL &&
	       (c->more->tls != NULL || (c->more->header != NULL && c->more->header->secure));
}

/* --- what is rarely there --------------------------------------------------------------------- */

struct conn_more *conn_more(struct conn *c)
{
	if (c->more == NULL)
		c->more = calloc(1, sizeof *c->more);
	return c->more;
}

bool conn_count_traffic(struct conn *c, struct traffic *t)
{
	struct conn_more *more = conn_more(c);
	if (more == NULL)
		return false;
	CHECK(more->traffic == NULL);
	more->traffic = t;
	c->metered = true;
	if (c->conns->remote != NULL)
		c->conns->remote->count_traffic(c, t);
	return true;
}

void conn_less(struct conn *c)
{
	static const struct conn_more nothing;
	/* Gaps between the members that are not zero cost no more than that it stays. */
	/* NOLINT(bugprone-*,cert-*) */
	bool some = c->more != NULL && memcmp(c->more, &nothing, sizeof nothing) != 0;
	if (c->more == NULL || some)
		return;
	free(c->more);
	c->more = NULL;
}

size_t conn_held(const struct conn *c)
{
	if (c->more == NULL)
		return 0;
	return frame_held(&c->more->reader) + conn_stash_held(c) + conn_body_held(c) +
	       (c->more->tls != NULL ? tls_held(c->more->tls) : 0);
}

void conn_forget_input(struct conn *c)
{
	frame_reset(&c->more->reader);
	conn_stash_free(c->more->stash);
	conn_set_stash(c, NULL);
	conn_less(c);
}
