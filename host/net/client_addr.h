/* client_addr: whose connection it is, and whether one more of that address may come in. For conn.c
 * and listener.c.
 *
 * The peer of a socket may be a proxy. On a listener of the PROXY protocol a trusted peer says in
 * front of everything whose connection it is; in a request, a trusted peer may say so in headers.
 * From then on the connection's address is that of the client: in logs, for handlers, and where the
 * connections of an address are counted.
 */
#ifndef TOVA_NET_CLIENT_ADDR_H
#define TOVA_NET_CLIENT_ADDR_H

#include "net/addr_limits.h"
#include "ws/forwarded.h"

struct conn;

/* One for each loop; what it points at is the server's. */
struct client_addr {
	struct addr_limits *addr_limits;   /* of all loops; NULL: nothing is limited */
	const struct address_set *trusted; /* whose word counts; NULL: nobody's */
	enum forwarded_kind forwarded;
	const char *hosts; /* names that are served, see authority_listed; NULL: every one */
};

/* What only a connection with a PROXY header has. */
struct client_addr_header {
	struct address local; /* at which the client reached the proxy; AF_UNSPEC: it did not say */
	bool secure;	      /* the client speaks TLS with the proxy */
	size_t n, cap; /* bytes of a header that is not complete, of those that there is room for */
	uint8_t bytes[];
};

/* Does the word of that peer count? */
bool client_addr_trusts(const struct client_addr *g, const struct address *a);
/* The conn has been accepted and its peer is its client: it is counted. Over the limits it may stay
 * as long as it takes to be told (conn->told). False: it is to be closed at once. */
bool client_addr_enter(struct conn *c, bool tell);
/* The conn's listener wants a PROXY header. False: this peer may not send one, and is to be closed
 * at once. */
bool client_addr_may_introduce(struct conn *c);
/* Reads the header, and not a byte behind it. It ends in CONN_HEAD or in the conn's end. */
void client_addr_on_readable(struct conn *c);
/* It did not come in time. */
void client_addr_late(struct conn *c);
/* A request was read: finds out who its client is, if its peer is trusted. False: it was answered,
 * as it is one too many, or asks for a name that is not served. */
bool client_addr_request(struct conn *c, struct request *r);
/* The conn ends. */
void client_addr_leave(struct conn *c);
/* For client_addr_read.c: counts it at its address, which is limited, and logs a line for an
 * address and a minute, however many it tries. False: it is one too many, and there is nobody to
 * tell it, as `tell` is false or too many are being told. */
bool client_addr_count(struct conn *c, bool tell);

#endif
