#include "net/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/answer.h"
#include "net/far.h"
#include "ws/upgrade.h"

#define CONN_CORK_US 1000
#define CONNS_TRIM_MS 20000
#define CONNS_TRIM_MIN (256u << 10) /* free bytes that are not worth the work */
#define CONN_CORK_MAX (40u << 10)   /* bytes written down in a turn after which they are sent before its end */

enum conn_interest { CONN_WANT_READ = EPOLLIN, CONN_WANT_WRITE = EPOLLOUT, CONN_WANT_HUP = EPOLLRDHUP };

struct conn_stash {
	size_t len, cap; /* bytes has one more that may be written */
	size_t scanned;	 /* of a head: what request_parse has seen */
	uint8_t bytes[];
};

static void conn_kill(struct conn *c);

/* --- addresses ------------------------------------------------------------------------------------------------------------------ */

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
	return c->conns->far != NULL ? c->conns->far->shard : 0;
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
	if (c->state == CONN_FAR)
		return c->conns->far->local;
	if (c->more != NULL && c->more->header != NULL && c->more->header->local.family != AF_UNSPEC)
		return c->more->header->local;
	getsockname(c->fd, (struct sockaddr *)&name, &len);
	address_from(&a, (const struct sockaddr *)&name);
	return a;
}

bool conn_is_secure(const struct conn *c)
{
	return c->more != NULL && (c->more->tls != NULL || (c->more->header != NULL && c->more->header->secure));
}

/* --- what is rarely there ------------------------------------------------------------------------------------------------------- */

struct conn_more *conn_more(struct conn *c)
{
	if (c->more == NULL)
		c->more = calloc(1, sizeof *c->more);
	return c->more;
}

void conn_less(struct conn *c)
{
	static const struct conn_more nothing;
	if (c->more == NULL || memcmp(c->more, &nothing, sizeof nothing) != 0)
		return;
	free(c->more);
	c->more = NULL;
}

size_t conn_held(const struct conn *c)
{
	if (c->more == NULL)
		return 0;
	return frame_held(&c->more->reader) + (c->more->stash != NULL ? sizeof *c->more->stash + c->more->stash->cap : 0) +
	       (c->more->tls != NULL ? tls_held(c->more->tls) : 0);
}

static void conn_forget_input(struct conn *c)
{
	frame_reset(&c->more->reader);
	free(c->more->stash);
	c->more->stash = NULL;
	conn_less(c);
}

static bool conn_has_file(const struct conn *c)
{
	return c->more != NULL && c->more->file != NULL;
}

static struct conn_stash *conn_stash(const struct conn *c)
{
	return c->more != NULL ? c->more->stash : NULL;
}

static struct tls *conn_tls(const struct conn *c)
{
	return c->more != NULL ? c->more->tls : NULL;
}

bool conn_tls_facts(const struct conn *c, struct tls_facts *facts_r)
{
	const struct tls *tls = conn_tls(c);
	*facts_r = c->state == CONN_FAR ? c->conns->far->tls : (struct tls_facts){.version = NULL};
	if (tls != NULL)
		tls_facts(tls, facts_r);
	return facts_r->version != NULL;
}

static void conn_drop_tls(struct conn *c)
{
	tls_free(conn_tls(c));
	if (c->more != NULL)
		c->more->tls = NULL;
}

/* --- compression ---------------------------------------------------------------------------------------------------------------- */

#define CONN_PACKED_BASE (DEFLATE_BITS_MIN - 1) /* see conn->packed */

/* What is agreed on about it, with the line of the answer's head that says so. */
static void conn_pack(struct conn *c, const struct request *r, bool all, char answer[DEFLATE_ANSWER_MAX])
{
	struct squeeze *s = &c->conns->squeeze;
	struct squeeze_conn *kept;
	unsigned bits = squeeze_accept(s, r, all, &kept, answer);
	if (bits == 0)
		return;
	if (kept != NULL && conn_more(c) == NULL) {
		squeeze_leave(s, kept);
		answer[0] = '\0';
		return;
	}
	if (kept != NULL)
		c->more->squeeze = kept;
	c->packed = (uint8_t)(bits - CONN_PACKED_BASE) & 7;
}

/* What is kept for its compressed messages, or NULL. */
static struct squeeze_conn *conn_kept(const struct conn *c)
{
	return c->more != NULL ? c->more->squeeze : NULL;
}

static void conn_unpack(struct conn *c)
{
	if (c->packed)
		squeeze_leave(&c->conns->squeeze, conn_kept(c));
	if (c->more != NULL)
		c->more->squeeze = NULL;
	c->packed = 0;
}

static bool conn_squeeze(struct conn *c, struct outgoing *o, struct slice *packed_r)
{
	return squeeze_frame(&c->conns->squeeze, conn_kept(c), c->packed + CONN_PACKED_BASE, o, packed_r);
}

/* Does what it gets refer back to what it got? Then nothing may be missing. */
static bool conn_refers(const struct conn *c)
{
	const struct squeeze_conn *kept = conn_kept(c);
	return kept != NULL && kept->keep_out;
}

/* How frames are read of a connection that has agreed on compression. */
struct conn_unpacking {
	struct frame_limits limits;
	struct inflate inflate; /* where nothing is kept of it */
};

static const struct frame_limits *conn_frame_limits(const struct conn *c, struct conn_unpacking *u)
{
	struct squeeze_conn *kept = conn_kept(c);
	if (!c->packed)
		return &c->conns->limits.frame;
	u->limits = c->conns->limits.frame;
	u->limits.inflate = kept != NULL ? &kept->inflate : &u->inflate;
	if (kept == NULL)
		inflate_init(&u->inflate, &c->conns->squeeze.inflaters, DEFLATE_BITS_MAX, false);
	return &u->limits;
}

/* --- the end of a conn ---------------------------------------------------------------------------------------------------------- */

static void conn_doom(struct conn *c)
{
	if (c->doomed || c->state != CONN_DEAD || !c->released)
		return;
	c->doomed = true;
	c->doomed_next = c->conns->doomed;
	c->conns->doomed = c;
}

static void conn_unwait(struct conn *c)
{
	if (c->waiting != CONN_WAIT_NONE)
		TAILQ_REMOVE(&c->conns->waits[c->waiting].list, c, wait);
	c->waiting = CONN_WAIT_NONE;
}

static void conn_tell_given_up(struct conn *c, uint32_t messages, bool gone)
{
	if (!c->released)
		c->conns->ops->gave_up(c, messages, gone);
}

