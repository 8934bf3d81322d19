/* conn_parts: what the parts of conn share, and threads/remote_conn.c, whose stubs are conns. Each
 * part needs only those above it in this list:
 *
 *   conn_state, conn_more, conn_wait, conn_pack   what a conn is, waits for, has agreed on
 *   client_addr, memory_limit, conn_budget        where it is counted
 *   conn                                          its life
 *   memory_limits, conn_out, conn_end             what it is given to send; how it ends
 *   answer, client_addr_read, conn_body, conn_in  what it receives, and answers by itself
 *   conn_watch, conn_flush, conns_budget, conn_close, conn_timeout, conns
 *                                                 what its socket, time and others above make it do
 *
 * All of it is for the loop of the conns alone.
 */
#ifndef TOVA_NET_CONN_PARTS_H
#define TOVA_NET_CONN_PARTS_H

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "common/buffer.h"
#include "net/answer.h"
#include "net/conn.h"
#include "ws/body.h"

/* bytes a second that a peer has to take of what waits for it, or to send of what it has announced,
 * to be waited for */
#define CONN_PACE 1024
/* bytes written down in a turn after which they are sent before its end */
#define CONN_CORK_MAX (40u << 10)

/* conn_count_traffic was asked for. */
static inline void conn_count_in(const struct conn *c, uint64_t len)
{
	traffic_add(&c->more->traffic->in_messages, 1);
	traffic_add(&c->more->traffic->in_bytes, len);
}

enum conn_interest {
	CONN_WANT_READ = EPOLLIN,
	CONN_WANT_WRITE = EPOLLOUT,
	CONN_WANT_HUP = EPOLLRDHUP
};

struct conn_stash {
	struct request_progress progress; /* of a head */
	struct buffer in;
};

/* What a request carries, as far as it has come. */
struct conn_body {
	struct body_reader reader;
	struct buffer in; /* the request's head, and what follows it */
	size_t head;	  /* bytes of that */
	size_t seen;	  /* in.n, when it was last seen to come on */
};

/* What follows the queue: a file, or what a source makes. */
struct answer_rest {
	int fd; /* -1: no file */
	uint64_t left, at;
	struct answer_source source;
	bool chunked;
	bool quiet; /* it has nothing until answer_resume */
};

/* What our close frame will say. */
struct conn_farewell {
	uint16_t code;
	bool fault; /* of the peer: nothing of its is looked at any more */
	uint8_t len;
	char reason[FRAME_CONTROL_MAX];
};

static inline bool conn_has_rest(const struct conn *c)
{
	return c->more != NULL && c->more->rest != NULL;
}

/* There is more to come, nobody knows when. */
static inline bool conn_rest_is_quiet(const struct conn *c)
{
	return conn_has_rest(c) && c->more->rest->quiet;
}

static inline struct conn_stash *conn_stash(const struct conn *c)
{
	return c->more != NULL ? c->more->stash : NULL;
}

/* There is conn_more. */
static inline void conn_set_stash(struct conn *c, struct conn_stash *to)
{
	CHECK(c->conns->stashes > 0 || c->more->stash == NULL);
	c->conns->stashes += (to != NULL) - (c->more->stash != NULL);
	c->more->stash = to;
}

static inline void conn_stash_free(struct conn_stash *st)
{
	if (st != NULL)
		buffer_free(&st->in);
	free(st);
}

