#include "net/side.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/answer.h"

/* cost of records that are looked at in one turn: others are to be read from, too */
#define SIDE_BATCH (1u << 16)
#define SIDE_SHOW_MS 100 /* how old what is shown of slow connections may be */
#define SIDE_RETRY_MS 2	 /* to look again whether there is room, or memory */
/* bytes of a message that goes over with its memory, if it has memory of its own */
#define SIDE_BLOCK_MIN 4096

/* Behind each conn. */
struct side_conn {
	struct conn *stub; /* NULL: it has not asked for an upgrade */
	TAILQ_ENTRY(side_conn) link, shown_link;
	struct budget *budget; /* of its mount */
	const char *why;       /* what is owed */
	uint32_t dropped;      /* messages that it did not get and nobody was told of */
	uint16_t code;
	uint8_t end;
	bool paused : 1, owes : 1; /* which list it is in */
	bool shown : 1;		   /* see side.h */
	bool breaks : 1;	   /* it is ended when that is no longer owed */
	bool withdrawn : 1;	   /* that is owed, not an end */
	bool probed : 1;	   /* the hub waits for it to be drained */
	bool drops : 1;		   /* its mount drops the oldest messages of who reads too slowly */
	bool slow : 1;		   /* it was told that messages are given up */
	bool unsent : 1; /* it was told that something was not sent; it will be ended for that */
};

/* What each connection of a mount may send. */
struct side_rule {
	struct side_rule *next;
	const struct rate_limit_rule *name; /* the hub's own, which is not looked at */
	struct rate_limit_rule rule;
};

static struct side *side_of(const struct conn *c)
{
	return c->conns->ctx;
}

/* --- what its conns tell ---------------------------------------------------------------------- */

static void side_leave_list(struct side *s, struct side_conn *sc)
{
	if (sc->paused)
		TAILQ_REMOVE(&s->paused, sc, link);
	if (sc->owes)
		TAILQ_REMOVE(&s->owing, sc, link);
	sc->paused = sc->owes = false;
}

static void side_owe(struct side *s, struct side_conn *sc)
{
	side_leave_list(s, sc);
	sc->owes = true;
	TAILQ_INSERT_TAIL(&s->owing, sc, link);
	loop_timer_set(&s->retry, SIDE_RETRY_MS);
}

