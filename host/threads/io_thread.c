#include "threads/io_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/answer.h"

/* cost of records that are looked at in one turn: others are to be read from, too */
#define IO_THREAD_BATCH (1u << 16)
#define IO_THREAD_SHOW_MS 100 /* how old what is shown of slow connections may be */
#define IO_THREAD_RETRY_MS 2  /* to look again whether there is room, or memory */
/* bytes of a message that goes over with its memory, if it has memory of its own */
#define IO_THREAD_BLOCK_MIN 4096

/* The user of each conn that has asked for an upgrade. */
struct io_thread_conn {
	struct conn *conn, *stub;
	TAILQ_ENTRY(io_thread_conn) link, shown_link;
	struct budget *budget; /* of its mount */
	const char *why;       /* what is owed */
	uint32_t dropped;      /* messages that it did not get and nobody was told of */
	uint16_t code;
	uint8_t end;
	bool paused : 1, owes : 1; /* which list it is in */
	bool shown : 1;		   /* see io_thread.h */
	bool breaks : 1;	   /* it is ended when that is no longer owed */
	bool withdrawn : 1;	   /* that is owed, not an end */
	bool probed : 1;	   /* the hub waits for it to be drained */
	bool drops : 1;		   /* its mount drops the oldest messages of who reads too slowly */
	bool slow : 1;		   /* it was told that messages are given up */
	bool unsent : 1; /* it was told that something was not sent; it will be ended for that */
};

/* What each connection of a mount may send. */
struct io_thread_rule {
	struct io_thread_rule *next;
	const struct rate_limit_rule *name; /* the hub's own, which is not looked at */
	struct rate_limit_rule rule;
};

static struct io_thread *io_thread_of(const struct conn *c)
{
	return c->conns->ctx;
}

/* --- what its conns tell ---------------------------------------------------------------------- */

static void io_thread_leave_list(struct io_thread *s, struct io_thread_conn *sc)
{
	if (sc->paused)
		TAILQ_REMOVE(&s->paused, sc, link);
	if (sc->owes)
		TAILQ_REMOVE(&s->owing, sc, link);
	sc->paused = sc->owes = false;
}

static void io_thread_due(struct io_thread *s, struct io_thread_conn *sc)
{
	io_thread_leave_list(s, sc);
	sc->owes = true;
	TAILQ_INSERT_TAIL(&s->owing, sc, link);
	loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
}

static void io_thread_on_upgrade(void *ctx, struct conn *c, struct request *r)
{
	struct io_thread *s = ctx;
	struct io_thread_conn *sc = malloc(sizeof *sc);
	struct channel_upgrade *u;
	struct channel_record *record = NULL;
	struct conn *stub = sc != NULL ? remote_conn_stub_new(c) : NULL;
	struct tls_facts tls;
	conn_tls_facts(c, &tls);
	size_t subject = tls.subject != NULL ? strlen(tls.subject) + 1 : 0,
	       name = tls.name != NULL ? strlen(tls.name) + 1 : 0;
	if (stub != NULL)
		record = channel_up(&s->remote_conn.channel, CHANNEL_UPGRADE,
				    sizeof *u + r->head.n + 1 + r->forwarded_host.n + subject +
					    name);
	if (record == NULL) {
		if (stub != NULL)
			remote_conn_stub_free(stub);
		free(sc);
		answer_refuse(c, LOG_UPGRADE, r, 503, SPAN("Retry-After: 1\r\n"),
			      "no memory for another connection");
		return;
	}
	*sc = (struct io_thread_conn){.conn = c, .stub = stub};
	conn_set_user(c, sc);
	record->conn = stub;
	u = (struct channel_upgrade *)record->bytes;
	*u = (struct channel_upgrade){.local = conn_local(c),
				      .secure = r->secure || conn_is_secure(c),
				      .host_len = (uint32_t)r->forwarded_host.n,
				      .version = tls.version,
				      .cipher = tls.cipher,
				      .subject_len = (uint32_t)subject,
				      .name_len = (uint32_t)name};
	memcpy(u->head, r->head.p, r->head.n);
	u->head[r->head.n] = '\0';
	if (r->forwarded_host.n > 0)
		memcpy(u->head + r->head.n + 1, r->forwarded_host.p, r->forwarded_host.n);
	uint8_t *texts = u->head + r->head.n + 1 + r->forwarded_host.n;
	if (subject > 0)
		memcpy(texts, tls.subject, subject);
	if (name > 0)
		memcpy(texts + subject, tls.name, name);
}

