/* answer: HTTP answers to requests that are not (or do not become) WebSocket connections. */
#ifndef TOVA_NET_ANSWER_H
#define TOVA_NET_ANSWER_H

#include "net/conn.h"
#include "ws/tova_v1.h"

/* Answers a request or refuses an upgrade. head: further header lines, each with CRLF; type NULL:
 * text/plain. The body is copied. */
void answer_respond(struct conn *c, int status, struct span head, const char *type,
		    struct span body);
/* The status and a line that says why. */
void answer_error(struct conn *c, int status, struct span head, const char *why);
/* The same, with a line in the log that says why, to whom, and what was asked for: the path without
 * its query, which may hold a token. r: NULL where the request could not be read. */
void answer_refuse(struct conn *c, enum log_kind kind, const struct request *r, int status,
		   struct span head, const char *why);
/* As answer_error, of an upgrade; v1: its client has offered tova.v1, and understands that better.
 * r, where it is not NULL, is a correct opening handshake. */
void answer_error_upgrade(struct conn *c, const struct request *r, bool v1, int status,
			  struct span head, const char *why);
/* Accepts the upgrade in order to say why it is refused, as a browser sees nothing of an HTTP
 * status: 101 with that subprotocol, a text message (n 0: none), a close frame, and the end of the
 * stream. */
void answer_websocket(struct conn *c, const struct request *r, struct span subprotocol,
		      struct span text, uint16_t code, struct span reason);
/* Only the line. error: what the client is not told; p NULL: nothing. */
void answer_note(struct conn *c, enum log_level level, enum log_kind kind, const struct request *r,
		 int status, const char *why, struct span error);
/* 200 with `size` bytes of an open regular file, which is taken over. A file that turns out shorter
 * cuts the connection, as nothing else tells the client (RFC 9112 8). */
void answer_file(struct conn *c, struct span head, const char *type, int fd, uint64_t size);

/* The same of what is made while it is sent: a list that is too long to be written down at once. */
enum answer_next {
	ANSWER_MORE,   /* so much of it */
	ANSWER_LATER,  /* nothing now: it is asked again in the next turn */
	ANSWER_QUIET,  /* nothing now: it is asked again after answer_resume */
	ANSWER_END,    /* and that was all */
	ANSWER_BROKEN, /* it can not go on, and the connection is cut, as nothing else tells the
			  client */
};
struct answer_source {
	/* What follows, whenever what came before has left, at most once a turn: so no more than
	 * one of these waits for a client that does not read. *piece_r is good until the next call,
	 * and may be empty. */
	enum answer_next (*next)(void *ctx, struct span *piece_r);
	/* Exactly once, at its end or the connection's. */
	void (*free)(void *ctx);
	void *ctx;
};
/* r: what it answers, as its client may be too old for chunks. Takes the source over. */
void answer_source(struct conn *c, const struct request *r, int status, struct span head,
		   const char *type, const struct answer_source *source);
/* The conn's source was quiet, and has something again. */
void answer_resume(struct conn *c);

/* For conn.c. The queue is empty: queues more of what follows. Returns false when all of the answer
 * was queued. */
bool answer_pump(struct conn *c);

#endif
