/* link: the way on which a worker talks to the host, by the nng protocol: ipc.h where it is beside
 * the host, libnng over TCP and TLS. It dials again by itself; whoever owns the link has to say
 * hello on every new connection, which nng calls a pipe. libnng's socket is never closed:
 * nng_close() can hang while messages are under way, and the process ends anyway. */
#ifndef TOVA_SDK_LINK_H
#define TOVA_SDK_LINK_H

#include <nng/nng.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "c/ipc.h"
#include "common/buffer.h"

/* For tls+tcp; PEM files, NULL: what the system trusts, and no certificate of one's own. */
struct link_tls {
	const char *ca_file, *cert_file;
};

struct link {
	bool local; /* ipc, and not the socket */
	struct ipc ipc;
	nng_socket socket;
	int recv_fd;
	int wake_fd;	      /* an eventfd of the owner's; written to when a pipe comes or goes */
	atomic_uint up, down; /* pipes that have come, and gone */
	bool lost;	      /* a message, for lack of memory */
	ipc_patience *patience; /* of the owner; called in link_send */
	void *ctx;
};

struct link_message {
	uint8_t *bytes; /* one more may be written behind them */
	size_t len;
	nng_msg *msg; /* that they are in; NULL: they are the link's */
};

/* Starts to dial; `patience` is set. False with a sentence in why. The link must not move from here
 * on. */
bool link_open(struct link *l, const char *url, const struct link_tls *tls, int wake_fd, char *why,
	       size_t why_cap);

/* Readable: link_tend or link_receive has something to do. It changes with connections; -1: there
 * is none. */
int link_fd(const struct link *l);
/* What a connection needs that comes or goes, to be called in every turn; and how long a turn may
 * wait until it is due, or -1. */
void link_tend(struct link *l);
int link_wait_ms(const struct link *l);

/* Is there a pipe? *generation_r tells one from another. */
bool link_is_up(struct link *l, unsigned *generation_r);

/* The next message, to be given back before the one behind it is asked for; false: there is
 * none. */
bool link_receive(struct link *l, struct link_message *message_r);
void link_release(struct link_message *message);

/* Waits while the host does not read, and the owner has patience. False: the pipe is gone, or there
 * is no memory. */
bool link_send(struct link *l, const struct buffer *message);

/* From another thread than the owner's: a small message, or nothing where it can not be sent at
 * once. */
void link_pulse(struct link *l, const void *bytes, size_t n);

#endif
