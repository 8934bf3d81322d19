/* upgrade: the opening handshake (RFC 6455 section 4) on a parsed request, as pure code. */
#ifndef TOVA_WS_UPGRADE_H
#define TOVA_WS_UPGRADE_H

#include <stdint.h>

#include "ws/request.h"

#define UPGRADE_ACCEPT_LEN 28

/* Header lines that go with a 426: RFC 6455 4.4, RFC 9110 15.5.22 and 7.8. */
#define UPGRADE_WANTED "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

/* Did a WebSocket client send this? It has what makes it an upgrade, or what only such clients
 * send, where a proxy has taken that. */
bool upgrade_is_meant(const struct request *r);

/* Is this a correct opening handshake? Returns 0, or the HTTP status to refuse with and a sentence
 * in *why_r. With a 426 the caller sends UPGRADE_WANTED. Checks: GET, HTTP/1.1, Upgrade and
 * Connection tokens in any case (426), exactly one Sec-WebSocket-Key that decodes to 16 bytes,
 * exactly one Sec-WebSocket-Version that is 13 (any other number: 426), at most one Origin, no
 * body, subprotocols that are tokens and none twice, at most 64 of them, extensions that follow the
 * grammar (9.1). */
int upgrade_check(const struct request *r, const char **why_r);

/* Sec-WebSocket-Accept for the request's key (4.2.2): 28 characters and a NUL. */
void upgrade_accept(const struct request *r, char dst[UPGRADE_ACCEPT_LEN + 1]);

/* Did the client offer this subprotocol (exact case)? */
bool upgrade_offers(const struct request *r, struct span subprotocol);
/* The first of a list (its elements between commas; `*`: any) that the client offered; p NULL:
 * none. What is of this host's own (tova.*) is never meant by `*`, nor what is longer than
 * RULES_SUBPROTOCOL_MAX. */
struct span upgrade_choose(const struct request *r, struct span list);

/* Bytes of a 101 answer beside its subprotocol, extensions and extra lines, at most, with a NUL. */
#define UPGRADE_RESPONSE_MAX 192
/* Writes the 101 answer. subprotocol may be empty; extensions and extra hold further header lines,
 * each ended by CRLF, or are empty. Returns its length, or 0 when cap is too small. */
size_t upgrade_response(char *dst, size_t cap, const struct request *r, struct span subprotocol,
			struct span extensions, struct span extra);

// May a page of this origin connect? `allow` is the list of --origin: empty means only the same
// host as the request's Host header (schemes' default ports are understood); else exact origins,
// "*", "https://*.example.com" for any depth of sub-domains (not the domain itself),
// "moz-extension://*" for all hosts of a scheme that is not of the web, or a text such as "file://"
// or "https://example.com/app", which is no origin by RFC 6454 and stands for itself. Pages without
// TLS are not those of the same host where r->secure. A request without Origin comes from no
// browser and passes; "null" never passes except by "*" or when listed.
bool upgrade_origin_ok(const struct request *r, const char *const *allow, size_t n_allow);
/* Is this text fit for the list above? For the operator's option; NULL if so, else what was
 * expected. */
const char *upgrade_origin_pattern_error(const char *pattern);

#endif
