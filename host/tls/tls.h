/* tls: one connection's TLS, between a socket and who reads and writes it.
 *
 * OpenSSL sees memory only: what a socket has given, in a buffer that all connections of a loop
 * share, and what it is to take, in another. So reading costs one recv and writing one send,
 * whatever number of records that is, and a connection at rest holds no buffer. What the socket
 * does not take waits with its connection. OpenSSL's state is made when the first bytes come: who
 * connects and says nothing costs next to nothing.
 */
#ifndef TOVA_TLS_TLS_H
#define TOVA_TLS_TLS_H

#include <sys/types.h>
#include <sys/uio.h>

#include "base/stats.h"
#include "tls/tls_server.h"

struct tls;
struct tls_io;

/* For an accepted socket; takes a reference to the server. *shared: what all connections of a loop
 * share, which is made with the first (NULL before), counts in stats, and is freed behind the last
 * with tls_io_free. NULL without memory. */
struct tls *tls_new(struct tls_io **shared, struct stats *stats, struct tls_server *server,
		    uint8_t group);
void tls_free(struct tls **t_p);

/* As recv, with no more than `most` bytes taken from the socket: bytes, 0 at the end of the stream,
 * -1 with errno (EAGAIN: nothing yet; EPROTO: see tls_why). Handshakes go on in here. Read until
 * tls_more says no: what is left belongs to the loop's next reader. */
ssize_t tls_read(struct tls *t, int fd, void *bytes, size_t cap, size_t most);
bool tls_more(const struct tls *t);
/* Has the stream ended, and the next tls_read will say so? Nothing else tells it. */
bool tls_ended(const struct tls *t);

/* As writev, all or less: bytes taken, -1 with errno. EAGAIN: nothing was, since the socket is full
 * (tls_waits) or the handshake not done. What was taken may still wait here. *sent_r counts what
 * the socket took. */
ssize_t tls_write(struct tls *t, int fd, const struct iovec *iov, int n, uint64_t *sent_r);
/* Does something wait until the socket can be written? tls_write sends it, even if it gets nothing
 * to write. */
bool tls_waits(const struct tls *t);
/* Bytes of memory for that, and for a record that came in part. */
size_t tls_held(const struct tls *t);
/* Tells the peer that nothing follows (close_notify), if the socket takes it. */
void tls_finish(struct tls *t, int fd);

/* Has anything come? Has the handshake been completed? */
bool tls_has_begun(const struct tls *t);
bool tls_is_open(const struct tls *t);
/* The peer began with this byte, which is no TLS; -1: it did not, or has not begun. */
int tls_stranger(const struct tls *t);
/* What went wrong; static. */
const char *tls_why(const struct tls *t);

/* Of a handshake that is done; strings live as long as the connection. */
struct tls_facts {
	const char *version; /* "TLSv1.3", static */
	const char *cipher;  /* static */
	const char *subject; /* of the client's certificate (RFC 2253); NULL without one */
	const char *name;    /* that the client asked for; NULL without one */
};
/* False facts, all NULL, while the handshake is under way. */
void tls_facts(const struct tls *t, struct tls_facts *facts_r);

/* NULL is allowed. */
void tls_io_free(struct tls_io **io_p);

#endif