static void side_on_upgrade(void *ctx, struct conn *c, struct request *r)
{
	struct side *s = ctx;
	struct side_conn *sc = conn_session(c);
	struct channel_upgrade *u;
	struct channel_record *record = NULL;
	struct conn *stub = far_stub_new(c, s->far.stubs.session_size);
	struct tls_facts tls;
	conn_tls_facts(c, &tls);
	size_t subject = tls.subject != NULL ? strlen(tls.subject) + 1 : 0,
	       name = tls.name != NULL ? strlen(tls.name) + 1 : 0;
	if (stub != NULL)
		record = channel_up(&s->far.channel, CHANNEL_UPGRADE,
				    sizeof *u + r->head.n + 1 + r->forwarded_host.n + subject +
					    name);
	if (record == NULL) {
		if (stub != NULL)
			far_stub_free(stub);
		answer_refuse(c, LOG_UPGRADE, r, 503, SPAN("Retry-After: 1\r\n"),
			      "no memory for another connection");
		return;
	}
	*sc = (struct side_conn){.stub = stub};
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

static void side_on_request(void *ctx, struct conn *c, struct request *r)
{
	struct side *s = ctx;
	files_serve(&s->files, c, r);
}

static void side_on_ended(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			  size_t len, const char *why)
{
	struct side *s = side_of(c);
	struct side_conn *sc = conn_session(c);
	struct channel_record *r =
		channel_up(&s->far.channel, CHANNEL_ENDED, sizeof(struct channel_ended) + len);
	side_leave_list(s, sc);
	if (r == NULL) { /* the reason is lost */
		sc->end = (uint8_t)end;
		sc->code = code;
		sc->why = why;
		side_owe(s, sc);
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
static void side_show_load(struct side *s, struct side_conn *sc)
{
	struct conn_load load = conn_load(conn_of_session(sc));
	load.given_up += sc->dropped;
	far_show(&s->far, sc->stub, &load);
	if (sc->shown)
		return;
	sc->shown = true;
	TAILQ_INSERT_TAIL(&s->shown, sc, shown_link);
	if (!loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, SIDE_SHOW_MS);
}

static void side_break(struct conn *c, const char *why)
{
	conn_abort(c);
	side_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0, why);
}

/* Too much is under way to read more from anybody; those who send are read again when it is
 * less. */
static bool side_ready(struct conn *c)
{
	struct side *s = side_of(c);
	struct side_conn *sc = conn_session(c);
	if (sc->paused || sc->owes || ring_waiting(&s->far.channel.up) <= CHANNEL_UP_MAX)
		return !sc->paused;
	sc->paused = true;
	TAILQ_INSERT_TAIL(&s->paused, sc, link);
	loop_timer_set(&s->retry, SIDE_RETRY_MS);
	conn_pause(c, CONN_PAUSE_HUB, true);
	return false;
}

/* NULL without memory. */
static struct channel_record *side_put_message(struct conn *c, const uint8_t *data, size_t len)
{
	struct side *s = side_of(c);
	struct channel_block block = {.len = len};
	struct budget *b = ((struct side_conn *)conn_session(c))->budget;
	if (len >= SIDE_BLOCK_MIN)
		block.memory = conn_take(c, &block.data, &block.size);
	struct channel_record *r =
		block.memory != NULL ? channel_up(&s->far.channel, CHANNEL_BLOCK, sizeof block)
				     : channel_up(&s->far.channel, CHANNEL_MESSAGE, len + 1);
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

static void side_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *data, size_t len)
{
	struct channel_record *r = side_put_message(c, data, len);
	if (r == NULL) {
		side_break(c, "no memory for its message");
		return;
	}
	r->conn = ((struct side_conn *)conn_session(c))->stub;
	r->code = (uint16_t)opcode;
	side_ready(c);
}

static struct budget *side_budget(struct conn *c)
{
	return ((struct side_conn *)conn_session(c))->budget;
}

static void side_on_dropped(struct conn *c, uint32_t n)
{
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_DROPPED, 0);
	/* it is counted, and what counts next will be told */
	if (r == NULL)
		return;
	r->conn = ((struct side_conn *)conn_session(c))->stub;
	r->cost = n;
}

static void side_tell_slow(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r =
		sc->slow ? NULL : channel_up(&side_of(c)->far.channel, CHANNEL_SLOW, 0);
	if (r == NULL)
		return;
	sc->slow = true;
	r->conn = sc->stub;
	side_show_load(side_of(c), sc);
}

/* Here and in side_refused is what hub/slow.c does for the conns of the hub's loop. */
static bool side_on_heavy(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	if (sc->drops && !sc->unsent && conn_lighten(c)) {
		side_tell_slow(c);
		return true;
	}
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_HEAVY, 0);
	sc->unsent = true;
	if (r != NULL) {
		r->conn = sc->stub;
		side_show_load(side_of(c), sc);
		return false;
	}
	sc->breaks = true; /* not now: its caller has yet to do with it */
	sc->end = CONN_END_TRANSPORT;
	sc->code = CLOSE_ABNORMAL;
	sc->why = "no memory for what it is sent";
	side_owe(side_of(c), sc);
	return false;
}

static void side_on_relieved(void *ctx)
{
	(void)ctx; /* the hub ends them */
}

static void side_on_gave_up(struct conn *c, uint32_t messages, bool gone)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_GAVE_UP, 0);
	sc->slow = false;
	sc->dropped += messages;
	/* they are told of with the next ones */
	if (r == NULL)
		return;
	r->conn = sc->stub;
	r->flag = gone;
	r->cost = sc->dropped;
	sc->dropped = 0;
	far_show(&side_of(c)->far, sc->stub,
		 &(struct conn_load){.given_up = 0}); /* they are the hub's from now on */
}

static void side_on_withdrawn(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_WITHDRAWN, 0);
	if (r != NULL) {
		r->conn = sc->stub;
		return;
	}
	sc->withdrawn = true;
	side_owe(side_of(c), sc);
}

