/* deflate: permessage-deflate (RFC 7692) as pure code: what two ends agree on, and a message
 * compressed. See inflate for the other direction. */
#ifndef TOVA_WS_DEFLATE_H
#define TOVA_WS_DEFLATE_H

#include <zlib.h>

#include "ws/request.h"

/* Of a sliding window, as its size's logarithm. The RFC allows 8, too, which zlib can not compress
 * with. */
#define DEFLATE_BITS_MIN 9
#define DEFLATE_BITS_MAX 15
#define DEFLATE_WINDOWS (DEFLATE_BITS_MAX - DEFLATE_BITS_MIN + 1) /* sizes that there are */

/* What this end wants. "Out" is from us to the client, "in" is from it to us. */
struct deflate_policy {
	bool on;
	bool keep_out,
		keep_in; /* context takeover: the window lives on from one message to the next */
	/* largest window that is kept for a connection, and that is compressed with */
	uint8_t bits;
};

/* What both have agreed on. */
struct deflate_terms {
	uint8_t out_bits, in_bits;
	bool keep_out, keep_in;
	bool say_out_bits, say_in_bits; /* whether the answer names them */
};

/* Takes the first offer of the request that can be (RFC 7692 5.1, 7.1), and declines those with a
 * parameter that is unknown, repeated, or of a wrong value, and those with a window that zlib can
 * not compress with. False: none. */
bool deflate_negotiate(const struct request *r, const struct deflate_policy *policy,
		       struct deflate_terms *terms_r);

/* Writes the line of the answer's head, with CRLF; returns its length. */
#define DEFLATE_ANSWER_MAX 192
size_t deflate_answer(const struct deflate_terms *terms, char dst[DEFLATE_ANSWER_MAX]);

/* Makes a compressor; its output can be read with any window that is not smaller. False: no memory.
 * End it with deflateEnd. */
bool deflate_start(z_stream *z, int level, unsigned bits);
/* Bytes that zlib allocates for one, at most. */
size_t deflate_cost(unsigned bits);
/* The smallest window in which a message of n bytes lies whole. */
unsigned deflate_bits_for(size_t n);

/* Compresses a message of n > 0 bytes. Returns the length of what a frame with RSV1 carries, or 0
 * when that would not be less than n; the stream must be reset then (deflateReset), as it has seen
 * what its peer will not. dst has room for n + DEFLATE_TAIL bytes. */
#define DEFLATE_TAIL 4
size_t deflate_message(z_stream *z, const uint8_t *src, size_t n, uint8_t *dst);

#endif
