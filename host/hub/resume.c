#include "hub/resume.h"

#include <stdlib.h>
#include <time.h>

#include "auth/token.h"
#include "base/check.h"
#include "hub/access.h"
#include "hub/delivery.h"
#include "hub/hub.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"
#include "hub/session_conn.h"
#include "net/conn.h"

#define RESUME_TICK_MS 100
#define RESUME_ENDED_MAX 64	/* sessions that end in one tick */
#define RESUME_ENDS_MAX 10000	/* ends of away sessions that are remembered */
#define RESUME_FORGET_MAX 16384 /* messages that are forgotten in a turn, beyond all bounds */

/* --- a control message for the client --------------------------------------------------------- */

/* Behind what was sent, and not counted. What can not be sent is not missed: each says all there is
 * to say, and the next one says it again; but for `lost`, see resume_feed. */
static bool resume_say(struct session *s, const char *text, size_t n)
{
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t head_len = frame_head(head, FRAME_TEXT, n);
	struct slice frame;
	struct out_message o;
	if (s->conn == NULL || !chunk_alloc(&s->mount->hub->loop->chunks, head_len + n, &frame))
		return false;
	memcpy(slice_bytes(&frame), head, head_len);
	memcpy(slice_bytes(&frame) + head_len, text, n);
	out_message_init(&o, &frame, false);
	bool sent = conn_send(s->conn, &o, true) == CONN_SENT;
	out_message_free(&o);
	slice_unref(&frame);
	return sent;
}

static void resume_mark_due(struct hub *hub, struct resume *r)
{
	if (r->due)
		return;
	CHECK(hub->magic == CHECK_HUB && r->session->magic == CHECK_SESSION);
	r->due = true;
	TAILQ_INSERT_TAIL(&hub->resumes.due, r, due_link);
}

static void resume_unmark_due(struct hub *hub, struct resume *r)
{
	if (r->due)
		TAILQ_REMOVE(&hub->resumes.due, r, due_link);
	r->due = false;
}

/* A control message has its place in front of the data message of that number, and is none. */
#define RESUME_CONTROL OUTQ_NOTES_KEEP /* instead of a conflation key, which is never that */

static bool resume_is_data(const struct kept_message *m)
{
	return m->key != RESUME_CONTROL;
}

/* --- what is kept ----------------------------------------------------------------------------- */

/* It is in the list of those that keep something as long as it does. */
static void resume_list_kept(struct hub *hub, struct resume *r, uint32_t before)
{
	uint32_t now = r->written.n + r->waiting.n;
	if (before == 0 && now > 0)
		TAILQ_INSERT_TAIL(&hub->resumes.kept, r, kept_link);
	else if (before > 0 && now == 0)
		TAILQ_REMOVE(&hub->resumes.kept, r, kept_link);
}

/* The oldest of all that it keeps; false: nothing was. */
static bool resume_forget_oldest(struct hub *hub, struct resume *r)
{
	uint32_t before = r->written.n + r->waiting.n;
	struct kept *from = r->written.n > 0 ? &r->written : &r->waiting;
	if (from->n == 0)
		return false;
	if (from == &r->waiting && resume_is_data(kept_first(from))) {
		hub->loop->stats.dropped++;
		session_drop(r->session, 1);
	}
	kept_pop(from);
	resume_list_kept(hub, r, before);
	return true;
}

static void resume_bound(struct hub *hub, struct resume *r)
{
	const struct resume_limits *limits = &hub->resumes.limits;
	while (r->written.bytes + (r->away ? r->waiting.bytes : 0) > limits->queue ||
	       r->written.n + (r->away ? r->waiting.n : 0) > limits->messages)
		if ((!r->away && r->written.n == 0) || !resume_forget_oldest(hub, r))
			return;
}

/* The oldest failures, of which it was told, or for which there is no room. */
static void resume_forget_failed(struct resume *r, uint32_t n)
{
	CHECK(n <= r->n_failed);
	memmove(r->failed, r->failed + n, (r->n_failed - n) * sizeof *r->failed);
	r->n_failed -= n;
	if (r->n_untold > r->n_failed)
		r->n_untold = r->n_failed;
}

static void resume_confirm(struct hub *hub, struct resume *r, uint64_t got)
{
	uint32_t before = r->written.n + r->waiting.n;
	struct kept_message *m;
	while ((m = kept_first(&r->written)) != NULL && m->number <= got)
		kept_pop(&r->written);
	resume_list_kept(hub, r, before);
	if (got > r->confirmed)
		r->confirmed = got;
	if (got > r->told_fed)
		resume_forget_failed(r, r->n_failed - r->n_untold);
}

