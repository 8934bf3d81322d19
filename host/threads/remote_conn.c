#include "threads/remote_conn.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "net/files.h"
#include "net/conn_parts.h"
#include "ws/authority.h"

#define REMOTE_CONN_BATCH (256u << 10) /* bytes of records that are looked at in one turn */

/* What stands for a conn of another loop here. */
struct remote_conn_stub {
	struct conn conn;
	struct remote_conn_message *last; /* of a ring of those that are parked: first behind it */
	_Atomic uint32_t waiting, held, given_up,
		unread; /* written by the other loop: see conn_load */
	/* bytes that were sent when it was asked whether they are gone; 0: it was not */
	uint32_t probed;
};

/* A message that came while too much waited for its sender, as it would not have been read with one
 * loop. */
struct remote_conn_message {
	struct remote_conn_message *next;
	enum frame_opcode opcode;
	size_t len;
	struct channel_block block; /* its memory where that is its own; memory NULL: it follows */
	uint8_t bytes[];
};

static struct remote_conn *remote_conn_of(const struct conn *c)
{
	return c->conns->remote_ctx;
}

static struct remote_conn_stub *remote_conn_stub(struct conn *c)
{
	return (struct remote_conn_stub *)c;
}

/* A small one, that always finds room. */
static struct channel_record *remote_conn_put(struct remote_conn *f, enum channel_down kind,
					      struct conn *conn, const void *bytes, size_t len)
{
	struct channel_record *r = channel_down(&f->channel, kind, len, 0);
	r->conn = conn;
	if (len > 0)
		memcpy(r->bytes, bytes, len);
	return r;
}

static void remote_conn_copy_frame(struct channel_frame *to, const struct slice *frame)
{
	to->note = chunk_note_at(frame->chunk, frame->off);
	memcpy(to->bytes, slice_bytes(frame), frame->len);
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

void remote_conn_show(struct conn *stub, const struct conn_load *load)
{
	struct remote_conn_stub *to = remote_conn_stub(stub);
	atomic_store_explicit(&to->waiting, load->stalled ? load->waiting : 0,
			      memory_order_relaxed);
	atomic_store_explicit(&to->held, load->held, memory_order_relaxed);
	atomic_store_explicit(&to->given_up, load->given_up, memory_order_relaxed);
	atomic_store_explicit(&to->unread, load->stalled ? load->unread : 0, memory_order_relaxed);
}

static struct conn_load remote_conn_load(struct conn *c)
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

void remote_conn_stub_free(struct conn *c)
{
	CHECK_IS(c, CHECK_CONN);
	free(c->more);
	c->magic = CHECK_GONE;
	free(remote_conn_stub(c));
}

void remote_conn_forget(struct remote_conn *f, struct conn *stub)
{
	bool told = stub->conns != NULL;
	if (told && stub->waiting == CONN_WAIT_ASK && !stub->released)
		f->stubs.ops->withdrawn(stub);
	f->stubs.count -= told;
	remote_conn_stub_free(stub);
}

/* --- what the hub asks of a stub -------------------------------------------------------------- */

static void remote_conn_copy(char **to, struct span from)
{
	if (from.n > 0)
		memcpy(*to, from.p, from.n);
	*to += from.n;
}

static void remote_conn_abort(struct conn *c)
{
	c->ended = true;
	c->eof = false;
	c->waiting = CONN_WAIT_CLOSE;
	remote_conn_put(remote_conn_of(c), CHANNEL_ABORT, c->peer, NULL, 0);
}

/* The other loop writes the answer: what is agreed on with the client is its business. */
static bool remote_conn_accept(struct conn *c, const struct request *r, enum outgoing_slow slow,
			       struct span subprotocol, struct span extra)
{
	struct channel_accept *a;
	const struct remote_conn *f = remote_conn_of(c);
	struct span head =
		r->head.p == f->parsed_head ? (struct span){f->head, f->head_len} : r->head;
	size_t len = sizeof *a + head.n + subprotocol.n + extra.n;
	struct channel_record *record =
		channel_down(&remote_conn_of(c)->channel, CHANNEL_ACCEPT, len, 0);
	if (record == NULL) {
		remote_conn_abort(c);
		return false;
	}
	record->conn = c->peer;
	record->code = (uint16_t)slow;
	a = (struct channel_accept *)record->bytes;
	const struct conn_ops *ops = c->conns->ops;
	*a = (struct channel_accept){.budget = ops->budget != NULL ? ops->budget(c) : NULL,
				     .head = (uint32_t)head.n,
				     .subprotocol = (uint32_t)subprotocol.n,
				     .extra = (uint32_t)extra.n};
	char *to = a->bytes;
	remote_conn_copy(&to, head);
	remote_conn_copy(&to, subprotocol);
	remote_conn_copy(&to, extra);
	c->waiting = CONN_WAIT_IDLE;
	return true;
}

static void remote_conn_measure(struct conn *c, const struct rate_limit_rule *rule, bool pings)
{
	const struct channel_rule r = {.name = rule, .rule = *rule};
	remote_conn_put(remote_conn_of(c), CHANNEL_MEASURE, c->peer, &r, sizeof r)->flag = pings;
}

static bool remote_conn_answering(struct conn *c)
{
	if (c->waiting == CONN_WAIT_ASK)
		remote_conn_put(remote_conn_of(c), CHANNEL_ANSWERING, c->peer, NULL, 0);
	c->waiting = CONN_WAIT_CLOSE;
	c->keep_alive = false;
	c->released = true;
	return true;
}

static bool remote_conn_raw(struct conn *c, const struct slice *bytes)
{
	struct channel_record *r =
		channel_down(&remote_conn_of(c)->channel, CHANNEL_RAW, bytes->len, 0);
	if (r == NULL)
		return false;
	r->conn = c->peer;
	memcpy(r->bytes, slice_bytes(bytes), bytes->len);
	return true;
}

static void remote_conn_probe(struct conn *c)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	if (stub->probed != 0 || c->out.bytes <= c->conns->limits.queue_max / 2)
		return;
	stub->probed = c->out.bytes;
	remote_conn_put(remote_conn_of(c), CHANNEL_PROBE, c->peer, NULL, 0);
}

