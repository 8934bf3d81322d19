#include "ws/authority.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

bool authority_split(struct span s, struct span *host_r, unsigned *port)
{
	size_t n = 0;
	unsigned value = 0;

	if (s.n > 0 && s.p[0] == '[') {
		for (n++; n < s.n && s.p[n] != '\0' &&
			  strchr("0123456789abcdefABCDEF:.", s.p[n]) != NULL;
		     n++)
			;
		if (n == s.n || s.p[n] != ']' || (n + 1 < s.n && s.p[n + 1] != ':'))
			return false;
		n++;
	}
	while (n < s.n && s.p[n] != ':') {
		if (s.p[n] <= ' ' || s.p[n] >= 0x7F || strchr("/?#@\\\",<>^`{|}", s.p[n]) != NULL)
			return false;
		n++;
	}
	*host_r = (struct span){s.p, n};
	if (n == 0)
		return false;
	if (n + 1 >= s.n) /* "host" or "host:" */
		return true;
	for (n++; n < s.n; n++) {
		if (s.p[n] < '0' || s.p[n] > '9' || value > 6553)
			return false;
		value = value * 10 + (unsigned)(s.p[n] - '0');
	}
	*port = value;
	return value > 0 && value <= 65535;
}

bool authority_host_matches(struct span pattern, struct span host)
{
	if (pattern.n < 2 || memcmp(pattern.p, "*.", 2) != 0)
		return span_eq_nocase(pattern, host);
	pattern.p++, pattern.n--;
	return host.n > pattern.n &&
	       span_eq_nocase((struct span){host.p + host.n - pattern.n, pattern.n}, pattern);
}

bool authority_listed(const char *list, struct span authority)
{
	struct span host;
	unsigned port = 0;

	if (!authority_split(authority, &host, &port))
		return false;
	for (; list[0] != '\0'; list += strlen(list) + 1)
		if (authority_host_matches(span_of(list), host))
			return true;
	return false;
}

char *authority_list(char *const *items, size_t n)
{
	size_t len = 1;
	for (size_t i = 0; i < n; i++)
		len += strlen(items[i]) + 1;
	char *list = malloc(len), *to = list;
	for (size_t i = 0; i < n && list != NULL; i++)
		to = stpcpy(to, items[i]) + 1;
	if (list != NULL)
		*to = '\0';
	return list;
}

char *authority_list_copy(const char *list)
{
	const char *end = list;
	while (*end != '\0')
		end += strlen(end) + 1;
	char *copy = malloc((size_t)(end - list) + 1);
	return copy != NULL ? memcpy(copy, list, (size_t)(end - list) + 1) : NULL;
}

bool authority_is_number(struct span host)
{
	bool v6 = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
	unsigned char address[sizeof(struct in6_addr)];
	char text[INET6_ADDRSTRLEN];

	if (v6)
		host = (struct span){host.p + 1, host.n - 2};
	if (host.n >= sizeof(text))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(v6 ? AF_INET6 : AF_INET, text, address) == 1;
}

/* A name that DNS or a hosts file may have, an IPv4 address among them, or an IPv6 address in
 * brackets. What else RFC 3986 3.2.2 lets stand there is nothing under which a host is reached. */
static bool authority_is_name(struct span host)
{
	static const char chars[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

	if (host.n > 2 && host.p[0] == '[')
		return authority_is_number(host);
	for (size_t i = 0; i < host.n; i++)
		if (memchr(chars, host.p[i], sizeof(chars) - 1) == NULL ||
		    (host.p[i] == '.' && (i == 0 || host.p[i - 1] == '.')))
			return false;
	return host.n > 0;
}

const char *authority_pattern_error(const char *pattern)
{
	struct span host, s = span_of(pattern);
	unsigned port = 0;
	bool ok = authority_split(s, &host, &port) && host.n == s.n;

	if (ok && host.n > 2 && memcmp(host.p, "*.", 2) == 0)
		host.p += 2, host.n -= 2;
	if (ok && authority_is_name(host))
		return NULL;
	return "expected a name or an address without a port, such as example.com, *.example.com, "
	       "192.0.2.1 or [::1]";
}
