/* conn: one socket, from the accepted descriptor to its end: request head, HTTP answer or upgrade,
 * frames, close handshake.
 *
 * conn knows nothing of mounts, rooms and sessions. What it reads goes up through struct conn_ops;
 * whoever takes part there keeps a pointer in it (conn_user). Its memory goes when the socket is
 * closed and, where an upgrade was asked for, conn_release was called: its user may live longer.
 */
#ifndef TOVA_NET_CONN_H
#define TOVA_NET_CONN_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/address.h"
#include "net/budget.h"
#include "net/client_addr.h"
#include "net/conn_outcome.h"
#include "net/memory_limit.h"
#include "net/loop.h"
#include "net/rate_limit.h"
#include "net/outq.h"
#include "net/poller.h"
#include "net/uring.h"
#include "net/deflate_context.h"
#include "net/traffic.h"
#include "ws/frame.h"
#include "ws/request.h"

/* Moved by conn_set_state alone, which knows what may follow what. */
enum conn_state {
	CONN_NEW,    /* just made */
	CONN_PROXY,  /* the header of a proxy is read, which says whose connection it is */
	CONN_HEAD,   /* a request head is being read */
	CONN_BODY,   /* what follows that head is being read */
	CONN_ASKING, /* what the answer will be is not known yet; nothing is read */
	CONN_ANSWER, /* an HTTP answer is being sent */
	CONN_OPEN,   /* frames go both ways */
	/* the peer's close frame came, or what it may not send; our close frame waits for
	   conn_echo_close */
	CONN_CLOSED,
	/* we close: our close frame waits for conn_echo_close, and what the peer sends waits,
	 * too */
	CONN_LEAVING,
	/* our close frame is queued; the peer's is awaited, other frames are ignored */
	CONN_CLOSING,
	/* nothing more will be written; waits for the peer's end, so that what was sent is not lost
	   to a reset */
	CONN_LINGER,
	CONN_DEAD, /* the descriptor is closed */
};
#define CONN_STATES (CONN_DEAD + 1)

struct conn_farewell; /* conn.c */

/* What only some connections need, or need only now and then: a conn has it while any of it is not
 * zero. */
struct conn_more {
	struct frame_reader reader; /* where it stopped in the middle of a frame or message */
	/* bytes received and not used yet: a part of a head, or what came before a pause */
	struct conn_stash *stash;
	struct conn_body *body;		   /* CONN_BODY: what has come of it */
	struct answer_rest *rest;	   /* CONN_ANSWER: what follows the queue */
	struct client_addr_header *header; /* what the PROXY protocol said; see client_addr.h */
	struct tls *tls;		   /* NULL: plain */
	struct deflate_context *deflate;   /* see deflate_context.h */
	struct rate_limit *rate_limit;	   /* of what it sends; NULL: it may send what it likes */
	struct memory_limit *memory_limit; /* while it holds memory */
	struct traffic *traffic;	   /* see conn_count_traffic */
	/* CONN_LEAVING, and CONN_CLOSED where the peer sent none: what our close frame will say */
	struct conn_farewell *farewell;
	/* uptake_count, when the peer was last seen to take something; 0: it is not looked at */
	uint64_t taken;
	uint32_t taken_at; /* low 32 bits of the loop's clock */
	bool outstays;	   /* in conns->outstaying */
	/* while it is counted there, waits for it, or reads beyond its bound; see conn_budget.c */
	struct budget *budget;
	size_t budget_input; /* bytes, as they are counted there */
	TAILQ_ENTRY(conn) budget_link;
	uint8_t budget_waits; /* 0, or 1 + enum budget_wait: the list that it is in */
	uint8_t ip6[16];      /* the address where it is one of IPv6 */
};

/* What a broadcast touches of each member lies in front, in one cache line of memory. An idle
 * connection is this, its session, and some words in tables: whatever is added here is paid for by
 * each. */