/* What waits for the client is known on the other loop; here it is what was sent since that last
 * said that it was little. */
static void remote_conn_count(struct conn *c, uint32_t len)
{
	c->out.bytes = c->out.bytes + len < len ? UINT32_MAX : c->out.bytes + len;
	remote_conn_probe(c);
}

static enum conn_sent remote_conn_send(struct conn *c, const struct outgoing *o, bool own)
{
	const struct slice *frame = o->frame;
	/* Answers to what came before the peer's close frame, or its end of the stream, leave
	 * before ours. */
	if (c->ended && !(c->eof && own))
		return CONN_GONE;
	struct channel_record *r = channel_down(&remote_conn_of(c)->channel, CHANNEL_SEND,
						sizeof(struct channel_frame) + frame->len, 1);
	if (r == NULL)
		return CONN_NO_MEMORY;
	r->conn = c->peer;
	r->flag = own;
	r->code = o->slow;
	r->delivery = c->conns->loop->delivery;
	remote_conn_copy_frame((struct channel_frame *)r->bytes, frame);
	remote_conn_count(c, frame->len);
	return CONN_SENT;
}

static void remote_conn_close(struct conn *c, uint16_t code, const char *reason, size_t len,
			      bool urgent)
{
	struct channel_record *r;
	if (c->ended)
		return;
	c->ended = true;
	c->eof = !urgent; /* it waits for conn_echo_close */
	r = remote_conn_put(remote_conn_of(c), CHANNEL_CLOSE, c->peer, reason, len);
	r->code = code;
	r->flag = urgent;
}

static void remote_conn_echo_close(struct conn *c)
{
	if (!c->eof)
		return;
	c->eof = false;
	remote_conn_put(remote_conn_of(c), CHANNEL_ECHO_CLOSE, c->peer, NULL, 0);
}

static void remote_conn_cork(struct conn *c, bool on)
{
	if (c->corked == on)
		return;
	c->corked = on;
	remote_conn_put(remote_conn_of(c), CHANNEL_CORK, c->peer, NULL, 0)->flag = on;
}

/* --- groups ----------------------------------------------------------------------------------- */

static struct remote_conn_group *remote_conn_group(struct conn_group *g)
{
	return (struct remote_conn_group *)g;
}

static struct conn_group *remote_conn_group_new(const struct conns *s)
{
	struct remote_conn_group *g = malloc(sizeof *g);
	if (g == NULL)
		return NULL;
	*g = (struct remote_conn_group){.base = {.ops = s->remote}, .remote_conn = s->remote_ctx};
	return &g->base;
}

static void remote_conn_group_free(struct conn_group *base)
{
	struct remote_conn_group *g = remote_conn_group(base);
	channel_down(&g->remote_conn->channel, CHANNEL_DROP, 0, 0)->group = g;
}

