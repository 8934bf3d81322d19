/* acceptor: one socket that accepts. It is bound to a TCP address or a Unix path, or was by
 * somebody else, and is watched by a loop. Whose the accepted sockets are, and how many there may
 * be, is its owner's business: net/listener.h for clients, handler/worker/sp.h for workers. */
#ifndef TOVA_NET_ACCEPTOR_H
#define TOVA_NET_ACCEPTOR_H

#include <sys/stat.h>

#include "base/address.h"
#include "net/loop.h"

struct acceptor {
	uint16_t magic; /* CHECK_ACCEPTOR */
	struct event event;
	int fd;		 /* -1: none */
	char *unix_path; /* removed at the end; NULL for TCP, and where somebody else has bound it
			  */
	char *name;	 /* "127.0.0.1:8080", with the real port; "unix:PATH" */
	void (*run)(void *ctx);
	void *ctx;
};

/* Without a socket; acceptor_close is for it in any case. run: somebody waits to be accepted, see
 * acceptor_take. */
void acceptor_init(struct acceptor *a, void (*run)(void *ctx), void *ctx);
/* Each makes a socket and binds it. A stale Unix socket is replaced, a live one is not; mode: of
 * its file. host: a numeric address; both: an IPv6 address takes IPv4, too, which only "::" can.
 * False with a sentence in why. */
bool acceptor_bind_unix(struct acceptor *a, const char *path, mode_t mode, char *why, size_t cap);
bool acceptor_bind_tcp(struct acceptor *a, const char *host, uint16_t port, bool both, char *why,
		       size_t cap);
/* The same TCP address as another one's, for another loop, where both have SO_REUSEPORT: the kernel
 * spreads those who connect. */
bool acceptor_bind_beside(struct acceptor *a, const struct acceptor *first, char *why, size_t cap);
/* From now on others may be bound beside it. */
void acceptor_share(const struct acceptor *a);
/* A socket that was bound, and may be listened on, by who started the host; taken over, also if
 * this is false with a sentence in why: it is no stream socket that accepts. */
bool acceptor_take_over(struct acceptor *a, int fd, char *why, size_t cap);
/* Sockets that it accepts are clients', who may vanish or not read: keep-alive, little in the
 * kernel's buffer. They inherit that, which saves a system call or five for each. */
void acceptor_of_clients(const struct acceptor *a);
/* It listens, and run is called. False with a sentence in why. */
bool acceptor_start(struct acceptor *a, struct loop *loop, int backlog, char *why, size_t cap);

enum acceptor_got {
	ACCEPTOR_SOCKET, /* in *fd_r, non-blocking, the caller's; and who it is in *from_r */
	ACCEPTOR_NOBODY, /* nobody waits any more */
	ACCEPTOR_FULL,	 /* no descriptor, or memory for one; errno says which */
	ACCEPTOR_LOST,	 /* whoever waited has gone: there may be others */
};
/* The next one who waits. */
enum acceptor_got acceptor_take(const struct acceptor *a, int *fd_r, struct address *from_r);
/* run is not called any more, though somebody may wait; and is called again, now: also if nobody
 * waits. */
void acceptor_pause(struct acceptor *a);
void acceptor_resume(struct acceptor *a, bool now);
/* Its socket is closed, and a path that it has bound is removed. */
void acceptor_close(struct acceptor *a);

#endif