struct conn {
	struct conns *conns;
	void *user;		/* see conn_user */
	struct conn_more *more; /* or NULL; see conn_more */
	struct outq out;
	int fd;
	uint8_t state;	 /* enum conn_state */
	uint8_t waiting; /* enum conn_wait */
	uint8_t paused;	 /* enum conn_pause bits */
	uint8_t family;	 /* of the peer's address */
	bool dirty : 1, to_free : 1;
	bool corked : 1;	  /* conn_cork */
	bool released : 1;	  /* nobody above speaks to it any more */
	bool ended : 1;		  /* the end was told, or was asked for from above */
	bool fin : 1;		  /* nothing is written behind what is queued */
	bool eof : 1;		  /* the peer's stream has ended */
	bool hup_seen : 1;	  /* epoll told so while nothing was read */
	bool close_exchanged : 1; /* both close frames have been queued or read */
	bool unread : 1;	  /* the last read filled its buffer: there may be more */
	bool keep_alive : 1;	  /* CONN_ANSWER: another request may follow */
	bool head_only : 1;	  /* CONN_ANSWER: no body */
	bool pipelined : 1;  /* CONN_ANSWER: it is out, and what has come of the next request waits
			      */
	bool counted : 1;    /* among those of its address */
	bool over_limit : 1; /* as one too many: its request gets a 429 */
	bool obeys : 1;	     /* of compressed messages: see inflate.h */
	union {
		struct {
			/* has agreed on compression: bits of the client's window, less 8; 0: it has
			 * not */
			uint8_t packed : 3;
			bool metered : 1; /* more->traffic is there */
			bool feeds : 1;	  /* see conn_want_drained */
		};
		uint8_t special : 4; /* 0: neither packed nor metered */
	};
	/* 0, or the errno of a write that failed; ECANCELED: nothing more is to be written */
	uint8_t broken;
	uint16_t interest; /* enum conn_interest bits that the poller was told */
	uint16_t magic;	   /* CHECK_CONN */
	/* low 32 bits of the loop's clock: last sign of life, entry into the timeout list */
	uint32_t last_in, since;
	uint16_t close_code; /* CONN_CLOSED: to echo */
	uint16_t port;	     /* of the peer's address */
	uint8_t ip4[4];
	union {
		TAILQ_ENTRY(conn) wait; /* in the list of its timeout */
		struct conn *to_free_next;
		struct conn *peer; /* of a stub: the conn there */
	};
};

enum conn_pause {
	CONN_PAUSE_OUTPUT = 1, /* does not read what we send */
	CONN_PAUSE_HOLD = 2,   /* its handler is behind */
	CONN_PAUSE_HUB = 4,    /* another loop's hub is behind: threads/io_thread.h */
	CONN_PAUSE_BUDGET = 8, /* its mount holds all it may: net/budget.h */
};

enum conn_wait {
	CONN_WAIT_NONE,
	CONN_WAIT_HEAD,
	CONN_WAIT_ANSWER,
	CONN_WAIT_ASK,
	CONN_WAIT_BODY,
	CONN_WAIT_IDLE,
	CONN_WAIT_CLOSE,
	CONN_WAITS
};

