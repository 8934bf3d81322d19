#include "net/conn.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/answer.h"
#include "base/check.h"
#include "net/conn_parts.h"
#include "net/uptake.h"
#include "ws/upgrade.h"

/* Of those that wait for the same so many are looked at together, and the next ones so much
 * later. */
#define CONNS_LOOK_MS 10
#define CONNS_LOOKS_MIN 16
#define CONNS_LOOKS_MAX 256
#define CONNS_TRIM_MIN (256u << 10) /* free bytes that are not worth the work */

/* --- addresses -------------------------------------------------------------------------------- */

struct address conn_remote(const struct conn *c)
{
	struct address a = {.family = c->family, .port = c->port};
	if (c->family == AF_INET)
		memcpy(a.ip, c->ip4, sizeof c->ip4);
	else if (c->family == AF_INET6 && c->more != NULL)
		memcpy(a.ip, c->more->ip6, sizeof a.ip);
	return a;
}

unsigned conn_loop(const struct conn *c)
{
	return c->conns->shard;
}

const char *conn_remote_text(const struct conn *c, char text[ADDRESS_TEXT])
{
	struct address a = conn_remote(c);
	return address_text(&a, text);
}

bool conn_set_remote(struct conn *c, const struct address *a)
{
	struct conn_more *more = a->family == AF_INET6 ? conn_more(c) : c->more;
	if (a->family == AF_INET6 && more == NULL)
		return false;
	c->family = a->family;
	c->port = a->port;
	memcpy(c->ip4, a->ip, sizeof c->ip4);
	if (more != NULL) {
		memcpy(more->ip6, a->ip, a->family == AF_INET6 ? sizeof more->ip6 : 0);
		if (a->family != AF_INET6)
			memset(more->ip6, 0, sizeof more->ip6);
		conn_less(c);
	}
	return true;
}

struct address conn_local(const struct conn *c)
{
	struct sockaddr_storage name = {.ss_family = AF_UNIX};
	socklen_t len = sizeof name;
	struct address a;
	if (c->conns->remote != NULL)
		return c->conns->remote->local(c);
	if (c->more != NULL && c->more->header != NULL &&
	    c->more->header->local.family != AF_UNSPEC)
		return c->more->header->local;
	getsockname(c->fd, (struct sockaddr *)&name, &len);
	address_from(&a, (const struct sockaddr *)&name);
	return a;
}

bool conn_is_secure(const struct conn *c)
{
	return c->more != NULL &&
	       (c->more->tls != NULL || (c->more->header != NULL && c->more->header->secure));
}

/* --- what is rarely there --------------------------------------------------------------------- */

struct conn_more *conn_more(struct conn *c)
{
	if (c->more == NULL)
		c->more = calloc(1, sizeof *c->more);
	return c->more;
}

void conn_less(struct conn *c)
{
	static const struct conn_more nothing;
	/* Gaps between the members that are not zero cost no more than that it stays. */
	/* NOLINT(bugprone-*,cert-*) */
	bool some = c->more != NULL && memcmp(c->more, &nothing, sizeof nothing) != 0;
	if (c->more == NULL || some)
		return;
	free(c->more);
	c->more = NULL;
}

size_t conn_held(const struct conn *c)
{
	if (c->more == NULL)
		return 0;
	return frame_held(&c->more->reader) +
	       (c->more->stash != NULL ? sizeof *c->more->stash + c->more->stash->cap : 0) +
	       conn_body_held(c) + (c->more->tls != NULL ? tls_held(c->more->tls) : 0);
}

struct conn_load conn_load(struct conn *c)
{
	if (c->conns->remote != NULL)
		return c->conns->remote->load(c);
	return (struct conn_load){.waiting = c->out.bytes,
				  .held = (uint32_t)conn_held(c),
				  .given_up = conn_given_up(c),
				  .unread = conn_unread(c),
				  .stalled = c->out.stalled};
}

void conn_forget_input(struct conn *c)
{
	frame_reset(&c->more->reader);
	free(c->more->stash);
	conn_set_stash(c, NULL);
	conn_less(c);
}

bool conn_tls_facts(const struct conn *c, struct tls_facts *facts_r)
{
	const struct tls *tls = conn_tls(c);
	*facts_r = c->conns->remote != NULL ? c->conns->remote->tls_facts(c)
					    : (struct tls_facts){.version = NULL};
	if (tls != NULL)
		tls_facts(tls, facts_r);
	return facts_r->version != NULL;
}

void conn_drop_rest(struct conn *c)
{
	struct answer_rest *rest = c->more != NULL ? c->more->rest : NULL;
	if (rest == NULL)
		return;
	if (rest->fd >= 0)
		close(rest->fd);
	else
		rest->source.free(rest->source.ctx);
	free(rest);
	c->more->rest = NULL;
	conn_less(c);
}

void conn_drop_tls(struct conn *c)
{
	tls_free(conn_tls(c));
	if (c->more != NULL)
		c->more->tls = NULL;
}

/* --- the end of a conn ------------------------------------------------------------------------ */