/* Those that keep something give up half of it in turn. */
static void resumes_bound(struct hub *hub)
{
	struct resumes *all = &hub->resumes;
	struct resume *r;
	uint32_t left = RESUME_FORGET_MAX;
	while (all->limits.kept_max != 0 && all->held > all->limits.kept_max && left > 0 &&
	       (r = TAILQ_FIRST(&all->kept)) != NULL) {
		uint32_t half = (r->written.n + r->waiting.n + 1) / 2;
		TAILQ_REMOVE(&all->kept, r, kept_link);
		TAILQ_INSERT_TAIL(&all->kept, r, kept_link);
		for (; half > 0 && left > 0; half--, left--)
			resume_forget_oldest(hub, r);
	}
	if (left == 0)
		hub->loop->again = true;
}

/* --- what it is sent -------------------------------------------------------------------------- */

static bool resume_is_marked(const struct slice *frame)
{
	struct span payload = frame_payload(slice_bytes(frame), frame->len);
	return !frame_is_binary(slice_bytes(frame)) && payload.n > 0 &&
	       payload.p[0] == TOVA_V1_MARK;
}

void resume_cast_init(struct resume_cast *cast, const struct slice *frame, struct out_message *out,
		      uint64_t key)
{
	cast->frame = frame;
	cast->out = out;
	cast->key = key;
	cast->escaped = resume_is_marked(frame);
	cast->kept.chunk = NULL;
}

void resume_cast_free(struct resume_cast *cast)
{
	if (cast->kept.chunk != NULL && cast->escaped)
		out_message_free(&cast->own);
	slice_unref(&cast->kept);
}

/* The frame with one mark more in front of its text. */
static struct chunk *resume_escape(const struct slice *frame)
{
	struct span payload = frame_payload(slice_bytes(frame), frame->len);
	struct chunk *c = chunk_new(FRAME_SERVER_HEAD_MAX + 1 + payload.n);
	if (c == NULL)
		return NULL;
	size_t at = frame_head(c->bytes, FRAME_TEXT, payload.n + 1);
	c->bytes[at] = TOVA_V1_MARK;
	memcpy(c->bytes + at + 1, payload.p, payload.n);
	c->used = (uint32_t)(at + 1 + payload.n);
	return c;
}

/* A chunk with nothing else in it, so that it goes with its last message: what is large has one,
 * what is small is copied, once for all that are sent it. False without memory. */
static bool resume_keep(struct hub *hub, struct resume_cast *cast)
{
	const struct slice *frame = cast->frame;
	bool own = !cast->escaped && frame->len > CHUNK_SHARED_MAX;
	if (cast->kept.chunk != NULL)
		return true;
	struct chunk *c = cast->escaped ? resume_escape(frame)
			  : own		? frame->chunk
					: chunk_new(frame->len);
	if (c == NULL)
		return false;
	if (own) {
		chunk_ref(c);
	} else if (!cast->escaped) {
		c->used = frame->len;
		memcpy(c->bytes, slice_bytes(frame), frame->len);
	}
	cast->kept = own ? *frame : (struct slice){c, 0, c->used};
	chunk_account(c, &hub->resumes.held);
	if (cast->escaped)
		out_message_init(&cast->own, &cast->kept, cast->out->shared);
	return true;
}

/* Without bounds that its own loop would act on: what is given up is given up here, where it has a
 * number. */
static bool resume_has_room(const struct session *s)
{
	return s->conn != NULL && s->conn->out.bytes <= s->conn->conns->limits.queue_max / 2;
}

/* Where messages are missing the client is told, before the next one. False: not now. */
static bool resume_say_gap(struct session *s, struct resume *r, uint64_t next)
{
	char text[TOVA_V1_MAX];
	if (next == r->fed + 1)
		return true;
	if (!resume_say(s, text, tova_v1_lost(text, next - r->fed - 1, next)))
		return false;
	s->mount->hub->loop->stats.lost_told += next - r->fed - 1;
	r->fed = next - 1;
	return true;
}

/* The socket takes the message with this number, or a control message in front of it. */
static bool resume_write(struct session *s, struct resume *r, struct out_message *o,
			 uint64_t number, bool data, bool own)
{
	o->slow = SLOW_POLICY_CLOSE;
	if (!resume_say_gap(s, r, number) || conn_send(s->conn, o, own) != CONN_SENT)
		return false;
	CHECK(number == r->fed + 1);
	r->fed = number - !data;
	return true;
}

