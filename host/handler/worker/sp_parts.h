/* sp_parts: what the parts of sp share. sp_end.c is the end of a pipe, sp_stranger.c who gives way,
 * sp_out.c what a peer is sent, sp.c what it says, sp_listen.c who dials. */
#ifndef TOVA_HANDLER_WORKER_SP_PARTS_H
#define TOVA_HANDLER_WORKER_SP_PARTS_H

#include <sys/queue.h>

#include "base/address.h"
#include "common/buffer.h"
#include "handler/worker/sp.h"
#include "net/acceptor.h"

#define SP_READ 65536 /* room offered to each read */

struct sp_pipe {
	uint16_t magic; /* CHECK_SP_PIPE */
	struct event event;
	struct loop_timer limit; /* of the handshake, of sp_finish */
	struct sp_listener *listener;
	TAILQ_ENTRY(sp_pipe) others;
	void *user;
	int fd;
	pid_t peer;
	bool owner; /* see sp_is_owner */
	struct address from;
	struct buffer in, out;
	uint64_t given;		    /* bytes, to be sent to it, so far */
	size_t unread_max;	    /* paused until no more than these wait */
	struct sp_source source;    /* left 0: none */
	struct buffer tail, behind; /* what follows the source; whole messages that follow that */
	struct tls *tls;	    /* NULL: plain */
	bool trusted;		    /* sp_trust; others stand among the strangers */
	bool greeted, finishing, deaf, closed; /* deaf: the peer takes nothing any more */
	bool paused;	       /* nothing is read, nor handed over: sp_wait_for_reader */
	bool writing, reading; /* what the socket is watched for */
	bool drained;	       /* sp_ops.sent is to be called */
	bool timed_out;	       /* sp_timed_out */
	bool ousted;	       /* it has given way, which was said */
	struct sp_pipe *dead_next;
};

struct sp_listener {
	uint16_t magic; /* CHECK_SP_LISTENER */
	struct acceptor acceptor;
	struct loop *loop;
	struct loop_hook hook;
	struct loop_timer retry;
	const struct sp_ops *ops;
	void *ctx;
	struct sp_limits limits;
	/* strangers: the one that gives way first in front */
	TAILQ_HEAD(sp_pipes, sp_pipe)
	pipes, strangers;
	unsigned n_strangers;
	size_t strange_bytes; /* of memory for what they have sent */
	uint64_t crowd_quiet; /* that strangers give way is not said again before */
	bool full_said;	      /* that none can be accepted, until one is */
	struct sp_pipe *dead;
	bool ipc;
	struct tls_server *tls; /* NULL: plain */
	char *url;
};

/* --- sp_end.c --------------------------------------------------------------------------------- */

/* It is closed, and told to whoever it was told to; why: NULL: as it should. */
void sp_end(struct sp_pipe *p, const char *why);
/* It leaves the list that it is in. */
void sp_end_unlist(struct sp_pipe *p);
/* Timers and hooks: the pipe's time is over; the listener's dead ones go. */
void sp_end_on_limit(void *arg);
void sp_end_bury(void *arg);

/* --- sp_stranger.c ---------------------------------------------------------------------------- */

/* It is one from now on. */
void sp_stranger_admit(struct sp_pipe *p);
/* After p has come: somebody may have to give way to it. */
void sp_stranger_make_room(struct sp_pipe *p);
/* The memory for what p has sent has changed: among strangers that hold too much the one that holds
 * most gives way. before: what it was. */
void sp_stranger_weigh(struct sp_pipe *p, size_t before);
/* Is there one that may give way? It does. */
bool sp_stranger_can_oust(const struct sp_listener *l);
void sp_stranger_oust(struct sp_pipe *p);

/* --- sp_out.c --------------------------------------------------------------------------------- */

/* So much of the buffer was used. */
void sp_out_used(struct buffer *b, size_t n);
/* What waits goes out, as far as the socket takes it. */
void sp_out_flush(struct sp_pipe *p);
/* The error is reported once, to whichever of reading and writing comes first. */
void sp_out_broke(struct sp_pipe *p, int error);

/* --- sp.c ------------------------------------------------------------------------------------- */

/* The pipe's socket is ready. */
void sp_on_event(evutil_socket_t fd, short what, void *arg);

#endif