static void conn_doom(struct conn *c)
{
	if (c->to_free || c->state != CONN_DEAD || !c->released)
		return;
	c->to_free = true;
	c->to_free_next = c->conns->to_free;
	c->conns->to_free = c;
}

static void conn_unwait(struct conn *c)
{
	struct conn_list *list = &c->conns->waits[c->waiting];
	if (c->waiting != CONN_WAIT_NONE) {
		TAILQ_REMOVE(&list->list, c, wait);
		list->n--;
	}
	c->waiting = CONN_WAIT_NONE;
}

void conn_tell_given_up(struct conn *c, uint32_t messages, bool gone)
{
	if (!c->released)
		c->conns->ops->gave_up(c, messages, gone);
}

/* --- states ----------------------------------------------------------------------------------- */

#define TO(state) (1u << (state))
static const struct {
	const char *name;
	uint16_t next; /* TO those that may follow */
} conn_states[CONN_STATES] = {
	[CONN_NEW] = {"new", TO(CONN_PROXY) | TO(CONN_HEAD)},
	[CONN_PROXY] = {"proxy", TO(CONN_HEAD) | TO(CONN_ANSWER) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_HEAD] = {"head", TO(CONN_BODY) | TO(CONN_ASKING) | TO(CONN_ANSWER) | TO(CONN_LINGER) |
				       TO(CONN_DEAD)},
	[CONN_BODY] = {"body", TO(CONN_ANSWER) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_ASKING] = {"asking", TO(CONN_OPEN) | TO(CONN_ANSWER) | TO(CONN_DEAD)},
	[CONN_ANSWER] = {"answer", TO(CONN_HEAD) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_OPEN] = {"open", TO(CONN_CLOSED) | TO(CONN_LEAVING) | TO(CONN_CLOSING) |
				       TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_CLOSED] = {"closed", TO(CONN_CLOSING) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_LEAVING] = {"leaving", TO(CONN_CLOSING) | TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_CLOSING] = {"closing", TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_LINGER] = {"linger", TO(CONN_LINGER) | TO(CONN_DEAD)},
	[CONN_DEAD] = {"dead", 0},
};
#undef TO

static __attribute__((noinline, cold)) void conn_log_state(const struct conn *c,
							   enum conn_state state)
{
	char text[ADDRESS_TEXT];
	LOG(c->conns->loop->log, LOG_DEBUG, LOG_CONN_STATE, "a connection's state",
	    LOG_STR("from", conn_states[c->state].name), LOG_STR("to", conn_states[state].name),
	    LOG_STR("remote", conn_remote_text(c, text)));
}

void conn_set_state(struct conn *c, enum conn_state state)
{
	CHECK(conn_states[c->state].next & (1u << state));
	if (c->conns != NULL && log_would(c->conns->loop->log, LOG_DEBUG))
		conn_log_state(c, state);
	c->state = (uint8_t)state;
}

/* Closes the descriptor. The memory goes at the end of the turn, so that nobody on the stack meets
 * it freed. */
void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	conn_set_state(c, CONN_DEAD);
	client_addr_leave(c);
	conn_unwait(c);
	poller_set(&c->conns->poller, c->fd, c, c->interest, 0);
	close(c->fd);
	c->fd = -1;
	memory_limit_forget(c);
	conn_budget_leave(c);
	if (outq_gives_up(&c->out))
		conn_tell_given_up(c, conn_given_up(c), true);
	outq_clear(&c->out, &c->conns->spare);
	conn_drop_rest(c);
	conn_body_drop(c);
	conn_drop_tls(c);
	if (c->more != NULL) {
		frame_reset(&c->more->reader);
		free(c->more->stash);
		conn_set_stash(c, NULL);
		free(c->more->header);
		c->more->header = NULL;
		free(c->more->farewell);
		c->more->farewell = NULL;
		c->conns->outstaying -= c->more->outstays;
		c->more->outstays = false;
	}
	conn_unpack(c);
	if (c->conns->client_addr.addr_limits != NULL)
		addr_limits_give_socket(c->conns->client_addr.addr_limits);
	c->conns->count--;
	c->conns->loop->stats.sockets--;
	conns_trim_later(c->conns);
	conn_doom(c);
	if (c->conns->freed != NULL)
		c->conns->freed(c->conns->freed_ctx);
}

void conn_end(struct conn *c, enum conn_end end, uint16_t code, struct span reason, const char *why)
{
	if (c->ended)
		return;
	c->ended = true;
	uint32_t untold = c->more != NULL && c->more->rate_limit != NULL
				  ? rate_limit_rest(c->more->rate_limit)
				  : 0;
	if (untold > 0 && end != CONN_END_LIMIT)
		c->conns->ops->dropped(c, untold);
	c->conns->ops->ended(c, end, code, reason.p, reason.n, why);
}

/* What came before the end, and waited because its sender did not read, is handled before it.
 * Answers go nowhere. */
static void conn_hear_out(struct conn *c)
{
	c->broken = ECANCELED;
	conn_budget_unwait(c);
	c->paused = 0; /* even when its handler is behind: this is the last of it */
	conn_consume_stash(c);
}