static void io_thread_on_request(void *ctx, struct conn *c, struct request *r)
{
	struct io_thread *s = ctx;
	files_serve(&s->files, c, r);
}

static void io_thread_on_ended(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			       size_t len, const char *why)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r = channel_up(&s->remote_conn.channel, CHANNEL_ENDED,
					      sizeof(struct channel_ended) + len);
	io_thread_leave_list(s, sc);
	if (r == NULL) { /* the reason is lost */
		sc->end = (uint8_t)end;
		sc->code = code;
		sc->why = why;
		io_thread_due(s, sc);
		return;
	}
	struct channel_ended *ended = (struct channel_ended *)r->bytes;
	r->conn = sc->stub;
	r->code = code;
	*ended = (struct channel_ended){.why = why, .end = end};
	if (len > 0)
		memcpy(ended->reason, reason, len);
}

/* What people and the log are told of it. */
static void io_thread_show_load(struct io_thread *s, struct io_thread_conn *sc)
{
	struct conn_load load = conn_load(sc->conn);
	load.given_up += sc->dropped;
	remote_conn_show(sc->stub, &load);
	if (sc->shown)
		return;
	sc->shown = true;
	TAILQ_INSERT_TAIL(&s->shown, sc, shown_link);
	if (!loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
}

static void io_thread_break(struct conn *c, const char *why)
{
	conn_abort(c);
	io_thread_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0, why);
}

/* Too much is under way to read more from anybody; those who send are read again when it is
 * less. */
static bool io_thread_ready(struct conn *c)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = conn_user(c);
	if (sc->paused || sc->owes || ring_waiting(&s->remote_conn.channel.up) <= CHANNEL_UP_MAX)
		return !sc->paused;
	sc->paused = true;
	TAILQ_INSERT_TAIL(&s->paused, sc, link);
	loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
	conn_pause(c, CONN_PAUSE_HUB, true);
	return false;
}

/* NULL without memory. */
static struct channel_record *io_thread_put_message(struct conn *c, const uint8_t *data, size_t len)
{
	struct io_thread *s = io_thread_of(c);
	struct budget *b = ((struct io_thread_conn *)conn_user(c))->budget;
	struct channel_block block = {.len = len, .budget = b};
	if (len >= IO_THREAD_BLOCK_MIN)
		block.memory = conn_take(c, &block.data, &block.size);
	struct channel_record *r =
		block.memory != NULL
			? channel_up(&s->remote_conn.channel, CHANNEL_BLOCK, sizeof block)
			: channel_up(&s->remote_conn.channel, CHANNEL_MESSAGE, len + 1);
	if (r == NULL)
		free(block.memory);
	else if (block.memory == NULL && len > 0)
		memcpy(r->bytes, data, len);
	else if (block.memory != NULL)
		*(struct channel_block *)r->bytes = block;
	if (r != NULL && block.memory != NULL && b != NULL)
		budget_add(&b->moving, block.size);
	return r;
}

static void io_thread_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *data,
				 size_t len)
{
	struct channel_record *r = io_thread_put_message(c, data, len);
	if (r == NULL) {
		io_thread_break(c, "no memory for its message");
		return;
	}
	r->conn = ((struct io_thread_conn *)conn_user(c))->stub;
	r->code = (uint16_t)opcode;
	io_thread_ready(c);
}

static struct budget *io_thread_budget(struct conn *c)
{
	return ((struct io_thread_conn *)conn_user(c))->budget;
}

static void io_thread_on_dropped(struct conn *c, uint32_t n)
{
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_DROPPED, 0);
	/* it is counted, and what counts next will be told */
	if (r == NULL)
		return;
	r->conn = ((struct io_thread_conn *)conn_user(c))->stub;
	r->cost = n;
}