/* Moves what waits to the socket, as long as that has room; all: whether it has or not. */
static void resume_feed(struct hub *hub, struct session *s, struct resume *r, bool all)
{
	struct kept_message *m;
	uint32_t before = r->written.n + r->waiting.n;
	while ((m = kept_first(&r->waiting)) != NULL && s->conn != NULL &&
	       (all || resume_has_room(s))) {
		struct out_message o;
		out_message_init(&o, &m->frame, false);
		bool data = resume_is_data(m);
		bool sent = resume_write(s, r, &o, m->number, data, true);
		out_message_free(&o);
		if (!sent)
			break;
		/* without memory it is not kept, and would be told as lost */
		if (r->keeps)
			kept_push(&r->written, &m->frame, data ? 0 : RESUME_CONTROL, m->number);
		kept_pop(&r->waiting);
	}
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
	if (r->waiting.n == 0 && s->conn != NULL)
		resume_say_gap(s, r, r->out + 1);
	if (r->waiting.n > 0) {
		if (s->conn != NULL)
			conn_want_drained(s->conn);
		return;
	}
	slow_consumer_caught_up(hub, s);
	bool held = r->held;
	r->held = false;
	if (held && s->conn != NULL) /* which tells what it has sent meanwhile */
		conn_pause(s->conn, CONN_PAUSE_OUTPUT, false);
}

/* More waits for it than --max-queue allows: the mount's policy, as for the queue of any other. */
static void resume_give_way(struct hub *hub, struct session *s, struct resume *r, bool own)
{
	uint32_t max = s->conn->conns->limits.queue_max;
	uint64_t over = s->conn->out.bytes;
	if (kept_weight(&r->waiting) + over <= max)
		return;
	if (own) {
		r->held = true;
		conn_pause(s->conn, CONN_PAUSE_OUTPUT, true);
		return;
	}
	if (s->mount->slow == SLOW_POLICY_DROP_OLDEST) {
		slow_consumer_began(s->conn);
		while (r->waiting.n > 1 && kept_weight(&r->waiting) + over > max) {
			bool data = resume_is_data(kept_first(&r->waiting));
			kept_pop(&r->waiting);
			session_drop(s, data);
			hub->loop->stats.dropped += data;
		}
		return;
	}
	hub_mark_victim(hub, s);
}

/* It has its number, and is not sent now. */
static void resume_wait(struct hub *hub, struct session *s, struct resume *r,
			struct resume_cast *cast, bool own)
{
	uint32_t before = r->written.n + r->waiting.n;
	bool conflates =
		cast->key != 0 && s->conn != NULL && s->mount->slow == SLOW_POLICY_CONFLATE;
	if (!r->keeps && s->conn == NULL)
		return;
	if (conflates && kept_supersede(&r->waiting, cast->key)) {
		slow_consumer_began(s->conn);
		session_drop(s, 1);
		hub->loop->stats.dropped++;
		hub->loop->stats.conflated++;
	}
	if (!resume_keep(hub, cast) || !kept_push(&r->waiting, &cast->kept, cast->key, r->out)) {
		resume_list_kept(hub, r, before);
		if (s->conn == NULL) /* whoever comes back is told that it is missing */
			return;
		s->no_memory = true;
		hub_mark_victim(hub, s);
		return;
	}
	resume_list_kept(hub, r, before);
	if (s->conn == NULL) {
		resume_bound(hub, r);
		return;
	}
	conn_want_drained(s->conn);
	resume_give_way(hub, s, r, own);
}

void resume_send(struct hub *hub, struct session *s, struct resume_cast *cast, bool own)
{
	struct resume *r = session_resume(s);
	uint32_t before = r->written.n + r->waiting.n;
	bool needs = r->keeps || cast->escaped;
	r->out++;
	bool now = r->waiting.n == 0 && resume_has_room(s) && (!needs || resume_keep(hub, cast)) &&
		   resume_write(s, r, cast->escaped ? &cast->own : cast->out, r->out, true, own);
	if (!now) {
		resume_wait(hub, s, r, cast, own);
		return;
	}
	if (!r->keeps)
		return;
	kept_push(&r->written, &cast->kept, 0, r->out);
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
}

/* It is kept like data, so that it comes in front of the same messages at a return. What there is
 * no memory for is not told. */