static void side_on_unanswered(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_UNANSWERED, 0);
	if (r != NULL)
		r->conn = sc->stub;
}

static void side_on_drained(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r =
		sc->probed ? channel_up(&side_of(c)->far.channel, CHANNEL_DRAINED, 0) : NULL;
	if (r != NULL)
		r->conn = sc->stub;
	else if (sc->probed)
		side_break(c, "no memory to go on with it");
	sc->probed = false;
}

static bool side_on_gone(struct conn *c)
{
	struct side *s = side_of(c);
	struct side_conn *sc = conn_session(c);
	struct channel_record *r;
	if (sc->stub == NULL)
		return true;
	side_leave_list(s, sc);
	if (sc->shown)
		TAILQ_REMOVE(&s->shown, sc, shown_link);
	sc->shown = false;
	if (s->ended) { /* the main thread speaks: nobody else knows the stub */
		s->far.stubs.count--;
		far_stub_free(sc->stub);
		return true;
	}
	r = channel_up(&s->far.channel, CHANNEL_GONE, 0);
	if (r != NULL)
		r->conn = sc->stub;
	else
		loop_timer_set(&s->retry, SIDE_RETRY_MS);
	return r != NULL;
}

static const struct conn_ops side_ops = {
	.upgrade = side_on_upgrade,
	.request = side_on_request,
	.message = side_on_message,
	.budget = side_budget,
	.ready = side_ready,
	.ended = side_on_ended,
	.dropped = side_on_dropped,
	.withdrawn = side_on_withdrawn,
	.unanswered = side_on_unanswered,
	.gave_up = side_on_gave_up,
	.memory_limit = side_on_heavy,
	.relieved = side_on_relieved,
	.drained = side_on_drained,
	.gone = side_on_gone,
};

/* --- what the hub commands -------------------------------------------------------------------- */

/* The hub thinks that it was sent, until it is told. */
static void side_tell_unsent(struct conn *c, enum conn_sent why)
{
	struct side_conn *sc = conn_session(c);
	struct channel_record *r = channel_up(&side_of(c)->far.channel, CHANNEL_UNSENT, 0);
	if (r == NULL) {
		side_break(c, "no memory for what it is sent");
		return;
	}
	sc->unsent = true;
	r->conn = sc->stub;
	r->code = (uint16_t)why;
	r->cost = sc->dropped;
	sc->dropped = 0;
	side_show_load(side_of(c), sc);
}

/* The mount's policy, as hub/slow.c has it for the conns of the hub's loop. */
static void side_refused(struct conn *c, struct outgoing *o, enum conn_sent sent, bool own,
			 enum outgoing_slow policy)
{
	struct side_conn *sc = conn_session(c);
	if ((sent != CONN_FULL && sent != CONN_NO_MEMORY) || sc->unsent)
		return;
	if (sent == CONN_FULL && policy != OUTGOING_CLOSE && !own) {
		sent = conn_make_way(c, o, policy == OUTGOING_CONFLATE);
		if (sent == CONN_SENT || policy == OUTGOING_DROP_OLDEST)
			side_tell_slow(c);
		if (sent == CONN_SENT)
			return;
	}
	sc->dropped++;
	c->conns->loop->stats.dropped++;
	if (sent != CONN_FULL || policy != OUTGOING_DROP_OLDEST || own)
		side_tell_unsent(c, sent);
}

/* The hub may have accepted it meanwhile: to that end it is the same as if its client had gone. */
static void side_withdraw(struct conn *c)
{
	conn_abort(c);
	side_on_withdrawn(c);
}

static void side_probe(struct conn *c)
{
	struct side_conn *sc = conn_session(c);
	if (c->state == CONN_DEAD || c->ended) /* which the hub knows, or will */
		return;
	sc->probed = true;
	if (conn_unread(c) <= c->conns->limits.queue_max / 2)
		side_on_drained(c);
	else
		conn_pause(c, CONN_PAUSE_OUTPUT, true);
}

