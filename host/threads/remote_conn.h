/* remote_conn: connections whose sockets another loop has, as the hub's loop sees them.
 *
 * Each is a stub: a struct conn without a socket. The table of functions that is in its conns
 * (conn_remote) passes what is asked on to the other loop (threads/io_thread.h), where the real
 * conn does it; what that conn tells comes in here and goes to the conn_ops.
 */
#ifndef TOVA_THREADS_REMOTE_CONN_H
#define TOVA_THREADS_REMOTE_CONN_H

#include "common/buffer.h"
#include "threads/channel.h"

/* One other loop. */
struct remote_conn {
	uint16_t magic; /* CHECK_REMOTE_CONN */
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
	struct buffer head;	 /* of it, as it came: who is told of it may write to its copy */
	const char *parsed_head; /* that copy */
	/* of the message that is being told, for conn_take; else NULL */
	struct channel_block *block;
};

/* here: the conns of the hub's loop, to whose conn_ops those of the other are told as well.
 * io_thread_run, io_thread_arg: see channel_init. False with errno on failure; remote_conn_free is
 * called all the same. */
bool remote_conn_init(struct remote_conn *f, uint8_t shard, struct conns *here, struct loop *side,
		      void (*io_thread_run)(void *arg), void *io_thread_arg);
/* The other loop has ended. */
void remote_conn_free(struct remote_conn *f);

/* What the other loop keeps to from now on. Its files' descriptor goes over. */
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
struct conn *remote_conn_stub_new(struct conn *peer);
void remote_conn_stub_free(struct conn **c_p);
/* For io_thread.c, when its loop has ended: the same for one that the hub may know. */
void remote_conn_forget(struct remote_conn *f, struct conn *stub);
/* For io_thread.c: what its conn holds, for conn_load. */
void remote_conn_show(struct conn *stub, const struct conn_load *load);

/* For io_thread.c: what the other loop has of a group. */
struct remote_conn_group {
	struct conn_group base;
	struct remote_conn *remote_conn; /* the hub's */
	struct conn **members;		 /* from here on the other loop's */
	uint32_t n, cap;
};

#endif