static void resume_place(struct hub *hub, struct session *s, const char *text, size_t n, bool own)
{
	struct resume *r = session_resume(s);
	uint32_t before = r->written.n + r->waiting.n;
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t head_len = frame_head(head, FRAME_TEXT, n);
	struct chunk *c = r->keeps || s->conn != NULL ? chunk_new(head_len + n) : NULL;
	if (c == NULL)
		return;
	memcpy(c->bytes, head, head_len);
	memcpy(c->bytes + head_len, text, n);
	c->used = (uint32_t)(head_len + n);
	chunk_account(c, &hub->resumes.held);
	struct slice frame = {c, 0, c->used};
	struct out_message o;
	out_message_init(&o, &frame, false);
	bool now = r->waiting.n == 0 && resume_has_room(s) &&
		   resume_write(s, r, &o, r->out + 1, false, own);
	out_message_free(&o);
	if (!now)
		kept_push(&r->waiting, &frame, RESUME_CONTROL, r->out + 1);
	else if (r->keeps)
		kept_push(&r->written, &frame, RESUME_CONTROL, r->out + 1);
	resume_list_kept(hub, r, before);
	resume_bound(hub, r);
	slice_unref(&frame);
	if (now || s->conn == NULL)
		return;
	conn_want_drained(s->conn);
	resume_give_way(hub, s, r, own);
}

void resume_tell_history(struct hub *hub, struct session *s, struct span room,
			 const struct history_found *found, bool own)
{
	char text[TOVA_V1_HISTORY_MAX];
	const struct tova_v1_history told = {.room = room,
					     .epoch = found->epoch,
					     .from = found->from,
					     .to = found->to,
					     .complete = found->complete};
	resume_place(hub, s, text, tova_v1_history(text, &told), own);
}

struct conn_load session_load(const struct session *s)
{
	struct conn_load load = {.waiting = 0};
	if (s->conn != NULL)
		load = conn_load(s->conn);
	if (s->shard == SESSION_RESUMES)
		load.waiting += (uint32_t)session_resume(s)->waiting.bytes;
	return load;
}

void resume_on_drained(struct conn *c)
{
	struct session *s = session_of(c);
	if (session_resume(s) == NULL)
		return;
	resume_mark_due(s->mount->hub, session_resume(s));
	s->mount->hub->loop->again = true;
}

/* --- what it sends ---------------------------------------------------------------------------- */

static void resume_break(struct hub *hub, struct session *s, uint16_t code, const char *why)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	LOG(hub->log, LOG_NOTICE, LOG_CONN_PROTOCOL, why, LOG_STR("mount", s->mount->path),
	    LOG_STR("conn", hub_session_text(s, id)),
	    LOG_STR("remote", session_remote_text(s, remote)));
	access_ended_by(s, "protocol");
	hub_close_session(s, code, span_of(why), false);
}

static void resume_on_got(struct hub *hub, struct session *s, uint64_t got)
{
	struct resume *r = session_resume(s);
	if (got > r->fed) {
		resume_break(hub, s, CLOSE_PROTOCOL,
			     "the client confirms messages that it was never sent");
		return;
	}
	resume_confirm(hub, r, got);
}

static void resume_refuse(struct hub *hub, struct session *s, const char *why)
{
	char text[TOVA_V1_MAX];
	resume_say(s, text, tova_v1_refused(text, 401, 0));
	resume_break(hub, s, (uint16_t)tova_v1_close_code(401), why);
}

static bool resume_is_of(const struct session *s, const char *subject)
{
	const char *own = identity_subject(s);
	return (own == NULL) == (subject == NULL) && (own == NULL || strcmp(own, subject) == 0);
}

/* A fresh token for the one that its upgrade had, of the same subject. */
static void resume_on_jwt(struct hub *hub, struct session *s, struct span token)
{
	struct token_claims claims = {.text = NULL};
	char text[TOVA_V1_MAX];
	const char *why = NULL;
	uint64_t now = (uint64_t)time(NULL);
	if (s->mount->tokens == NULL) {
		resume_say(s, text, tova_v1_renewed(text, 0));
		return;
	}
	int status = token_verify(s->mount->tokens, token, now, &claims, &why);
	bool same = status == 0 && resume_is_of(s, claims.subject);
	if (status != 0)
		resume_refuse(hub, s, why);
	else if (!same)
		resume_refuse(hub, s, "the new token is of somebody else");
	else if (!identity_take_token(s, &claims) ||
		 (claims.ends > 0 && !timer_set_end(s->mount, s, claims.ends)))
		hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
	else
		resume_say(s, text,
			   tova_v1_renewed(text,
					   claims.ends > now ? (claims.ends - now) * 1000 : 0));
	token_claims_free(&claims);
}

static void resume_on_control(struct hub *hub, struct session *s, char *text, size_t len)
{
	char answer[TOVA_V1_MAX];
	struct tova_v1_control control;
	tova_v1_read(text, len, &control);
	switch (control.kind) {
	case TOVA_V1_GOT:
		resume_on_got(hub, s, control.got);
		break;
	case TOVA_V1_PING:
		resume_say(s, answer, tova_v1_pong(answer));
		break;
	case TOVA_V1_BYE:
		access_ended_by(s, "client");
		hub_close_session(s, CLOSE_GOING_AWAY, (struct span){0}, false);
		break;
	case TOVA_V1_JWT:
		resume_on_jwt(hub, s, control.text);
		break;
	case TOVA_V1_BAD:
		resume_break(hub, s, CLOSE_PROTOCOL,
			     "a control message of tova.v1 is no JSON object");
		break;
	case TOVA_V1_NONE:
		break;
	}
}