/* Closes the descriptor. The memory goes at the end of the turn, so that nobody on the stack meets it freed. */
static void conn_kill(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	gate_leave(c);
	conn_unwait(c);
	poller_set(&c->conns->poller, c->fd, c, c->interest, 0);
	close(c->fd);
	c->fd = -1;
	heavy_forget(c);
	if (outq_backlog(&c->out) != NULL)
		conn_tell_given_up(c, conn_given_up(c), true);
	outq_clear(&c->out, &c->conns->spare);
	answer_drop(c);
	conn_drop_tls(c);
	if (c->more != NULL) {
		frame_reset(&c->more->reader);
		free(c->more->stash);
		c->more->stash = NULL;
		free(c->more->header);
		c->more->header = NULL;
	}
	conn_unpack(c);
	if (c->conns->gate.tally != NULL)
		tally_give_socket(c->conns->gate.tally);
	c->conns->count--;
	c->conns->loop->stats.sockets--;
	if (!loop_timer_is_set(&c->conns->trim))
		loop_timer_set(&c->conns->trim, CONNS_TRIM_MS);
	conn_doom(c);
	if (c->conns->freed != NULL)
		c->conns->freed(c->conns->freed_ctx);
}

static void conn_end(struct conn *c, enum conn_end end, uint16_t code, struct span reason, const char *why)
{
	if (c->ended)
		return;
	c->ended = true;
	uint32_t untold = c->more != NULL && c->more->meter != NULL ? meter_rest(c->more->meter) : 0;
	if (untold > 0 && end != CONN_END_LIMIT)
		c->conns->ops->dropped(c, untold);
	c->conns->ops->ended(c, end, code, reason.p, reason.n, why);
}

static void conn_consume_stash(struct conn *c);

/* What came before the end, and waited because its sender did not read, is handled before it. Answers go nowhere. */
static void conn_hear_out(struct conn *c)
{
	c->broken = true;
	c->paused = 0; /* even when its handler is behind: this is the last of it */
	conn_consume_stash(c);
}

/* The socket broke. */
static void conn_lost(struct conn *c, const char *why)
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
	if (c->state == CONN_FAR) {
		far_abort(c);
		return;
	}
	c->ended = true;
	conn_kill(c);
}

void conn_release(struct conn *c)
{
	if (c->state == CONN_FAR) {
		far_release(c);
		return;
	}
	c->released = true;
	conn_doom(c);
}

/* --- time ----------------------------------------------------------------------------------------------------------------------- */

static void conns_set_tick(struct conns *s, uint64_t at)
{
	if (s->tick_at != 0 && s->tick_at <= at)
		return;
	uint64_t now = loop_now(s->loop);
	if (loop_timer_set(&s->tick, at > now ? at - now : 1))
		s->tick_at = at;
}

static void conn_wait(struct conn *c, enum conn_wait which)
{
	struct conns *s = c->conns;
	struct conn_list *list = &s->waits[which];
	conn_unwait(c);
	c->waiting = (uint8_t)which;
	c->since = (uint32_t)loop_now(s->loop);
	TAILQ_INSERT_TAIL(&list->list, c, wait);
	if (list->after_ms != 0) /* 0: it waits for ever, and is in the list to be found */
		conns_set_tick(s, loop_now(s->loop) + list->after_ms);
}

/* --- interest ------------------------------------------------------------------------------------------------------------------- */

