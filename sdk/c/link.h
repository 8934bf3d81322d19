/* link: the nng socket on which a worker talks to the host. nng dials again by itself; whoever owns the link has to say hello on every
 * new pipe. The socket is never closed: nng_close() can hang while messages are under way, and the process ends anyway. */
#ifndef TOVA_SDK_LINK_H
#define TOVA_SDK_LINK_H

#include <nng/nng.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "buffer.h"

/* For tls+tcp; PEM files, NULL: what the system trusts, and no certificate of one's own. */
struct link_tls {
	const char *ca_file, *cert_file;
};

struct link {
	nng_socket socket;
	int recv_fd;	      /* readable: link_receive has something */
	int wake_fd;	      /* an eventfd of the owner's; written to when a pipe comes or goes */
	bool lost;	      /* a message, for lack of memory */
	atomic_uint up, down; /* pipes that have come, and gone */
};

/* Starts to dial. False with a sentence in why. The link must not move from here on. */
bool link_open(struct link *l, const char *url, const struct link_tls *tls, int wake_fd, char *why, size_t why_cap);

/* Is there a pipe? *generation_r tells one from another. */
bool link_is_up(struct link *l, unsigned *generation_r);

/* The next message, with one writable byte behind it that does not count; NULL: there is none. */
nng_msg *link_receive(struct link *l);

/* Waits while the host does not read. False: the pipe is gone, or there is no memory. */
bool link_send(struct link *l, const struct buffer *message);

#endif
