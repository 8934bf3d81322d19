#include "base/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

bool address_from(struct address *a, const struct sockaddr *sa)
{
	*a = (struct address){.family = (uint8_t)sa->sa_family};
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
		memcpy(a->ip, &in->sin_addr, 4);
		a->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)sa;
		a->port = ntohs(in->sin6_port);
		if (IN6_IS_ADDR_V4MAPPED(&in->sin6_addr)) {
			a->family = AF_INET;
			memcpy(a->ip, in->sin6_addr.s6_addr + 12, 4);
		} else {
			memcpy(a->ip, &in->sin6_addr, 16);
		}
	}
	return sa->sa_family == AF_INET || sa->sa_family == AF_INET6 || sa->sa_family == AF_UNIX;
}

const char *address_text(const struct address *a, char text[ADDRESS_TEXT])
{
	if ((a->family != AF_INET && a->family != AF_INET6) ||
	    inet_ntop(a->family, a->ip, text, ADDRESS_TEXT) == NULL)
		strcpy(text, "unix");
	return text;
}

bool address_unix_is_live(const struct sockaddr_un *un)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool live = false;
	if (fd < 0)
		return false;
	/* Linux looks for who is there before it looks at what it is: a socket of another type, or
	 * nobody. */
	live = connect(fd, (const struct sockaddr *)un, sizeof *un) == 0 || errno == EPROTOTYPE;
	close(fd);
	return live;
}

bool address_parse(struct address *a, struct span text)
{
	char copy[ADDRESS_TEXT];
	if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n) != NULL)
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	*a = (struct address){.family = memchr(text.p, ':', text.n) != NULL ? AF_INET6 : AF_INET};
	if (inet_pton(a->family, copy, a->ip) != 1)
		return false;
	if (a->family == AF_INET6 && memcmp(a->ip, MAPPED, sizeof MAPPED) == 0) {
		memmove(a->ip, a->ip + sizeof MAPPED, 4);
		memset(a->ip + 4, 0, 12);
		a->family = AF_INET;
	}
	return true;
}

/* --- networks --------------------------------------------------------------------------------- */

static unsigned address_bits(const struct address *a)
{
	return a->family == AF_INET ? 32 : a->family == AF_INET6 ? 128 : 0;
}

bool address_port(struct span text, uint16_t *port_r)
{
	unsigned value = 0;
	if (text.n == 0 || text.n > 5)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		value = value * 10 + (unsigned)(text.p[i] - '0');
	}
	if (value > UINT16_MAX)
		return false;
	*port_r = (uint16_t)value;
	return true;
}

void address_cut(struct address *a, unsigned bits)
{
	a->port = 0;
	for (unsigned i = 0; i < sizeof a->ip; i++) {
		unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
		if (kept < 8)
			a->ip[i] &= (uint8_t)(0xFF00u >> kept);
	}
}

/* 0 to most, without leading zeros; -1: it is no such number. */
static int address_parse_bits(struct span text, unsigned most)
{
	unsigned value = 0;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || i == 3 || (i > 0 && text.p[0] == '0'))
			return -1;
		value = value * 10 + (unsigned)(text.p[i] - '0');
	}
	return text.n > 0 && value <= most ? (int)value : -1;
}

const char *address_network_parse(struct address_network *n, struct span text)
{
	const char *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
	struct span ip = {text.p, slash != NULL ? (size_t)(slash - text.p) : text.n};
	if (span_eq(text, SPAN("unix"))) {
		*n = (struct address_network){.base.family = AF_UNIX};
		return NULL;
	}
	if (!address_parse(&n->base, ip))
		return "expected a numeric address, a network such as 10.0.0.0/8 or "
		       "2001:db8::/32, or unix";
	unsigned most = address_bits(&n->base);
	bool mapped = most == 32 && ip.n > 0 && memchr(ip.p, ':', ip.n) != NULL;
	int bits = slash == NULL ? (int)most
				 : address_parse_bits((struct span){slash + 1, text.n - ip.n - 1},
						      mapped ? 128 : most);
	if (slash != NULL && mapped)
		bits = bits < 96 ? -1 : bits - 96;
	if (bits < 0)
		return most == 32 ? "expected 0 to 32 bits behind the slash"
				  : "expected 0 to 128 bits behind the slash";
	struct address cut = n->base;
	address_cut(&cut, (unsigned)bits);
	if (memcmp(cut.ip, n->base.ip, sizeof cut.ip) != 0)
		return "expected no bits of the address behind its prefix";
	n->bits = (uint8_t)bits;
	return NULL;
}

bool address_network_has(const struct address_network *n, const struct address *a)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;
	return a->family == n->base.family && memcmp(a->ip, n->base.ip, whole) == 0 &&
	       (rest == 0 ||
		((a->ip[whole] ^ n->base.ip[whole]) & (uint8_t)(0xFF00u >> rest)) == 0);
}

/* --- sets ------------------------------------------------------------------------------------- */

bool address_set_make(struct address_set *set, char *const *items, size_t n)
{
	*set = (struct address_set){.v = n > 0 ? calloc(n, sizeof *set->v) : NULL};
	if (n > 0 && set->v == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		set->n += address_network_parse(&set->v[set->n], span_of(items[i])) == NULL;
	return true;
}

bool address_set_has(const struct address_set *set, const struct address *a)
{
	for (size_t i = 0; i < set->n; i++)
		if (address_network_has(&set->v[i], a))
			return true;
	return false;
}

void address_set_free(struct address_set *set)
{
	free(set->v);
	*set = (struct address_set){.v = NULL};
}