static bool remote_conn_group_resize(struct conn_group *base, uint32_t cap)
{
	struct remote_conn_group *g = remote_conn_group(base);
	const struct channel_array array = {.members = malloc(cap * sizeof *array.members),
					    .cap = cap};
	if (array.members == NULL)
		return false;
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_RESIZE, sizeof array, 0);
	r->group = g;
	memcpy(r->bytes, &array, sizeof array);
	return true;
}

static void remote_conn_group_add(struct conn_group *base, struct conn *stub)
{
	struct remote_conn_group *g = remote_conn_group(base);
	const struct channel_member member = {.conn = stub->peer};
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_ADD, sizeof member, 0);
	r->group = g;
	memcpy(r->bytes, &member, sizeof member);
}

static void remote_conn_group_remove(struct conn_group *base, uint32_t place)
{
	struct remote_conn_group *g = remote_conn_group(base);
	const struct channel_member member = {.place = place};
	struct channel_record *r =
		channel_down(&g->remote_conn->channel, CHANNEL_REMOVE, sizeof member, 0);
	r->group = g;
	memcpy(r->bytes, &member, sizeof member);
}

static struct conn *remote_conn_peer_there(const struct remote_conn_group *g, const struct conn *c)
{
	return c != NULL && c->conns->remote_ctx == g->remote_conn ? c->peer : NULL;
}

static bool remote_conn_broadcast(struct conn_group *base, uint32_t n, const struct outgoing *o,
				  const struct conn *exclude, const struct conn *own)
{
	struct remote_conn_group *g = remote_conn_group(base);
	const struct slice *frame = o->frame;
	struct channel_broadcast *b;
	struct channel_record *r = channel_down(&g->remote_conn->channel, CHANNEL_BROADCAST,
						sizeof *b + frame->len, n);
	if (r == NULL)
		return false;
	r->group = g;
	b = (struct channel_broadcast *)r->bytes;
	r->code = o->slow;
	r->delivery = g->remote_conn->here->loop->delivery;
	b->exclude = remote_conn_peer_there(g, exclude);
	b->own = remote_conn_peer_there(g, own);
	remote_conn_copy_frame(&b->frame, frame);
	return true;
}

/* --- what the other loop tells ---------------------------------------------------------------- */

static bool remote_conn_keep_head(struct remote_conn *f, const uint8_t *head, size_t len)
{
	char *wider = len > f->head_cap ? realloc(f->head, len) : f->head;
	if (wider == NULL)
		return false;
	f->head_cap = len > f->head_cap ? len : f->head_cap;
	f->head = wider;
	f->head_len = len;
	f->parsed_head = (const char *)head;
	memcpy(wider, head, len);
	return true;
}

static void remote_conn_on_upgrade(struct remote_conn *f, struct channel_record *record)
{
	static const struct request_limits any = {.head_max = SIZE_MAX,
						  .headers_max = REQUEST_HEADERS_MAX};
	struct channel_upgrade *u = (struct channel_upgrade *)record->bytes;
	struct request *r = &f->stubs.request;
	struct conn *c = record->conn;
	/* One byte behind the head, as everywhere. */
	size_t used, len = record->len - sizeof *u - 1 - u->host_len - u->subject_len - u->name_len;
	int status;
	const char *why;
	c->conns = &f->stubs;
	f->stubs.count++;
	f->local = u->local;
	const char *texts = (const char *)u->head + len + 1 + u->host_len;
	f->tls = (struct tls_facts){.version = u->version,
				    .cipher = u->cipher,
				    .subject = u->subject_len > 0 ? texts : NULL,
				    .name = u->name_len > 0 ? texts + u->subject_len : NULL};
	if (!remote_conn_keep_head(f, u->head, len) ||
	    request_parse(r, &any, (const char *)u->head, len, NULL, &used, &status, &why) !=
		    REQUEST_OK) {
		remote_conn_abort(
			c); /* for want of memory: it was parsed before, from the same bytes */
		conn_release(c);
		return;
	}
	r->head = (struct span){(const char *)u->head, used};
	r->forwarded_host = (struct span){(const char *)u->head + len + 1, u->host_len};
	r->secure = u->secure;
	f->stubs.ops->upgrade(f->stubs.ctx, c, r);
	f->parsed_head = NULL;
}

/* --- messages of who does not read ------------------------------------------------------------ */

static void remote_conn_end(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			    size_t len, const char *why)
{
	c->ended = true;
	c->conns->ops->ended(c, end, code, reason, len, why);
}

static bool remote_conn_takes_messages(const struct conn *c)
{
	return !c->ended && c->waiting == CONN_WAIT_IDLE;
}

