/* What the hub commands: it comes down to an I/O loop as records, and its conns do it. */
#include <stdlib.h>

#include "base/check.h"
#include "threads/io_thread_parts.h"

/* cost of records that are looked at in one turn: others are to be read from, too */
#define IO_THREAD_BATCH (1u << 16)

/* --- one conn --------------------------------------------------------------------------------- */

/* The hub may have accepted it meanwhile: to that end it is the same as if its client had gone. */
static void io_thread_down_withdraw(struct conn *c)
{
	conn_abort(c);
	io_thread_on_withdrawn(c);
}

static void io_thread_down_accept(struct io_thread *s, struct conn *c,
				  const struct channel_record *r)
{
	const struct channel_accept *a = (const struct channel_accept *)r->bytes;
	struct request *request = &s->conns.request;
	struct span subprotocol = {a->bytes + a->head, a->subprotocol},
		    extra = {subprotocol.p + a->subprotocol, a->extra};
	if (c->state != CONN_ASKING) /* that it is gone is on its way */
		return;
	io_thread_conn_of(c)->budget = a->budget;
	io_thread_conn_of(c)->drops = r->code == SLOW_POLICY_DROP_OLDEST;
	if (!request_parse_kept(request, (struct span){a->bytes, a->head}))
		conn_abort(c);
	else if (conn_accept(c, request, (enum slow_policy)r->code, subprotocol, extra))
		return;
	io_thread_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
			   "no memory to answer its handshake");
}

/* Rules are few, one for each mount that has one, and stay. NULL without memory. */
static struct io_thread_rule *io_thread_down_rule(struct io_thread *s,
						  const struct channel_rule *of)
{
	struct io_thread_rule *r = s->rules;
	while (r != NULL && r->name != of->name)
		r = r->next;
	if (r == NULL && (r = malloc(sizeof *r)) != NULL) {
		*r = (struct io_thread_rule){.next = s->rules, .name = of->name};
		s->rules = r;
	}
	if (r != NULL)
		r->rule = of->rule;
	return r;
}

static void io_thread_down_measure(struct io_thread *s, struct conn *c,
				   const struct channel_rule *of, bool pings)
{
	struct io_thread_rule *r = c->state == CONN_ASKING ? io_thread_down_rule(s, of) : NULL;
	if (c->state == CONN_ASKING && (r == NULL || !conn_measure(c, &r->rule, pings)))
		io_thread_down_withdraw(c);
}

/* Without memory for it nothing is counted, and the connection ends as one that can not be
 * answered. */
static void io_thread_down_count_traffic(struct conn *c, const struct channel_record *r)
{
	struct traffic *t;
	memcpy(&t, r->bytes, sizeof(struct traffic *));
	if (c->state == CONN_ASKING && !conn_count_traffic(c, t))
		io_thread_down_withdraw(c);
	else if (c->state == CONN_OPEN)
		conn_count_traffic(c, t);
}

static bool io_thread_down_slice(struct io_thread *s, const void *bytes, size_t len,
				 struct slice *slice_r)
{
	if (!chunk_alloc(&s->loop->chunks, len, slice_r))
		return false;
	memcpy(slice_bytes(slice_r), bytes, len);
	return true;
}

static bool io_thread_down_frame(struct io_thread *s, const struct channel_frame *frame, size_t len,
				 struct slice *slice_r)
{
	return io_thread_down_slice(s, frame->bytes, len, slice_r) &&
	       (frame->note == 0 || chunk_note(slice_r, frame->note));
}

static void io_thread_down_raw(struct io_thread *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	if (c->state == CONN_ANSWER &&
	    (!io_thread_down_slice(s, r->bytes, r->len, &slice) || !conn_queue_raw(c, &slice)))
		conn_abort(c);
	slice_unref(&slice);
}

static void io_thread_down_send(struct io_thread *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	struct out_message o;
	enum conn_sent sent = CONN_NO_MEMORY;
	s->loop->delivery = r->delivery;
	out_message_init(&o, &slice, false);
	if (io_thread_down_frame(s, (const struct channel_frame *)r->bytes,
				 r->len - sizeof(struct channel_frame), &slice))
		sent = conn_send(c, &o, r->flag);
	if (sent != CONN_SENT)
		io_thread_refused(c, &o, sent, r->flag, (enum slow_policy)r->code);
	out_message_free(&o);
	slice_unref(&slice);
}

static void io_thread_down_on_conn(struct io_thread *s, struct channel_record *r)
{
	struct conn *c = r->conn;
	CHECK_IS(c, CHECK_CONN);
	switch ((int)r->kind) {
	case CHANNEL_MEASURE:
		io_thread_down_measure(s, c, (const struct channel_rule *)r->bytes, r->flag);
		break;
	case CHANNEL_TRAFFIC:
		io_thread_down_count_traffic(c, r);
		break;
	case CHANNEL_ACCEPT:
		io_thread_down_accept(s, c, r);
		break;
	case CHANNEL_ANSWERING:
		if (!conn_answering(c))
			conn_release(c);
		break;
	case CHANNEL_RAW:
		io_thread_down_raw(s, c, r);
		break;
	case CHANNEL_SEND:
		io_thread_down_send(s, c, r);
		break;
	case CHANNEL_CLOSE:
		conn_close(c, r->code, (const char *)r->bytes, r->len, r->flag);
		break;
	case CHANNEL_ECHO_CLOSE:
		conn_echo_close(c);
		break;
	case CHANNEL_ABORT:
		conn_abort(c);
		break;
	case CHANNEL_CORK:
		conn_cork(c, r->flag);
		break;
	case CHANNEL_HOLD:
		conn_hold(c, r->flag);
		break;
	case CHANNEL_PROBE:
		io_thread_probe(c);
		break;
	case CHANNEL_RELEASE:
		conn_release(c);
		break;
	}
}