static void io_thread_tell_slow(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r =
		sc->slow ? NULL
			 : channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_SLOW, 0);
	if (r == NULL)
		return;
	sc->slow = true;
	r->conn = sc->stub;
	io_thread_show_load(io_thread_of(c), sc);
}

/* Here and in io_thread_refused is what hub/slow_consumer_consumer.c does for the conns of the
 * hub's loop. */
static bool io_thread_on_heavy(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	if (sc->drops && !sc->unsent && conn_lighten(c)) {
		io_thread_tell_slow(c);
		return true;
	}
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_HEAVY, 0);
	sc->unsent = true;
	if (r != NULL) {
		r->conn = sc->stub;
		io_thread_show_load(io_thread_of(c), sc);
		return false;
	}
	sc->breaks = true; /* not now: its caller has yet to do with it */
	sc->end = CONN_END_TRANSPORT;
	sc->code = CLOSE_ABNORMAL;
	sc->why = "no memory for what it is sent";
	io_thread_due(io_thread_of(c), sc);
	return false;
}

static void io_thread_on_relieved(void *ctx)
{
	(void)ctx; /* the hub ends them */
}

static void io_thread_on_gave_up(struct conn *c, uint32_t messages, bool gone)
{
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_GAVE_UP, 0);
	sc->slow = false;
	sc->dropped += messages;
	/* they are told of with the next ones */
	if (r == NULL)
		return;
	r->conn = sc->stub;
	r->flag = gone;
	r->cost = sc->dropped;
	sc->dropped = 0;
	remote_conn_show(sc->stub,
			 &(struct conn_load){.given_up = 0}); /* they are the hub's from now on */
}

static void io_thread_on_withdrawn(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	if (io_thread_of(c)->ended) /* see io_thread_on_gone */
		return;
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_WITHDRAWN, 0);
	if (r != NULL) {
		r->conn = sc->stub;
		return;
	}
	sc->withdrawn = true;
	io_thread_due(io_thread_of(c), sc);
}

static void io_thread_on_unanswered(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_UNANSWERED, 0);
	if (r != NULL)
		r->conn = sc->stub;
}

static void io_thread_on_drained(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	bool probed = sc != NULL && sc->probed; /* not while it answers a request */
	struct channel_record *r =
		probed ? channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_DRAINED, 0)
		       : NULL;
	if (!probed)
		return;
	sc->probed = false;
	if (r != NULL)
		r->conn = sc->stub;
	else
		io_thread_break(c, "no memory to go on with it");
}

static bool io_thread_on_gone(struct conn *c)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r;
	if (sc == NULL)
		return true;
	io_thread_leave_list(s, sc);
	if (sc->shown)
		TAILQ_REMOVE(&s->shown, sc, shown_link);
	sc->shown = false;
	if (s->ended) { /* the main thread speaks: nobody else knows the stub */
		remote_conn_forget(&s->remote_conn, sc->stub);
		free(sc);
		return true;
	}
	r = channel_up(&s->remote_conn.channel, CHANNEL_GONE, 0);
	if (r == NULL) {
		loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
		return false;
	}
	r->conn = sc->stub;
	free(sc);
	return true;
}

static const struct conn_ops io_thread_ops = {
	.upgrade = io_thread_on_upgrade,
	.request = io_thread_on_request,
	.message = io_thread_on_message,
	.budget = io_thread_budget,
	.ready = io_thread_ready,
	.ended = io_thread_on_ended,
	.dropped = io_thread_on_dropped,
	.withdrawn = io_thread_on_withdrawn,
	.unanswered = io_thread_on_unanswered,
	.gave_up = io_thread_on_gave_up,
	.memory_limit = io_thread_on_heavy,
	.relieved = io_thread_on_relieved,
	.drained = io_thread_on_drained,
	.gone = io_thread_on_gone,
};

/* --- what the hub commands -------------------------------------------------------------------- */

/* The hub thinks that it was sent, until it is told. */
static void io_thread_tell_unsent(struct conn *c, enum conn_sent why)
{
	struct io_thread_conn *sc = conn_user(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_UNSENT, 0);
	if (r == NULL) {
		io_thread_break(c, "no memory for what it is sent");
		return;
	}
	sc->unsent = true;
	r->conn = sc->stub;
	r->code = (uint16_t)why;
	r->cost = sc->dropped;
	sc->dropped = 0;
	io_thread_show_load(io_thread_of(c), sc);
}