static void side_accept(struct side *s, struct conn *c, const struct channel_record *r)
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
	((struct side_conn *)conn_session(c))->budget = a->budget;
	((struct side_conn *)conn_session(c))->drops = r->code == OUTGOING_DROP_OLDEST;
	/* it was parsed before, from the same bytes */
	if (request_parse(request, &any, a->bytes, a->head, NULL, &used, &status, &why) !=
	    REQUEST_OK)
		conn_abort(c);
	else if (conn_accept(c, request, (enum outgoing_slow)r->code, subprotocol, extra))
		return;
	side_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
		      "no memory to answer its handshake");
}

/* Rules are few, one for each mount that has one, and stay. NULL without memory. */
static struct side_rule *side_rule(struct side *s, const struct channel_rule *of)
{
	struct side_rule *r = s->rules;
	while (r != NULL && r->name != of->name)
		r = r->next;
	if (r == NULL && (r = malloc(sizeof *r)) != NULL) {
		*r = (struct side_rule){.next = s->rules, .name = of->name};
		s->rules = r;
	}
	if (r != NULL)
		r->rule = of->rule;
	return r;
}

static void side_measure(struct side *s, struct conn *c, const struct channel_rule *of)
{
	struct side_rule *r = c->state == CONN_ASKING ? side_rule(s, of) : NULL;
	if (c->state == CONN_ASKING && (r == NULL || !conn_measure(c, &r->rule)))
		side_withdraw(c);
}

static bool side_slice(struct side *s, const void *bytes, size_t len, struct slice *slice_r)
{
	if (!chunk_alloc(&s->loop->chunks, len, slice_r))
		return false;
	memcpy(slice_bytes(slice_r), bytes, len);
	return true;
}

static bool side_frame(struct side *s, const struct channel_frame *frame, size_t len,
		       struct slice *slice_r)
{
	return side_slice(s, frame->bytes, len, slice_r) &&
	       (frame->note == 0 || chunk_note(slice_r, frame->note));
}

static void side_raw(struct side *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	if (c->state == CONN_ANSWER &&
	    (!side_slice(s, r->bytes, r->len, &slice) || !conn_queue_raw(c, &slice)))
		conn_abort(c);
	slice_unref(&slice);
}

static void side_send(struct side *s, struct conn *c, const struct channel_record *r)
{
	struct slice slice = {.chunk = NULL};
	struct outgoing o;
	enum conn_sent sent = CONN_NO_MEMORY;
	s->loop->delivery = r->delivery;
	outgoing_init(&o, &slice, false);
	if (side_frame(s, (const struct channel_frame *)r->bytes,
		       r->len - sizeof(struct channel_frame), &slice))
		sent = conn_send(c, &o, r->flag);
	if (sent != CONN_SENT)
		side_refused(c, &o, sent, r->flag, (enum outgoing_slow)r->code);
	outgoing_free(&o);
	slice_unref(&slice);
}

static void side_broadcast(struct side *s, const struct channel_record *r)
{
	const struct channel_broadcast *b = (const struct channel_broadcast *)r->bytes;
	struct far_group *g = r->group;
	struct slice slice = {.chunk = NULL};
	struct outgoing o;
	s->loop->delivery = r->delivery;
	bool ok = side_frame(s, &b->frame, r->len - sizeof *b, &slice);
	outgoing_init(&o, &slice, true);
	for (uint32_t i = 0; i < g->n; i++) {
		struct conn *c = g->members[i];
		if (c == b->exclude)
			continue;
		enum conn_sent sent = ok ? conn_send(c, &o, c == b->own) : CONN_NO_MEMORY;
		if (sent != CONN_SENT)
			side_refused(c, &o, sent, c == b->own, (enum outgoing_slow)r->code);
	}
	outgoing_free(&o);
	slice_unref(&slice);
}

static void side_resize(struct far_group *g, const struct channel_array *to)
{
	if (g->n > 0)
		memcpy(to->members, g->members, g->n * sizeof *g->members);
	free(g->members);
	g->members = to->members;
}