/* What the peer, or the way to it, did. */
#define FAILED(error, why) \
	{ \
		error, "a read failed: " why, "a write failed: " why \
	}
static const struct conn_failure {
	int error;
	const char *read, *write;
} conn_failures[] = {
	FAILED(ECONNRESET, "the peer has reset the connection"),
	FAILED(EPIPE, "the peer has closed the connection"),
	FAILED(ETIMEDOUT, "the peer has not answered for too long"),
	FAILED(EHOSTUNREACH, "there is no way to the peer any more"),
	FAILED(ENETUNREACH, "there is no way to the peer any more"),
	FAILED(ENETDOWN, "the network is down"),
	FAILED(ENOMEM, "no memory"),
	FAILED(ENOBUFS, "no memory"),
};
#undef FAILED

/* Anything else the system has words for. */
static const char *conn_failed(int error, bool write)
{
	for (size_t i = 0; i < sizeof conn_failures / sizeof *conn_failures; i++)
		if (conn_failures[i].error == error)
			return write ? conn_failures[i].write : conn_failures[i].read;
	const char *why = strerrordesc_np(error);
	return why != NULL ? why : write ? "a write failed" : "a read failed";
}

const char *conn_failed_read(int error)
{
	return conn_failed(error, false);
}

const char *conn_failed_write(const struct conn *c)
{
	return c->broken == EPROTO && conn_tls(c) != NULL ? tls_why(conn_tls(c))
							  : conn_failed(c->broken, true);
}

/* The socket broke. */
void conn_lost(struct conn *c, const char *why)
{
	bool open = c->state == CONN_OPEN, asking = c->state == CONN_ASKING;
	if (open && !c->ended) {
		c->conns->loop->stats.transport_errors++;
		conn_hear_out(c);
	}
	conn_kill(c);
	if (open)
		conn_end(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, (struct span){0}, why);
	else if (asking)
		c->conns->ops->withdrawn(c);
}

void conn_abort(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->abort(c);
		return;
	}
	c->ended = true;
	conn_kill(c);
}

void conn_release(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->release(c);
		return;
	}
	c->released = true;
	conn_doom(c);
}

/* --- time ------------------------------------------------------------------------------------- */

static void conns_set_tick(struct conns *s, uint64_t at)
{
	if (s->tick_at != 0 && s->tick_at <= at)
		return;
	uint64_t now = loop_now(s->loop);
	if (loop_timer_set(&s->tick, at > now ? at - now : 1))
		s->tick_at = at;
}

void conn_wait(struct conn *c, enum conn_wait which)
{
	struct conns *s = c->conns;
	struct conn_list *list = &s->waits[which];
	if (c->more != NULL && c->waiting != which)
		c->more->taken = 0;
	conn_unwait(c);
	c->waiting = (uint8_t)which;
	c->since = (uint32_t)loop_now(s->loop);
	TAILQ_INSERT_TAIL(&list->list, c, wait);
	list->n++;
	if (list->after_ms != 0) /* 0: it waits for ever, and is in the list to be found */
		conns_set_tick(s, loop_now(s->loop) + list->after_ms);
}

/* --- interest --------------------------------------------------------------------------------- */

static unsigned conn_wanted(const struct conn *c)
{
	bool later = c->pipelined || conn_has_rest(c); /* in the next turn */
	unsigned want = c->out.stalled || later ? CONN_WANT_WRITE : 0;
	switch ((enum conn_state)c->state) {
	case CONN_OPEN:
		if (c->paused != 0)
			return want != 0 || c->hup_seen ? want : CONN_WANT_HUP;
		return want | (c->eof ? 0 : CONN_WANT_READ);
	case CONN_PROXY:
	case CONN_HEAD:
	case CONN_BODY:
	case CONN_CLOSING:
	case CONN_LINGER:
		return want | (c->eof ? 0 : CONN_WANT_READ);
	case CONN_ASKING:
		return want | CONN_WANT_HUP;
	default:
		return want;
	}
}

/* Tells the poller what the conn waits for, if that has changed. */
void conn_watch(struct conn *c)
{
	if (c->more != NULL && conn_end_pending(c))
		conn_mark_dirty(c);
	unsigned want = conn_wanted(c), before = c->interest;
	if (want == before || c->state == CONN_DEAD)
		return;
	c->interest = (uint16_t)want;
	if (!poller_set(&c->conns->poller, c->fd, c, before, want)) {
		c->interest = (uint16_t)before;
		conn_lost(c, "no memory to watch it");
	}
}

/* --- what the peer takes ---------------------------------------------------------------------- */

/* Bytes that have not left, and those that the kernel has and the peer does not. */
static uint64_t conn_waiting(const struct conn *c)
{
	return c->out.bytes + (conn_tls(c) != NULL ? tls_held(conn_tls(c)) : 0);
}