/* The mount's policy, as hub/slow_consumer_consumer.c has it for the conns of the hub's loop. */
static void io_thread_refused(struct conn *c, struct outgoing *o, enum conn_sent sent, bool own,
			      enum outgoing_slow policy)
{
	struct io_thread_conn *sc = conn_user(c);
	if ((sent != CONN_FULL && sent != CONN_NO_MEMORY) || sc->unsent)
		return;
	if (sent == CONN_FULL && policy != OUTGOING_CLOSE && !own) {
		sent = conn_make_way(c, o, policy == OUTGOING_CONFLATE);
		if (sent == CONN_SENT || policy == OUTGOING_DROP_OLDEST)
			io_thread_tell_slow(c);
		if (sent == CONN_SENT)
			return;
	}
	sc->dropped++;
	c->conns->loop->stats.dropped++;
	if (sent != CONN_FULL || policy != OUTGOING_DROP_OLDEST || own)
		io_thread_tell_unsent(c, sent);
}

/* The hub may have accepted it meanwhile: to that end it is the same as if its client had gone. */
static void io_thread_withdraw(struct conn *c)
{
	conn_abort(c);
	io_thread_on_withdrawn(c);
}

static void io_thread_probe(struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	if (c->state == CONN_DEAD || c->ended) /* which the hub knows, or will */
		return;
	sc->probed = true;
	if (conn_unread(c) <= c->conns->limits.queue_max / 2)
		io_thread_on_drained(c);
	else
		conn_pause(c, CONN_PAUSE_OUTPUT, true);
}

static void io_thread_accept(struct io_thread *s, struct conn *c, const struct channel_record *r)
{
	static const struct request_limits any = {.head_max = SIZE_MAX,
						  .headers_max = REQUEST_HEADERS_MAX};
	const struct channel_accept *a = (const struct channel_accept *)r->bytes;
	struct request *request = &s->conns.request;
	struct span subprotocol = {a->bytes + a->head, a->subprotocol},
		    extra = {subprotocol.p + a->subprotocol, a->extra};
	size_t used;
	int status;
	const char *why;
	if (c->state != CONN_ASKING) /* that it is gone is on its way */
		return;
	((struct io_thread_conn *)conn_user(c))->budget = a->budget;
	((struct io_thread_conn *)conn_user(c))->drops = r->code == OUTGOING_DROP_OLDEST;
	/* it was parsed before, from the same bytes */
	if (request_parse(request, &any, a->bytes, a->head, NULL, &used, &status, &why) !=
	    REQUEST_OK)
		conn_abort(c);
	else if (conn_accept(c, request, (enum outgoing_slow)r->code, subprotocol, extra))
		return;
	io_thread_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
			   "no memory to answer its handshake");
}

/* Rules are few, one for each mount that has one, and stay. NULL without memory. */
static struct io_thread_rule *io_thread_rule(struct io_thread *s, const struct channel_rule *of)
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

static void io_thread_measure(struct io_thread *s, struct conn *c, const struct channel_rule *of,
			      bool pings)
{
	struct io_thread_rule *r = c->state == CONN_ASKING ? io_thread_rule(s, of) : NULL;
	if (c->state == CONN_ASKING && (r == NULL || !conn_measure(c, &r->rule, pings)))
		io_thread_withdraw(c);
}

static bool io_thread_slice(struct io_thread *s, const void *bytes, size_t len,
			    struct slice *slice_r)
{
	if (!chunk_alloc(&s->loop->chunks, len, slice_r))
		return false;
	memcpy(slice_bytes(slice_r), bytes, len);
	return true;
}

static bool io_thread_frame(struct io_thread *s, const struct channel_frame *frame, size_t len,
			    struct slice *slice_r)
{
	return io_thread_slice(s, frame->bytes, len, slice_r) &&
	       (frame->note == 0 || chunk_note(slice_r, frame->note));
}