/* One too many is settled at once, as an event that failed. */
static bool resume_measure(struct hub *hub, struct session *s, struct resume *r, uint32_t n)
{
	uint64_t now = loop_now(hub->loop);
	if (r->rate == NULL || rate_limit_take(r->rate, now, n))
		return true;
	hub->loop->stats.rate_dropped++;
	if (r->rate->rule->close) {
		resume_break(hub, s, CLOSE_POLICY, "more messages than --rate-limit allows");
		return false;
	}
	uint32_t untold = rate_limit_due(r->rate, now);
	if (untold > 0)
		hub_dropped(s, untold);
	return false;
}

static uint32_t resume_lines(const struct resume *r, const uint8_t *data, size_t len)
{
	uint32_t n = 1;
	const uint8_t *at = data;
	if (r->rate == NULL || !r->rate->rule->lines)
		return 1;
	while (at < data + len && (at = memchr(at, '\n', (size_t)(data + len - at))) != NULL) {
		n++;
		at++;
	}
	return n;
}

/* Its client has spoken on its newest socket: who comes with an older token comes too late. */
static void resume_token_pass(struct hub *hub, struct resume *r)
{
	resume_token_move(&hub->resumes.tokens, &r->past, &r->before);
}

bool resume_take(struct hub *hub, struct session *s, bool binary, uint8_t **data_r, size_t *len_r)
{
	struct resume *r = session_resume(s);
	bool marked = !binary && *len_r > 0 && (*data_r)[0] == TOVA_V1_MARK,
	     control = marked && (*len_r == 1 || (*data_r)[1] != TOVA_V1_MARK);
	if (r->before.listed)
		resume_token_pass(hub, r);
	if (!control) {
		r->in++;
		bool takes = resume_measure(hub, s, r, resume_lines(r, *data_r, *len_r));
		if (!takes)
			resume_settled(hub, s, false);
		*data_r += marked;
		*len_r -= marked;
		return takes;
	}
	if (!resume_measure(hub, s, r, 1))
		return false;
	if (*len_r > s->conn->conns->limits.head.head_max)
		resume_break(hub, s, CLOSE_TOO_BIG,
			     "a control message of tova.v1 is longer than --max-head");
	else
		resume_on_control(hub, s, (char *)*data_r + 1, *len_r - 1);
	return false;
}

/* Says what is settled, and which of them failed. */
static bool resume_say_done(struct session *s, struct resume *r)
{
	char text[TOVA_V1_MAX];
	const uint64_t *untold = r->failed + r->n_failed - r->n_untold;
	if (!resume_say(s, text, tova_v1_done(text, r->done, untold, r->n_untold)))
		return false;
	r->told = r->done;
	if (r->n_untold > 0)
		r->told_fed = r->fed;
	r->n_untold = 0;
	return true;
}

void resume_settled(struct hub *hub, struct session *s, bool ok)
{
	struct resume *r = session_resume(s);
	if (!ok && r->n_untold == TOVA_V1_FAILED_MAX && s->conn != NULL)
		resume_say_done(s, r);
	if (!ok && r->n_failed == TOVA_V1_FAILED_MAX)
		resume_forget_failed(r, 1);
	r->done++;
	if (!ok) {
		r->failed[r->n_failed++] = r->done;
		r->n_untold++;
	}
	resume_mark_due(hub, r);
}

void resume_flush(struct hub *hub, struct session *s)
{
	struct resume *r = session_resume(s);
	resume_feed(hub, s, r, true);
	if (r->told != r->done || r->n_untold > 0)
		resume_say_done(s, r);
}

/* --- the end of a turn ------------------------------------------------------------------------ */

void resumes_on_turn(struct hub *hub)
{
	struct resume *r;
	while ((r = TAILQ_FIRST(&hub->resumes.due)) != NULL) {
		struct session *s = r->session;
		resume_unmark_due(hub, r);
		if (s->conn == NULL || s->ended)
			continue;
		resume_feed(hub, s, r, false);
		if (s->conn == NULL || s->ended)
			continue;
		if (r->waiting.n == 0)
			resume_flush(hub, s);
		hub->loop->again = hub->loop->again || conn_stub(s->conn) != NULL;
	}
	resumes_bound(hub);
	hub->loop->stats.kept = hub->resumes.shown = hub->resumes.held;
}

