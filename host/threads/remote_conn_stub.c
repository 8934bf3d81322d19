/* What stands on the hub's loop for a conn of another one. */
#include <stdlib.h>

#include "base/check.h"
#include "threads/remote_conn_parts.h"

/* A small one, that always finds room. */
struct channel_record *remote_conn_put(struct remote_conn *f, enum channel_down kind,
				       struct conn *conn, const void *bytes, size_t len)
{
	struct channel_record *r = channel_down(&f->channel, kind, len, 0);
	r->conn = conn;
	if (len > 0)
		memcpy(r->bytes, bytes, len);
	return r;
}

struct conn *remote_conn_stub_new(struct conn *peer)
{
	struct address remote = conn_remote(peer);
	struct remote_conn_stub *stub = calloc(1, sizeof *stub);
	struct conn *c = &stub->conn;
	if (stub == NULL)
		return NULL;
	c->fd = -1;
	c->magic = CHECK_CONN;
	c->waiting = CONN_WAIT_ASK;
	c->peer = peer;
	if (conn_set_remote(c, &remote))
		return c;
	free(stub);
	return NULL;
}

void remote_conn_stub_free(struct conn **c_p)
{
	struct conn *c = *c_p;
	*c_p = NULL;
	CHECK(c->magic == CHECK_CONN && remote_conn_stub(c)->last == NULL);
	if (c->more != NULL && c->more->traffic != NULL)
		c->conns->ops->uncounted(c->more->traffic);
	free(c->more);
	c->magic = CHECK_GONE;
	free(remote_conn_stub(c));
}

void remote_conn_forget(struct remote_conn *f, struct conn *stub)
{
	bool announced = stub->conns != NULL;
	if (announced && stub->waiting == CONN_WAIT_ASK && !stub->released)
		f->stubs.ops->withdrawn(stub);
	CHECK(f->stubs.count >= announced);
	f->stubs.count -= announced;
	remote_conn_stub_free(&stub);
}

void remote_conn_abort(struct conn *c)
{
	c->ended = true;
	c->eof = false;
	c->waiting = CONN_WAIT_CLOSE;
	remote_conn_put(remote_conn_of(c), CHANNEL_ABORT, c->peer, NULL, 0);
}

/* --- what it holds ---------------------------------------------------------------------------- */

void remote_conn_show(struct conn *stub, const struct conn_load *load)
{
	struct remote_conn_stub *to = remote_conn_stub(stub);
	atomic_store_explicit(&to->waiting, load->stalled ? load->waiting : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&to->held, load->held, memory_order_relaxed);
	atomic_store_explicit(&to->given_up, load->given_up, memory_order_relaxed);
	atomic_store_explicit(&to->unread, load->stalled ? load->unread : 0, memory_order_relaxed);
}

struct conn_load remote_conn_load(struct conn *c)
{
	struct remote_conn_stub *from = remote_conn_stub(c);
	struct conn_load load = {.waiting =
					 atomic_load_explicit(&from->waiting, memory_order_relaxed),
				 .held = atomic_load_explicit(&from->held, memory_order_relaxed),
				 .given_up = atomic_load_explicit(&from->given_up,
								  memory_order_relaxed),
				 .unread =
					 atomic_load_explicit(&from->unread, memory_order_relaxed)};
	load.stalled = load.waiting > 0;
	return load;
}
