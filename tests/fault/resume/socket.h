/* socket: one attempt of a client to reach the host: TCP or TLS, a request, frames. Non-blocking.
 */
#ifndef RESUME_SOCKET_H
#define RESUME_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "squeeze.h"

/* n of them, from p + at on. */
struct bytes {
	uint8_t *p;
	size_t at, n, cap;
};

void bytes_add(struct bytes *b, const void *from, size_t n);
void bytes_cut(struct bytes *b, size_t n); /* the first n go */
void bytes_free(struct bytes *b);

struct socket {
	int fd; /* -1: none */
	struct ssl_st *tls;
	struct bytes in, out;
	struct squeeze squeeze;
};

struct socket_frame {
	int opcode;
	const uint8_t *data;
	size_t len;
};

/* From now on sockets speak TLS, with anybody. Ends the program where there is none. */
void socket_use_tls(void);
/* False with errno: it can not be had, or is refused at once. */
bool socket_open(struct socket *s, int port);
/* With a RST, as a network ends it that forgets. */
void socket_cut(struct socket *s);
/* No more is sent; what comes is still read. */
void socket_shut(struct socket *s);
/* Both: false, it has ended. */
bool socket_read(struct socket *s);
bool socket_flush(struct socket *s);

void socket_frame(struct socket *s, int opcode, const void *data, size_t len, bool squeezed);
/* 1: the next frame; 0: it is not there yet; -1: it is none. Its data is good until the next call.
 */
int socket_next(struct socket *s, struct socket_frame *f_r);

#endif
