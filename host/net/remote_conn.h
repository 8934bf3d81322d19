/* far: connections whose sockets another loop has, as the hub's loop sees them.
 *
 * Each is a stub: a struct conn in CONN_REMOTE with a session behind it, as every conn has. The
 * functions of conn.h pass what they are asked on to the other loop (net/io_thread.h), where the
 * real conn does it; what that conn tells comes in here and goes to the conn_ops.
 */
#ifndef TOVA_NET_FAR_H
#define TOVA_NET_FAR_H

#include "net/channel.h"

/* One other loop. */
struct remote_conn {
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
	const char *parsed_head; /* that copy */
	/* of the message that is being told, for conn_take; else NULL */
	struct channel_block *block;
	uint8_t shard; /* which of the others: from 1 */
};

/* here: the conns of the hub's loop, to whose conn_ops those of the other are told as well.
 * io_thread_run, io_thread_arg: see channel_init. False with errno on failure; remote_conn_free is
 * called all the same. */
bool remote_conn_init(struct remote_conn *f, uint8_t shard, struct conns *here, struct loop *side,
		      void (*io_thread_run)(void *arg), void *io_thread_arg);
/* The other loop has ended. */
void remote_conn_free(struct remote_conn *f);

void remote_conn_set_limits(struct remote_conn *f, const struct conn_limits *limits);
void remote_conn_set_files(struct remote_conn *f, const struct files *files);
/* One of those that were given to conn_measure has changed. */
void remote_conn_set_rule(struct remote_conn *f, const struct rate_limit_rule *rule);
/* False without memory: the old one goes on. */
bool remote_conn_set_gate(struct remote_conn *f, const struct client_addr *client_addr);
/* The other loop says from now on whether it is busy. */
void remote_conn_set_tls(struct remote_conn *f, struct tls_server *tls);
void remote_conn_drain(struct remote_conn *f);
/* Is there anything that a stop would cut off? */
enum conns_busy remote_conn_busy(const struct remote_conn *f);
/* The other loop stops turning. */
void remote_conn_stop(struct remote_conn *f);
/* Gives an accepted socket to the other loop. */
void remote_conn_adopt(struct remote_conn *f, int fd, const struct address *remote,
		       const struct conn_kind *kind);

/* For io_thread.c: a stub that nobody knows yet; NULL without memory. Its own loop frees it. */
struct conn *remote_conn_stub_new(struct conn *peer, size_t session_size);
void remote_conn_stub_free(struct conn *c);
/* For io_thread.c: what its conn holds, for conn_load. */
void remote_conn_show(const struct remote_conn *f, struct conn *stub, const struct conn_load *load);

/* For conn.c: the same on a stub. */
bool remote_conn_accept(struct conn *c, const struct request *r, enum outgoing_slow slow,
			struct span subprotocol, struct span extra);
void remote_conn_measure(struct conn *c, const struct rate_limit_rule *rule);
bool remote_conn_answering(struct conn *c);
bool remote_conn_raw(struct conn *c, const struct slice *bytes);
enum conn_sent remote_conn_send(struct conn *c, const struct outgoing *o, bool own);
void remote_conn_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent);
void remote_conn_echo_close(struct conn *c);
void remote_conn_abort(struct conn *c);
void remote_conn_cork(struct conn *c, bool on);
void remote_conn_hold(struct conn *c, bool hold);
void remote_conn_release(struct conn *c);
struct conn_load remote_conn_load(struct conn *c);
void *remote_conn_take(struct conn *c, uint8_t **data_r, size_t *size_r);

/* Conns of one other loop that are sent the same at once: members of a room, connections of a
 * mount. That loop keeps them in an array of its own, which is dense and in the same order as the
 * array that the caller keeps, because both do the same: what is added comes last, and the last
 * takes the place of what is removed. */
struct remote_conn_group;

/* NULL without memory. */
struct remote_conn_group *remote_conn_group_new(struct remote_conn *f);
void remote_conn_group_free(struct remote_conn_group *g);
/* Room for so many members. False without memory, and nothing has changed. */
bool remote_conn_group_resize(struct remote_conn_group *g, uint32_t cap);
void remote_conn_group_add(struct remote_conn_group *g, struct conn *stub);
void remote_conn_group_remove(struct remote_conn_group *g, uint32_t place);
/* n: how many they are. exclude, own: see conn_send; NULL, or any conn. False without memory, and
 * nobody got it. */
bool remote_conn_broadcast(struct remote_conn_group *g, uint32_t n, const struct outgoing *o,
			   const struct conn *exclude, const struct conn *own);

/* For io_thread.c: what the other loop has of a group. */
struct remote_conn_group {
	struct remote_conn *remote_conn; /* the hub's */
	struct conn **members;		 /* from here on the other loop's */
	uint32_t n, cap;
};

#endif
