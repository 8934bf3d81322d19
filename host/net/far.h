/* far: connections whose sockets another loop has, as the hub's loop sees them.
 *
 * Each is a stub: a struct conn in CONN_FAR with a session behind it, as every conn has. The
 * functions of conn.h pass what they are asked on to the other loop (net/io_thread.h), where the
 * real conn does it; what that conn tells comes in here and goes to the conn_ops.
 */
#ifndef TOVA_NET_FAR_H
#define TOVA_NET_FAR_H

#include "net/channel.h"

/* One other loop. */
struct far {
	struct channel channel;
	struct conns stubs; /* no socket is watched in it */
	struct conns *here; /* the hub's loop's own */
	struct loop_hook hook;
	/* A socket that the other accepted is for `shard`. */
	void (*deal)(void *ctx, unsigned shard, int fd, const struct address *remote,
		     const struct conn_kind *kind);
	void *deal_ctx;
	atomic_int busy;      /* while it drains: conns_busy of the other loop */
	struct address local; /* of the request that is being told of */
	struct tls_facts tls;
	char *head; /* of it, as it came: who is told of it may write to its copy */
	size_t head_len, head_cap;
	const char *told; /* that copy */
	/* of the message that is being told, for conn_take; else NULL */
	struct channel_block *block;
	uint8_t shard; /* which of the others: from 1 */
};

/* here: the conns of the hub's loop, to whose conn_ops those of the other are told as well.
 * io_thread_run, io_thread_arg: see channel_init. False with errno on failure; far_free is called
 * all the same. */
bool far_init(struct far *f, uint8_t shard, struct conns *here, struct loop *side,
	      void (*io_thread_run)(void *arg), void *io_thread_arg);
/* The other loop has ended. */
void far_free(struct far *f);

void far_set_limits(struct far *f, const struct conn_limits *limits);
void far_set_files(struct far *f, const struct files *files);
/* One of those that were given to conn_measure has changed. */
void far_set_rule(struct far *f, const struct rate_limit_rule *rule);
/* False without memory: the old one goes on. */
bool far_set_gate(struct far *f, const struct client_addr *client_addr);
/* The other loop says from now on whether it is busy. */
void far_set_tls(struct far *f, struct tls_server *tls);
void far_drain(struct far *f);
/* Is there anything that a stop would cut off? */
enum conns_busy far_busy(const struct far *f);
/* The other loop stops turning. */
void far_stop(struct far *f);
/* Gives an accepted socket to the other loop. */
void far_adopt(struct far *f, int fd, const struct address *remote, const struct conn_kind *kind);

/* For io_thread.c: a stub that nobody knows yet; NULL without memory. Its own loop frees it. */
struct conn *far_stub_new(struct conn *peer, size_t session_size);
void far_stub_free(struct conn *c);
/* For io_thread.c: what its conn holds, for conn_load. */
void far_show(const struct far *f, struct conn *stub, const struct conn_load *load);

/* For conn.c: the same on a stub. */
bool far_accept(struct conn *c, const struct request *r, enum outgoing_slow slow,
		struct span subprotocol, struct span extra);
void far_measure(struct conn *c, const struct rate_limit_rule *rule);
bool far_answering(struct conn *c);
bool far_raw(struct conn *c, const struct slice *bytes);
enum conn_sent far_send(struct conn *c, const struct outgoing *o, bool own);
void far_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent);
void far_echo_close(struct conn *c);
void far_abort(struct conn *c);
void far_cork(struct conn *c, bool on);
void far_hold(struct conn *c, bool hold);
void far_release(struct conn *c);
struct conn_load far_load(struct conn *c);
void *far_take(struct conn *c, uint8_t **data_r, size_t *size_r);

/* Conns of one other loop that are sent the same at once: members of a room, connections of a
 * mount. That loop keeps them in an array of its own, which is dense and in the same order as the
 * array that the caller keeps, because both do the same: what is added comes last, and the last
 * takes the place of what is removed. */
struct far_group;

/* NULL without memory. */
struct far_group *far_group_new(struct far *f);
void far_group_free(struct far_group *g);
/* Room for so many members. False without memory, and nothing has changed. */
bool far_group_resize(struct far_group *g, uint32_t cap);
void far_group_add(struct far_group *g, struct conn *stub);
void far_group_remove(struct far_group *g, uint32_t place);
/* n: how many they are. exclude, own: see conn_send; NULL, or any conn. False without memory, and
 * nobody got it. */
bool far_broadcast(struct far_group *g, uint32_t n, const struct outgoing *o,
		   const struct conn *exclude, const struct conn *own);

/* For io_thread.c: what the other loop has of a group. */
struct far_group {
	struct far *far;       /* the hub's */
	struct conn **members; /* from here on the other loop's */
	uint32_t n, cap;
};

#endif