static void *remote_conn_take(struct conn *c, uint8_t **data_r, size_t *size_r)
{
	struct channel_block *block = remote_conn_of(c)->block;
	void *memory = block != NULL ? block->memory : NULL;
	if (memory == NULL)
		return NULL;
	*data_r = block->data;
	*size_r = block->size;
	block->memory = NULL;
	return memory;
}

static struct budget *remote_conn_budget(struct conn *c)
{
	return c->conns->ops->budget != NULL ? c->conns->ops->budget(c) : NULL;
}

/* As the hub's loop has it: what is not taken is given back. */
static void remote_conn_tell(struct conn *c, enum frame_opcode opcode, uint8_t *bytes, size_t len,
			     struct channel_block *block)
{
	remote_conn_of(c)->block = block;
	c->conns->ops->message(c, opcode, bytes, len);
	remote_conn_of(c)->block = NULL;
}

/* What is parked does not come on by itself, and must not look as if it did: it counts as input. */
static void remote_conn_park(struct conn *c, enum frame_opcode opcode, const uint8_t *bytes,
			     size_t len, struct channel_block *block)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	struct budget *b = remote_conn_budget(c);
	struct remote_conn_message *m = malloc(sizeof *m + (block == NULL ? len + 1 : 0));
	if (m == NULL) {
		remote_conn_abort(c);
		remote_conn_end(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
				"no memory for its message");
		return;
	}
	*m = (struct remote_conn_message){.opcode = opcode, .len = len};
	if (block != NULL) {
		m->block = *block;
		block->memory = NULL;
	} else {
		memcpy(m->bytes, bytes, len);
		m->block.size = len;
	}
	if (b != NULL)
		budget_add(&b->input, m->block.size);
	m->block.budget = b;
	m->next = stub->last != NULL ? stub->last->next : m;
	if (stub->last != NULL)
		stub->last->next = m;
	stub->last = m;
}

/* Would it be read from, if its socket were here? */
static bool remote_conn_reads(const struct conn *c)
{
	return c->out.bytes <= c->conns->limits.queue_max && (c->paused & CONN_PAUSE_OUTPUT) == 0;
}

/* all: whatever waits for it. */
static void remote_conn_unpark(struct conn *c, bool all)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	struct remote_conn_message *m;
	while (stub->last != NULL && (all || remote_conn_reads(c))) {
		m = stub->last->next;
		if (m == stub->last)
			stub->last = NULL;
		else
			stub->last->next = m->next;
		size_t size = m->block.size;
		struct budget *b = m->block.budget;
		if (remote_conn_takes_messages(c))
			remote_conn_tell(c, m->opcode,
					 m->block.memory != NULL ? m->block.data : m->bytes, m->len,
					 &m->block);
		free(m->block.memory);
		free(m);
		if (b != NULL)
			budget_sub(b, &b->input, size);
	}
}

static void remote_conn_hear_out(struct conn *c)
{
	remote_conn_unpark(c, true);
}

static void remote_conn_hold(struct conn *c, enum conn_pause why, bool hold)
{
	if (why != CONN_PAUSE_OUTPUT) {
		remote_conn_put(remote_conn_of(c), CHANNEL_HOLD, c->peer, NULL, 0)->flag = hold;
	} else if (hold) {
		c->paused |= CONN_PAUSE_OUTPUT;
	} else {
		c->paused &= (uint8_t)~CONN_PAUSE_OUTPUT;
		remote_conn_unpark(c, false);
	}
}

static void remote_conn_release(struct conn *c)
{
	c->released = true;
	remote_conn_unpark(c, true); /* it has ended, and so nobody hears of them */
	remote_conn_put(remote_conn_of(c), CHANNEL_RELEASE, c->peer, NULL, 0);
}

static void remote_conn_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *bytes,
				   size_t len, struct channel_block *block)
{
	if (!remote_conn_takes_messages(c))
		return;
	if (remote_conn_stub(c)->last != NULL || !remote_conn_reads(c))
		remote_conn_park(c, opcode, bytes, len, block);
	else
		remote_conn_tell(c, opcode, bytes, len, block);
}

static void remote_conn_on_block(struct conn *c, enum frame_opcode opcode,
				 struct channel_block *block)
{
	struct budget *b = block->budget;
	size_t size = block->size;
	remote_conn_on_message(c, opcode, block->data, block->len, block);
	free(block->memory);
	if (b != NULL)
		budget_sub(b, &b->moving, size);
}

static void remote_conn_on_drained(struct conn *c)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	c->out.bytes -= stub->probed;
	stub->probed = 0;
	remote_conn_probe(c);
	remote_conn_unpark(c, false);
	if (c->feeds && !c->ended && c->conns->ops->drained != NULL) {
		c->feeds = false;
		c->conns->ops->drained(c);
	}
}