/* --- its beginning ---------------------------------------------------------------------------- */

bool resume_begin(struct session *s)
{
	struct session_more *more = session_more(s);
	struct resume *r = more != NULL ? calloc(1, sizeof *r) : NULL;
	if (r == NULL)
		return false;
	CHECK(more->resume == NULL && s->conn == NULL);
	r->session = s;
	r->keeps = s->mount->resume_ms > 0;
	more->resume = r;
	s->shard = SESSION_RESUMES;
	return true;
}

bool resume_know(struct session *s, struct span subprotocol)
{
	struct resume *r = session_resume(s);
	const struct rate_limit_rule *rule = &s->mount->rule;
	bool application = subprotocol.n > 0 && !span_eq(subprotocol, SPAN(TOKEN_SUBPROTOCOL));
	if (application)
		r->protocol = strndup(subprotocol.p, subprotocol.n);
	if (rule->rate.n != 0 && (r->rate = malloc(sizeof *r->rate)) != NULL)
		rate_limit_init(r->rate, rule, loop_now(s->mount->hub->loop));
	return (!application || r->protocol != NULL) && (rule->rate.n == 0 || r->rate != NULL);
}

/* Who comes back with the one before has not seen the one since; or it has, and this is an attempt
 * of an earlier time that was long on its way. So that one stays. False without memory. */
static bool resume_tokens_turn(struct resume_tokens *all, struct resume *r)
{
	bool before = r->by == &r->before;
	r->by = NULL;
	if (before)
		return true;
	if (r->before.listed)
		resume_token_move(all, &r->past, &r->before);
	resume_token_move(all, &r->before, &r->token);
	return resume_token_new(all, &r->token, r);
}

static void resume_tokens_forget(struct resume_tokens *all, struct resume *r)
{
	resume_token_forget(all, &r->token);
	resume_token_forget(all, &r->before);
	resume_token_forget(all, &r->past);
}

void resume_welcome(struct hub *hub, struct session *s, bool resumed)
{
	struct resume *r = session_resume(s);
	struct resume_tokens *tokens = &hub->resumes.tokens;
	char text[TOVA_V1_MAX];
	r->remote = conn_remote(s->conn);
	if (r->keeps)
		r->keeps = resume_tokens_turn(tokens, r);
	const struct tova_v1_welcome w = {
		.token = r->keeps ? r->token.text : NULL,
		.resumed = resumed,
		.got = r->in,
		/* what failed may have been said to a socket that was dead: it is said again */
		.done = r->n_failed > 0 ? r->failed[0] - 1 : r->done,
		.keep_ms = r->keeps ? s->mount->resume_ms : 0,
		.protocol = span_of(r->protocol),
	};
	r->told = w.done;
	r->n_untold = r->n_failed;
	resume_say(s, text, tova_v1_welcome(text, &w));
	if (r->n_failed > 0)
		resume_say_done(s, r);
}

void resume_free(struct hub *hub, struct session *s)
{
	struct resume *r = session_resume(s);
	if (r == NULL)
		return;
	uint32_t before = r->written.n + r->waiting.n;
	resume_unmark_due(hub, r);
	if (r->away) {
		TAILQ_REMOVE(&hub->resumes.away, r, away_link);
		hub->resumes.n_away--;
	}
	resume_tokens_forget(&hub->resumes.tokens, r);
	kept_free(&r->written);
	kept_free(&r->waiting);
	resume_list_kept(hub, r, before);
	free(r->protocol);
	free(r->rate);
	free(r);
	s->more->resume = NULL;
}

/* --- away and back ---------------------------------------------------------------------------- */

static void resume_log(const struct session *s, const char *what, uint64_t code)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	const struct hub *hub = s->mount->hub;
	if (!log_would(hub->log, LOG_DEBUG))
		return;
	LOG(hub->log, LOG_DEBUG, LOG_CONN_RESUME, what, LOG_STR("mount", s->mount->path),
	    LOG_STR("conn", hub_session_text(s, id)),
	    LOG_STR("remote", session_remote_text(s, remote)), LOG_U64("code", code));
}

/* Behind what came on the socket. */
static void resume_tell_away(struct session *s, uint16_t code)
{
	struct hub_event e = {.kind = EVENT_AWAY, .away = {.code = code}};
	if ((s->mount->handler->wants & EVENT_BIT(EVENT_AWAY)) != 0)
		delivery_submit(s->mount, s, &e);
}

