/* permessage-deflate (RFC 7692) of one connection of the load generator. What it sends stands for
 * itself, message by message, which any server must take; what it gets may refer to what came
 * before if the server has not agreed to do without. */
#ifndef BENCH_SQUEEZE_H
#define BENCH_SQUEEZE_H

#include <stddef.h>
#include <stdint.h>

#define SQUEEZE_OFFER "permessage-deflate; client_max_window_bits" /* what browsers offer */

struct squeeze {
	int on;			    /* agreed upon */
	int forgets;		    /* the server begins anew with each message */
	int window_bits;	    /* of what is sent */
	struct z_stream_s *inflate; /* NULL: the shared one, for a server that forgets */
};

/* Reads the head of the 101. -1: the server answers what was not offered. */
int squeeze_agree(struct squeeze *z, const char *head, size_t head_len);
void squeeze_end(struct squeeze *z);

/* Bytes written behind `to`; room for squeeze_bound(len) is needed. */
size_t squeeze_bound(size_t len);
size_t squeeze_deflate(struct squeeze *z, uint8_t *to, const uint8_t *from, size_t len);
/* The message as it was, valid until the next call; NULL: it can not be read. */
const uint8_t *squeeze_inflate(struct squeeze *z, const uint8_t *from, size_t len, size_t *len_r);

#endif