static void io_thread_raw(struct io_thread *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	if (c->state == CONN_ANSWER &&
	    (!io_thread_slice(s, r->bytes, r->len, &slice) || !conn_queue_raw(c, &slice)))
		conn_abort(c);
	slice_unref(&slice);
}

static void io_thread_send(struct io_thread *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	struct outgoing o;
	enum conn_sent sent = CONN_NO_MEMORY;
	s->loop->delivery = r->delivery;
	outgoing_init(&o, &slice, false);
	if (io_thread_frame(s, (const struct channel_frame *)r->bytes,
			    r->len - sizeof(struct channel_frame), &slice))
		sent = conn_send(c, &o, r->flag);
	if (sent != CONN_SENT)
		io_thread_refused(c, &o, sent, r->flag, (enum outgoing_slow)r->code);
	outgoing_free(&o);
	slice_unref(&slice);
}

static void io_thread_broadcast(struct io_thread *s, const struct channel_record *r)
{
	const struct channel_broadcast *b = (const struct channel_broadcast *)r->bytes;
	struct remote_conn_group *g = r->group;
	struct slice slice = {.chunk = NULL};
	struct outgoing o;
	s->loop->delivery = r->delivery;
	bool ok = io_thread_frame(s, &b->frame, r->len - sizeof *b, &slice);
	outgoing_init(&o, &slice, true);
	for (uint32_t i = 0; i < g->n; i++) {
		struct conn *c = g->members[i];
		if (c == b->exclude)
			continue;
		enum conn_sent sent = ok ? conn_send(c, &o, c == b->own) : CONN_NO_MEMORY;
		if (sent != CONN_SENT)
			io_thread_refused(c, &o, sent, c == b->own, (enum outgoing_slow)r->code);
	}
	outgoing_free(&o);
	slice_unref(&slice);
}

static void io_thread_resize(struct remote_conn_group *g, const struct channel_array *to)
{
	if (g->n > 0)
		memcpy(to->members, g->members, g->n * sizeof *g->members);
	free(g->members);
	g->members = to->members;
}

static void io_thread_on_group(struct io_thread *s, struct channel_record *r)
{
	struct remote_conn_group *g = r->group;
	const struct channel_member *member = (const struct channel_member *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_ADD:
		g->members[g->n++] = member->conn;
		break;
	case CHANNEL_REMOVE:
		g->members[member->place] = g->members[--g->n];
		break;
	case CHANNEL_RESIZE:
		io_thread_resize(g, (const struct channel_array *)r->bytes);
		break;
	case CHANNEL_DROP:
		free(g->members);
		free(g);
		break;
	case CHANNEL_BROADCAST:
		io_thread_broadcast(s, r);
		break;
	}
}

static void io_thread_on_conn(struct io_thread *s, struct channel_record *r)
{
	struct conn *c = r->conn;
	switch ((int)r->kind) {
	case CHANNEL_MEASURE:
		io_thread_measure(s, c, (const struct channel_rule *)r->bytes, r->flag);
		break;
	case CHANNEL_ACCEPT:
		io_thread_accept(s, c, r);
		break;
	case CHANNEL_ANSWERING:
		if (!conn_answering(c))
			conn_release(c);
		break;
	case CHANNEL_RAW:
		io_thread_raw(s, c, r);
		break;
	case CHANNEL_SEND:
		io_thread_send(s, c, r);
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

static void io_thread_set_gate(struct io_thread *s, const struct channel_gate *to)
{
	address_set_free(&s->trusted);
	free(s->hosts);
	s->trusted = to->trusted;
	s->hosts = to->hosts;
	s->conns.client_addr = to->client_addr;
	s->conns.client_addr.trusted = &s->trusted;
	s->conns.client_addr.hosts = s->hosts;
}

static void io_thread_set_tls(struct io_thread *s, struct tls_server *tls)
{
	conns_set_tls(&s->conns, tls);
	tls_server_unref(tls);
}

static void io_thread_on_loop(struct io_thread *s, struct channel_record *r)
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
		io_thread_set_gate(s, (const struct channel_gate *)r->bytes);
		break;
	case CHANNEL_TLS:
		io_thread_set_tls(s, *(struct tls_server **)r->bytes);
		break;
	case CHANNEL_RULE:
		io_thread_rule(s, (const struct channel_rule *)r->bytes);
		break;
	case CHANNEL_DRAIN:
		s->draining = true;
		break;
	case CHANNEL_STOP:
		loop_stop(s->loop);
		break;
	}
}