/* From now on it is known what it takes. Without memory nobody waits for that. */
void conn_watch_uptake(struct conn *c)
{
	struct conn_more *more = conn_more(c);
	if (more == NULL)
		return;
	more->taken = uptake_count(c->fd, conn_waiting(c));
	more->taken_at = (uint32_t)loop_now(c->conns->loop);
}

/* Has the peer not got everything? The end of our stream does not count. */
static bool conn_has_unsent(const struct conn *c)
{
	return conn_waiting(c) > 0 || uptake_held(c->fd) > (c->state == CONN_LINGER && !c->fin);
}

/* Bytes that leave are life. Has the peer taken enough since it was last seen to? When this is
 * asked for the first time it is not known. */
static bool conn_took(struct conn *c)
{
	uint64_t before = c->more != NULL ? c->more->taken : 0;
	if (before != 0) {
		uint64_t least = (uint64_t)CONN_PACE *
				 ((uint32_t)loop_now(c->conns->loop) - c->more->taken_at) / 1000;
		if ((int64_t)(uptake_count(c->fd, conn_waiting(c)) - before) <= (int64_t)least)
			return false;
	}
	conn_watch_uptake(c);
	return before != 0;
}

/* Is it worth while to wait longer for the peer to take what waits for it? A reader that has a
 * large buffer tells the kernel nothing until a part of that is free again, so it may be seen to
 * take nothing for a while: for twice `ms`, after which this is asked. */
static bool conn_moves(struct conn *c, uint32_t ms)
{
	bool unsent = conn_has_unsent(c), known = c->more != NULL && c->more->taken != 0;
	if ((known || unsent) && conn_took(c))
		return true;
	return unsent && c->more != NULL &&
	       (uint32_t)loop_now(c->conns->loop) - c->more->taken_at < 2 * ms;
}

void conn_cut(struct conn *c, const char *why)
{
	uint64_t waiting = conn_waiting(c), held = uptake_held(c->fd);
	char remote[ADDRESS_TEXT];
	if (conn_has_unsent(c))
		LOG(c->conns->loop->log, LOG_NOTICE, LOG_CONN_SLOW, why,
		    LOG_STR("remote", conn_remote_text(c, remote)), LOG_U64("waiting", waiting),
		    LOG_U64("unacknowledged", held));
	conn_abort(c);
}

/* --- closing ---------------------------------------------------------------------------------- */

/* What our close frame will say. */
struct conn_farewell {
	uint16_t code;
	bool fault; /* of the peer: nothing of its is looked at any more */
	uint8_t len;
	char reason[FRAME_CONTROL_MAX];
};

static void conn_queue_close(struct conn *c, uint16_t code, const char *reason, size_t len)
{
	uint8_t payload[FRAME_CONTROL_MAX];
	size_t n = frame_close_payload(payload, code, reason, len);
	if (!conn_queue_control(c, FRAME_CLOSE, payload, n))
		conn_kill(c);
}

/* It has limits.close_ms from now, and again whenever that is over and the peer has taken enough of
 * what waits for it meanwhile. */
void conn_wait_close(struct conn *c)
{
	if (c->out.stalled)
		conn_watch_uptake(c);
	else if (c->more != NULL)
		c->more->taken = 0;
	conn_wait(c, CONN_WAIT_CLOSE);
}

/* The last frame is queued: once it is out, our side of the stream ends. */
void conn_finish(struct conn *c)
{
	c->fin = true;
	conn_mark_dirty(c);
	conn_wait_close(c);
}

/* Our close frame is queued: the peer's is awaited. */
static void conn_await_close(struct conn *c)
{
	conn_set_state(c, CONN_CLOSING);
	if (c->eof) {
		conn_finish(c);
		return;
	}
	conn_wait_close(c);
	conn_budget_unwait(c);
	c->paused = 0;
	conn_consume_stash(c);
	conn_watch(c);
	conn_budget_weigh(c);
}

/* What came before may have answers that are under way, and leave before our close frame. False,
 * without memory: there is no waiting. */
static bool conn_close_later(struct conn *c, uint16_t code, const char *reason, size_t len,
			     bool fault)
{
	struct conn_more *more = c->state == CONN_OPEN ? conn_more(c) : NULL;
	struct conn_farewell *f = more != NULL ? malloc(sizeof *f) : NULL;
	if (f == NULL)
		return false;
	f->code = code;
	f->fault = fault;
	f->len = (uint8_t)(len < sizeof f->reason ? len : sizeof f->reason);
	if (len > 0)
		memcpy(f->reason, reason, f->len);
	more->farewell = f;
	/* what comes meanwhile is left to the poller: often there is nothing to wait for */
	conn_set_state(c, fault ? CONN_CLOSED : CONN_LEAVING);
	conn_wait_close(c);
	return true;
}

static void conn_say_farewell(struct conn *c)
{
	struct conn_farewell *f = c->more->farewell;
	bool fault = f->fault;
	c->more->farewell = NULL;
	conn_queue_close(c, f->code, f->reason, f->len);
	free(f);
	if (c->state == CONN_DEAD)
		return;
	if (!fault) {
		conn_await_close(c);
		return;
	}
	conn_set_state(c, CONN_LINGER);
	conn_finish(c);
}