/* --- groups ----------------------------------------------------------------------------------- */

static void io_thread_down_broadcast(struct io_thread *s, const struct channel_record *r)
{
	const struct channel_broadcast *b = (const struct channel_broadcast *)r->bytes;
	struct remote_conn_group *g = r->group;
	struct slice slice = {.chunk = NULL};
	struct out_message o;
	s->loop->delivery = r->delivery;
	bool ok = io_thread_down_frame(s, &b->frame, r->len - sizeof *b, &slice);
	out_message_init(&o, &slice, true);
	for (uint32_t i = 0; i < g->n; i++) {
		struct conn *c = g->members[i];
		if (c == b->exclude)
			continue;
		enum conn_sent sent = ok ? conn_send(c, &o, c == b->own) : CONN_NO_MEMORY;
		if (sent != CONN_SENT)
			io_thread_refused(c, &o, sent, c == b->own, (enum slow_policy)r->code);
	}
	out_message_free(&o);
	slice_unref(&slice);
}

static void io_thread_down_resize(struct remote_conn_group *g, const struct channel_array *to)
{
	CHECK(to->cap >= g->n);
	if (g->n > 0)
		memcpy(to->members, g->members, g->n * sizeof *g->members);
	free(g->members);
	g->members = to->members;
	g->cap = to->cap;
}

static void io_thread_down_on_group(struct io_thread *s, struct channel_record *r)
{
	struct remote_conn_group *g = r->group;
	const struct channel_member *member = (const struct channel_member *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_ADD:
		CHECK(g->n < g->cap);
		g->members[g->n++] = member->conn;
		break;
	case CHANNEL_REMOVE:
		CHECK(member->place < g->n);
		g->members[member->place] = g->members[--g->n];
		break;
	case CHANNEL_RESIZE:
		io_thread_down_resize(g, (const struct channel_array *)r->bytes);
		break;
	case CHANNEL_DROP:
		CHECK(g->n == 0);
		free(g->members);
		free(g);
		break;
	case CHANNEL_BROADCAST:
		io_thread_down_broadcast(s, r);
		break;
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static void io_thread_down_set_gate(struct io_thread *s, const struct channel_gate *to)
{
	address_set_free(&s->trusted);
	free(s->hosts);
	s->trusted = to->trusted;
	s->hosts = to->hosts;
	s->conns.client_addr = to->client_addr;
	s->conns.client_addr.trusted = &s->trusted;
	s->conns.client_addr.hosts = s->hosts;
}

static void io_thread_down_set_tls(struct io_thread *s, struct tls_server *tls)
{
	conns_set_tls(&s->conns, tls);
	tls_server_unref(&tls);
}

static void io_thread_down_on_loop(struct io_thread *s, struct channel_record *r)
{
	const struct channel_socket *socket = (const struct channel_socket *)r->bytes;
	const struct files *files = (const struct files *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_ADOPT:
		listeners_adopt(&s->listeners, socket->fd, &socket->remote, &socket->kind);
		break;
	case CHANNEL_LIMITS:
		conns_set_limits(&s->conns, (const struct conn_limits *)r->bytes);
		break;
	case CHANNEL_FILES:
		files_close(&s->files);
		s->files = *files;
		break;
	case CHANNEL_GATE:
		io_thread_down_set_gate(s, (const struct channel_gate *)r->bytes);
		break;
	case CHANNEL_TLS:
		io_thread_down_set_tls(s, *(struct tls_server **)r->bytes);
		break;
	case CHANNEL_RULE:
		io_thread_down_rule(s, (const struct channel_rule *)r->bytes);
		break;
	case CHANNEL_DRAIN:
		s->draining = true;
		break;
	case CHANNEL_STOP:
		loop_stop(s->loop);
		break;
	}
}

void io_thread_on_records(void *arg)
{
	struct io_thread *s = arg;
	CHECK(s->magic == CHECK_IO_THREAD && loop_is_own(s->loop));
	struct channel *b = &s->remote_conn.channel;
	struct channel_record *r;
	uint32_t cost = 0;
	while (cost < IO_THREAD_BATCH && (r = channel_take_down(b)) != NULL) {
		uint32_t this = r->cost;
		if (r->kind <= CHANNEL_RELEASE)
			io_thread_down_on_conn(s, r);
		else if (r->kind <= CHANNEL_BROADCAST)
			io_thread_down_on_group(s, r);
		else
			io_thread_down_on_loop(s, r);
		cost += this;
		channel_done(b, this);
		conns_relieve(&s->conns);
	}
	if (cost >= IO_THREAD_BATCH)
		loop_wake(&b->to_side);
}