static void io_thread_on_records(void *arg)
{
	struct io_thread *s = arg;
	struct channel *b = &s->remote_conn.channel;
	struct channel_record *r;
	uint32_t cost = 0;
	while (cost < IO_THREAD_BATCH && (r = channel_take_down(b)) != NULL) {
		uint32_t this = r->cost;
		if (r->kind <= CHANNEL_RELEASE)
			io_thread_on_conn(s, r);
		else if (r->kind <= CHANNEL_BROADCAST)
			io_thread_on_group(s, r);
		else
			io_thread_on_loop(s, r);
		cost += this;
		channel_done(b, this);
		conns_relieve(&s->conns);
	}
	if (cost >= IO_THREAD_BATCH)
		loop_wake(&b->to_side);
}

/* --- turns ------------------------------------------------------------------------------------ */

static bool io_thread_pay(struct io_thread *s, struct io_thread_conn *sc)
{
	struct channel_ended *ended;
	struct channel_record *r =
		channel_up(&s->remote_conn.channel,
			   sc->withdrawn ? CHANNEL_WITHDRAWN : CHANNEL_ENDED, sizeof *ended);
	if (r == NULL)
		return false;
	r->conn = sc->stub;
	r->code = sc->code;
	ended = (struct channel_ended *)r->bytes;
	*ended = (struct channel_ended){.why = sc->why, .end = (enum conn_end)sc->end};
	return true;
}

/* Is there room, or memory, again? A connection that goes on may use the room up, and stand at the
 * end of the list anew. */
static void io_thread_on_retry(void *arg)
{
	struct io_thread *s = arg;
	struct io_thread_conn *sc, *last = TAILQ_LAST(&s->paused, io_thread_list);
	while ((sc = TAILQ_FIRST(&s->owing)) != NULL && io_thread_pay(s, sc)) {
		io_thread_leave_list(s, sc);
		if (sc->breaks)
			conn_abort(sc->conn);
	}
	while ((sc = TAILQ_FIRST(&s->paused)) != NULL &&
	       ring_waiting(&s->remote_conn.channel.up) <= CHANNEL_UP_MAX / 2) {
		bool done = sc == last;
		io_thread_leave_list(s, sc);
		conn_pause(sc->conn, CONN_PAUSE_HUB, false);
		if (done)
			break;
	}
	if (!TAILQ_EMPTY(&s->owing) || !TAILQ_EMPTY(&s->paused))
		loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
}

/* Those that hold something, and once more those that do not any longer. */
static void io_thread_on_show(void *arg)
{
	struct io_thread *s = arg;
	struct memory_limit *h;
	struct io_thread_conn *sc, *next;
	for (sc = TAILQ_FIRST(&s->shown); sc != NULL; sc = next) {
		next = TAILQ_NEXT(sc, shown_link);
		io_thread_show_load(s, sc);
		struct conn *c = sc->conn;
		if (c->out.stalled || sc->dropped > 0)
			continue;
		TAILQ_REMOVE(&s->shown, sc, shown_link);
		sc->shown = false;
	}
	LIST_FOREACH(h, &s->conns.memory_limits.list, link)
	{
		sc = conn_user(h->conn);
		if (sc != NULL)
			io_thread_show_load(s, sc);
	}
	if (!TAILQ_EMPTY(&s->shown))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
}

