#include "threads/remote_conn.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "net/files.h"
#include "threads/remote_conn_parts.h"
#include "ws/authority.h"

/* --- what the other loop is told -------------------------------------------------------------- */

void remote_conn_set_limits(struct remote_conn *f, const struct conn_limits *limits)
{
	f->stubs.limits = *limits;
	remote_conn_put(f, CHANNEL_LIMITS, NULL, limits, sizeof *limits);
}

void remote_conn_set_files(struct remote_conn *f, const struct files *files)
{
	remote_conn_put(f, CHANNEL_FILES, NULL, files, sizeof *files);
}

void remote_conn_set_tls(struct remote_conn *f, struct tls_server *tls)
{
	tls_server_ref(tls);
	remote_conn_put(f, CHANNEL_TLS, NULL, &tls, sizeof tls);
}

void remote_conn_set_rule(struct remote_conn *f, const struct rate_limit_rule *rule)
{
	const struct channel_rule r = {.name = rule, .rule = *rule};
	remote_conn_put(f, CHANNEL_RULE, NULL, &r, sizeof r);
}

bool remote_conn_set_gate(struct remote_conn *f, const struct client_addr *client_addr)
{
	const struct address_set *trusted = client_addr->trusted;
	struct channel_gate copy = {.client_addr = *client_addr, .trusted = {.n = trusted->n}};
	copy.trusted.v = trusted->n > 0 ? malloc(trusted->n * sizeof *trusted->v) : NULL;
	copy.hosts = client_addr->hosts != NULL ? authority_list_copy(client_addr->hosts) : NULL;
	if ((trusted->n > 0 && copy.trusted.v == NULL) ||
	    (client_addr->hosts != NULL && copy.hosts == NULL)) {
		free(copy.trusted.v);
		free(copy.hosts);
		return false;
	}
	if (trusted->n > 0)
		memcpy(copy.trusted.v, trusted->v, trusted->n * sizeof *trusted->v);
	remote_conn_put(f, CHANNEL_GATE, NULL, &copy, sizeof copy);
	return true;
}

void remote_conn_adopt(struct remote_conn *f, int fd, const struct address *remote,
		       const struct conn_kind *kind)
{
	const struct channel_socket socket = {.remote = *remote, .kind = *kind, .fd = fd};
	remote_conn_put(f, CHANNEL_ADOPT, NULL, &socket, sizeof socket);
}

void remote_conn_drain(struct remote_conn *f)
{
	atomic_store(&f->busy, CONNS_BUSY); /* until it says otherwise */
	remote_conn_put(f, CHANNEL_DRAIN, NULL, NULL, 0);
}

enum conns_busy remote_conn_busy(const struct remote_conn *f)
{
	enum conns_busy busy = (enum conns_busy)atomic_load(&f->busy);
	return busy == CONNS_AT_REST && f->stubs.count > 0 ? CONNS_BUSY : busy;
}

void remote_conn_stop(struct remote_conn *f)
{
	remote_conn_put(f, CHANNEL_STOP, NULL, NULL, 0);
	channel_publish_down(&f->channel);
}

/* --- its beginning and its end ---------------------------------------------------------------- */

static void remote_conn_on_turn(void *arg)
{
	struct remote_conn *f = arg;
	CHECK_IS(f, CHECK_REMOTE_CONN);
	channel_publish_down(&f->channel);
}

bool remote_conn_init(struct remote_conn *f, uint8_t shard, struct conns *here, struct loop *side,
		      void (*io_thread_run)(void *arg), void *io_thread_arg)
{
	*f = (struct remote_conn){.magic = CHECK_REMOTE_CONN, .here = here};
	f->stubs = (struct conns){
		.loop = here->loop,
		.ops = here->ops,
		.ctx = here->ctx,
		.limits = here->limits,
		.remote = &remote_conn_ops,
		.remote_ctx = f,
		.shard = shard,
	};
	f->hook = (struct loop_hook){.run = remote_conn_on_turn, .arg = f};
	loop_add_hook_first(here->loop, &f->hook);
	return channel_init(&f->channel, here->loop, remote_conn_on_records, f, side, io_thread_run,
			    io_thread_arg);
}

void remote_conn_free(struct remote_conn *f)
{
	struct channel_record *r;
	/* the other loop has ended: there is nobody else who could */
	if (f->channel.up.last != NULL)
		channel_publish_up(&f->channel);
	while (f->channel.up.last != NULL && (r = channel_take_up(&f->channel)) != NULL)
		if (r->kind == CHANNEL_GONE)
			remote_conn_on_gone(f, r->conn);
		else if (r->kind == CHANNEL_WITHDRAWN && r->conn->conns != NULL &&
			 r->conn->waiting == CONN_WAIT_ASK)
			f->stubs.ops->withdrawn(r->conn);
		else if (r->kind == CHANNEL_BLOCK)
			free(((const struct channel_block *)r->bytes)->memory);
		else if (r->kind == CHANNEL_DEAL)
			close(((const struct channel_socket *)r->bytes)->fd);
	CHECK(f->stubs.count == 0);
	loop_remove_hook(f->here->loop, &f->hook);
	channel_free(&f->channel);
	buffer_free(&f->head);
}