/* Bytes of memory that it takes. */
static inline size_t conn_stash_held(const struct conn *c)
{
	const struct conn_stash *st = conn_stash(c);
	return st != NULL ? sizeof *st + buffer_memory(&st->in) : 0;
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

/* Is it one, and on its own loop? In each entry from above and below. */
static inline void conn_check(const struct conn *c)
{
	CHECK_IS(c, CHECK_CONN);
	CHECK(loop_is_own(c->conns->loop));
}

/* --- conn_state.c ----------------------------------------------------------------------------- */

/* The only writer of a conn's state: what may follow what is checked. */
void conn_set_state(struct conn *c, enum conn_state state);

/* --- conn_more.c ------------------------------------------------------------------------------ */

/* Frees what has come and was not used; conn_more may be gone afterwards. There is conn_more. */
void conn_forget_input(struct conn *c);

/* --- conn_wait.c ------------------------------------------------------------------------------ */

#define CONNS_LOOK_MS 10 /* between looks at those that wait for the same */

/* It waits for this from now on, and for nothing else: at the end of the list. */
void conn_wait(struct conn *c, enum conn_wait which);
/* For the end of the close handshake: it has limits.close_ms from now, and again whenever that is
 * over and the peer has taken enough of what waits for it meanwhile. */
void conn_wait_close(struct conn *c);
/* It stands in no list any more. */
void conn_unwait(struct conn *c);
/* The lists are looked at at that time, of loop_now, at the latest. */
void conns_set_tick(struct conns *s, uint64_t at);
/* From now on it is known what it takes. Without memory nobody waits for that. */
void conn_watch_uptake(struct conn *c);
/* Bytes that have not left. */
uint64_t conn_waiting(const struct conn *c);
/* Has the peer not got everything? The end of our stream does not count. */
bool conn_has_unsent(const struct conn *c);
/* Has the peer taken enough since it was last seen to? False when this is asked for the first time.
 */
bool conn_took(struct conn *c);
/* Is it worth while to wait longer for the peer to take what waits for it? ms: after which this is
 * asked. */
bool conn_moves(struct conn *c, uint32_t ms);

/* --- conn_pack.c ------------------------------------------------------------------------------ */

/* What is agreed on about compression by this request, with the line of the answer's head that says
 * so. all: none of what is sent will be given up. */
void conn_pack(struct conn *c, const struct request *r, bool all, char answer[DEFLATE_ANSWER_MAX]);
/* Nothing is agreed on any more. */
void conn_unpack(struct conn *c);
/* What is kept for its compressed messages, or NULL. */
struct deflate_context *conn_kept(const struct conn *c);
/* The compressed form of what is sent, with a reference of the caller's. False: it goes as it is.
 */
bool conn_deflate(struct conn *c, struct out_message *o, struct slice *packed_r);
/* Does what it gets refer back to what it got? Then nothing may be missing. */
bool conn_refers(const struct conn *c);

/* --- conn_budget.c, conns_budget.c ------------------------------------------------------------ */

/* to look again: whoever frees memory says so, but not all that changes */
#define CONN_BUDGET_LOOK_MS 50

/* The queue of this loop. */
static inline struct budget_queue *conns_queue(const struct conns *s, struct budget *b)
{
	return &b->queues[s->number];
}

/* What it counts in while it is read from; NULL: nothing. */
struct budget *conn_budget(struct conn *c);
/* Bytes of memory of what it has received and not used. */
size_t conn_input(const struct conn *c);
/* How much may be read from it now; 0: nothing, it waits until more may be. */
size_t conn_admitted(struct conn *c);
/* What it has received and not used may have changed. Nobody keeps a pointer to its conn_more
 * meanwhile. */
void conn_budget_weigh(struct conn *c);
/* It does not wait any more. */
void conn_budget_unwait(struct conn *c);
/* If it reads beyond the bound, it does not any more. */
void conn_end_pass(struct conn *c, struct budget *b);
/* It holds nothing any more. */
void conn_budget_leave(struct conn *c);
/* Those who wait are looked at in CONN_BUDGET_LOOK_MS at the latest. */
void conns_look_later(struct conns *s);
/* There may be room: those who wait are read again. */
void conns_on_budget(void *arg);

/* --- conn.c ----------------------------------------------------------------------------------- */

/* Closes the descriptor. The memory goes at the end of the turn, so that nobody on the stack meets
 * it freed. */
void conn_kill(struct conn *c);
void conn_drop_tls(struct conn *c);
/* What follows the queue does not follow any more. */
void conn_drop_rest(struct conn *c);
/* So many messages were given up since its queue was last empty, and that is over. */
void conn_tell_given_up(struct conn *c, uint32_t messages, bool gone);

/* --- conn_out.c ------------------------------------------------------------------------------- */

/* The ring has room for all: conns_reserve_dirty. */
static inline void conns_push_dirty(struct conns *s, struct conn *c)
{
	s->dirty[(s->dirty_first + s->n_dirty++) & (s->cap_dirty - 1)] = c;
}

/* It has output, or something else to do, at the end of the turn. */
static inline void conn_mark_dirty(struct conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->conns->loop->again = true;
	conns_push_dirty(c->conns, c);
}

/* stalled: it was so before. */
static inline void conn_count_sent(struct conn *c, uint64_t sent, bool stalled)
{
	c->conns->loop->stats.bytes_out += sent;
	/* Where we do not listen, or the peer has much to take, it is the sign of life that it
	 * takes some. */
	if (sent > 0 && (c->state == CONN_ANSWER || c->paused != 0 || stalled))
		c->last_in = (uint32_t)loop_now(c->conns->loop);
}

/* Writes what is queued as far as the socket takes it. In each flush, so that it is worth its place
 * there. */
static inline __attribute__((always_inline)) enum outq_status conn_write(struct conn *c)
{
	uint64_t sent = 0;
	bool stalled = c->out.stalled;
	enum outq_status status = outq_flush(&c->out, c->fd, conn_tls(c), &c->conns->spare, &sent);
	if (status == OUTQ_BROKEN)
		c->broken = (uint8_t)errno;
	conn_count_sent(c, sent, stalled);
	return status;
}

/* Queues bytes: a frame, or with `raw` anything. False without memory. */
bool conn_queue(struct conn *c, const struct slice *s, bool raw);
/* Queues a control frame. False without memory. */
bool conn_queue_control(struct conn *c, enum frame_opcode opcode, const uint8_t *payload,
			size_t len);

/* --- conn_end.c ------------------------------------------------------------------------------- */

/* Tells whoever is above that it ends, once. */
void conn_end(struct conn *c, enum conn_end end, uint16_t code, struct span reason,
	      const char *why);
/* The peer did what it may not (7.1.7): close frame, end of our stream, nothing of its is looked at
 * any more. */
void conn_fail(struct conn *c, enum conn_end end, uint16_t code, const char *why);
/* The last frame is queued: once it is out, our side of the stream ends. */
void conn_finish(struct conn *c);
/* Everything was sent that will be: our side of the stream ends, or the socket. */
void conn_fin(struct conn *c);
/* Queues our close frame; without memory the socket ends. */
void conn_queue_close(struct conn *c, uint16_t code, const char *reason, size_t len);
/* What came before may have answers that are under way, and leave before our close frame. False,
 * without memory or where it is not open: there is no waiting. */
bool conn_close_later(struct conn *c, uint16_t code, const char *reason, size_t len, bool fault);
/* Why a connection broke, in words: by the errno of a read or of its socket, or by what its write
 * left in `broken`. */
const char *conn_failed_read(int error);
const char *conn_failed_write(const struct conn *c);

/* --- conn_body.c ------------------------------------------------------------------------------ */

/* r has one, which is read from now on; or it was refused. */
void conn_body_begin(struct conn *c, struct request *r);
/* Returns the bytes used: of the body, or, where that is wrong, all. *whole_r: all of it is there,
 * and conn_body_take is to follow. */
size_t conn_body_consume(struct conn *c, const uint8_t *data, size_t len, bool *whole_r);
/* r becomes the request, in what is returned: the caller's to free. */
struct buffer conn_body_take(struct conn *c, struct request *r);
/* Its time is over: it goes on if some of it came, else it is refused. */
void conn_body_timeout(struct conn *c);
/* Bytes of memory that it takes. */
static inline size_t conn_body_held(const struct conn *c)
{
	const struct conn_body *b = c->more != NULL ? c->more->body : NULL;
	return b != NULL ? sizeof *b + buffer_memory(&b->in) : 0;
}

static inline void conn_body_drop(struct conn *c)
{
	if (c->more == NULL || c->more->body == NULL)
		return;
	buffer_free(&c->more->body->in);
	free(c->more->body);
	c->more->body = NULL;
}

/* --- conn_in.c -------------------------------------------------------------------------------- */

/* Answers a request that is none, or not taken, and ends the connection behind it. r: NULL where
 * it could not be read. */
void conn_refuse(struct conn *c, const struct request *r, int status, const char *why);
/* Uses what came before and could not be used then. */
void conn_consume_stash(struct conn *c);
/* What came before the end, and waited because its sender did not read, is handled before it.
 * Answers go nowhere. */
void conn_hear_last(struct conn *c);
/* The socket broke. */
void conn_lost(struct conn *c, const char *why);
void conn_on_readable(struct conn *c);
/* Nothing is read now, but the peer's end can be noticed. */
void conn_on_hup(struct conn *c);

/* --- conn_watch.c ----------------------------------------------------------------------------- */

/* Tells the poller what the conn waits for, if that has changed. */
void conn_watch(struct conn *c);

/* --- conn_flush.c ----------------------------------------------------------------------------- */

/* Writes what is queued, and goes on with what becomes possible. */
void conn_flush(struct conn *c);
/* The same for all that have output, except where more is about to come. */
void conns_flush(struct conns *s);
void conns_on_uncork(void *arg);

/* --- conn_timeout.c --------------------------------------------------------------------------- */

/* Some may have waited for long enough. */
void conns_on_tick(void *arg);
/* How often idle ones are looked at, in ms; 0: never. */
uint32_t conns_idle_looks(const struct conn_limits *limits);

#endif
