/* conn_parts: what the parts of conn share. conn.c has its life, its time and its end; conn_in.c
 * what comes in, of which conn_body.c reads what requests carry; conn_out.c what goes out;
 * conn_budget.c when it is read from. Nobody else includes this. */
#ifndef TOVA_NET_CONN_PARTS_H
#define TOVA_NET_CONN_PARTS_H

#include <stdlib.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "net/answer.h"
#include "net/conn.h"
#include "ws/body.h"

/* bytes a second that a peer has to take of what waits for it, or to send of what it has announced,
 * to be waited for */
#define CONN_PACE 1024
/* bytes written down in a turn after which they are sent before its end */
#define CONN_CORK_MAX (40u << 10)

enum conn_interest {
	CONN_WANT_READ = EPOLLIN,
	CONN_WANT_WRITE = EPOLLOUT,
	CONN_WANT_HUP = EPOLLRDHUP
};

struct conn_stash {
	size_t len, cap;		  /* bytes has one more that may be written */
	struct request_progress progress; /* of a head */
	uint8_t bytes[];
};

/* What a request carries, as far as it has come. */
struct conn_body {
	struct body_reader reader;
	size_t head;	 /* bytes in front: the request's head */
	size_t len, cap; /* bytes, with the head */
	size_t seen;	 /* len, when it was last seen to come on */
	char bytes[];
};

/* What follows the queue: a file, or what a source makes. */
struct answer_rest {
	int fd; /* -1: no file */
	uint64_t left, at;
	struct answer_source source;
	bool chunked;
};

static inline bool conn_has_rest(const struct conn *c)
{
	return c->more != NULL && c->more->rest != NULL;
}

static inline struct conn_stash *conn_stash(const struct conn *c)
{
	return c->more != NULL ? c->more->stash : NULL;
}

/* There is conn_more. */
static inline void conn_set_stash(struct conn *c, struct conn_stash *to)
{
	c->conns->stashes += (to != NULL) - (c->more->stash != NULL);
	c->more->stash = to;
}

static inline struct tls *conn_tls(const struct conn *c)
{
	return c->more != NULL ? c->more->tls : NULL;
}

/* TLS can have read the end of a stream while what came before it is being dealt with: it is told
 * when the conn reads again. */
static inline bool conn_end_pending(const struct conn *c)
{
	bool reads = c->state == CONN_HEAD || c->state == CONN_BODY || c->state == CONN_CLOSING ||
		     (c->state == CONN_OPEN && c->paused == 0);
	return conn_tls(c) != NULL && tls_ended(conn_tls(c)) && reads && !c->eof;
}

#define CONNS_TRIM_MS 20000
/* There may be memory to give back to the system. */
static inline void conns_trim_later(struct conns *s)
{
	if (!loop_timer_is_set(&s->trim))
		loop_timer_set(&s->trim, CONNS_TRIM_MS);
}

/* conn.c */
void conn_forget_input(struct conn *c);
void conn_drop_tls(struct conn *c);
/* What follows the queue does not follow any more. */
void conn_drop_rest(struct conn *c);
void conn_tell_given_up(struct conn *c, uint32_t messages, bool gone);
/* Is it one, and on its own loop? In each entry from above and below. */
static inline void conn_check(const struct conn *c)
{
	CHECK_IS(c, CHECK_CONN);
	CHECK(loop_is_own(c->conns->loop));
}
/* The only writer of a conn's state: what may follow what is checked. */
void conn_set_state(struct conn *c, enum conn_state state);
void conn_kill(struct conn *c);
void conn_end(struct conn *c, enum conn_end end, uint16_t code, struct span reason,
	      const char *why);
void conn_lost(struct conn *c, const char *why);
/* Why a connection broke, in words: by the errno of a read or of its socket, or by what its write
 * left in `broken`. */
const char *conn_failed_read(int error);
const char *conn_failed_write(const struct conn *c);
void conn_wait(struct conn *c, enum conn_wait which);
void conn_wait_close(struct conn *c);
void conn_watch_uptake(struct conn *c);
void conn_watch(struct conn *c);
void conn_finish(struct conn *c);
void conn_fail(struct conn *c, enum conn_end end, uint16_t code, const char *why);

/* conn_out.c */
void conn_pack(struct conn *c, const struct request *r, bool all, char answer[DEFLATE_ANSWER_MAX]);
struct squeeze_conn *conn_kept(const struct conn *c);
void conn_unpack(struct conn *c);
void conn_mark_dirty(struct conn *c);
bool conns_reserve_dirty(struct conns *s);
void conn_fin(struct conn *c);
void conn_flush(struct conn *c);
bool conn_queue(struct conn *c, const struct slice *s, bool raw);
bool conn_queue_control(struct conn *c, enum frame_opcode opcode, const uint8_t *payload,
			size_t len);
void conns_flush(struct conns *s);
void conns_on_uncork(void *arg);

/* conn_budget.c */
/* How much may be read from it now; 0: nothing, it waits until more may be. */
size_t conn_admitted(struct conn *c);
/* What it has received and not used may have changed. Nobody keeps a pointer to its conn_more
 * meanwhile. */
void conn_budget_weigh(struct conn *c);
/* It does not wait any more. */
void conn_budget_unwait(struct conn *c);
/* It holds nothing any more. */
void conn_budget_leave(struct conn *c);
void conns_on_budget(void *arg);

/* conn_body.c */
/* r has one, which is read from now on; or it was refused. */
void conn_body_begin(struct conn *c, struct request *r);
/* Returns the bytes used: of the body, or, where that is wrong, all. *whole_r: all of it is there,
 * and conn_body_take is to follow. */
size_t conn_body_consume(struct conn *c, const uint8_t *data, size_t len, bool *whole_r);
/* r becomes the request, in the memory that is returned: the caller's to free. */
struct conn_body *conn_body_take(struct conn *c, struct request *r);
void conn_body_timeout(struct conn *c);
/* Bytes of memory that it takes. */
static inline size_t conn_body_held(const struct conn *c)
{
	const struct conn_body *b = c->more != NULL ? c->more->body : NULL;
	return b != NULL ? sizeof *b + b->cap : 0;
}

static inline void conn_body_drop(struct conn *c)
{
	if (c->more == NULL)
		return;
	free(c->more->body);
	c->more->body = NULL;
}

/* conn_in.c */
void conn_refuse(struct conn *c, const struct request *r, int status, const char *why);
void conn_consume_stash(struct conn *c);
void conn_on_readable(struct conn *c);
void conn_on_hup(struct conn *c);
void conn_tls_late(struct conn *c);

#endif