static void side_on_group(struct side *s, struct channel_record *r)
{
	struct far_group *g = r->group;
	const struct channel_member *member = (const struct channel_member *)r->bytes;
	switch ((int)r->kind) {
	case CHANNEL_ADD:
		g->members[g->n++] = member->conn;
		break;
	case CHANNEL_REMOVE:
		g->members[member->place] = g->members[--g->n];
		break;
	case CHANNEL_RESIZE:
		side_resize(g, (const struct channel_array *)r->bytes);
		break;
	case CHANNEL_DROP:
		free(g->members);
		free(g);
		break;
	case CHANNEL_BROADCAST:
		side_broadcast(s, r);
		break;
	}
}

static void side_on_conn(struct side *s, struct channel_record *r)
{
	struct conn *c = r->conn;
	switch ((int)r->kind) {
	case CHANNEL_MEASURE:
		side_measure(s, c, (const struct channel_rule *)r->bytes);
		break;
	case CHANNEL_ACCEPT:
		side_accept(s, c, r);
		break;
	case CHANNEL_ANSWERING:
		if (!conn_answering(c))
			conn_release(c);
		break;
	case CHANNEL_RAW:
		side_raw(s, c, r);
		break;
	case CHANNEL_SEND:
		side_send(s, c, r);
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
		side_probe(c);
		break;
	case CHANNEL_RELEASE:
		conn_release(c);
		break;
	}
}

static void side_set_gate(struct side *s, const struct channel_gate *to)
{
	address_set_free(&s->trusted);
	free(s->hosts);
	s->trusted = to->trusted;
	s->hosts = to->hosts;
	s->conns.client_addr = to->client_addr;
	s->conns.client_addr.trusted = &s->trusted;
	s->conns.client_addr.hosts = s->hosts;
}

static void side_set_tls(struct side *s, struct tls_server *tls)
{
	conns_set_tls(&s->conns, tls);
	tls_server_unref(tls);
}

static void side_on_loop(struct side *s, struct channel_record *r)
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
		side_set_gate(s, (const struct channel_gate *)r->bytes);
		break;
	case CHANNEL_TLS:
		side_set_tls(s, *(struct tls_server **)r->bytes);
		break;
	case CHANNEL_RULE:
		side_rule(s, (const struct channel_rule *)r->bytes);
		break;
	case CHANNEL_DRAIN:
		s->draining = true;
		break;
	case CHANNEL_STOP:
		loop_stop(s->loop);
		break;
	}
}

static void side_on_records(void *arg)
{
	struct side *s = arg;
	struct channel *b = &s->far.channel;
	struct channel_record *r;
	uint32_t cost = 0;
	while (cost < SIDE_BATCH && (r = channel_take_down(b)) != NULL) {
		uint32_t this = r->cost;
		if (r->kind <= CHANNEL_RELEASE)
			side_on_conn(s, r);
		else if (r->kind <= CHANNEL_BROADCAST)
			side_on_group(s, r);
		else
			side_on_loop(s, r);
		cost += this;
		channel_done(b, this);
		conns_relieve(&s->conns);
	}
	if (cost >= SIDE_BATCH)
		loop_wake(&b->to_side);
}

/* --- turns ------------------------------------------------------------------------------------ */