void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->close(c, code, reason, len, urgent);
		return;
	}
	/* the peer was faster; its close frame decides the code */
	if (c->state == CONN_CLOSED && urgent)
		conn_echo_close(c);
	if (c->state != CONN_OPEN || c->ended)
		return;
	c->ended = true;
	if (!urgent && !memory_limit_gives_way(c) &&
	    conn_close_later(c, code, reason, len, false)) {
		conn_budget_weigh(c);
		return;
	}
	if (urgent)
		outq_cut(&c->out, &c->conns->spare);
	if (memory_limit_gives_way(c) && c->more->memory_limit->cut_short) {
		conn_kill(c);
		return;
	}
	conn_queue_close(c, code, reason, len);
	if (c->state == CONN_DEAD)
		return;
	/* what it sends is not looked at any more, and what it has sent is forgotten */
	if (memory_limit_gives_way(c)) {
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
		return;
	}
	conn_await_close(c);
}

void conn_echo_close(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		c->conns->remote->echo_close(c);
	if (c->state != CONN_CLOSED && c->state != CONN_LEAVING)
		return;
	if (c->more != NULL && c->more->farewell != NULL) {
		conn_say_farewell(c);
		return;
	}
	if (c->eof) { /* there was no close frame to echo */
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
		return;
	}
	conn_set_state(c, CONN_CLOSING);
	c->close_exchanged = true;
	/* 5.5.1: the echo carries the status code that came. */
	conn_queue_close(c, c->close_code == CLOSE_NONE ? 0 : c->close_code, NULL, 0);
	if (c->state != CONN_DEAD)
		conn_finish(c);
}

/* The peer did what it may not (7.1.7): close frame, end of our stream, nothing of its is looked at
 * any more. */
void conn_fail(struct conn *c, enum conn_end end, uint16_t code, const char *why)
{
	bool was_ended = c->ended;
	if (!was_ended && conn_close_later(c, code, why, strlen(why), true)) {
		conn_end(c, end, code, span_of(why), why);
		return;
	}
	if (!was_ended)
		conn_queue_close(c, code, why, strlen(why));
	if (c->state != CONN_DEAD) {
		conn_set_state(c, CONN_LINGER);
		conn_finish(c);
	}
	conn_end(c, end, code, span_of(why), why);
}

bool conn_accept(struct conn *c, const struct request *r, enum outgoing_slow slow,
		 struct span subprotocol, struct span extra)
{
	conn_check(c);
	char extensions[DEFLATE_ANSWER_MAX];
	struct slice s;
	if (c->conns->remote != NULL)
		return c->conns->remote->accept(c, r, slow, subprotocol, extra);
	conn_pack(c, r, slow == OUTGOING_CLOSE, extensions);
	size_t cap = UPGRADE_RESPONSE_MAX + strlen(extensions) + subprotocol.n + extra.n;
	bool ok = chunk_alloc(&c->conns->loop->chunks, cap, &s);
	if (ok) {
		s.len = (uint32_t)upgrade_response((char *)slice_bytes(&s), cap, r, subprotocol,
						   span_of(extensions), extra);
		ok = conn_queue(c, &s, true);
		slice_unref(&s);
	}
	if (!ok) {
		conn_abort(c);
		return false;
	}
	conn_set_state(c, CONN_OPEN);
	c->last_in = (uint32_t)loop_now(c->conns->loop);
	conn_wait(c, CONN_WAIT_IDLE);
	return true;
}

bool conn_answering(struct conn *c)
{
	conn_check(c);
	if (c->conns->remote != NULL)
		return c->conns->remote->answering(c);
	if (c->state == CONN_DEAD)
		return false;
	if (c->state == CONN_ASKING) {
		/* a refused upgrade ends its connection: what follows may be frames */
		c->keep_alive = false;
		c->released = true;
	}
	conn_set_state(c, CONN_ANSWER);
	conn_wait(c, CONN_WAIT_ANSWER);
	return true;
}

static void conn_on_ready(void *item, uint32_t events)
{
	struct conn *c = item;
	CHECK_IS(c, CHECK_CONN);
	struct conns *s = c->conns;
	uint32_t interest = c->interest;
	if (c->state == CONN_DEAD)
		return;
	if (events & (EPOLLERR | EPOLLHUP)) /* the call that is tried then says what it is */
		events |= interest;
	if (events & interest & CONN_WANT_READ && c->state != CONN_CLOSED &&
	    c->state != CONN_LEAVING)
		conn_on_readable(c);
	if (events & interest & CONN_WANT_WRITE)
		conn_flush(c);
	if (events & interest & CONN_WANT_HUP && c->state != CONN_DEAD)
		conn_on_hup(c);
	conn_watch(c);
	if (c->more != NULL)
		conn_budget_weigh(c);
	if (c->more != NULL || c->out.stalled)
		memory_limit_weigh(c);
	conns_relieve(s);
}

