#include "hub/resume.h"

#include <stdlib.h>

#include "auth/token.h"
#include "base/check.h"
#include "hub/access.h"
#include "hub/delivery.h"
#include "hub/resume_parts.h"
#include "hub/session_trace.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"
#include "hub/session_conn.h"
#include "net/conn.h"

#define RESUME_ENDED_MAX 64 /* sessions that end in one tick */

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

void resume_welcome(struct hub *hub, struct session *s, bool resumed)
{
	struct resume *r = session_resume(s);
	struct resume_tokens *tokens = &hub->resumes.tokens;
	char text[TOVA_V1_MAX];
	r->remote = conn_remote(s->conn);
	if (r->keeps) /* unless --resume was taken away meanwhile */
		r->keeps = s->mount->resume_ms > 0 && resume_tokens_turn(tokens, r);
	const struct tova_v1_welcome w = {
		.token = r->keeps ? r->token.text : NULL,
		.resumed = resumed,
		.got = r->in,
		/* what failed may have been said to a socket that was dead: it is said again */
		.done = r->n_failed > 0 ? r->failed[0] - 1 : r->done,
		.keep_ms = r->keeps ? s->mount->resume_ms : 0,
		.protocol = span_of(r->protocol),
	};
	r->done_sent = w.done;
	r->n_failed_unsent = r->n_failed;
	if (!resume_say(s, text, tova_v1_welcome(text, &w))) { /* it would wait for it for ever */
		s->no_memory = true;
		hub_mark_victim(hub, s);
	}
	if (r->n_failed > 0)
		resume_done_say(s, r);
}

/* --- away and back ---------------------------------------------------------------------------- */

static void resume_log(const struct session *s, const char *what, uint64_t code)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	const struct hub *hub = s->mount->hub;
	if (!log_would(hub->log, LOG_DEBUG))
		return;
	LOG(hub->log, LOG_DEBUG, LOG_CONN_RESUME, what, LOG_STR("mount", s->mount->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
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
	const struct client_addr *at = hub->resumes.client_addr;
	r->counted = at != NULL && at->addr_limits != NULL && !client_addr_trusts(at, &r->remote) &&
		     addr_limits_away(at->addr_limits, &r->remote, r->away_at);
	resume_bound(hub, r);
	if (!loop_timer_is_set(&hub->resumes.tick))
		loop_timer_set(&hub->resumes.tick, RESUME_TICK_MS);
	resume_tell_away(s, code);
	return true;
}

struct session *resume_find(struct hub *hub, const struct mount *m,
			    const struct tova_v1_offer *offer, const char *subject,
			    struct resume_over *over_r)
{
	const struct resume_token *t =
		offer->returns ? resume_token_find(&hub->resumes.tokens, offer->token) : NULL;
	*over_r = (struct resume_over){.code = 0};
	if (t == NULL)
		return NULL;
	if (t->over) {
		const struct resume_end *e = t->end;
		if (e->mount == m)
			*over_r = (struct resume_over){.code = e->code,
						       .reason = {e->reason, e->reason_len}};
		return NULL;
	}
	struct session *s = t->resume->session;
	CHECK_IS(s, CHECK_SESSION);
	bool ours = s->mount == m && !s->ended && identity_is_of(s, subject);
	if (ours && t == &t->resume->past) {
		resume_log(s, "a return with a token of the past", offer->got);
		*over_r =
			(struct resume_over){.code = RESUME_TAKEN_OVER,
					     .reason = SPAN(
						     "another socket has taken the session over")};
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
	resume_end_away(hub, r);
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
	resume_grace_back(hub, r);
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

static void resumes_feed_starving(struct hub *hub)
{
	struct resume *r;
	while ((r = TAILQ_FIRST(&hub->resumes.starving)) != NULL) {
		resume_unstarve(hub, r);
		resume_mark_due(hub, r);
	}
	hub->loop->again = true;
}

static void resume_dismiss(struct session *s, const char *why)
{
	resume_log(s, why, CLOSE_ABNORMAL);
	access_ended_by(s, "away");
	s->dismissed = true;
	hub_close_session(s, CLOSE_ABNORMAL, (struct span){0}, true);
}

void resumes_make_way(struct hub *hub, const struct address *remote)
{
	const struct client_addr *at = hub->resumes.client_addr;
	struct addr_limits *limits = at != NULL ? at->addr_limits : NULL;
	struct resume *r = TAILQ_FIRST(&hub->resumes.away);
	while (r != NULL && limits != NULL && addr_limits_is_over(limits, remote)) {
		while (r != NULL &&
		       (!r->counted || !addr_limits_are_one(limits, remote, &r->remote)))
			r = TAILQ_NEXT(r, away_link);
		if (r != NULL)
			resume_dismiss(
				r->session,
				"its address has too many: the session that is longest away ends");
		/* a handler that has heard of that may have ended others */
		r = r != NULL ? TAILQ_FIRST(&hub->resumes.away) : NULL;
	}
}

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
		resume_dismiss(r->session,
			       full ? "all sockets are taken: the session that is longest away ends"
				    : "nobody came back: the session ends");
		full = false;
		left--;
	}
	while ((e = TAILQ_FIRST(&all->ends)) != NULL && e->until <= now)
		resume_end_free(all, e);
	if (!TAILQ_EMPTY(&all->starving))
		resumes_feed_starving(hub);
	if (all->n_away > 0 || all->n_ends > 0)
		loop_timer_set(&all->tick, left > 0 ? RESUME_TICK_MS : 1);
}

void resumes_init(struct resumes *all, struct hub *hub)
{
	TAILQ_INIT(&all->due);
	TAILQ_INIT(&all->starving);
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
