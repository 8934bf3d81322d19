/* body: what a request carries behind its head (RFC 9112 6 and 7), as pure code: framed by
 * Content-Length, or in chunks.
 *
 * As in a head, whatever another parser might read otherwise is refused: a chunk size with a sign,
 * a prefix or white space, a bare LF, a line of a trailer that is folded or has no name.
 */
#ifndef TOVA_WS_BODY_H
#define TOVA_WS_BODY_H

#include "ws/request.h"

/* bytes of all chunk extensions and trailers of one body, which mean nothing here */
#define BODY_EXTRA_MAX 4096

/* Where it stopped. Bytes that were looked at are not needed again. */
struct body_reader {
	uint64_t left;	/* bytes of the body, or of the chunk, that are still to come */
	uint64_t room;	/* bytes that further chunks may have */
	uint32_t extra; /* bytes of chunk extensions and trailers so far */
	uint8_t state, digits;
};

enum body_status {
	BODY_MORE, /* all was used, and there is more to come */
	BODY_DATA, /* some of it: *data_r, which lies in bytes; read on */
	BODY_DONE, /* that was all: what is not used belongs to the next request */
	/* *status_r is the HTTP status to answer with, *why_r a sentence for the log */
	BODY_BAD,
};

/* Begins to read the body of a request of which r->has_body. max: bytes that it may have, without
 * what frames it. Returns 0, or the HTTP status to refuse it with and a sentence in *why_r: 413,
 * 501 for a transfer coding that is none of ours, 400 for one that leaves the end in doubt
 * (RFC 9112 6.1, 6.3). */
int body_begin(struct body_reader *b, const struct request *r, uint64_t max, const char **why_r);

/* Reads on; len may be 0. *used_r says how many bytes were looked at, which are gone then. A body
 * gives the same bytes however it was cut. */
enum body_status body_read(struct body_reader *b, const char *bytes, size_t len, size_t *used_r,
			   struct span *data_r, int *status_r, const char **why_r);

#endif