void conn_pause(struct conn *c, enum conn_pause why, bool pause)
{
	conn_check(c);
	if (c->conns->remote != NULL) {
		c->conns->remote->hold(c, pause);
		return;
	}
	if (pause) {
		c->paused |= (uint8_t)why;
	} else {
		c->paused &= (uint8_t)~why;
		conn_consume_stash(c);
	}
	conn_watch(c);
	conn_budget_weigh(c);
}

/* --- timeouts --------------------------------------------------------------------------------- */

static void conn_head_timeout(struct conn *c)
{
	if (c->state == CONN_PROXY) {
		client_addr_late(c);
	} else if (c->state == CONN_HEAD && conn_stash(c) != NULL) {
		conn_refuse(c, NULL, 408, "the request head did not come in time");
		conn_watch(c);
	} else if (conn_moves(c, c->conns->limits.head_ms)) {
		conn_wait(c,
			  CONN_WAIT_HEAD); /* our answer to the last request is still being taken */
	} else {
		conn_tls_late(c);
		conn_kill(c); /* a connection that was opened in advance and not used */
	}
}

/* A slow download goes on as long as it moves. */
static void conn_answer_timeout(struct conn *c, uint32_t now)
{
	uint32_t head = c->conns->limits.head_ms;
	if (now - c->last_in < head || conn_moves(c, head))
		conn_wait(c, CONN_WAIT_ANSWER);
	else
		conn_cut(c, "connection cut: nobody takes the answer to its request");
}

/* It has been silent for long. A ping, or the answer to it, may be behind much that it takes
 * slowly. */
static bool conn_lives(struct conn *c)
{
	if (conn_has_unsent(c))
		return conn_took(c);
	if (c->more != NULL)
		c->more->taken = 0;
	return false;
}

/* How late an entry of the list of idle ones may be looked at again. */
static uint32_t conns_idle_lead(const struct conns *s)
{
	return s->waits[CONN_WAIT_IDLE].after_ms * 3 / 2 + CONNS_LOOK_MS;
}

/* One for each ping_ms of silence, and never late: before the next look it could be. */
static bool conn_ping_due(const struct conn *c, uint32_t silent)
{
	uint32_t lead = conns_idle_lead(c->conns), ping = c->conns->limits.ping_ms,
		 before = c->since - c->last_in;
	if (before > silent) /* it was heard since the last look */
		before = 0;
	return ping != 0 && (silent + lead) / ping > (before + lead) / ping &&
	       !outq_has_urgent(&c->out);
}

static void conn_idle_timeout(struct conn *c, uint32_t now)
{
	uint32_t idle = c->conns->limits.idle_ms, silent = now - c->last_in;
	/* Where we do not listen for our own reasons, its silence says nothing. */
	if (c->paused & (CONN_PAUSE_HOLD | CONN_PAUSE_HUB | CONN_PAUSE_BUDGET) ||
	    (idle != 0 && silent >= idle / 2 && conn_lives(c))) {
		c->last_in = now;
	} else if (idle != 0 && silent >= idle) {
		c->conns->loop->stats.idle_ended++;
		conn_hear_out(c);
		conn_kill(c);
		conn_end(c, CONN_END_IDLE, CLOSE_ABNORMAL, (struct span){0},
			 "silent for longer than --idle-timeout");
		return;
	} else if (conn_ping_due(c, silent) && !conn_queue_control(c, FRAME_PING, NULL, 0)) {
		conn_lost(c, "no memory to ping it");
		return;
	}
	conn_wait(c, CONN_WAIT_IDLE);
}

/* Where the answer comes from another loop it comes later, and may not come at all if that has too
 * little memory to be asked. */
static void conn_ask_timeout(struct conn *c)
{
	conn_wait(c, CONN_WAIT_ASK);
	c->conns->ops->unanswered(c);
}

/* Its handler still works on earlier messages; the peer shall not wait for that. */
static void conn_close_unanswered(struct conn *c)
{
	char remote[ADDRESS_TEXT];
	LOG(c->conns->loop->log, LOG_NOTICE, LOG_CONN_CLOSE,
	    "answers are not waited for: its handler needs longer than --close-timeout for earlier messages",
	    LOG_STR("remote", conn_remote_text(c, remote)));
	conn_echo_close(c);
}

static void conn_outstay(struct conn *c)
{
	c->conns->outstaying += !c->more->outstays;
	c->more->outstays = true;
	conn_wait(c, CONN_WAIT_CLOSE);
}

static void conn_close_timeout(struct conn *c)
{
	if (c->state == CONN_CLOSED || c->state == CONN_LEAVING)
		conn_close_unanswered(c);
	else if (conn_moves(c, c->conns->limits.close_ms))
		conn_outstay(c);
	else
		conn_cut(c,
			 "connection cut: its peer does not take what was sent before the close");
}

static void conn_timeout(struct conn *c, enum conn_wait which, uint32_t now)
{
	switch ((int)which) {
	case CONN_WAIT_HEAD:
		conn_head_timeout(c);
		break;
	case CONN_WAIT_ANSWER:
		conn_answer_timeout(c, now);
		break;
	case CONN_WAIT_ASK:
		conn_ask_timeout(c);
		break;
	case CONN_WAIT_BODY:
		conn_body_timeout(c);
		conn_watch(c);
		break;
	case CONN_WAIT_IDLE:
		conn_idle_timeout(c, now);
		break;
	case CONN_WAIT_CLOSE:
		conn_close_timeout(c);
		break;
	}
}

