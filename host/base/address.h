/* address: the other end of a socket, compact, and networks of addresses. Knows how they are
 * written, not how they are reached. */
#ifndef TOVA_BASE_ADDRESS_H
#define TOVA_BASE_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/span.h"

struct address {
	uint8_t ip[16];
	uint16_t port;	/* host byte order */
	uint8_t family; /* AF_INET, AF_INET6 or AF_UNIX; AF_UNSPEC: not known */
};
#define ADDRESS_TEXT 46

/* False: of another family than those, which is noted. An IPv4 address in the form ::ffff:192.0.2.1
 * becomes what it is. */
bool address_from(struct address *a, const struct sockaddr *sa);
/* Numeric, without the port; "unix" for a Unix socket. */
const char *address_text(const struct address *a, char text[ADDRESS_TEXT]);
/* A numeric IPv4 or IPv6 address without brackets and port. An IPv4 address in the form
 * ::ffff:192.0.2.1 becomes what it is. */
bool address_parse(struct address *a, struct span text);

/* Does a process have a stream socket there? It notices nothing: nobody connects to it. */
bool address_unix_is_live(const struct sockaddr_un *un);

/* One to five digits, 0 to 65535. */
bool address_port(struct span text, uint16_t *port_r);

struct address_network {
	struct address base;
	uint8_t bits; /* of the prefix */
};

/* "192.0.2.0/24", "2001:db8::/32", an address alone, or "unix". Returns NULL, or what is wrong with
 * it. */
const char *address_network_parse(struct address_network *n, struct span text);
bool address_network_has(const struct address_network *n, const struct address *a);
/* Zeroes what lies behind the prefix, and the port. */
void address_cut(struct address *a, unsigned bits);

/* A list of networks. */
struct address_set {
	struct address_network *v;
	size_t n;
};

/* Reads a list of networks that have been checked before. False without memory. */
bool address_set_make(struct address_set *set, char *const *items, size_t n);
bool address_set_has(const struct address_set *set, const struct address *a);
void address_set_free(struct address_set *set);

#endif