/* --- what else the other loop tells ----------------------------------------------------------- */

static void remote_conn_on_ended(struct conn *c, enum conn_end end, uint16_t code,
				 const char *reason, size_t len, const char *why)
{
	remote_conn_unpark(c, true);
	if (!remote_conn_takes_messages(c))
		return;
	/* it waits for conn_echo_close */
	c->eof = end != CONN_END_TRANSPORT && end != CONN_END_IDLE;
	remote_conn_end(c, end, code, reason, len, why);
}

static void remote_conn_on_withdrawn(struct conn *c)
{
	if (c->waiting == CONN_WAIT_ASK)
		c->conns->ops->withdrawn(c);
	else
		remote_conn_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
				     "the peer is gone");
}

static void remote_conn_on_gone(struct remote_conn *f, struct conn *c)
{
	CHECK(remote_conn_stub(c)->last == NULL);
	f->stubs.count--;
	remote_conn_stub_free(c);
}

static void remote_conn_on_record(struct remote_conn *f, struct channel_record *r)
{
	struct conn *c = r->conn;
	const struct channel_ended *ended = (const struct channel_ended *)r->bytes;
	const struct channel_socket *socket = (const struct channel_socket *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_UPGRADE:
		remote_conn_on_upgrade(f, r);
		break;
	case CHANNEL_MESSAGE:
		remote_conn_on_message(c, (enum frame_opcode)r->code, r->bytes, r->len - 1, NULL);
		break;
	case CHANNEL_BLOCK:
		remote_conn_on_block(c, (enum frame_opcode)r->code,
				     (struct channel_block *)r->bytes);
		break;
	case CHANNEL_ENDED:
		remote_conn_on_ended(c, ended->end, r->code, (const char *)ended->reason,
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

static void remote_conn_on_records(void *arg)
{
	struct remote_conn *f = arg;
	struct channel_record *r;
	uint64_t from = f->channel.up.got, blocks = 0;
	while (f->channel.up.got - from + blocks < REMOTE_CONN_BATCH &&
	       (r = channel_take_up(&f->channel)) != NULL) {
		blocks += r->kind == CHANNEL_BLOCK ? ((const struct channel_block *)r->bytes)->len
						   : 0;
		remote_conn_on_record(f, r);
		conns_relieve(f->here);
	}
	/* the rest after this turn's output */
	if (f->channel.up.got - from + blocks >= REMOTE_CONN_BATCH)
		loop_wake(&f->channel.to_hub);
}

static void remote_conn_on_turn(void *arg)
{
	struct remote_conn *f = arg;
	channel_publish_down(&f->channel);
}

/* --- one other loop --------------------------------------------------------------------------- */

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

static struct address remote_conn_local(const struct conn *c)
{
	return remote_conn_of(c)->local;
}

static struct tls_facts remote_conn_tls_facts(const struct conn *c)
{
	return remote_conn_of(c)->tls;
}

static const struct conn_remote remote_conn_ops = {
	.accept = remote_conn_accept,
	.measure = remote_conn_measure,
	.answering = remote_conn_answering,
	.raw = remote_conn_raw,
	.send = remote_conn_send,
	.close = remote_conn_close,
	.echo_close = remote_conn_echo_close,
	.abort = remote_conn_abort,
	.cork = remote_conn_cork,
	.hold = remote_conn_hold,
	.release = remote_conn_release,
	.hear_out = remote_conn_hear_out,
	.load = remote_conn_load,
	.take = remote_conn_take,
	.local = remote_conn_local,
	.tls_facts = remote_conn_tls_facts,
	.group_new = remote_conn_group_new,
	.group_free = remote_conn_group_free,
	.group_resize = remote_conn_group_resize,
	.group_add = remote_conn_group_add,
	.group_remove = remote_conn_group_remove,
	.broadcast = remote_conn_broadcast,
};

bool remote_conn_init(struct remote_conn *f, uint8_t shard, struct conns *here, struct loop *side,
		      void (*io_thread_run)(void *arg), void *io_thread_arg)
{
	*f = (struct remote_conn){.here = here};
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
		else if (r->kind == CHANNEL_WITHDRAWN && r->conn->waiting == CONN_WAIT_ASK)
			f->stubs.ops->withdrawn(r->conn);
		else if (r->kind == CHANNEL_BLOCK)
			free(((const struct channel_block *)r->bytes)->memory);
		else if (r->kind == CHANNEL_DEAL)
			close(((const struct channel_socket *)r->bytes)->fd);
	loop_remove_hook(f->here->loop, &f->hook);
	channel_free(&f->channel);
	free(f->head);
}