/* How many of a list are looked at in a turn, the others CONNS_LOOK_MS later. Many that came at
 * once are due at once; idle ones are spread over half the time of their list, so that their pings
 * do not leave together, then or ever again. */
static uint32_t conns_looks(const struct conns *s, enum conn_wait which)
{
	const struct conn_list *list = &s->waits[which];
	uint64_t spread = 2 * (uint64_t)list->n * CONNS_LOOK_MS / list->after_ms + CONNS_LOOKS_MIN;
	return which == CONN_WAIT_IDLE && spread < CONNS_LOOKS_MAX ? (uint32_t)spread
								   : CONNS_LOOKS_MAX;
}

static void conns_look(struct conns *s, enum conn_wait which, uint32_t now)
{
	struct conn_list *list = &s->waits[which];
	uint32_t looks = list->after_ms != 0 ? conns_looks(s, which) : 0;
	struct conn *c = NULL;
	while (looks > 0 && (c = TAILQ_FIRST(&list->list)) != NULL &&
	       now - c->since >= list->after_ms) {
		conn_timeout(c, which, now);
		looks--;
	}
	if (list->after_ms == 0 || (c = TAILQ_FIRST(&list->list)) == NULL)
		return;
	uint32_t waited = now - c->since,
		 left = waited < list->after_ms ? list->after_ms - waited : 0;
	conns_set_tick(s, loop_now(s->loop) + (left > CONNS_LOOK_MS ? left : CONNS_LOOK_MS));
}

static void conns_on_tick(void *arg)
{
	struct conns *s = arg;
	uint32_t now = (uint32_t)loop_now(s->loop);
	s->tick_at = 0;
	for (int which = CONN_WAIT_HEAD; which < CONN_WAITS; which++)
		conns_look(s, (enum conn_wait)which, now);
}

/* Some time after connections have ended, or large messages have come: what was kept for a flood,
 * or lies free between what is used, goes back to the system. */
static void conns_on_trim(void *arg)
{
	struct conns *s = arg;
	outq_spare_free(&s->spare);
	chunk_pool_trim(&s->loop->chunks);
	struct mallinfo2 m = mallinfo2();
	if (m.fordblks > CONNS_TRIM_MIN + m.uordblks / 16)
		malloc_trim(0);
}

/* --- all of them ------------------------------------------------------------------------------ */

/* What queues of slow peers did in this turn. */
static void conns_count(struct conns *s)
{
	struct outq_notes_account *account = &s->spare.account;
	struct stats *stats = &s->loop->stats;
	uint64_t held = memory_limits_total(s);
	stats->buffered += held - s->counted;
	s->counted = held;
	stats->dropped += account->given_up;
	stats->conflated += account->conflated;
	account->given_up = account->conflated = 0;
}

static void conns_on_turn(void *arg)
{
	struct conns *s = arg;
	CHECK(loop_is_own(s->loop));
	struct conn *c, *kept = NULL;
	conns_flush(s);
	memory_limits_settle(s);
	conns_count(s);
	s->spare.turn++;
	while ((c = s->to_free) != NULL) {
		s->to_free = c->to_free_next;
		if (!c->dirty && (s->ops->gone == NULL || s->ops->gone(c))) {
			if (c->more != NULL)
				free(c->more->rate_limit);
			free(c->more);
			c->magic = CHECK_GONE;
			free(c);
			s->living--;
			continue;
		}
		/* it ended after it had been put back as corked: the next pass takes it off that
		 * list */
		c->to_free_next = kept;
		kept = c;
		s->loop->again = s->loop->again || c->dirty;
	}
	s->to_free = kept;
}

/* So often that the timeout is kept to an eighth of itself, and a ping leaves at most a third of
 * its time early (conns_idle_lead), without a list entry moving for each message. */
static uint32_t conns_idle_looks(const struct conn_limits *limits)
{
	uint32_t idle = limits->idle_ms / 12 + 1, ping = limits->ping_ms / 5 + 1;
	if (limits->idle_ms == 0 && limits->ping_ms == 0)
		return 0;
	return limits->idle_ms == 0 || (limits->ping_ms != 0 && ping < idle) ? ping : idle;
}

void conns_set_limits(struct conns *s, const struct conn_limits *limits)
{
	s->limits = *limits;
	s->spare.max = limits->queue_max;
	squeeze_set_limits(&s->squeeze, &limits->squeeze);
	s->waits[CONN_WAIT_HEAD].after_ms = s->waits[CONN_WAIT_ANSWER].after_ms =
		s->waits[CONN_WAIT_BODY].after_ms = limits->head_ms;
	s->waits[CONN_WAIT_ASK].after_ms = limits->ask_ms;
	s->waits[CONN_WAIT_IDLE].after_ms = conns_idle_looks(limits);
	s->waits[CONN_WAIT_CLOSE].after_ms = limits->close_ms;
	/* who waited for ever may not any more */
	if (s->living > 0)
		conns_set_tick(s, loop_now(s->loop) + CONNS_LOOK_MS);
}