static void io_thread_show(struct io_thread *s)
{
	const uint64_t *now = (const uint64_t *)&s->loop->stats;
	for (size_t i = 0; i < sizeof s->loop->stats / sizeof *now; i++)
		atomic_store_explicit(&s->stats[i], now[i], memory_order_relaxed);
	if (!LIST_EMPTY(&s->conns.memory_limits.list) && !loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
	if (s->draining)
		atomic_store(&s->remote_conn.busy, (int)conns_busy(&s->conns));
}

static void io_thread_on_turn(void *arg)
{
	struct io_thread *s = arg;
	channel_publish_up(&s->remote_conn.channel);
	io_thread_show(s);
}

/* While there is no thread. */
static void io_thread_catch_up(struct io_thread *s)
{
	channel_publish_down(&s->remote_conn.channel);
	while (ring_has(&s->remote_conn.channel.down))
		io_thread_on_records(s);
}

static void *io_thread_run(void *arg)
{
	struct io_thread *s = arg;
	loop_run(s->loop);
	return NULL;
}

/* --- one of them ------------------------------------------------------------------------------ */

static bool io_thread_init(struct io_threads *all, struct io_thread *s, unsigned number)
{
	TAILQ_INIT(&s->paused);
	TAILQ_INIT(&s->owing);
	TAILQ_INIT(&s->shown);
	s->files.root = -1;
	s->loop = loop_new(all->here->loop->log);
	if (s->loop == NULL)
		return false;
	bool ok = conns_init(&s->conns, s->loop, &io_thread_ops, s, &all->here->limits);
	s->conns.later = true;
	listeners_init(&s->listeners, &s->conns);
	s->conns.freed = listeners_on_freed;
	s->conns.freed_ctx = &s->listeners;
	s->listeners.balance = &all->balance;
	s->listeners.loop = number;
	loop_timer_init(s->loop, &s->retry, io_thread_on_retry, s);
	loop_timer_init(s->loop, &s->show, io_thread_on_show, s);
	s->hook = (struct loop_hook){.run = io_thread_on_turn, .arg = s};
	loop_add_hook_first(s->loop, &s->hook);
	return remote_conn_init(&s->remote_conn, (uint8_t)number, all->here, s->loop,
				io_thread_on_records, s) &&
	       ok;
}

static void io_thread_free(struct io_thread *s)
{
	if (s->loop != NULL) {
		/* descriptors and memory may have been handed over */
		if (s->remote_conn.channel.down.last != NULL)
			io_thread_catch_up(s);
		s->ended = true;
		listeners_close(&s->listeners);
		s->conns.freed = NULL;
		conns_free(&s->conns);
		remote_conn_free(&s->remote_conn);
		loop_timer_cancel(&s->retry);
		loop_timer_cancel(&s->show);
		loop_free(s->loop);
	}
	for (struct io_thread_rule *r; (r = s->rules) != NULL;) {
		s->rules = r->next;
		free(r);
	}
	files_close(&s->files);
	address_set_free(&s->trusted);
	free(s->hosts);
	free(s);
}

/* --- all of them ------------------------------------------------------------------------------ */

/* From the hub's loop, or over it, to whom it was dealt. */
static void io_threads_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
			    const struct conn_kind *kind)
{
	struct io_threads *s = ctx;
	if (loop == 0)
		listeners_adopt(s->listeners, fd, remote, kind);
	else
		remote_conn_adopt(&s->v[loop - 1]->remote_conn, fd, remote, kind);
}

/* On a loop that is not the hub's. */
static void io_thread_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
			   const struct conn_kind *kind)
{
	struct io_thread *s = ctx;
	struct channel_record *r =
		channel_up(&s->remote_conn.channel, CHANNEL_DEAL, sizeof(struct channel_socket));
	if (r == NULL) {
		balance_give_back(s->listeners.balance, loop);
		if (s->conns.client_addr.addr_limits != NULL)
			addr_limits_give_socket(s->conns.client_addr.addr_limits);
		close(fd);
		return;
	}
	r->code = (uint16_t)loop;
	*(struct channel_socket *)r->bytes =
		(struct channel_socket){.remote = *remote, .kind = *kind, .fd = fd};
}