static bool side_pay(struct side *s, struct side_conn *sc)
{
	struct channel_ended *ended;
	struct channel_record *r =
		channel_up(&s->far.channel, sc->withdrawn ? CHANNEL_WITHDRAWN : CHANNEL_ENDED,
			   sizeof *ended);
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
static void side_on_retry(void *arg)
{
	struct side *s = arg;
	struct side_conn *sc, *last = TAILQ_LAST(&s->paused, side_list);
	while ((sc = TAILQ_FIRST(&s->owing)) != NULL && side_pay(s, sc)) {
		side_leave_list(s, sc);
		if (sc->breaks)
			conn_abort(conn_of_session(sc));
	}
	while ((sc = TAILQ_FIRST(&s->paused)) != NULL &&
	       ring_waiting(&s->far.channel.up) <= CHANNEL_UP_MAX / 2) {
		bool done = sc == last;
		side_leave_list(s, sc);
		conn_pause(conn_of_session(sc), CONN_PAUSE_HUB, false);
		if (done)
			break;
	}
	if (!TAILQ_EMPTY(&s->owing) || !TAILQ_EMPTY(&s->paused))
		loop_timer_set(&s->retry, SIDE_RETRY_MS);
}

/* Those that hold something, and once more those that do not any longer. */
static void side_on_show(void *arg)
{
	struct side *s = arg;
	struct memory_limit *h;
	struct side_conn *sc, *next;
	for (sc = TAILQ_FIRST(&s->shown); sc != NULL; sc = next) {
		next = TAILQ_NEXT(sc, shown_link);
		side_show_load(s, sc);
		struct conn *c = conn_of_session(sc);
		if (c->out.stalled || sc->dropped > 0)
			continue;
		TAILQ_REMOVE(&s->shown, sc, shown_link);
		sc->shown = false;
	}
	LIST_FOREACH(h, &s->conns.memory_limits.list, link)
	{
		sc = conn_session(h->conn);
		if (sc->stub != NULL)
			side_show_load(s, sc);
	}
	if (!TAILQ_EMPTY(&s->shown))
		loop_timer_set(&s->show, SIDE_SHOW_MS);
}

static void side_show(struct side *s)
{
	const uint64_t *now = (const uint64_t *)&s->loop->stats;
	for (size_t i = 0; i < sizeof s->loop->stats / sizeof *now; i++)
		atomic_store_explicit(&s->stats[i], now[i], memory_order_relaxed);
	if (!LIST_EMPTY(&s->conns.memory_limits.list) && !loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, SIDE_SHOW_MS);
	if (s->draining)
		atomic_store(&s->far.busy, (int)conns_busy(&s->conns));
}

static void side_on_turn(void *arg)
{
	struct side *s = arg;
	channel_publish_up(&s->far.channel);
	side_show(s);
}

/* While there is no thread. */
static void side_catch_up(struct side *s)
{
	channel_publish_down(&s->far.channel);
	while (ring_has(&s->far.channel.down))
		side_on_records(s);
}

static void *side_run(void *arg)
{
	struct side *s = arg;
	loop_run(s->loop);
	return NULL;
}

/* --- one of them ------------------------------------------------------------------------------ */

static bool side_init(struct sides *all, struct side *s, unsigned number)
{
	TAILQ_INIT(&s->paused);
	TAILQ_INIT(&s->owing);
	TAILQ_INIT(&s->shown);
	s->files.root = -1;
	s->loop = loop_new(all->here->loop->log);
	if (s->loop == NULL)
		return false;
	bool ok = conns_init(&s->conns, s->loop, &side_ops, s, sizeof(struct side_conn),
			     &all->here->limits);
	s->conns.later = true;
	listeners_init(&s->listeners, &s->conns);
	s->conns.freed = listeners_on_freed;
	s->conns.freed_ctx = &s->listeners;
	s->listeners.balance = &all->balance;
	s->listeners.loop = number;
	loop_timer_init(s->loop, &s->retry, side_on_retry, s);
	loop_timer_init(s->loop, &s->show, side_on_show, s);
	s->hook = (struct loop_hook){.run = side_on_turn, .arg = s};
	loop_add_hook_first(s->loop, &s->hook);
	return far_init(&s->far, (uint8_t)number, all->here, s->loop, side_on_records, s) && ok;
}

static void side_free(struct side *s)
{
	if (s->loop != NULL) {
		/* descriptors and memory may have been handed over */
		if (s->far.channel.down.last != NULL)
			side_catch_up(s);
		s->ended = true;
		listeners_close(&s->listeners);
		s->conns.freed = NULL;
		conns_free(&s->conns);
		far_free(&s->far);
		loop_timer_cancel(&s->retry);
		loop_timer_cancel(&s->show);
		loop_free(s->loop);
	}
	for (struct side_rule *r; (r = s->rules) != NULL;) {
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
static void sides_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
		       const struct conn_kind *kind)
{
	struct sides *s = ctx;
	if (loop == 0)
		listeners_adopt(s->listeners, fd, remote, kind);
	else
		far_adopt(&s->v[loop - 1]->far, fd, remote, kind);
}

/* On a loop that is not the hub's. */
static void side_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
		      const struct conn_kind *kind)
{
	struct side *s = ctx;
	struct channel_record *r =
		channel_up(&s->far.channel, CHANNEL_DEAL, sizeof(struct channel_socket));
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

bool sides_init(struct sides *s, unsigned n, struct conns *here, struct listeners *listeners)
{
	*s = (struct sides){.here = here, .listeners = listeners, .balance = {.n = n}};
	if (n <= 1)
		return true;
	s->v = calloc(n - 1, sizeof(struct side *));
	if (s->v == NULL)
		return false;
	listeners->balance = &s->balance;
	listeners->deal = sides_deal;
	listeners->deal_ctx = s;
	for (unsigned i = 0; i < n - 1; i++) {
		struct side *side = aligned_alloc(RING_LINE, sizeof *side);
		if (side == NULL)
			return false;
		memset(side, 0, sizeof *side);
		s->v[s->n++] = side;
		if (!side_init(s, side, i + 1))
			return false;
		side->listeners.deal = side_deal;
		side->listeners.deal_ctx = side;
		side->far.deal = sides_deal;
		side->far.deal_ctx = s;
	}
	return true;
}

bool sides_listen(struct sides *s, int backlog, char *why, size_t why_cap)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!listeners_add_beside(&s->v[i]->listeners, s->listeners, backlog, why, why_cap))
			return false;
	return true;
}