static unsigned conn_wanted(const struct conn *c)
{
	unsigned want = c->out.stalled || conn_has_file(c) ? CONN_WANT_WRITE : 0;
	switch ((enum conn_state)c->state) {
	case CONN_OPEN:
		if (c->paused != 0)
			return want != 0 || c->hup_seen ? want : CONN_WANT_HUP;
		return want | (c->eof ? 0 : CONN_WANT_READ);
	case CONN_PROXY:
	case CONN_HEAD:
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
static void conn_watch(struct conn *c)
{
	unsigned want = conn_wanted(c), before = c->interest;
	if (want == before || c->state == CONN_DEAD)
		return;
	c->interest = (uint16_t)want;
	if (!poller_set(&c->conns->poller, c->fd, c, before, want)) {
		c->interest = (uint16_t)before;
		conn_lost(c, "no memory to watch it");
	}
}

/* --- output --------------------------------------------------------------------------------------------------------------------- */

static void conns_push_dirty(struct conns *s, struct conn *c)
{
	s->dirty[(s->dirty_first + s->n_dirty++) & (s->cap_dirty - 1)] = c;
}

static void conn_mark_dirty(struct conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->conns->loop->again = true;
	conns_push_dirty(c->conns, c);
}

/* Room for all, so that marking one can not fail. */
static bool conns_reserve_dirty(struct conns *s)
{
	if (s->living < s->cap_dirty)
		return true;
	uint32_t cap = s->cap_dirty == 0 ? 64 : 2 * s->cap_dirty;
	struct conn **dirty = malloc(cap * sizeof(struct conn *));
	if (dirty == NULL)
		return false;
	for (uint32_t i = 0; i < s->n_dirty; i++)
		dirty[i] = s->dirty[(s->dirty_first + i) & (s->cap_dirty - 1)];
	free(s->dirty);
	s->dirty = dirty;
	s->dirty_first = 0;
	s->cap_dirty = cap;
	return true;
}

/* Everything was sent that will be. */
static void conn_fin(struct conn *c)
{
	struct tls *tls = conn_tls(c);
	c->fin = false;
	if (tls != NULL)
		tls_finish(tls, c->fd);
	/* Both close frames were exchanged and nothing is unread: the server ends TCP at once (7.1.1). */
	if (c->eof || (c->shaken && !c->unread) || shutdown(c->fd, SHUT_WR) != 0) {
		conn_kill(c);
		return;
	}
	/* A close(2) with unread input resets the connection and can destroy what the peer has not read yet. */
	c->state = CONN_LINGER;
	conn_wait(c, CONN_WAIT_CLOSE);
}

/* An HTTP answer is out. */
static void conn_answered(struct conn *c)
{
	if (!c->keep_alive) {
		conn_fin(c);
		return;
	}
	c->state = CONN_HEAD;
	conn_wait(c, CONN_WAIT_HEAD);
	conn_consume_stash(c);
}

static void conn_drained(struct conn *c)
{
	if (c->state == CONN_ANSWER && !answer_pump(c))
		conn_answered(c);
	else if (c->fin)
		conn_fin(c);
}

static void conn_count_sent(struct conn *c, uint64_t sent)
{
	c->conns->loop->stats.bytes_out += sent;
	/* Where we do not listen, taking what we send is the sign of life. */
	if (sent > 0 && (c->state == CONN_ANSWER || c->paused != 0))
		c->last_in = (uint32_t)loop_now(c->conns->loop);
}

static enum outq_status conn_write(struct conn *c)
{
	uint64_t sent = 0;
	enum outq_status status = outq_flush(&c->out, c->fd, conn_tls(c), &c->conns->spare, &sent);
	conn_count_sent(c, sent);
	return status;
}

/* Bytes that wait and can not be given up. */
static uint32_t conn_unread(const struct conn *c)
{
	return outq_backlog(&c->out) != NULL ? outq_backlog(&c->out)->kept : c->out.bytes;
}

/* Goes on reading when the peer has read enough, first with what was received before. */
static void conn_resume(struct conn *c)
{
	if (c->paused & CONN_PAUSE_OUTPUT && conn_unread(c) <= c->conns->limits.queue_max / 2) {
		c->paused &= (uint8_t)~CONN_PAUSE_OUTPUT;
		if (c->conns->ops->drained != NULL)
			c->conns->ops->drained(c);
	}
	if (conn_stash(c) != NULL && c->state == CONN_OPEN && c->paused == 0)
		conn_consume_stash(c);
}

/* What becomes possible, or happens, after a write. */
static void conn_flushed(struct conn *c, enum outq_status status)
{
	if (status == OUTQ_BROKEN) {
		conn_lost(c, "a write failed");
		return;
	}
	if (status == OUTQ_EMPTY)
		conn_drained(c);
	conn_resume(c);
	conn_watch(c);
	if (c->state == CONN_LINGER && c->more != NULL)
		conn_forget_input(c);
	if (c->more != NULL || c->out.stalled)
		heavy_weigh(c);
	if (c->out.stalled)
		heavies_grew(c->conns);
}

/* Writes what is queued. */
static void conn_flush(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	bool slow = outq_backlog(&c->out) != NULL;
	uint32_t given_up = conn_given_up(c);
	enum outq_status status = c->broken ? OUTQ_BROKEN : conn_write(c);
	if (status == OUTQ_EMPTY && slow)
		conn_tell_given_up(c, given_up, false);
	conn_flushed(c, status);
}

static bool conn_queue(struct conn *c, const struct slice *s, bool raw)
{
	struct outq_spare *spare = &c->conns->spare;
	if (!(raw ? outq_append_raw(&c->out, s, spare) : outq_append(&c->out, s, spare)))
		return false;
	if (!c->out.stalled && !conn_has_file(c)) /* else the poller says when it is worth a try; a file leaves a block a turn */
		conn_mark_dirty(c);
	return true;
}

bool conn_queue_raw(struct conn *c, const struct slice *bytes)
{
	return c->state == CONN_FAR ? far_raw(c, bytes) : conn_queue(c, bytes, true);
}

/* Control frames pass data that a slow peer has not read; else the order of events is the better one. */
static bool conn_queue_control(struct conn *c, enum frame_opcode opcode, const uint8_t *payload, size_t len)
{
	uint8_t frame[FRAME_SERVER_HEAD_MAX + FRAME_CONTROL_MAX];
	size_t head = frame_head(frame, opcode, len);
	if (len > 0)
		memcpy(frame + head, payload, len);
	if (c->out.stalled && opcode != FRAME_CLOSE)
		return outq_urgent(&c->out, frame, head + len, &c->conns->spare);
	struct slice s;
	if (!chunk_alloc(&c->conns->loop->chunks, head + len, &s))
		return false;
	memcpy(slice_bytes(&s), frame, head + len);
	bool ok = conn_queue(c, &s, false);
	slice_unref(&s);
	return ok;
}

/* More would wait than may: is it still so after a write? */
static bool conn_is_full(struct conn *c, uint32_t len)
{
	uint32_t max = c->conns->limits.queue_max;
	if (!c->out.stalled && !c->broken)
		c->broken = conn_write(c) == OUTQ_BROKEN; /* its end is told at the end of the turn: members may be being walked */
	return c->out.bytes > 0 && outq_weight(&c->out) + len > max;
}

static inline __attribute__((always_inline)) enum conn_sent conn_send_frame(struct conn *c, const struct slice *frame, bool own)
{
	uint32_t max = c->conns->limits.queue_max;
	if (outq_weight(&c->out) + frame->len > max && c->out.bytes > 0 && conn_is_full(c, frame->len)) {
		if (c->broken)
			return CONN_GONE;
		if (!own || (uint64_t)c->out.bytes + frame->len > UINT32_MAX)
			return CONN_FULL;
		if ((uint64_t)conn_unread(c) + frame->len > max) /* what can be given up is no reason not to read */
			c->paused |= CONN_PAUSE_OUTPUT;
	}
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	c->conns->loop->stats.messages_out++;
	if (c->out.stalled)
		heavies_grew(c->conns);
	return CONN_SENT;
}

/* Of its own, so that conn_send needs no room for what it does not have. */
static __attribute__((noinline)) enum conn_sent conn_send_packed(struct conn *c, struct outgoing *o, bool own)
{
	struct slice packed;
	if (!conn_squeeze(c, o, &packed))
		return conn_send_frame(c, o->frame, own);
	enum conn_sent sent = conn_send_frame(c, &packed, own);
	if (sent != CONN_SENT)
		squeeze_lost(conn_kept(c));
	slice_unref(&packed);
	return sent;
}

enum conn_sent conn_send(struct conn *c, struct outgoing *o, bool own)
{
	/* Answers to what came before the peer's close frame, or its end of the stream, leave before ours; and where the hub is another
	 * loop's, whatever it sent before it knew of that end. */
	bool takes = c->state == CONN_OPEN ? !c->ended : c->state == CONN_CLOSED && (own || c->conns->later);
	if (!takes || c->broken || (c->out.stalled && heavy_gives_way(c)))
		return c->state == CONN_FAR ? far_send(c, o, own) : CONN_GONE;
	return c->packed ? conn_send_packed(c, o, own) : conn_send_frame(c, o->frame, own);
}

static enum conn_sent conn_make_way_for(struct conn *c, const struct slice *frame, bool conflate)
{
	enum outq_room room = outq_make_way(&c->out, frame, c->conns->limits.queue_max, conflate, &c->conns->spare);
	if (room != OUTQ_ROOM)
		return room == OUTQ_NO_ROOM ? CONN_FULL : CONN_NO_MEMORY;
	if (!conn_queue(c, frame, false))
		return CONN_NO_MEMORY;
	if (c->paused & CONN_PAUSE_OUTPUT)
		conn_mark_dirty(c); /* perhaps there is no reason any more; but members may be being walked */
	c->conns->loop->stats.messages_out++;
	heavies_grew(c->conns);
	return CONN_SENT;
}

enum conn_sent conn_make_way(struct conn *c, struct outgoing *o, bool conflate)
{
	struct slice packed;
	if (!c->packed)
		return conn_make_way_for(c, o->frame, conflate);
	/* What refers back to earlier messages needs all of them: where a reload has changed the policy meanwhile. */
	if (conn_refers(c))
		return CONN_FULL;
	if (!conn_squeeze(c, o, &packed))
		return conn_make_way_for(c, o->frame, conflate);
	enum conn_sent sent = conn_make_way_for(c, &packed, conflate);
	slice_unref(&packed);
	return sent;
}

bool conn_lighten(struct conn *c)
{
	return c->state != CONN_FAR && !conn_refers(c) && c->out.bytes >= conn_held(c) && outq_lighten(&c->out, &c->conns->spare);
}

/* --- closing -------------------------------------------------------------------------------------------------------------------- */

static void conn_queue_close(struct conn *c, uint16_t code, const char *reason, size_t len)
{
	uint8_t payload[FRAME_CONTROL_MAX];
	size_t n = frame_close_payload(payload, code, reason, len);
	if (!conn_queue_control(c, FRAME_CLOSE, payload, n))
		conn_kill(c);
}

/* The last frame is queued: once it is out, our side of the stream ends. */
static void conn_finish(struct conn *c)
{
	c->fin = true;
	conn_mark_dirty(c);
	conn_wait(c, CONN_WAIT_CLOSE);
}

void conn_close(struct conn *c, uint16_t code, const char *reason, size_t len, bool urgent)
{
	if (c->state == CONN_FAR) {
		far_close(c, code, reason, len, urgent);
		return;
	}
	if (c->state == CONN_CLOSED) { /* the peer was faster; its close frame decides the code */
		conn_echo_close(c);
		return;
	}
	if (c->state != CONN_OPEN || c->ended)
		return;
	c->ended = true;
	if (urgent)
		outq_cut(&c->out, &c->conns->spare);
	if (heavy_gives_way(c) && c->more->heavy->torn) {
		conn_kill(c);
		return;
	}
	conn_queue_close(c, code, reason, len);
	if (c->state == CONN_DEAD)
		return;
	if (heavy_gives_way(c)) { /* what it sends is not looked at any more, and what it has sent is forgotten */
		c->state = CONN_LINGER;
		conn_finish(c);
		return;
	}
	c->state = CONN_CLOSING;
	if (c->eof) {
		conn_finish(c);
		return;
	}
	conn_wait(c, CONN_WAIT_CLOSE);
	c->paused = 0;
	conn_consume_stash(c);
	conn_watch(c);
}

void conn_echo_close(struct conn *c)
{
	if (c->state == CONN_FAR)
		far_echo_close(c);
	if (c->state != CONN_CLOSED)
		return;
	if (c->eof) { /* there was no close frame to echo */
		c->state = CONN_LINGER;
		conn_finish(c);
		return;
	}
	if (c->more != NULL && c->more->failed != NULL) {
		c->state = CONN_LINGER;
		conn_queue_close(c, c->close_code, c->more->failed, strlen(c->more->failed));
		if (c->state != CONN_DEAD)
			conn_finish(c);
		return;
	}
	c->state = CONN_CLOSING;
	c->shaken = true;
	/* 5.5.1: the echo carries the status code that came. */
	conn_queue_close(c, c->close_code == CLOSE_NONE ? 0 : c->close_code, NULL, 0);
	if (c->state != CONN_DEAD)
		conn_finish(c);
}

/* What came before may have answers that are under way, and leave before our close frame. False: there is no waiting. */
static bool conn_fails_later(struct conn *c, uint16_t code, const char *why)
{
	struct conn_more *more = c->conns->later && !c->ended && c->state == CONN_OPEN ? conn_more(c) : NULL;
	if (more == NULL)
		return false;
	more->failed = why;
	c->close_code = code;
	c->state = CONN_CLOSED;
	conn_wait(c, CONN_WAIT_CLOSE);
	return true;
}

/* The peer did what it may not (7.1.7): close frame, end of our stream, nothing of its is looked at any more. */
static void conn_fail(struct conn *c, enum conn_end end, uint16_t code, const char *why)
{
	bool told = c->ended;
	if (conn_fails_later(c, code, why)) {
		conn_end(c, end, code, span_of(why), why);
		return;
	}
	if (c->out.stalled)
		outq_cut(&c->out, &c->conns->spare);
	if (!told)
		conn_queue_close(c, code, why, strlen(why));
	if (c->state != CONN_DEAD) {
		c->state = CONN_LINGER;
		conn_finish(c);
	}
	conn_end(c, end, code, span_of(why), why);
}

/* --- input: frames -------------------------------------------------------------------------------------------------------------- */

static void conn_on_control(struct conn *c, const struct frame *f)
{
	if (f->opcode == FRAME_PING && c->state == CONN_OPEN) {
		if (!conn_queue_control(c, FRAME_PONG, f->data, f->len))
			conn_lost(c, "no memory to answer a ping");
	} else if (f->opcode == FRAME_CLOSE && c->state == CONN_OPEN) {
		c->state = CONN_CLOSED;
		c->close_code = f->code;
		conn_wait(c, CONN_WAIT_CLOSE);
		conn_end(c, CONN_END_CLOSE, f->code, (struct span){(const char *)f->data, f->len}, NULL);
	} else if (f->opcode == FRAME_CLOSE && c->state == CONN_CLOSING) {
		c->state = CONN_LINGER;
		c->shaken = true;
		conn_finish(c);
	}
}

bool conn_measure(struct conn *c, const struct meter_rule *rule)
{
	if (c->state == CONN_FAR) {
		far_measure(c, rule);
		return true;
	}
	struct conn_more *more = conn_more(c);
	struct meter *meter = more != NULL ? malloc(sizeof *meter) : NULL;
	if (meter == NULL)
		return false;
	meter_init(meter, rule, loop_now(c->conns->loop));
	more->meter = meter;
	return true;
}

/* Messages count, and pings, as each is answered; what costs nothing does not. */
static bool conn_takes(struct conn *c, enum frame_status status, const struct frame *f)
{
	struct meter *meter = c->more->meter;
	uint64_t now = loop_now(c->conns->loop);
	bool counts = status == FRAME_MESSAGE || (status == FRAME_CONTROL && f->opcode == FRAME_PING);
	if (!counts || c->state != CONN_OPEN)
		return true;
	bool takes = meter_take(meter, now);
	c->conns->loop->stats.rate_dropped += !takes;
	if (!takes && meter->rule->close) {
		conn_fail(c, CONN_END_LIMIT, CLOSE_POLICY, "more messages than --rate-limit allows");
		return false;
	}
	uint32_t untold = meter_due(meter, now);
	if (untold > 0)
		c->conns->ops->dropped(c, untold);
	return takes;
}

static void conn_on_frame(struct conn *c, struct frame_reader *r, enum frame_status status, const struct frame *f)
{
	bool measured = c->more != NULL && c->more->meter != NULL;
	if (measured && !conn_takes(c, status, f)) {
		frame_release(r);
		return;
	}
	if (status == FRAME_MESSAGE && c->state == CONN_OPEN) {
		c->conns->loop->stats.messages_in++;
		c->conns->ops->message(c, f->opcode, f->data, f->len);
	} else if (status == FRAME_CONTROL) {
		conn_on_control(c, f);
	} else if (status == FRAME_BAD) {
		c->conns->loop->stats.protocol_errors++;
		conn_fail(c, CONN_END_PROTOCOL, f->code, f->why);
	}
	frame_release(r); /* a quiet connection holds nothing */
}

/* Only a connection that stopped in the middle of something has a reader of its own. */
static void conn_keep_reader(struct conn *c, struct frame_reader *r)
{
	bool goes_on = c->state == CONN_OPEN || c->state == CONN_CLOSING;
	if (goes_on && frame_at_rest(r)) {
		if (c->more != NULL)
			conn_less(c);
		return;
	}
	if (goes_on && conn_more(c) != NULL) {
		c->more->reader = *r;
		return;
	}
	frame_reset(r);
	if (goes_on)
		conn_lost(c, "no memory for its input");
}

/* Keeps where it stopped in the middle of a compressed message, and nothing after that. */
static void conn_keep_inflate(struct conn *c, struct conn_unpacking *u)
{
	struct squeeze_conn *kept = conn_kept(c);
	if (u->limits.inflate == &u->inflate && u->inflate.compressed) {
		bool goes_on = c->state == CONN_OPEN || c->state == CONN_CLOSING;
		kept = goes_on && conn_more(c) != NULL ? squeeze_keep(&u->inflate) : NULL;
		if (kept != NULL) {
			c->more->squeeze = kept;
			return;
		}
		inflate_reset(&u->inflate);
		if (goes_on)
			conn_lost(c, "no memory for its input");
	} else if (kept != NULL && squeeze_is_done(kept)) {
		squeeze_free_conn(&c->conns->squeeze, kept);
		c->more->squeeze = NULL;
	}
}

static size_t conn_consume_frames(struct conn *c, uint8_t *data, size_t len)
{
	size_t left = len;
	struct frame f;
	struct conn_unpacking u;
	const struct frame_limits *limits = conn_frame_limits(c, &u);
	struct frame_reader r = {.part = NULL};
	if (c->more != NULL) {
		r = c->more->reader;
		c->more->reader = (struct frame_reader){.part = NULL};
	}
	while (left > 0 && (c->state == CONN_CLOSING || (c->state == CONN_OPEN && c->paused == 0))) {
		enum frame_status status = frame_read(&r, limits, &data, &left, &f);
		if (status != FRAME_MORE)
			conn_on_frame(c, &r, status, &f);
	}
	if (limits == &u.limits)
		conn_keep_inflate(c, &u);
	conn_keep_reader(c, &r);
	return len - left;
}

/* --- input: request heads ------------------------------------------------------------------------------------------------------- */

static void conn_refuse(struct conn *c, int status, const char *why)
{
	char text[ADDRESS_TEXT];
	c->keep_alive = false;
	LOG(c->conns->loop->log, LOG_INFO, LOG_HTTP, why, LOG_U64("status", (uint64_t)status),
	    LOG_STR("remote", conn_remote_text(c, text)));
	answer_error(c, status,
		     status == 426 ? SPAN("Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
				   : (struct span){0},
		     why);
}

static void conn_on_request(struct conn *c, struct request *r)
{
	struct conns *s = c->conns;
	const char *why;
	c->keep_alive = r->keep_alive && !r->has_body; /* a body is not read, so what follows it can't be found */
	c->head_only = span_eq(r->method, SPAN("HEAD"));
	if (!gate_request(c, r))
		return;
	if (!r->wants_upgrade) {
		s->loop->stats.requests++;
		s->ops->request(s->ctx, c, r);
		return;
	}
	int status = upgrade_check(r, &why);
	if (status != 0) {
		s->loop->stats.refused++;
		conn_refuse(c, status, why);
		return;
	}
	c->state = CONN_ASKING;
	c->released = false;
	conn_wait(c, CONN_WAIT_ASK);
	s->ops->upgrade(s->ctx, c, r);
}

/* Returns the bytes used; what is left is kept and *scanned_r says how much of it is known. */
static size_t conn_consume_head(struct conn *c, uint8_t *data, size_t len, size_t *scanned_r)
{
	struct request *r = &c->conns->request;
	size_t used = 0;
	int status = 400;
	const char *why = "bad request";
	switch (request_parse(r, &c->conns->limits.head, (const char *)data, len, *scanned_r, &used, &status, &why)) {
	case REQUEST_MORE:
		*scanned_r = len;
		return 0;
	case REQUEST_BAD:
		c->head_only = false;
		conn_refuse(c, status, why);
		return len;
	case REQUEST_OK:
		*scanned_r = 0;
		r->head = (struct span){(const char *)data, used};
		conn_on_request(c, r);
		return used;
	}
	return len;
}

bool conn_accept(struct conn *c, const struct request *r, enum outgoing_slow slow, struct span subprotocol, struct span extra)
{
	char text[8192];
	char extensions[DEFLATE_ANSWER_MAX];
	struct slice s;
	if (c->state == CONN_FAR)
		return far_accept(c, r, slow, subprotocol, extra);
	conn_pack(c, r, slow == OUTGOING_CLOSE, extensions);
	size_t n = upgrade_response(text, sizeof text, r, subprotocol, span_of(extensions), extra);
	if (n == 0 || !chunk_alloc(&c->conns->loop->chunks, n, &s)) {
		conn_abort(c);
		return false;
	}
	memcpy(slice_bytes(&s), text, n);
	bool ok = conn_queue(c, &s, true);
	slice_unref(&s);
	if (!ok) {
		conn_abort(c);
		return false;
	}
	c->state = CONN_OPEN;
	c->last_in = (uint32_t)loop_now(c->conns->loop);
	conn_wait(c, CONN_WAIT_IDLE);
	return true;
}

bool conn_answering(struct conn *c)
{
	if (c->state == CONN_FAR)
		return far_answering(c);
	if (c->state == CONN_DEAD)
		return false;
	if (c->state == CONN_ASKING) {
		c->keep_alive = false; /* a refused upgrade ends its connection: what follows may be frames */
		c->released = true;
	}
	c->state = CONN_ANSWER;
	conn_wait(c, CONN_WAIT_HEAD);
	return true;
}

/* --- input ---------------------------------------------------------------------------------------------------------------------- */

/* Uses what can be used now; returns how much that was. */
static size_t conn_consume(struct conn *c, uint8_t *data, size_t len, size_t *scanned_r)
{
	size_t used = 0;
	for (;;) {
		size_t n = 0;
		if (c->state == CONN_HEAD && used < len)
			n = conn_consume_head(c, data + used, len - used, scanned_r);
		else if (c->state == CONN_OPEN || c->state == CONN_CLOSING)
			n = conn_consume_frames(c, data + used, len - used);
		else if (c->state == CONN_LINGER || c->state == CONN_DEAD || c->state == CONN_CLOSED)
			return len;
		used += n;
		if (n == 0 || used == len)
			return used;
	}
}

static bool conn_stash_append(struct conn *c, const uint8_t *data, size_t len)
{
	struct conn_more *more = conn_more(c);
	struct conn_stash *st = more != NULL ? more->stash : NULL;
	size_t have = st != NULL ? st->len : 0;
	if (more == NULL)
		return false;
	if (st == NULL || st->cap - st->len < len) {
		size_t cap = have + (have > len ? have : len);
		st = realloc(st, sizeof *st + cap + 1);
		if (st == NULL)
			return false;
		if (more->stash == NULL)
			st->scanned = 0;
		st->cap = cap;
		more->stash = st;
	}
	memcpy(st->bytes + have, data, len);
	st->len = have + len;
	return true;
}

static void conn_consume_stash(struct conn *c)
{
	struct conn_stash *st = conn_stash(c);
	if (st == NULL)
		return;
	c->more->stash = NULL; /* so that it outlives the conn's end, which frees what the conn has */
	size_t used = conn_consume(c, st->bytes, st->len, &st->scanned);
	struct conn_more *more = used < st->len && c->state != CONN_DEAD ? conn_more(c) : NULL;
	if (more == NULL) {
		if (used < st->len && c->state != CONN_DEAD)
			conn_lost(c, "no memory for its input");
		free(st);
		conn_less(c);
		return;
	}
	memmove(st->bytes, st->bytes + used, st->len - used);
	st->len -= used;
	more->stash = st;
}

static void conn_feed(struct conn *c, uint8_t *data, size_t len)
{
	size_t scanned = 0;
	if (conn_stash(c) != NULL) {
		if (!conn_stash_append(c, data, len))
			conn_lost(c, "no memory for its input");
		else
			conn_consume_stash(c);
		return;
	}
	size_t used = conn_consume(c, data, len, &scanned);
	if (used == len || c->state == CONN_DEAD)
		return;
	if (!conn_stash_append(c, data + used, len - used))
		conn_lost(c, "no memory for its input");
	else
		c->more->stash->scanned = scanned;
}

/* The peer ended its side of the stream. */
static void conn_on_eof(struct conn *c)
{
	c->eof = true;
	if (c->state == CONN_OPEN) { /* half closed: it may still read what its messages caused */
		c->state = CONN_CLOSED;
		conn_wait(c, CONN_WAIT_CLOSE);
		conn_end(c, CONN_END_EOF, CLOSE_ABNORMAL, (struct span){0}, "the peer ended the stream without a close frame");
	} else if (c->fin || c->out.bytes > 0) {
		conn_finish(c);
	} else {
		conn_kill(c);
	}
}

static void conn_heard(struct conn *c, size_t n)
{
	c->last_in = (uint32_t)loop_now(c->conns->loop);
	c->pinged = false;
	c->conns->loop->stats.bytes_in += n;
}

static ssize_t conn_recv(struct conn *c, void *bytes, size_t cap)
{
	struct tls *tls = conn_tls(c);
	if (tls == NULL || c->state == CONN_LINGER) /* nobody looks at what comes now */
		return recv(c->fd, bytes, cap, 0);
	ssize_t n = tls_read(tls, c->fd, bytes, cap);
	int error = errno;
	if (tls_waits(tls))
		c->out.stalled = true; /* its handshake has something to say when the socket lets it */
	errno = error;
	return n;
}

/* Bytes of a large message go where they belong, without a copy. */
static ssize_t conn_read_direct(struct conn *c)
{
	uint8_t *where;
	struct frame f;
	struct conn_more *more = c->more;
	if (more == NULL || c->state != CONN_OPEN || more->stash != NULL)
		return -2;
	struct conn_unpacking u;
	const struct frame_limits *limits = conn_frame_limits(c, &u);
	size_t space = frame_space(&more->reader, limits, &where);
	if (space == 0)
		return -2;
	ssize_t n = conn_recv(c, where, space);
	if (n > 0) {
		conn_heard(c, (size_t)n);
		enum frame_status status = frame_filled(&more->reader, limits, (size_t)n, &f);
		if (status != FRAME_MORE)
			conn_on_frame(c, &more->reader, status, &f);
		if (frame_at_rest(&more->reader))
			more->reader = (struct frame_reader){.part = NULL};
		conn_less(c);
	}
	return n;
}

/* It is no TLS, or none that we take. */
static void conn_tls_failed(struct conn *c)
{
	char text[ADDRESS_TEXT];
	const struct tls *tls = conn_tls(c);
	const char *why = tls_why(tls);
	int stranger = tls_stranger(tls);
	if (tls_is_open(tls)) {
		conn_lost(c, why);
		return;
	}
	c->conns->loop->stats.tls_failures++;
	if (stranger >= 'A' && stranger <= 'Z') { /* a method: it takes us for a plain server, and is answered as by one */
		conn_drop_tls(c);
		conn_less(c);
		conn_refuse(c, 400, "TLS is spoken here: https:// or wss://");
		return;
	}
	LOG(c->conns->loop->log, LOG_INFO, LOG_TLS, "a TLS handshake failed", LOG_STR("error", why),
	    LOG_STR("remote", conn_remote_text(c, text)));
	conn_fin(c); /* what the peer was told about it is to arrive */
}

static void conn_read(struct conn *c)
{
	struct loop *loop = c->conns->loop;
	if (c->state == CONN_PROXY) {
		gate_on_readable(c);
		return;
	}
	ssize_t n = conn_read_direct(c);
	if (n == -2) {
		n = conn_recv(c, loop->input, LOOP_INPUT);
		if (n > 0) {
			conn_heard(c, (size_t)n);
			c->unread = n == LOOP_INPUT;
			if (c->state != CONN_LINGER)
				conn_feed(c, loop->input, (size_t)n);
		}
	}
	if (n == 0)
		conn_on_eof(c);
	else if (n < 0 && errno == EPROTO && conn_tls(c) != NULL)
		conn_tls_failed(c);
	else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		conn_lost(c, "a read failed");
}

static void conn_on_readable(struct conn *c)
{
	conn_read(c);
	/* What TLS has read already no descriptor announces, and the next connection would overwrite it. */
	while (conn_tls(c) != NULL && c->state != CONN_LINGER && tls_more(conn_tls(c)))
		conn_read(c);
}

/* Nothing is read now, but the peer's end can be noticed. */
static void conn_on_hup(struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof error;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0 || c->state == CONN_ASKING)
		conn_lost(c, "the peer is gone");
	else
		c->hup_seen = true; /* half closed; read() will say so after what came before */
}

static uint64_t conns_microseconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* May corked output wait on? */
static bool conns_may_cork(struct conns *s)
{
	return s->corked_at == 0 || conns_microseconds() - s->corked_at < CONN_CORK_US;
}

/* The same conn is met again and again while its output comes; its memory is asked for a little before it is needed. */
static struct conn *conns_pop_dirty(struct conns *s)
{
	uint32_t mask = s->cap_dirty - 1, at = s->dirty_first++ & mask;
	if (s->n_dirty-- > 4)
		__builtin_prefetch(s->dirty[(at + 4) & mask]);
	return s->dirty[at];
}

static bool conn_is_corked(const struct conn *c, bool wait)
{
	return c->corked && wait && c->state == CONN_OPEN && c->out.bytes < CONN_CORK_MAX;
}

/* Of the next ones each is flushed, or put back at the end of the ring. Returns how many were. */
static uint32_t conns_flush_each(struct conns *s, uint32_t n, bool wait)
{
	uint32_t back = 0;
	while (n-- > 0) {
		struct conn *c = conns_pop_dirty(s);
		if (conn_is_corked(c, wait)) {
			conns_push_dirty(s, c);
			back++;
			continue;
		}
		c->dirty = false;
		conn_flush(c);
	}
	return back;
}

/* What became of the sends of a ring. First all queues learn it: what follows for one may change others. */
static void conns_on_sent(struct conns *s)
{
	struct uring *u = &s->uring;
	for (unsigned i = 0; i < u->n; i++) {
		struct conn *c = u->sends[i].item;
		int result = u->sends[i].result;
		if (result > 0) {
			outq_wrote(&c->out, (size_t)result, &s->spare);
			conn_count_sent(c, (uint64_t)result);
		} else if (result == -EAGAIN) {
			outq_full(&c->out, &s->spare);
		} else if (result != -EINTR && result != URING_NOT_TRIED) {
			c->broken = true;
		}
	}
	for (unsigned i = 0; i < u->n; i++) {
		struct conn *c = u->sends[i].item;
		if (c->state != CONN_DEAD && !c->broken && (c->out.bytes == 0 || c->out.stalled))
			conn_flushed(c, c->out.stalled ? OUTQ_STALLED : OUTQ_EMPTY);
		else
			conn_flush(c);
	}
	uring_clear(u);
}

/* The next ones, where they are many: those that have one slice to send do it in one system call, the others as usual. Nothing else
 * happens between their entry and the call, as the end of a connection gives its descriptor to another. Returns how many were put back. */
static uint32_t conns_flush_many(struct conns *s, uint32_t n, bool wait)
{
	uint32_t back = 0;
	while (n-- > 0 && s->uring.n < URING_MAX) {
		struct conn *c = conns_pop_dirty(s);
		const struct slice *only = outq_only(&c->out);
		if (conn_is_corked(c, wait)) {
			conns_push_dirty(s, c);
			back++;
			continue;
		}
		c->dirty = false;
		if (c->state == CONN_DEAD || c->broken || only == NULL || conn_tls(c) != NULL)
			uring_skip(&s->uring, c);
		else
			uring_add(&s->uring, c->fd, slice_bytes(only), only->len, c);
	}
	uring_run(&s->uring);
	conns_on_sent(s);
	return back;
}

/* Sends what is queued, except where more is about to come: those are put back, and stand at the end of the ring. */
static void conns_flush(struct conns *s)
{
	bool wait = conns_may_cork(s);
	uint32_t corked = 0, many = s->limits.uring_min;
	s->loop->chunks.written = 0;
	while (s->n_dirty > corked) {
		uint32_t n = s->n_dirty - corked;
		bool together = many != 0 && n >= many && uring_begin(&s->uring);
		corked += together ? conns_flush_many(s, n, wait) : conns_flush_each(s, n, wait);
	}
	if (corked == 0) {
		s->dirty_first = 0; /* so that a turn touches no more of the ring than it needs */
		s->corked_at = 0;
	} else if (s->corked_at == 0) {
		s->corked_at = conns_microseconds();
		loop_timer_set(&s->uncork, CONN_CORK_US / 1000); /* makes a turn, at whose end this is looked at again */
	} else if (!loop_timer_is_set(&s->uncork)) {
		loop_timer_set(&s->uncork, 1);
	}
}

static void conns_on_uncork(void *arg)
{
	(void)arg;
}

void conn_cork(struct conn *c, bool on)
{
	if (c->state == CONN_FAR)
		far_cork(c, on);
	c->corked = on;
}

static void conn_on_ready(void *item, uint32_t events)
{
	struct conn *c = item;
	struct conns *s = c->conns;
	uint32_t interest = c->interest;
	if (c->state == CONN_DEAD)
		return;
	if (events & (EPOLLERR | EPOLLHUP)) /* the call that is tried then says what it is */
		events |= interest;
	if (events & interest & CONN_WANT_READ)
		conn_on_readable(c);
	if (events & interest & CONN_WANT_WRITE)
		conn_flush(c);
	if (events & interest & CONN_WANT_HUP && c->state != CONN_DEAD)
		conn_on_hup(c);
	conn_watch(c);
	if (c->more != NULL || c->out.stalled)
		heavy_weigh(c);
	conns_relieve(s);
}

/* A turn that writes much does not wait for its end: memory that is sent at once is used again, and stays warm. */
void conns_relieve(struct conns *s)
{
	if (s->loop->chunks.written > CONN_CORK_MAX)
		conns_flush(s);
}

void conn_pause(struct conn *c, enum conn_pause why, bool pause)
{
	if (c->state == CONN_FAR) {
		far_hold(c, pause);
		return;
	}
	if (pause) {
		c->paused |= (uint8_t)why;
	} else {
		c->paused &= (uint8_t)~why;
		conn_consume_stash(c);
	}
	conn_watch(c);
}

/* --- timeouts ------------------------------------------------------------------------------------------------------------------- */

static void conn_tls_late(struct conn *c)
{
	char text[ADDRESS_TEXT];
	const struct tls *tls = conn_tls(c);
	if (tls == NULL || tls_is_open(tls) || !tls_has_begun(tls))
		return;
	c->conns->loop->stats.tls_failures++;
	LOG(c->conns->loop->log, LOG_INFO, LOG_TLS, "a TLS handshake did not come to its end in time",
	    LOG_STR("remote", conn_remote_text(c, text)));
}

static void conn_head_timeout(struct conn *c, uint32_t now)
{
	if (c->state == CONN_ANSWER && now - c->last_in < c->conns->limits.head_ms) {
		conn_wait(c, CONN_WAIT_HEAD); /* a slow download goes on as long as it moves */
	} else if (c->state == CONN_PROXY) {
		gate_late(c);
	} else if (c->state == CONN_HEAD && conn_stash(c) != NULL) {
		conn_refuse(c, 408, "the request head did not come in time");
		conn_watch(c);
	} else {
		if (c->state == CONN_HEAD)
			conn_tls_late(c);
		conn_kill(c); /* a connection that was opened in advance and not used, or an answer that nobody takes */
	}
}

static void conn_idle_timeout(struct conn *c, uint32_t now)
{
	uint32_t idle = c->conns->limits.idle_ms, silent = now - c->last_in;
	if (c->paused & (CONN_PAUSE_HOLD | CONN_PAUSE_HUB))
		c->last_in = now; /* we do not listen for our own reasons, so its silence says nothing */
	else if (silent >= idle) {
		c->conns->loop->stats.idle_ended++;
		conn_hear_out(c);
		conn_kill(c);
		conn_end(c, CONN_END_IDLE, CLOSE_ABNORMAL, (struct span){0}, "silent for longer than --idle-timeout");
		return;
	} else if (silent >= idle / 2 && !c->pinged && !outq_has_urgent(&c->out)) {
		c->pinged = true;
		if (!conn_queue_control(c, FRAME_PING, NULL, 0)) {
			conn_lost(c, "no memory to ping it");
			return;
		}
	}
	conn_wait(c, CONN_WAIT_IDLE);
}

/* Where the answer comes from another loop it comes later, and may not come at all if that has too little memory to be asked. */
static void conn_ask_timeout(struct conn *c)
{
	conn_wait(c, CONN_WAIT_ASK);
	c->conns->ops->unanswered(c);
}

static void conn_close_timeout(struct conn *c)
{
	if (c->state == CONN_CLOSED)
		conn_echo_close(c); /* its handler still works on earlier messages; the peer shall not wait for that */
	else
		conn_kill(c);
}

static void conns_on_tick(void *arg)
{
	struct conns *s = arg;
	uint32_t now = (uint32_t)loop_now(s->loop);
	s->tick_at = 0;
	for (int which = CONN_WAIT_HEAD; which < CONN_WAITS; which++) {
		struct conn_list *list = &s->waits[which];
		struct conn *c;
		if (list->after_ms == 0)
			continue;
		while ((c = TAILQ_FIRST(&list->list)) != NULL && now - c->since >= list->after_ms) {
			if (which == CONN_WAIT_HEAD)
				conn_head_timeout(c, now);
			else if (which == CONN_WAIT_ASK)
				conn_ask_timeout(c);
			else if (which == CONN_WAIT_IDLE)
				conn_idle_timeout(c, now);
			else
				conn_close_timeout(c);
		}
		if (c != NULL)
			conns_set_tick(s, loop_now(s->loop) + (list->after_ms - (now - c->since)));
	}
}

/* Some time after connections have ended: what was kept for a flood, or lies free between what is used, goes back to the system. */
static void conns_on_trim(void *arg)
{
	struct conns *s = arg;
	outq_spare_free(&s->spare);
	chunk_pool_trim(&s->loop->chunks);
	struct mallinfo2 m = mallinfo2();
	if (m.fordblks > CONNS_TRIM_MIN + m.uordblks / 16)
		malloc_trim(0);
}

/* --- all of them ---------------------------------------------------------------------------------------------------------------- */

/* What queues of slow peers did in this turn. */
static void conns_count(struct conns *s)
{
	struct backlog_account *account = &s->spare.account;
	struct stats *stats = &s->loop->stats;
	stats->buffered = heavies_total(s);
	stats->dropped += account->given_up;
	stats->conflated += account->conflated;
	account->given_up = account->conflated = 0;
}

static void conns_on_turn(void *arg)
{
	struct conns *s = arg;
	struct conn *c, *kept = NULL;
	conns_flush(s);
	heavies_settle(s);
	conns_count(s);
	while ((c = s->doomed) != NULL) {
		s->doomed = c->doomed_next;
		if (!c->dirty && (s->ops->gone == NULL || s->ops->gone(c))) {
			if (c->more != NULL)
				free(c->more->meter);
			free(c->more);
			free(c);
			s->living--;
			continue;
		}
		c->doomed_next = kept; /* it ended after it had been put back as corked: the next pass takes it off that list */
		kept = c;
		s->loop->again = s->loop->again || c->dirty;
	}
	s->doomed = kept;
}

void conns_set_limits(struct conns *s, const struct conn_limits *limits)
{
	s->limits = *limits;
	squeeze_set_limits(&s->squeeze, &limits->squeeze);
	s->waits[CONN_WAIT_HEAD].after_ms = limits->head_ms;
	s->waits[CONN_WAIT_ASK].after_ms = limits->ask_ms;
	/* Looked at eight times within the timeout, so that it is kept to an eighth of itself without a list entry moving per message. */
	s->waits[CONN_WAIT_IDLE].after_ms = limits->idle_ms == 0 ? 0 : limits->idle_ms / 8 + 1;
	s->waits[CONN_WAIT_CLOSE].after_ms = limits->close_ms;
}

void conns_set_tls(struct conns *s, struct tls_server *tls)
{
	struct tls_server *old = s->tls;
	s->tls = tls != NULL ? tls_server_ref(tls) : NULL;
	tls_server_unref(old);
}

bool conns_init(struct conns *s, struct loop *loop, const struct conn_ops *ops, void *ctx, size_t session_size,
		const struct conn_limits *limits)
{
	*s = (struct conns){.loop = loop, .ops = ops, .ctx = ctx, .session_size = session_size};
	for (int which = 0; which < CONN_WAITS; which++)
		TAILQ_INIT(&s->waits[which].list);
	squeeze_init(&s->squeeze, &loop->chunks, &loop->stats);
	conns_set_limits(s, limits);
	loop_timer_init(loop, &s->tick, conns_on_tick, s);
	loop_timer_init(loop, &s->uncork, conns_on_uncork, s);
	loop_timer_init(loop, &s->trim, conns_on_trim, s);
	s->hook = (struct loop_hook){.run = conns_on_turn, .arg = s};
	loop_add_hook(loop, &s->hook);
	if (limits->uring_min != 0)
		uring_begin(&s->uring);
	return poller_init(&s->poller, loop, conn_on_ready);
}

bool conns_busy(const struct conns *s)
{
	const struct conn *c;
	TAILQ_FOREACH (c, &s->waits[CONN_WAIT_HEAD].list, wait)
		if (c->state == CONN_ANSWER || conn_stash(c) != NULL)
			return true;
	return !TAILQ_EMPTY(&s->waits[CONN_WAIT_ASK].list) || !TAILQ_EMPTY(&s->waits[CONN_WAIT_CLOSE].list) ||
	       !TAILQ_EMPTY(&s->waits[CONN_WAIT_IDLE].list);
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
	outq_spare_free(&s->spare);
	uring_free(&s->uring);
	squeeze_free(&s->squeeze);
	free(s->dirty);
	poller_free(&s->poller);
	conns_set_tls(s, NULL);
}

static bool conn_begin_tls(struct conn *c)
{
	struct conn_more *more = c->conns->tls != NULL ? conn_more(c) : NULL;
	if (more != NULL)
		more->tls = tls_new(c->conns->loop, c->conns->tls);
	return more != NULL && more->tls != NULL;
}

bool conn_add(struct conns *s, int fd, const struct address *remote, const struct conn_kind *kind)
{
	struct conn *c = conns_reserve_dirty(s) ? calloc(1, sizeof *c + s->session_size) : NULL;
	if (c == NULL) {
		close(fd);
		return false;
	}
	*c = (struct conn){.conns = s, .fd = fd, .released = true, .interest = CONN_WANT_READ};
	c->state = kind->proxy ? CONN_PROXY : CONN_HEAD;
	/* A flood of TLS is not told: to say so would take a handshake for each. */
	bool ok = conn_set_remote(c, remote) && (kind->proxy ? gate_may_introduce(c) : gate_enter(c, !kind->tls)) &&
		  (!kind->tls || conn_begin_tls(c));
	if (!ok || !poller_set(&s->poller, fd, c, 0, CONN_WANT_READ)) {
		gate_leave(c);
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