bool io_threads_init(struct io_threads *s, unsigned n, struct conns *here,
		     struct listeners *listeners)
{
	*s = (struct io_threads){.here = here, .listeners = listeners, .balance = {.n = n}};
	if (n <= 1)
		return true;
	s->v = calloc(n - 1, sizeof(struct io_thread *));
	if (s->v == NULL)
		return false;
	listeners->balance = &s->balance;
	listeners->deal = io_threads_deal;
	listeners->deal_ctx = s;
	for (unsigned i = 0; i < n - 1; i++) {
		struct io_thread *side = aligned_alloc(RING_LINE, sizeof *side);
		if (side == NULL)
			return false;
		memset(side, 0, sizeof *side);
		s->v[s->n++] = side;
		if (!io_thread_init(s, side, i + 1))
			return false;
		side->listeners.deal = io_thread_deal;
		side->listeners.deal_ctx = side;
		side->remote_conn.deal = io_threads_deal;
		side->remote_conn.deal_ctx = s;
	}
	return true;
}

bool io_threads_listen(struct io_threads *s, int backlog, char *why, size_t why_cap)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!listeners_add_beside(&s->v[i]->listeners, s->listeners, backlog, why, why_cap))
			return false;
	return true;
}

bool io_threads_start(struct io_threads *s)
{
	sigset_t all, before;
	int failed = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	for (unsigned i = 0; i < s->n && failed == 0; i++) {
		char name[24];
		io_thread_catch_up(s->v[i]); /* it knows everything before it accepts anybody */
		failed = pthread_create(&s->v[i]->thread, NULL, io_thread_run, s->v[i]);
		s->v[i]->running = failed == 0;
		snprintf(name, sizeof name, "tova-io-%u", i + 1);
		name[15] = '\0'; /* more the kernel does not keep */
		if (failed == 0)
			pthread_setname_np(s->v[i]->thread, name);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = failed;
	return failed == 0;
}

void io_threads_stop(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i]->running)
			remote_conn_stop(&s->v[i]->remote_conn);
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			pthread_join(s->v[i]->thread, NULL);
		s->v[i]->running = false;
	}
}

void io_threads_free(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		io_thread_free(s->v[i]);
	free(s->v);
	s->v = NULL;
	s->n = 0;
}

void io_threads_set_limits(struct io_threads *s, const struct conn_limits *limits)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_set_limits(&s->v[i]->remote_conn, limits);
}

void io_threads_set_budgets(struct io_threads *s, struct budgets *budgets)
{
	for (unsigned i = 0; i < s->n; i++)
		conns_set_budgets(&s->v[i]->conns, budgets, i + 1);
}

bool io_threads_set_files(struct io_threads *s, const struct files *files)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++) {
		struct files copy = {.mounts = files->mounts,
				     .health = files->health,
				     .root = files->root >= 0
						     ? fcntl(files->root, F_DUPFD_CLOEXEC, 0)
						     : -1};
		if (files->root >= 0 && copy.root < 0)
			ok = false;
		else
			remote_conn_set_files(&s->v[i]->remote_conn, &copy);
	}
	return ok;
}

void io_threads_set_tls(struct io_threads *s, struct tls_server *tls)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			remote_conn_set_tls(&s->v[i]->remote_conn, tls);
		else
			conns_set_tls(&s->v[i]->conns, tls); /* before it lets the first one in */
	}
}

bool io_threads_set_gate(struct io_threads *s, const struct client_addr *client_addr)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++)
		ok = remote_conn_set_gate(&s->v[i]->remote_conn, client_addr) && ok;
	return ok;
}

void io_threads_set_rule(struct io_threads *s, const struct rate_limit_rule *rule)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_set_rule(&s->v[i]->remote_conn, rule);
}

void io_threads_drain(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_drain(&s->v[i]->remote_conn);
}

enum conns_busy io_threads_busy(const struct io_threads *s)
{
	enum conns_busy most = CONNS_AT_REST;
	for (unsigned i = 0; i < s->n; i++) {
		enum conns_busy busy = remote_conn_busy(&s->v[i]->remote_conn);
		most = busy > most ? busy : most;
	}
	return most;
}

struct stats io_threads_stats(const struct io_threads *s)
{
	struct stats sum = s->here->loop->stats, one;
	uint64_t *to = (uint64_t *)&one;
	for (unsigned i = 0; i < s->n; i++) {
		for (size_t k = 0; k < sizeof one / sizeof *to; k++)
			to[k] = atomic_load_explicit(&s->v[i]->stats[k], memory_order_relaxed);
		stats_add(&sum, &one);
	}
	return sum;
}
