/* proxy: the header of the PROXY protocol, versions 1 and 2, with which a proxy says whose
 * connection it passes on, as pure code.
 *
 * https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt is the specification; sections are
 * named by it.
 */
#ifndef TOVA_WS_PROXY_H
#define TOVA_WS_PROXY_H

#include "base/address.h"

/* Longest header that is taken: 16 bytes, and 16 KiB of addresses and extensions behind them. */
#define PROXY_MAX (16 + 16384)

struct proxy_header {
	/* the proxy's own connection, or it does not know whose: its address is the peer's */
	bool local;
	struct address source, destination; /* else */
	bool secure; /* the client speaks TLS with the proxy (2.2.5, PP2_CLIENT_SSL) */
};

enum proxy_status {
	PROXY_MORE, /* everything so far belongs to the header, which is not complete */
	PROXY_OK,   /* *used_r bytes are the header */
	PROXY_BAD,  /* *why_r is a sentence */
};

/* Reads the header at the start of all bytes that have come. An error stays one whatever follows,
 * and is found as early as the first byte that shows it where that is one of the signature. */
enum proxy_status proxy_read(struct proxy_header *h, const uint8_t *bytes, size_t len,
			     size_t *used_r, const char **why_r);

#endif