struct conn_ops {
	/* A correct opening handshake. Calls conn_accept or answer_respond, now or later; r lives
	 * until it returns. */
	void (*upgrade)(void *ctx, struct conn *c, struct request *r);
	/* Any other request. Calls one of answer.h, or conn_answer_later, before it returns. */
	void (*request)(void *ctx, struct conn *c, struct request *r);
	/* The head of one that has a body: *max_r is how many bytes of that are taken, and
	 * `request` is called when all of it is there, in r->body. False: it was answered by what
	 * the head says. NULL: bodies are not read, and end their connections. */
	bool (*body)(void *ctx, struct conn *c, struct request *r, uint64_t *max_r);
	/* Says what answer_error is to say. NULL: as text. */
	void (*error)(struct conn *c, int status, struct span head, const char *why);
	/* A whole message, unmasked, text checked. data is writable, one byte behind it too
	 * (restore that one). See conn_take. */
	void (*message)(struct conn *c, enum frame_opcode opcode, uint8_t *data, size_t len);
	/* The peer's doing, exactly once for a conn that was accepted and not closed by conn_close.
	 * Then call conn_echo_close when earlier messages have been dealt with. why: a sentence,
	 * static. */
	void (*ended)(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
		      size_t reason_len, const char *why);
	/* So many messages and pings were dropped, as it sends more than it may. */
	void (*dropped)(struct conn *c, uint32_t n);
	/* Upgrade asked for, or answered later, and the client is gone: nothing may be called for
	 * it any more but conn_release. */
	void (*withdrawn)(struct conn *c);
	/* Upgrade asked for and not answered in limits.ask_ms: answer now. */
	void (*unanswered)(struct conn *c);
	/* Messages were given up for others (conn_refused) since its queue was last empty: it is
	 * so again, or it is gone for good. */
	void (*gave_up)(struct conn *c, uint32_t messages, bool gone);
	/* It holds most, and limits.buffered_max is reached. True: some of what waited for it was
	 * given up (conn_lighten). Else it is to be closed when `relieved` is called or the commit
	 * is over; nothing more is queued for it. Members may be being walked. */
	bool (*memory_limit)(struct conn *c);
	void (*relieved)(void *ctx);
	/* Something sent was not queued, of which conn_send could not tell: it was another loop's.
	 * NULL where there is only one. */
	void (*unsent)(struct conn *c, enum conn_sent why, uint32_t messages);
	/* On another loop, too: messages begin to be given up. */
	void (*slow)(struct conn *c);
	/* What waited for the peer, of which there was too much, is little again, or more is wanted
	 * for it (conn_want_drained). Nothing is to be sent yet: a queue is being written. May be
	 * NULL. */
	void (*drained)(struct conn *c);
	/* What its mount may hold. May be NULL. */
	struct budget *(*budget)(struct conn *c);
	/* May it be read from? False: conn_pause was called. May be NULL. */
	bool (*ready)(struct conn *c);
	/* Its memory is about to go. False: not yet, ask again in the next turn. May be NULL. */
	bool (*gone)(struct conn *c);
	/* Nothing counts there any more: see conn_count_traffic. NULL: whoever asked learns it
	 * otherwise. */
	void (*uncounted)(struct traffic *t);
};

struct conn_limits {
	struct request_limits head;
	struct frame_limits frame;
	struct deflate_limits deflate;
	uint32_t queue_max;    /* bytes waiting for one connection */
	uint64_t buffered_max; /* bytes that all connections hold; 0: any number */
	uint32_t head_ms, ask_ms, close_ms;
	/* silence that ends a connection, and at which it is pinged at the latest; 0: never */
	uint32_t idle_ms, ping_ms;
	uint32_t max; /* sockets at once */
	/* so many connections with output in a turn are sent to with one system call, where it can
	 * be had; 0: never */
	uint32_t uring_min;
};

struct conn_list {
	TAILQ_HEAD(, conn) list;
	uint32_t n;
	uint32_t after_ms; /* an entry is looked at so long after it came in; see conns_looks */
};

/* Of a conn whose socket another loop has there is a stub here, whose conns have this table, given
 * from above (threads/remote_conn.c): the functions of the same names pass on what they are asked.
 */
struct conn_group;
struct conn_remote {
	bool (*accept)(struct conn *c, const struct request *r, enum slow_policy slow,
		       struct span subprotocol, struct span extra);
	void (*measure)(struct conn *c, const struct rate_limit_rule *rule, bool pings);
	void (*count_traffic)(struct conn *c, struct traffic *t);
	bool (*answering)(struct conn *c);
	bool (*raw)(struct conn *c, const struct slice *bytes);
	enum conn_sent (*send)(struct conn *c, const struct out_message *o, bool own);
	void (*close)(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent);
	void (*echo_close)(struct conn *c);
	void (*abort)(struct conn *c);
	void (*cork)(struct conn *c, bool on);
	void (*hold)(struct conn *c, enum conn_pause why, bool hold);
	void (*release)(struct conn *c);
	void (*hear_out)(struct conn *c);
	struct conn_load (*load)(struct conn *c);
	void *(*take)(struct conn *c, uint8_t **data_r, size_t *size_r);
	struct address (*local)(const struct conn *c);
	struct tls_facts (*tls_facts)(const struct conn *c);
	struct conn_group *(*group_new)(const struct conns *s);
	void (*group_free)(struct conn_group *g);
	bool (*group_resize)(struct conn_group *g, uint32_t cap);
	void (*group_add)(struct conn_group *g, struct conn *stub);
	void (*group_remove)(struct conn_group *g, uint32_t place);
	bool (*broadcast)(struct conn_group *g, uint32_t n, const struct out_message *o,
			  const struct conn *exclude, const struct conn *own);
};

