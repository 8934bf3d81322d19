/* authority: the host and port that a request names (RFC 3986 3.2), and patterns of hosts, as pure
 * code. */
#ifndef TOVA_WS_AUTHORITY_H
#define TOVA_WS_AUTHORITY_H

#include <stdbool.h>

#include "common/span.h"

/* Splits "host[:port]", where host may be an IPv6 address in brackets; *port stays as it is when
 * none is given. False: it is neither. */
bool authority_split(struct span s, struct span *host_r, unsigned *port);

/* Does the host match, in any case of its letters? "*.example.com" stands for anything that ends in
 * ".example.com" and has something before it. */
bool authority_host_matches(struct span pattern, struct span host);

/* Is the host a numeric address, IPv6 in brackets? */
bool authority_is_number(struct span host);

/* Is the host of this "host[:port]" one of a list? The list is the patterns one after the other,
 * each with its NUL, and an empty one at their end. */
bool authority_listed(const char *list, struct span authority);
/* A list of these, and a copy of one, to be freed; NULL without memory. */
char *authority_list(char *const *items, size_t n);
char *authority_list_copy(const char *list);
/* Is this text fit for such a list? For the operator's option; NULL if so, else what was
 * expected. */
const char *authority_pattern_error(const char *pattern);

#endif
