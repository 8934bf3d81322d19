/* forwarded: what a proxy that speaks HTTP says about the client whose request it passes on:
 * X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239). Whoever calls this trusts the peer
 * that sent them.
 *
 * Only one of the two kinds is looked at, as the operator says: a proxy that adds the one passes on
 * what a client wrote into the other.
 */
#ifndef TOVA_WS_FORWARDED_H
#define TOVA_WS_FORWARDED_H

#include "base/address.h"
#include "ws/request.h"

/* In the order of the choices of --forwarded. */
enum forwarded_kind { FORWARDED_X, FORWARDED_RFC7239, FORWARDED_OFF };

struct forwarded {
	struct address client; /* AF_UNSPEC: nothing is said; then the client is the peer */
	struct span scheme;    /* "http", "https", "ws" or "wss", in any case; empty: not said */
	struct span host;      /* as in Host; empty: not said */
};

/* The client is the last hop that is none of the trusted proxies: each proxy adds whom it sees at
 * the end of the list, and what stands in front of a hop that is not trusted may have been made up
 * by it. If all are trusted it is the first. What can not be read
 * (`unknown`, a name made up, nonsense) ends the search: the client is the hop that said so. Scheme
 * and host are those that go with the client in Forwarded, and the last of X-Forwarded-Proto and
 * -Host. */
void forwarded_read(struct forwarded *f, const struct request *r, enum forwarded_kind kind,
		    const struct address_set *trusted);

#endif