/* All conns of one loop. */
struct conns {
	uint16_t magic; /* CHECK_CONNS; of those whose sockets are here */
	struct loop *loop;
	const struct conn_remote *remote; /* all of them are stubs; NULL: their sockets are here */
	void *remote_ctx;
	uint8_t shard; /* which of the other loops, from 1, has the sockets of stubs; 0: none */
	bool later;    /* who is above answers later, as it is another loop */
	struct poller poller;
	const struct conn_ops *ops;
	void *ctx;
	struct conn_limits limits;
	struct conn_list waits[CONN_WAITS];
	struct loop_timer tick;
	struct loop_hook hook;
	/* a ring of those that have output for the end of the turn; there is room for all */
	struct conn **dirty;
	uint32_t dirty_first, n_dirty, cap_dirty;
	uint32_t living; /* conns in memory */
	struct conn *to_free;
	struct outq_spare spare;
	struct memory_limits memory_limits;
	/* bytes that others hold for them; NULL where those are another's of the same loop */
	const uint64_t *lent;
	uint64_t counted; /* of stats.buffered, bytes that are theirs */
	struct uring uring;
	struct deflate_contexts deflate;
	struct frame_reader *reader; /* of the message that is being told; else NULL */
	struct budgets *budgets;     /* NULL: none */
	unsigned number;	     /* of the loop, there */
	struct loop_waker budget_waker;
	struct loop_timer budget_timer;
	struct loop_timer trim;
	uint64_t tick_at;	/* when the tick comes; 0: it is not set */
	struct tls_server *tls; /* NULL: no TLS */
	struct loop_timer uncork;
	uint64_t corked_at; /* microseconds: since when output waits for more; 0: none does */
	uint32_t count;
	uint32_t stashes; /* conns that have one: conn_more */
	/* that have ended, and longer than limits.close_ms ago: their peers still take what was
	 * sent */
	uint32_t outstaying;
	struct client_addr client_addr; /* all zero: nobody is trusted, nothing is limited */
	void (*freed)(void *ctx);	/* a socket was closed; NULL: nobody asks */
	void *freed_ctx;
	struct request request; /* scratch: it is large */
};

/* False with errno on failure; conns_free is called all the same. */
bool conns_init(struct conns *s, struct loop *loop, const struct conn_ops *ops, void *ctx,
		const struct conn_limits *limits);
/* For what is read from now on. */
void conns_set_limits(struct conns *s, const struct conn_limits *limits);
/* What is shown to and demanded of those that are accepted from now on and speak TLS; NULL is
 * allowed. */
void conns_set_tls(struct conns *s, struct tls_server *tls);
/* What is received counts in these; number: which of its loops this is. Before the first
 * connection. */
void conns_set_budgets(struct conns *s, struct budgets *budgets, unsigned number);
/* Is anything still being said or waited for on a socket, beyond idle keep-alive? The more there is
 * to wait for, the larger. */
enum conns_busy {
	CONNS_AT_REST,
	CONNS_BUSY,
	CONNS_OUTSTAYED, /* some have ended, but their peers still take what was sent */
};
enum conns_busy conns_busy(const struct conns *s);
/* Ends the connection that has waited longest for a request of its peer's, or else for its end.
 * False: none waits. */
bool conns_give_way(struct conns *s);
/* Closes every socket at once. */
void conns_free(struct conns *s);