bool sides_start(struct sides *s)
{
	sigset_t all, before;
	int failed = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	for (unsigned i = 0; i < s->n && failed == 0; i++) {
		char name[24];
		side_catch_up(s->v[i]); /* it knows everything before it accepts anybody */
		failed = pthread_create(&s->v[i]->thread, NULL, side_run, s->v[i]);
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

void sides_stop(struct sides *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i]->running)
			far_stop(&s->v[i]->far);
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			pthread_join(s->v[i]->thread, NULL);
		s->v[i]->running = false;
	}
}

void sides_free(struct sides *s)
{
	for (unsigned i = 0; i < s->n; i++)
		side_free(s->v[i]);
	free(s->v);
	s->v = NULL;
	s->n = 0;
}

void sides_set_limits(struct sides *s, const struct conn_limits *limits)
{
	for (unsigned i = 0; i < s->n; i++)
		far_set_limits(&s->v[i]->far, limits);
}

void sides_set_budgets(struct sides *s, struct budgets *budgets)
{
	for (unsigned i = 0; i < s->n; i++)
		conns_set_budgets(&s->v[i]->conns, budgets, i + 1);
}

bool sides_set_files(struct sides *s, const struct files *files)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++) {
		struct files copy = {.mounts = files->mounts,
				     .root = files->root >= 0
						     ? fcntl(files->root, F_DUPFD_CLOEXEC, 0)
						     : -1};
		if (files->root >= 0 && copy.root < 0)
			ok = false;
		else
			far_set_files(&s->v[i]->far, &copy);
	}
	return ok;
}

void sides_set_tls(struct sides *s, struct tls_server *tls)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			far_set_tls(&s->v[i]->far, tls);
		else
			conns_set_tls(&s->v[i]->conns, tls); /* before it lets the first one in */
	}
}

bool sides_set_gate(struct sides *s, const struct client_addr *client_addr)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++)
		ok = far_set_gate(&s->v[i]->far, client_addr) && ok;
	return ok;
}

void sides_set_rule(struct sides *s, const struct rate_limit_rule *rule)
{
	for (unsigned i = 0; i < s->n; i++)
		far_set_rule(&s->v[i]->far, rule);
}

void sides_drain(struct sides *s)
{
	for (unsigned i = 0; i < s->n; i++)
		far_drain(&s->v[i]->far);
}

enum conns_busy sides_busy(const struct sides *s)
{
	enum conns_busy most = CONNS_AT_REST;
	for (unsigned i = 0; i < s->n; i++) {
		enum conns_busy busy = far_busy(&s->v[i]->far);
		most = busy > most ? busy : most;
	}
	return most;
}

struct stats sides_stats(const struct sides *s)
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
