/* What conns of another loop tell comes up from there, and goes to the conn_ops. */
#include <stdlib.h>

#include "base/check.h"
#include "threads/remote_conn_parts.h"

#define REMOTE_CONN_BATCH (256u << 10) /* bytes of records that are looked at in one turn */

static bool remote_conn_up_keep_head(struct remote_conn *f, const uint8_t *head, size_t len)
{
	buffer_drop(&f->head, f->head.n);
	f->parsed_head = (const char *)head;
	return buffer_append(&f->head, head, len);
}

static void remote_conn_up_on_upgrade(struct remote_conn *f, struct channel_record *record)
{
	struct channel_upgrade *u = (struct channel_upgrade *)record->bytes;
	struct request *r = &f->stubs.request;
	struct conn *c = record->conn;
	CHECK(record->len > sizeof *u + u->host_len + u->subject_len + u->name_len);
	/* One byte behind the head, as everywhere. */
	size_t len = record->len - sizeof *u - 1 - u->host_len - u->subject_len - u->name_len;
	CHECK(c->conns == NULL && !c->released);
	c->conns = &f->stubs;
	f->stubs.count++;
	f->local = u->local;
	const char *texts = (const char *)u->head + len + 1 + u->host_len;
	f->tls = (struct tls_facts){.version = u->version,
				    .cipher = u->cipher,
				    .subject = u->subject_len > 0 ? texts : NULL,
				    .name = u->name_len > 0 ? texts + u->subject_len : NULL};
	if (!remote_conn_up_keep_head(f, u->head, len) ||
	    !request_parse_kept(r, (struct span){(const char *)u->head, len})) {
		remote_conn_abort(c);
		conn_release(c);
		return;
	}
	r->forwarded_host = (struct span){(const char *)u->head + len + 1, u->host_len};
	r->secure = u->secure;
	f->stubs.ops->upgrade(f->stubs.ctx, c, r);
	f->parsed_head = NULL;
}

static void remote_conn_up_on_ended(struct conn *c, enum conn_end end, uint16_t code,
				    const char *reason, size_t len, const char *why)
{
	remote_conn_unpark(c, true);
	if (!remote_conn_takes_messages(c))
		return;
	/* it waits for conn_echo_close */
	c->eof = end != CONN_END_TRANSPORT && end != CONN_END_IDLE;
	remote_conn_end(c, end, code, reason, len, why);
}

void remote_conn_on_withdrawn(struct conn *c)
{
	if (c->waiting == CONN_WAIT_ASK)
		c->conns->ops->withdrawn(c);
	else
		remote_conn_up_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
					"the peer is gone");
}

void remote_conn_on_gone(struct remote_conn *f, struct conn *c)
{
	bool told = c->conns != NULL; /* of its upgrade; not where the host stops before that */
	CHECK(remote_conn_stub(c)->last == NULL && f->stubs.count >= told);
	f->stubs.count -= told;
	remote_conn_stub_free(&c);
}

static void remote_conn_up_on_record(struct remote_conn *f, struct channel_record *r)
{
	struct conn *c = r->conn;
	CHECK(c == NULL || c->magic == CHECK_CONN);
	const struct channel_ended *ended = (const struct channel_ended *)r->bytes;
	const struct channel_socket *socket = (const struct channel_socket *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_UPGRADE:
		remote_conn_up_on_upgrade(f, r);
		break;
	case CHANNEL_MESSAGE:
		remote_conn_on_message(c, (enum frame_opcode)r->code, r->bytes, r->len - 1, NULL);
		break;
	case CHANNEL_BLOCK:
		remote_conn_on_block(c, (enum frame_opcode)r->code,
				     (struct channel_block *)r->bytes);
		break;
	case CHANNEL_ENDED:
		remote_conn_up_on_ended(c, ended->end, r->code, (const char *)ended->reason,
					r->len - sizeof *ended, ended->why);
		break;
	case CHANNEL_DROPPED:
		if (remote_conn_takes_messages(c))
			f->stubs.ops->dropped(c, r->cost);
		break;
	case CHANNEL_WITHDRAWN:
		remote_conn_on_withdrawn(c);
		break;
	case CHANNEL_UNANSWERED:
		if (c->waiting == CONN_WAIT_ASK)
			f->stubs.ops->unanswered(c);
		break;
	case CHANNEL_UNSENT:
		if (!c->ended)
			f->stubs.ops->unsent(c, (enum conn_sent)r->code, r->cost);
		break;
	case CHANNEL_SLOW:
		if (!c->ended)
			f->stubs.ops->slow(c);
		break;
	case CHANNEL_HEAVY:
		if (!c->ended) {
			f->stubs.ops->memory_limit(c);
			f->stubs.ops->relieved(f->stubs.ctx);
		}
		break;
	case CHANNEL_GAVE_UP:
		if (!c->released)
			f->stubs.ops->gave_up(c, r->cost, r->flag);
		break;
	case CHANNEL_DRAINED:
		remote_conn_on_drained(c);
		break;
	case CHANNEL_GONE:
		remote_conn_on_gone(f, c);
		break;
	case CHANNEL_DEAL:
		f->deal(f->deal_ctx, r->code, socket->fd, &socket->remote, &socket->kind);
		break;
	}
}

void remote_conn_on_records(void *arg)
{
	struct remote_conn *f = arg;
	CHECK(f->magic == CHECK_REMOTE_CONN && loop_is_own(f->here->loop));
	struct channel_record *r;
	uint64_t from = f->channel.up.got, blocks = 0;
	while (f->channel.up.got - from + blocks < REMOTE_CONN_BATCH &&
	       (r = channel_take_up(&f->channel)) != NULL) {
		blocks += r->kind == CHANNEL_BLOCK ? ((const struct channel_block *)r->bytes)->len
						   : 0;
		remote_conn_up_on_record(f, r);
		conns_relieve(f->here);
	}
	/* the rest after this turn's output */
	if (f->channel.up.got - from + blocks >= REMOTE_CONN_BATCH)
		loop_wake(&f->channel.to_hub);
}