/* What is particular to a listener. */
struct conn_kind {
	bool proxy;	   /* a PROXY header comes first */
	bool tls;	   /* it speaks what conns_set_tls says */
	uint8_t tls_group; /* and shows this group of certificates; 0: all */
};

/* Takes over an accepted, non-blocking descriptor; closes it and returns false without memory, or
 * if its address may not come in. */
bool conn_add(struct conns *s, int fd, const struct address *remote, const struct conn_kind *kind);

/* Whoever takes part above, since an upgrade was asked for; NULL: nobody yet. */
static inline void *conn_user(const struct conn *c)
{
	return c->user;
}

static inline void conn_set_user(struct conn *c, void *user)
{
	c->user = user;
}

/* The conn if it is a stub, else NULL; and which loop has its socket: 0 is the hub's. */
static inline struct conn *conn_stub(struct conn *c)
{
	return c->conns->remote != NULL ? c : NULL;
}
/* Which loop has its socket: 0 is the hub's. */
unsigned conn_loop(const struct conn *c);

/* The other end: the client, as far as that is known. */
struct address conn_remote(const struct conn *c);
/* For client_addr.c and remote_conn.c. False without memory. */
bool conn_set_remote(struct conn *c, const struct address *a);
/* Where it was reached: here, or at a proxy that said so. */
struct address conn_local(const struct conn *c);
/* Does the client speak TLS, with us or, by its word, with a proxy? */
bool conn_is_secure(const struct conn *c);
const char *conn_remote_text(const struct conn *c, char text[ADDRESS_TEXT]);
/* What is known of its TLS; false: it has none. */
bool conn_tls_facts(const struct conn *c, struct tls_facts *facts_r);
/* What is rarely there, made if need be; NULL without memory. Whoever clears something in it calls
 * conn_less. */
struct conn_more *conn_more(struct conn *c);
void conn_less(struct conn *c);

/* From now on, what it sends is measured, or its pings only; the rule has to outlive it. False
 * without memory. */
bool conn_measure(struct conn *c, const struct rate_limit_rule *rule, bool pings);
/* From now on, what it sends and is sent is counted there, until conn_ops.uncounted. Once. False
 * without memory. */
bool conn_count_traffic(struct conn *c, struct traffic *t);
/* Answers the upgrade with 101; r is the request that was passed to `upgrade`. slow: with
 * SLOW_POLICY_CLOSE none of what is sent will be given up (see conn_refused), so that compressed
 * messages may refer back to others. extra: header lines with CRLF. The session must be ready:
 * messages follow as soon as the caller returns to the loop. Returns false without memory; the conn
 * is ended then. */
bool conn_accept(struct conn *c, const struct request *r, enum slow_policy slow,
		 struct span subprotocol, struct span extra);
/* Queues a message. `own`: it answers the connection's own event, which stops reading at the bound
 * and is not judged by it. */
enum conn_sent conn_send(struct conn *c, struct out_message *o, bool own);

/* What has become of a message that was not queued, by the policy for who reads too slowly. */
struct conn_refusal {
	enum conn_sent sent; /* CONN_SENT: others gave way */
	bool gives_up;	     /* messages are given up (outq_make_way), or would be if any could */
	bool over;	     /* the conn is to be closed */
};
/* `sent`, CONN_FULL or CONN_NO_MEMORY, is what conn_send said. Members may be being walked. */
struct conn_refusal conn_refused(struct conn *c, struct out_message *o, enum conn_sent sent,
				 bool own, enum slow_policy policy);
/* Gives up the older half of what waits, if that is worth while. False: nothing was. */
bool conn_lighten(struct conn *c);
/* Its user has more for it: conn_ops.drained is called, once, when its queue is short. */
void conn_want_drained(struct conn *c);
/* Bytes of memory beside its queue: for input that is not complete, and what TLS has taken and the
 * socket has not. */