void conns_set_tls(struct conns *s, struct tls_server *tls)
{
	struct tls_server *old = s->tls;
	s->tls = tls != NULL ? tls_server_ref(tls) : NULL;
	tls_server_unref(old);
}

bool conns_init(struct conns *s, struct loop *loop, const struct conn_ops *ops, void *ctx,
		const struct conn_limits *limits)
{
	*s = (struct conns){.loop = loop, .ops = ops, .ctx = ctx, .lent = &loop->lent};
	for (int which = 0; which < CONN_WAITS; which++)
		TAILQ_INIT(&s->waits[which].list);
	squeeze_init(&s->squeeze, &loop->chunks, &loop->stats);
	conns_set_limits(s, limits);
	s->spare.delivery = &loop->delivery;
	loop_timer_init(loop, &s->tick, conns_on_tick, s);
	loop_timer_init(loop, &s->uncork, conns_on_uncork, s);
	loop_timer_init(loop, &s->trim, conns_on_trim, s);
	loop_timer_init(loop, &s->budget_timer, conns_on_budget, s);
	s->hook = (struct loop_hook){.run = conns_on_turn, .arg = s};
	loop_add_hook(loop, &s->hook);
	if (limits->uring_min != 0)
		uring_begin(&s->uring);
	return poller_init(&s->poller, loop, conn_on_ready);
}

enum conns_busy conns_busy(const struct conns *s)
{
	bool busy = s->stashes > 0;
	for (int which = CONN_WAIT_ANSWER; which < CONN_WAITS; which++)
		busy = busy || !TAILQ_EMPTY(&s->waits[which].list);
	/* a page is on its way until it is out, or its own clock says that nobody takes it */
	bool answers = !TAILQ_EMPTY(&s->waits[CONN_WAIT_ANSWER].list);
	return s->outstaying > 0 || answers ? CONNS_OUTSTAYED : busy ? CONNS_BUSY : CONNS_AT_REST;
}

bool conns_give_way(struct conns *s)
{
	struct conn *c = TAILQ_FIRST(&s->waits[CONN_WAIT_HEAD].list);
	if (c != NULL)
		conn_abort(c);
	return c != NULL;
}

void conns_free(struct conns *s)
{
	for (int which = 0; which < CONN_WAITS; which++) {
		struct conn *c;
		while ((c = TAILQ_FIRST(&s->waits[which].list)) != NULL) {
			if (c->state == CONN_ASKING)
				s->ops->withdrawn(c);
			c->released = true;
			conn_abort(c);
		}
	}
	conns_on_turn(s);
	loop_timer_cancel(&s->tick);
	loop_timer_cancel(&s->uncork);
	loop_timer_cancel(&s->trim);
	loop_timer_cancel(&s->budget_timer);
	loop_waker_remove(&s->budget_waker);
	if (s->budgets != NULL)
		s->budgets->wakers[s->number] = NULL;
	outq_spare_free(&s->spare);
	uring_free(&s->uring);
	squeeze_free(&s->squeeze);
	free(s->dirty);
	poller_free(&s->poller);
	conns_set_tls(s, NULL);
}

static bool conn_begin_tls(struct conn *c, uint8_t group)
{
	struct conn_more *more = c->conns->tls != NULL ? conn_more(c) : NULL;
	if (more != NULL)
		more->tls =
			tls_new(&c->conns->loop->tls, &c->conns->loop->stats, c->conns->tls, group);
	return more != NULL && more->tls != NULL;
}

bool conn_add(struct conns *s, int fd, const struct address *remote, const struct conn_kind *kind)
{
	CHECK(loop_is_own(s->loop));
	struct conn *c = conns_reserve_dirty(s) ? malloc(sizeof *c) : NULL;
	if (c == NULL) {
		close(fd);
		return false;
	}
	*c = (struct conn){.conns = s,
			   .fd = fd,
			   .released = true,
			   .interest = CONN_WANT_READ,
			   .magic = CHECK_CONN};
	conn_set_state(c, kind->proxy ? CONN_PROXY : CONN_HEAD);
	/* A flood of TLS is not told: to say so would take a handshake for each. */
	bool ok = conn_set_remote(c, remote) &&
		  (kind->proxy ? client_addr_may_introduce(c) : client_addr_enter(c, !kind->tls)) &&
		  (!kind->tls || conn_begin_tls(c, kind->tls_group));
	if (!ok || !poller_set(&s->poller, fd, c, 0, CONN_WANT_READ)) {
		client_addr_leave(c);
		close(fd);
		conn_drop_tls(c);
		free(c->more);
		free(c);
		return false;
	}
	s->living++;
	s->count++;
	s->loop->stats.sockets++;
	s->loop->stats.accepted++;
	conn_wait(c, CONN_WAIT_HEAD);
	return true;
}
