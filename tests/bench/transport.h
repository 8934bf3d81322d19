/* The bytes of one connection of the load generator: TCP, or TLS over it. Non-blocking once it is
 * open. */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct transport {
	int fd;
	struct ssl_st *tls; /* NULL: plain */
	int ended; /* the stream's end stood behind what was read last: epoll need not tell of it */
};

/* From now on connections use TLS and accept the certificate in this file only. Ends the program
 * when it can not be read. */
void transport_use_tls(const char *ca_file);

/* Receive buffer of connections that are opened from now on; 0: the system's. */
void transport_receive(int bytes);
/* Connects to 127.0.0.1:port from 127.0.0.(2 + source). 0, or -1 with errno set. */
int transport_open(struct transport *t, int port, int source);
void transport_close(struct transport *t);

/* Bytes read or sent; 0: not now; -1: broken, or the stream has ended. A read takes all that is
 * there, as far as there is room. */
ssize_t transport_read(struct transport *t, uint8_t *to, size_t room);
ssize_t transport_send(struct transport *t, const uint8_t *from, size_t len);

#endif