size_t conn_held(const struct conn *c);
/* Bytes that wait for it and can not be given up for others. */
static inline uint32_t conn_unread(const struct conn *c)
{
	return outq_gives_up(&c->out) ? outq_backlog(&c->out)->kept : c->out.bytes;
}
/* Messages that were given up for others since the queue was last empty. */
static inline uint32_t conn_given_up(const struct conn *c)
{
	return outq_backlog(&c->out) != NULL ? outq_backlog(&c->out)->given_up : 0;
}
/* The same, for people: of a conn whose socket another loop has, what that has shown lately. */
struct conn_load {
	uint32_t waiting, held, given_up;
	uint32_t unread; /* see conn_unread */
	bool stalled;
};
struct conn_load conn_load(struct conn *c);

/* Within conn_ops.message: the memory in which the message lies, with one byte behind it that may
 * be written; the caller's to free from now on. NULL: it lies elsewhere. Its size comes in *size_r,
 * and where the message is now in *data_r. */
void *conn_take(struct conn *c, uint8_t **data_r, size_t *size_r);

/* Starts the close handshake: what is sent in answer to earlier messages (`own`) leaves before our
 * close frame, which waits for conn_echo_close, at most limits.close_ms. `urgent`: it does not
 * wait, and what is queued is given up. code 0: an empty close frame. No op upwards follows. */
void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent);
/* Earlier messages have been dealt with: our close frame is queued, whoever began it. Does nothing
 * where none waits for that. */
void conn_echo_close(struct conn *c);
/* Ends the socket at once. No op upwards follows. */
void conn_abort(struct conn *c);
/* The same where there may be something that the peer was to get yet: the log says so. */
void conn_cut(struct conn *c, const char *why);
/* More output of this conn is about to come: what is queued may wait for it, at most about a
 * millisecond. */
void conn_cork(struct conn *c, bool on);
/* What has come and waits because it is not read from is told now. */
void conn_hear_out(struct conn *c);
/* Nobody speaks to it any more; what its user is then is known to the conn_ops alone. */
void conn_release(struct conn *c);
/* Within conn_ops.request: it is answered later, by one of answer.h, and nothing is read until
 * then. If its client goes before that, conn_ops.withdrawn says so, and conn_release is to be
 * called. */
void conn_answer_later(struct conn *c);
/* For answer.c: the request is answered, what follows is bytes of the answer. False: the connection
 * is gone. */
bool conn_answering(struct conn *c);
bool conn_queue_raw(struct conn *c, const struct slice *bytes);
/* Stops or goes on reading for that reason. */
void conn_pause(struct conn *c, enum conn_pause why, bool pause);
static inline void conn_hold(struct conn *c, bool hold)
{
	conn_pause(c, CONN_PAUSE_HOLD, hold);
}
/* Sends what is queued if it is much; called between pieces of work that may queue without end. */
void conns_relieve(struct conns *s);

/* Conns of one other loop that are sent the same at once: members of a room, connections of a
 * mount. That loop keeps them in an array of its own, which is dense and in the same order as the
 * array that the caller keeps, because both do the same: what is added comes last, and the last
 * takes the place of what is removed. */
struct conn_group {
	const struct conn_remote *ops;
};

/* s: the conns of stubs. NULL without memory. */
static inline struct conn_group *conn_group_new(const struct conns *s)
{
	return s->remote->group_new(s);
}

static inline void conn_group_free(struct conn_group **g_p)
{
	if (*g_p != NULL)
		(*g_p)->ops->group_free(*g_p);
	*g_p = NULL;
}

/* Room for so many members. False without memory, and nothing has changed. */
static inline bool conn_group_resize(struct conn_group *g, uint32_t cap)
{
	return g->ops->group_resize(g, cap);
}

static inline void conn_group_add(struct conn_group *g, struct conn *stub)
{
	g->ops->group_add(g, stub);
}

static inline void conn_group_remove(struct conn_group *g, uint32_t place)
{
	g->ops->group_remove(g, place);
}

/* n: how many they are. exclude, own: see conn_send; NULL, or any conn. False without memory, and
 * nobody got it. */
static inline bool conn_group_broadcast(struct conn_group *g, uint32_t n,
					const struct out_message *o, const struct conn *exclude,
					const struct conn *own)
{
	return g->ops->broadcast(g, n, o, exclude, own);
}

#endif