bool resume_leave(struct hub *hub, struct session *s, enum conn_end end, uint16_t code)
{
	struct resume *r = session_resume(s);
	bool lost = end == CONN_END_TRANSPORT || end == CONN_END_EOF || end == CONN_END_IDLE ||
		    (end == CONN_END_CLOSE && code == CLOSE_GOING_AWAY);
	if (r == NULL || !r->keeps || !lost || hub->draining || s->victim)
		return false;
	resume_log(s, "the client is away: its socket is lost", code);
	conn_echo_close(s->conn);
	session_detach(s);
	slow_consumer_end(hub, s);
	CHECK(!r->away && s->conn == NULL && hub->loop->stats.connections > 0);
	r->away = true;
	r->away_at = loop_now(hub->loop);
	TAILQ_INSERT_TAIL(&hub->resumes.away, r, away_link);
	hub->resumes.n_away++;
	hub->loop->stats.away++;
	hub->loop->stats.connections--;
	resume_bound(hub, r);
	if (!loop_timer_is_set(&hub->resumes.tick))
		loop_timer_set(&hub->resumes.tick, RESUME_TICK_MS);
	resume_tell_away(s, code);
	return true;
}

static void resume_not_away(struct hub *hub, struct resume *r)
{
	if (!r->away)
		return;
	CHECK(hub->resumes.n_away > 0 && hub->loop->stats.away > 0);
	r->away = false;
	TAILQ_REMOVE(&hub->resumes.away, r, away_link);
	hub->resumes.n_away--;
	hub->loop->stats.away--;
	hub->loop->stats.connections++;
}

static void resume_end_free(struct resumes *all, struct resume_end *e)
{
	resume_token_forget(&all->tokens, &e->token);
	CHECK(all->n_ends > 0);
	TAILQ_REMOVE(&all->ends, e, link);
	all->n_ends--;
	free(e);
}

void resume_end(struct hub *hub, struct session *s)
{
	struct resume *r = session_resume(s);
	if (r == NULL)
		return;
	resume_unmark_due(hub, r);
	resume_not_away(hub, r);
	resume_tokens_forget(&hub->resumes.tokens, r);
}

/* Is it an end of which a client that comes back has to know? One that comes for a code that asks
 * it to is welcome; and one whose close frame may have met a dead socket has not heard of it. */
static bool resume_has_to_know(const struct resume *r, uint16_t code)
{
	bool again = code == CLOSE_RESTART || code == CLOSE_TRY_LATER || code == CLOSE_GOING_AWAY;
	return r->keeps && r->token.listed && code != CLOSE_ABNORMAL && (r->away || !again);
}

void resume_close(struct hub *hub, struct session *s, uint16_t code)
{
	struct resume *r = session_resume(s);
	struct resumes *all = &hub->resumes;
	bool tells = r != NULL && resume_has_to_know(r, code);
	struct resume_end *e = tells ? malloc(sizeof *e) : NULL;
	if (e == NULL)
		return;
	*e = (struct resume_end){.mount = s->mount,
				 .until = loop_now(hub->loop) + s->mount->resume_ms,
				 .code = code != CLOSE_NONE ? code : CLOSE_NORMAL};
	resume_token_move(&all->tokens, &e->token, &r->token);
	e->token.resume = NULL;
	TAILQ_INSERT_TAIL(&all->ends, e, link);
	if (++all->n_ends > RESUME_ENDS_MAX)
		resume_end_free(all, TAILQ_FIRST(&all->ends));
	if (!loop_timer_is_set(&all->tick))
		loop_timer_set(&all->tick, RESUME_TICK_MS);
}

struct session *resume_find(struct hub *hub, const struct mount *m,
			    const struct tova_v1_offer *offer, const char *subject,
			    uint16_t *code_r)
{
	const struct resume_token *t =
		offer->returns ? resume_token_find(&hub->resumes.tokens, offer->token) : NULL;
	*code_r = 0;
	if (t == NULL)
		return NULL;
	if (t->resume == NULL) {
		const struct resume_end *e =
			(const struct resume_end *)((const char *)t -
						    offsetof(struct resume_end, token));
		*code_r = e->mount == m ? e->code : 0;
		return NULL;
	}
	struct session *s = t->resume->session;
	CHECK_IS(s, CHECK_SESSION);
	bool ours = s->mount == m && !s->ended && resume_is_of(s, subject);
	if (ours && t == &t->resume->past) {
		resume_log(s, "a return with a token of the past", offer->got);
		*code_r = RESUME_TAKEN_OVER;
		return NULL;
	}
	if (ours && offer->got < t->resume->confirmed) {
		resume_log(s, "a return asks for messages that its client has confirmed",
			   offer->got);
		return NULL;
	}
	if (ours)
		t->resume->by = t;
	return ours ? s : NULL;
}

