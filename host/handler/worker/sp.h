/* sp: the nng (nanomsg) wire protocol for PAIR0 on the loop: a listener, and pipes that carry whole
 * messages.
 *
 * libnng itself is the peer's: its sockets do not survive peers that are killed while messages are
 * under way (DESIGN of the worker link; tests/bench/nng-wedge.c shows it). On the wire: 8 bytes of
 * handshake both ways, then messages of u64 length and body, on ipc with a byte 01 before each.
 */
#ifndef TOVA_HANDLER_WORKER_SP_H
#define TOVA_HANDLER_WORKER_SP_H

#include <sys/types.h>
#include <sys/uio.h>

#include "net/loop.h"

struct sp_listener;
struct sp_pipe;

struct sp_ops {
	/* Somebody is connected and speaks PAIR0; `*user_r` is kept with the pipe. */
	void (*opened)(void *ctx, struct sp_pipe *p, void **user_r);
	/* A whole message, writable, with one byte behind it that may be written if it is restored;
	 * gone after the return. The pipe may be closed in here. */
	void (*message)(void *ctx, struct sp_pipe *p, void *user, uint8_t *bytes, size_t len);
	/* The peer is gone, everything it sent has been handed over; or it broke the protocol (why:
	 * a sentence, else NULL). Not called after sp_close, nor for a peer that `opened` was not
	 * called for. The pipe must not be used any more. */
	void (*closed)(void *ctx, struct sp_pipe *p, void *user, const char *why);
	/* What waited has been sent. May be NULL. */
	void (*sent)(void *ctx, struct sp_pipe *p, void *user);
};

/* Peers are strangers until sp_trust. */
struct sp_limits {
	/* bytes; a longer announcement ends the pipe before anything is allocated */
	uint64_t message_max;
	uint64_t first_max; /* likewise of a stranger; 0: message_max */
	/* most at once; beyond it the oldest gives way to a new peer; 0: any number */
	unsigned strangers;
	unsigned strangers_each;    /* of one address (IPv6: a /64) or process; 0: any number */
	size_t strangers_bytes;	    /* most memory for what they have sent, over all; 0: any */
	const char *crowd;	    /* a sentence for the log when the first gives way */
	enum descriptors_user user; /* what descriptors they may have */
	bool any_peer;		    /* ipc: of other users than our own, too */
	/* ipc: and those of this group, who are no owners (sp_is_owner); NULL: none are */
	const gid_t *group;
	const char *tls_cert, *tls_key,
		*tls_client_ca; /* PEM files, for tls+tcp; the last may be NULL */
};

/* url: ipc:///path, tcp://address:port or tls+tcp://address:port (numeric; port 0: any). An ipc
 * socket gets mode 0600, with a group 0660 and that group. NULL with a sentence in why. */
struct sp_listener *sp_listen(struct loop *loop, const char *url, const struct sp_ops *ops,
			      void *ctx, const struct sp_limits *limits, char *why, size_t why_cap);
/* Other files for tls+tcp, for pipes that come from now on. False with a sentence in why: the old
 * ones go on. */
bool sp_set_tls(struct sp_listener *l, const char *cert, const char *key, const char *client_ca,
		char *why, size_t why_cap);
/* The URL to dial, with the real port. */
const char *sp_url(const struct sp_listener *l);
/* Closes the listener and its pipes, without callbacks. */
void sp_listener_free(struct sp_listener **l_p);

/* Sends one message made of these parts; what the socket does not take at once is copied. False
 * without memory: the message was not sent. */
bool sp_send(struct sp_pipe *p, const struct iovec *parts, int n);
/* A message whose middle is made as the socket takes it: `next` writes the next bytes of it, at
 * least one and at most `room` (which is SP_PIECE at least), until it has written `left` in all. */
#define SP_PIECE 65536
struct sp_source {
	size_t (*next)(void *ctx, uint8_t *dst, size_t room);
	void *ctx; /* stays until sp_streams is false, or the pipe is closed */
	uint64_t left;
};
/* Sends head, what the source makes, and tail, both copied. What is sent meanwhile follows. Not
 * while sp_streams. False without memory: nothing was sent. */
bool sp_stream(struct sp_pipe *p, const struct iovec *head, int n_head,
	       const struct sp_source *source, const struct iovec *tail, int n_tail);
bool sp_streams(const struct sp_pipe *p);
/* What waits is not sent, nor anything after it. */
void sp_give_up(struct sp_pipe *p);
/* The peer has said who it is: messages of up to message_max are taken from it, and it gives way to
 * nobody. */
void sp_trust(struct sp_pipe *p);
/* A stranger is of use: of all it gives way last. */
void sp_touch(struct sp_pipe *p);
/* Nothing more is read from the peer, nor handed over, until no more than at_most bytes wait to be
 * sent to it. It ends, and `closed` says why, if it takes none of them for 20 s. */
void sp_wait_for_reader(struct sp_pipe *p, size_t at_most);
/* Does it have to read first? What it says is not heard meanwhile. */
bool sp_is_paused(const struct sp_pipe *p);
/* Bytes that wait to be sent, those that are not made yet among them, and all that it was given so
 * far, with those. */
size_t sp_waiting(const struct sp_pipe *p);
uint64_t sp_given(const struct sp_pipe *p);
/* The memory that waits. */
size_t sp_held(const struct sp_pipe *p);
/* Closes once everything was sent and the peer has closed, or after ms: what it still says is
 * handed over. `closed` follows. */
void sp_finish(struct sp_pipe *p, uint64_t ms);
/* Closes now, without a callback. */
void sp_close(struct sp_pipe *p);
bool sp_is_closed(const struct sp_pipe *p);
/* Process at the other end of an ipc pipe, 0: unknown. */
pid_t sp_peer(const struct sp_pipe *p);
/* ipc: is it of our own user, or root's? Else it came by sp_limits.group, or any_peer. */
bool sp_is_owner(const struct sp_pipe *p);
/* Is there a network between? */
bool sp_is_remote(const struct sp_pipe *p);
/* It has ended because nothing of the other end was heard, not even that there is none. */
bool sp_timed_out(const struct sp_pipe *p);
/* Who it is, for people: "192.0.2.1:4711", "[2001:db8::1]:4711", "process 4711". */
#define SP_REMOTE_MAX 64
const char *sp_remote(const struct sp_pipe *p, char text[SP_REMOTE_MAX]);

#endif