bool resume_was_sent(const struct session *s, uint64_t got)
{
	const struct resume *r = session_resume(s);
	return got <= r->fed || got <= r->most;
}

bool resume_is_behind(const struct session *s)
{
	const struct resume *r = session_resume(s);
	return r->by == &r->before;
}

bool resume_is_outdone(const struct session *s)
{
	const struct resume *r = session_resume(s);
	return !r->by->listed;
}

void resume_back(struct hub *hub, struct session *s, uint64_t got)
{
	struct resume *r = session_resume(s);
	struct kept_message *m;
	uint32_t before = r->written.n + r->waiting.n;
	resume_log(s, "the client is back", got);
	resume_not_away(hub, r);
	r->held = false;
	hub->loop->stats.resumed++;
	resume_confirm(hub, r, got);
	before = r->written.n + r->waiting.n;
	/* what no socket has taken follows what one has; without memory for it it is lost */
	while ((m = kept_first(&r->waiting)) != NULL) {
		kept_push(&r->written, &m->frame, m->key, m->number);
		kept_pop(&r->waiting);
	}
	r->waiting = r->written;
	r->written = (struct kept){.v = NULL};
	/* what it has although the socket after that did not take it */
	while ((m = kept_first(&r->waiting)) != NULL && m->number <= got)
		kept_pop(&r->waiting);
	resume_list_kept(hub, r, before);
	CHECK(got <= r->out && r->written.n == 0);
	if (r->most < r->fed)
		r->most = r->fed;
	r->fed = got;
}

void resume_go_on(struct hub *hub, struct session *s)
{
	if (s->lane.waiting > HUB_LANE_MAX)
		hub_pause(s);
	resume_feed(hub, s, session_resume(s), false);
}

bool resume_may_tell(const struct mount *m)
{
	bool wanted = (m->handler->wants & EVENT_BIT(EVENT_BACK)) != 0;
	return !wanted || !handler_is_async(m->handler) || !budget_refuses(m->budget);
}

void resume_tell_back(struct session *s, const struct event_request *request)
{
	struct mount *m = s->mount;
	struct hub_event e = {.kind = EVENT_BACK, .request = request};
	const unsigned kinds = EVENT_BIT(EVENT_AWAY) | EVENT_BIT(EVENT_BACK);
	if (s->ended || (m->handler->wants & kinds) == 0)
		return;
	delivery_forget(m, s, kinds);
	if ((m->handler->wants & EVENT_BIT(EVENT_BACK)) != 0)
		delivery_submit(m, s, &e);
}

/* --- all of them ------------------------------------------------------------------------------ */

/* Those that waited for too long, and while all sockets are taken the one that waits for longest.
 */
static void resumes_on_tick(void *arg)
{
	struct hub *hub = arg;
	CHECK_IS(hub, CHECK_HUB);
	struct resumes *all = &hub->resumes;
	struct resume *r, *next;
	struct resume_end *e;
	uint64_t now = loop_now(hub->loop);
	bool full = all->full != NULL && all->full(all->full_ctx, all->n_away);
	uint32_t left = RESUME_ENDED_MAX;
	/* a handler that hears of one end may bring about others: their memory stays for the turn
	 */
	for (r = TAILQ_FIRST(&all->away); r != NULL && left > 0; r = next) {
		next = TAILQ_NEXT(r, away_link);
		if (r->session->ended)
			continue;
		if (!full && now - r->away_at < r->session->mount->resume_ms)
			continue;
		resume_log(r->session,
			   full ? "all sockets are taken: the session that is longest away ends"
				: "nobody came back: the session ends",
			   CLOSE_ABNORMAL);
		access_ended_by(r->session, "away");
		hub_close_session(r->session, CLOSE_ABNORMAL, (struct span){0}, true);
		full = false;
		left--;
	}
	while ((e = TAILQ_FIRST(&all->ends)) != NULL && e->until <= now)
		resume_end_free(all, e);
	if (all->n_away > 0 || all->n_ends > 0)
		loop_timer_set(&all->tick, left > 0 ? RESUME_TICK_MS : 1);
}

void resumes_init(struct resumes *all, struct hub *hub)
{
	TAILQ_INIT(&all->due);
	TAILQ_INIT(&all->away);
	TAILQ_INIT(&all->kept);
	TAILQ_INIT(&all->ends);
	loop_timer_init(hub->loop, &all->tick, resumes_on_tick, hub);
}

void resumes_free(struct resumes *all)
{
	while (!TAILQ_EMPTY(&all->ends))
		resume_end_free(all, TAILQ_FIRST(&all->ends));
	loop_timer_cancel(&all->tick);
	hash_table_free(&all->tokens.table);
}
