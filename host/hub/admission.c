#include "hub/admission.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "hub/access.h"
#include "hub/delivery.h"
#include "hub/hub.h"
#include "hub/session_trace.h"
#include "hub/timer.h"
#include "auth/token.h"
#include "hub/resume.h"
#include "net/answer.h"

#include "ws/upgrade.h"
#include "hub/session_conn.h"

/* r: NULL where it can not be read any more. */
static void admission_refuse(struct hub *hub, struct conn *c, const struct request *r, int status,
			     struct span head, const char *why)
{
	stats_refuse(&hub->loop->stats, status);
	answer_note(c, LOG_INFO, LOG_UPGRADE, r, status, why, (struct span){NULL, 0});
	answer_error_upgrade(c, r, hub->offer.offered, status, head, why);
}

static void admission_refuse_by_handler(struct hub *hub, struct conn *c, const struct request *r,
					const struct event_answer *answer)
{
	stats_refuse(&hub->loop->stats, answer->status);
	answer_note(c, LOG_INFO, LOG_UPGRADE, r, answer->status,
		    answer->why != NULL ? answer->why : "the handler refused an upgrade",
		    (struct span){NULL, 0});
	if (hub->offer.offered && tova_v1_close_code(answer->status) != 0)
		answer_error_upgrade(c, r, true, answer->status,
				     (struct span){answer->head, answer->head_len},
				     "the handler refused");
	else
		answer_respond(c, answer->status, (struct span){answer->head, answer->head_len},
			       answer->type[0] != '\0' ? answer->type : NULL,
			       (struct span){answer->body, answer->body_len});
}

/* What went wrong in a handler is for the operator: it may hold paths, names and values that are
 * nobody else's. */
static void admission_failed(struct hub *hub, struct conn *c, const struct request *r,
			     const char *error)
{
	stats_refuse(&hub->loop->stats, 500);
	answer_note(c, LOG_WARN, LOG_UPGRADE, r, 500, "the handler failed, the upgrade is refused",
		    span_of(error));
	answer_error(c, 500, (struct span){0}, "the handler failed");
}

/* What the request alone decides: the mount, or NULL when it was refused. */
static struct mount *admission_mount(struct hub *hub, struct conn *c, const struct request *r)
{
	struct mount *m = mount_find(hub, r->path);
	if (m == NULL)
		admission_refuse(hub, c, r, 404, (struct span){0},
				 "nothing takes WebSocket connections at this path");
	else if (hub->draining)
		admission_refuse(hub, c, r, 503, SPAN("Retry-After: 1\r\n"),
				 "the host is stopping");
	else if (!upgrade_origin_ok(r, (const char *const *)hub->origins, hub->n_origins) &&
		 !(hub->n_page_origins > 0 &&
		   upgrade_origin_ok(r, (const char *const *)hub->page_origins,
				     hub->n_page_origins)))
		admission_refuse(hub, c, r, 403, (struct span){0},
				 "pages of this origin may not connect");
	else
		return m;
	return NULL;
}

/* RFC 6750 3: what was wrong is said, but of a request without a token only that one is needed. */
static void admission_refuse_token(struct hub *hub, struct conn *c, const struct request *r,
				   int status, const char *why, bool none)
{
	char head[512];
	int n = status == 503 || status == 403 ? 0
		: none ? snprintf(head, sizeof head, "WWW-Authenticate: Bearer realm=\"tova\"\r\n")
		       : snprintf(
				 head, sizeof head,
				 "WWW-Authenticate: Bearer realm=\"tova\", error=\"%s\", "
				 "error_description=\"%s\"\r\n",
				 status == 400 ? "invalid_request" : "invalid_token", why);
	admission_refuse(hub, c, r, status, (struct span){head, (size_t)n}, why);
}

/* The token of a mount that asks for one; what it says is the caller's to free. False: the upgrade
 * was refused. */
static bool admission_token(struct hub *hub, const struct mount *m, struct conn *c,
			    struct request *r, struct token_claims *claims)
{
	struct token_found found;
	*claims = (struct token_claims){.text = NULL};
	if (m->tokens == NULL)
		return true;
	const char *why = token_take(m->tokens, r, &found);
	int status = why != NULL ? 400 : found.len == 0 ? 401 : 0;
	if (status == 401)
		why = "a token is needed";
	if (status == 0)
		status = token_verify(m->tokens, (struct span){found.text, found.len},
				      (uint64_t)time(NULL), claims, &why);
	claims->subprotocol = found.place == TOKEN_IN_SUBPROTOCOL;
	if (status != 0)
		admission_refuse_token(hub, c, r, status, why, status == 401 && found.len == 0);
	return status == 0;
}

/* Everything that its end will need is there from its beginning. */
static bool admission_register(struct hub *hub, struct mount *m, struct session *s,
			       const struct event_answer *answer)
{
	size_t data = handler_is_async(m->handler) ? answer->data_len : m->data_size;
	CHECK(s->local == 0 && s->data == NULL && data <= UINT16_MAX);
	s->data = data > 0 ? calloc(1, data) : NULL;
	bool ok = (data == 0 || s->data != NULL) && hub_reserve(hub) && mount_reserve(m, s);
	if (ok && (s->local = slotmap_add(&hub->sessions, s)) == 0) {
		mount_remove(m, s);
		ok = false;
	}
	if (!ok)
		return false;
	if (answer->data != NULL && data > 0)
		memcpy(s->data, answer->data, data);
	if (s->more != NULL)
		s->more->data_len = (uint16_t)data;
	hub_session_opened(s);
	hub->loop->stats.opened++;
	hub->loop->stats.connections++;
	return true;
}

/* The session of a conn that asks for an upgrade, which has one already if its handler was asked.
 * NULL without memory. */
static struct session *admission_session(struct mount *m, struct conn *c)
{
	if (conn_user(c) != NULL)
		return session_of(c);
	struct session *s = session_new(m, handler_is_async(m->handler));
	if (s != NULL && m->hub->offer.offered && !resume_begin(s)) {
		session_free(&s);
		return NULL;
	}
	if (s != NULL)
		session_attach(s, c);
	return s;
}

/* It does not become one. */
static void admission_forget_session(struct conn *c)
{
	struct session *s = conn_user(c);
	conn_set_user(c, NULL);
	if (s == NULL)
		return;
	CHECK(s->magic == CHECK_SESSION && s->local == 0 && s->conn == c);
	resume_free(s->mount->hub, s);
	s->conn = NULL;
	session_free(&s);
}

static void admission_open(struct hub *hub, struct mount *m, struct conn *c,
			   const struct event_request *request)
{
	struct session *s = session_of(c);
	struct hub_event e = {.kind = EVENT_OPEN, .request = request};
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	LOG(hub->log, LOG_DEBUG, LOG_CONN_OPEN, "connection opened", LOG_STR("mount", m->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
	    LOG_STR("remote", conn_remote_text(c, remote)),
	    LOG_STR("subject", request->token != NULL ? request->token->subject : NULL));
	delivery_submit(m, s, &e);
}

/* What the handler has chosen, else what the operator lets the host choose; or, as a browser that
 * offers any ends a connection for which none is chosen, the one that only says where the token is.
 */
static struct span admission_subprotocol(const struct mount *m, const struct event_request *request,
					 const struct event_answer *answer)
{
	struct span chosen = span_of(answer->subprotocol);
	if (chosen.n == 0 && m->subprotocols != NULL)
		chosen = upgrade_choose(request->request, span_of(m->subprotocols));
	bool any = chosen.n == 0 && request->token != NULL && request->token->subprotocol &&
		   upgrade_offers(request->request, SPAN(TOKEN_SUBPROTOCOL));
	return any ? SPAN(TOKEN_SUBPROTOCOL) : chosen;
}

/* What the token says that is needed for as long as the connection lives. False without memory. */
static bool admission_keep_token(struct mount *m, struct session *s,
				 const struct token_claims *token)
{
	if (token == NULL)
		return true;
	return identity_take_token(s, token) && user_limits_enter(m, s) &&
	       timer_set_end(m, s, token->ends);
}

/* Who it is, as its handler has said in its answer. False without memory. */
static bool admission_introduce(struct session *s, const struct event_answer *answer)
{
	struct span none = {NULL, 0};
	return (!answer->has_user && !answer->has_info) ||
	       identity_set(s, answer->has_info ? span_of(answer->info) : none,
			    answer->has_user ? span_of(answer->user) : none);
}

/* May its user have one more? */
static bool admission_user_fits(struct mount *m, const struct event_request *request)
{
	struct session *away;
	bool fits = user_limits_admit(m, request->token != NULL ? request->token->subject : NULL,
				      &away);
	if (away != NULL)
		hub_close_session(away, CLOSE_ABNORMAL, (struct span){0}, true);
	return fits;
}

static void admission_refuse_user(struct hub *hub, const struct mount *m, struct conn *c,
				  const struct event_request *request)
{
	LOG(hub->log, LOG_NOTICE, LOG_LIMIT,
	    "a user has as many connections as --limit-user allows", LOG_STR("mount", m->path),
	    LOG_STR("subject", request->token->subject),
	    LOG_U64("connections", m->user_limits.max));
	hub->loop->stats.limited++;
	admission_refuse(hub, c, request->request, 429, SPAN("Retry-After: 1\r\n"),
			 "too many connections of this user");
}

static void admission_accept(struct hub *hub, struct mount *m, struct conn *c,
			     const struct event_request *request, const struct event_answer *answer)
{
	struct session *s = admission_session(m, c);
	struct span subprotocol = admission_subprotocol(m, request, answer);
	bool v1 = s != NULL && s->shard == SESSION_RESUMES;
	bool ok = s != NULL && (m->rule.rate.n == 0 || conn_measure(c, &m->rule, v1)) &&
		  (!v1 || resume_know(s, subprotocol));
	if (!ok || !admission_register(hub, m, s, answer)) {
		admission_forget_session(c);
		admission_refuse(hub, c, request->request, 503, SPAN("Retry-After: 1\r\n"),
				 "no memory for another connection");
		return;
	}
	if (!span_eq(request->request->path, span_of(m->path)))
		session_set_path(s, request->request->path);
	if (!admission_keep_token(m, s, request->token) || !admission_introduce(s, answer) ||
	    !session_trace_begin(s, request) ||
	    (access_is_kept(hub) &&
	     !(access_begin(s, request, subprotocol) && access_attach(s, c))))
		conn_abort(c);
	else if (conn_accept(c, request->request, v1 ? SLOW_POLICY_CLOSE : m->slow,
			     v1 ? SPAN(TOVA_V1_NAME) : subprotocol,
			     (struct span){answer->head, answer->head_len})) {
		if (v1)
			resume_welcome(hub, s, false);
		admission_open(hub, m, c, request);
		resumes_make_way(hub, &request->remote);
		return;
	}
	if (s->more != NULL) /* no memory even for the 101: it never opened */
		timer_free_all(&s->more->timers);
	mount_remove(m, s);
	user_limits_leave(m, s);
	s->ended = true;
	hub->loop->stats.connections--;
	hub_session_over(s);
}

static void admission_request_facts(struct event_request *e, const struct mount *m, struct conn *c,
				    struct request *r)
{
	e->request = r;
	e->head = r->head;
	e->remote = conn_remote(c);
	e->mount_path = m->path;
	e->secure = r->secure;
	conn_tls_facts(c, &e->tls);
	if (m->handler->wants &
	    (EVENT_BIT(EVENT_UPGRADE) | EVENT_BIT(EVENT_OPEN) | EVENT_BIT(EVENT_BACK)))
		e->local = conn_local(c);
}

static void admission_answer_init(struct event_answer *answer)
{
	answer->status = 0;
	answer->subprotocol[0] = answer->type[0] = '\0';
	answer->head_len = answer->body_len = answer->data_len = 0;
	answer->has_user = answer->has_info = false;
	answer->body = NULL;
	answer->why = NULL;
	answer->data = NULL;
}

/* The handler will say later. What is known of the conn meanwhile is its upgrade event. */
static void admission_ask(struct hub *hub, struct mount *m, struct conn *c, struct hub_event *e)
{
	struct session *s = admission_session(m, c);
	struct event_held *h = s != NULL ? event_hold(e) : NULL;
	if (h == NULL) {
		admission_forget_session(c);
		admission_refuse(hub, c, e->request->request, 503, SPAN("Retry-After: 1\r\n"),
				 "no memory to ask the handler");
		return;
	}
	h->event.conn = c;
	if (m->meters != NULL && meters_sample(&m->meters->events))
		h->received = meters_stamp();
	budget_add_event(m->budget, h->size);
	s->lane.current = h;
	hub->loop->stats.events++;
	m->handler->ops->give(m->handler, h);
}

/* The request of an upgrade that is not answered yet. NULL: it was no request, which can not be. */
static struct request *admission_read(struct request *r, const struct event_held *h)
{
	return request_parse_kept(r, h->event.request->head) ? r : NULL;
}

bool admission_may_answer(const struct event_held *h, const struct event_answer *answer)
{
	struct request r;
	return answer->subprotocol[0] == '\0' || answer->status != 0 ||
	       (admission_read(&r, h) != NULL && upgrade_offers(&r, span_of(answer->subprotocol)));
}

static void admission_settle(struct mount *m, struct conn *c, struct event_request *request,
			     const struct event_answer *answer, const char *failure)
{
	struct hub *hub = m->hub;
	const struct request *r = request->request;
	bool accepts = failure == NULL && !hub->draining && answer->status == 0;
	bool fits = accepts && admission_user_fits(m, request); /* others have come meanwhile */
	if (!fits)
		admission_forget_session(c);
	if (failure != NULL)
		admission_failed(hub, c, r, failure);
	else if (hub->draining)
		admission_refuse(hub, c, r, 503, SPAN("Retry-After: 1\r\n"),
				 "the host is stopping");
	else if (answer->status != 0)
		admission_refuse_by_handler(hub, c, r, answer);
	else if (!fits)
		admission_refuse_user(hub, m, c, request);
	else
		admission_accept(hub, m, c, request, answer);
}

/* What was read of the request is not there any more where its handler was asked: whether it
 * offered tova.v1 is. */
static void admission_offered(struct hub *hub, const struct conn *c)
{
	hub->offer = (struct tova_v1_offer){.offered = session_of(c)->shard == SESSION_RESUMES};
}

/* --- who comes back --------------------------------------------------------------------------- */

/* 0: it may. Else the code that its new socket is closed with. */
static uint16_t admission_may_return(struct hub *hub, struct session *s)
{
	if (!resume_was_sent(s, hub->offer.got))
		return CLOSE_PROTOCOL;
	if (s->conn == NULL)
		return 0;
	/* it may still have said something; whoever hears that may end the session */
	conn_hear_out(s->conn);
	if (!s->ended)
		return resume_is_outdone(s) ? RESUME_TAKEN_OVER : 0;
	/* some are never on the wire (RFC 6455 7.4.1) */
	return frame_close_code_ok(s->close_code) ? s->close_code : CLOSE_NORMAL;
}

/* From its socket that is still there, if it is. */
static void admission_take_over(struct session *s)
{
	if (s->conn == NULL)
		return;
	/* nobody can say which of the two is the newer one: if it is that one it comes again */
	bool behind = resume_is_behind(s);
	struct span why = behind ? SPAN("another socket came with the token before: come again")
				 : SPAN("another socket has taken the session over");
	conn_close(s->conn, behind ? CLOSE_GOING_AWAY : RESUME_TAKEN_OVER, why.p, why.n, true);
	session_detach(s);
}

static void admission_return(struct hub *hub, struct mount *m, struct conn *c,
			     const struct event_request *request, struct session *s)
{
	const struct token_claims *token = request->token;
	uint64_t got = hub->offer.got;
	uint16_t code = admission_may_return(hub, s);
	if (code != 0) {
		answer_note(c, LOG_NOTICE, LOG_UPGRADE, request->request, 101,
			    code == CLOSE_PROTOCOL ? "a return counts messages that were never sent"
			    : code == RESUME_TAKEN_OVER
				    ? "a return behind another one"
				    : "a return to a session that has just ended",
			    (struct span){NULL, 0});
		answer_websocket(c, request->request, SPAN(TOVA_V1_NAME), (struct span){0}, code,
				 (struct span){0});
		return;
	}
	const char *why = !resume_may_tell(m)
				  ? "too much waits for the handler already: see --hold-bytes"
			  : m->rule.rate.n != 0 && !conn_measure(c, &m->rule, true)
				  ? "no memory for another connection"
				  : NULL;
	if (why != NULL) {
		admission_refuse(hub, c, request->request, 503, SPAN("Retry-After: 1\r\n"), why);
		return;
	}
	admission_take_over(s);
	session_attach(s, c);
	resume_back(hub, s, got);
	if (admission_keep_token(m, s, token) && access_attach(s, c) &&
	    conn_accept(c, request->request, SLOW_POLICY_CLOSE, SPAN(TOVA_V1_NAME),
			(struct span){0})) {
		resume_welcome(hub, s, true);
		resume_go_on(hub, s);
		resume_tell_back(s, request);
		hub_end_victims(hub);
		return;
	}
	conn_abort(c); /* no memory even for the 101 */
	resume_leave(hub, s, CONN_END_TRANSPORT, CLOSE_ABNORMAL);
}

/* False: it is a new one. */
static bool admission_returns(struct hub *hub, struct mount *m, struct conn *c,
			      const struct event_request *request)
{
	struct resume_over over;
	struct session *s =
		resume_find(hub, m, &hub->offer,
			    request->token != NULL ? request->token->subject : NULL, &over);
	if (s != NULL)
		admission_return(hub, m, c, request, s);
	else if (over.code != 0)
		answer_websocket(c, request->request, SPAN(TOVA_V1_NAME), (struct span){0},
				 over.code, over.reason);
	return s != NULL || over.code != 0;
}

void admission_answered(struct mount *m, struct event_held *h, const struct event_answer *answer,
			const char *failure)
{
	struct conn *c = h->event.conn;
	struct event_request request = *h->event.request;
	budget_sub_event(m->budget, h->size);
	if (c != NULL) {
		admission_offered(m->hub, c);
		session_of(c)->lane.current = NULL;
		request.request = admission_read(&c->conns->request, h);
		if (request.request != NULL) {
			admission_settle(m, c, &request, answer, failure);
		} else {
			admission_forget_session(c);
			conn_abort(c);
			conn_release(c);
		}
	}
	event_held_free(&h);
}

void admission_upgrade(void *ctx, struct conn *c, struct request *r)
{
	struct hub *hub = ctx;
	CHECK_IS(hub, CHECK_HUB);
	struct event_answer answer;
	struct event_request request = {.traced = false};
	struct token_claims claims;
	char *head = NULL;
	r->secure = r->secure || conn_is_secure(c);
	tova_v1_take(r, &hub->offer);
	struct mount *m = admission_mount(hub, c, r);
	if (m != NULL && m->trace_sample >= 0)
		session_trace_take(m, r, &request, &head);
	if (m == NULL || !admission_token(hub, m, c, r, &claims)) {
		free(head);
		return;
	}
	admission_answer_init(&answer);
	admission_request_facts(&request, m, c, r);
	request.token = claims.text != NULL ? &claims : NULL;
	struct hub_event e = {.kind = EVENT_UPGRADE};
	e.request = &request;
	e.answer = &answer;
	if (hub->offer.returns && admission_returns(hub, m, c, &request)) {
		token_claims_free(&claims);
		free(head);
		return;
	}
	bool asked = (m->handler->wants & EVENT_BIT(EVENT_UPGRADE)) != 0;
	if (handler_is_async(m->handler) && budget_refuses(m->budget))
		admission_refuse(hub, c, r, 503, SPAN("Retry-After: 1\r\n"),
				 "too much waits for the handler already: see --hold-bytes");
	else if (!admission_user_fits(m, &request))
		admission_refuse_user(hub, m, c, &request);
	else if (asked && handler_is_async(m->handler))
		admission_ask(hub, m, c, &e);
	else if (asked && !delivery_submit(m, NULL, &e))
		admission_failed(hub, c, r, NULL);
	else if (answer.status != 0)
		admission_refuse_by_handler(hub, c, r, &answer);
	else
		admission_accept(hub, m, c, &request, &answer);
	free(answer.body);
	free(head);
	token_claims_free(&claims);
}

/* The upgrade event stays with the handler, whose answer finds no conn any more. */
static void admission_forget(struct conn *c)
{
	struct session *s = session_of(c);
	if (s->lane.current != NULL)
		s->lane.current->event.conn = NULL;
	admission_forget_session(c);
}

void admission_dropped(struct event_held *h)
{
	if (h->event.conn != NULL)
		session_of(h->event.conn)->lane.current = NULL;
	event_held_free(&h);
}

void admission_withdrawn(struct conn *c)
{
	admission_forget(c);
	conn_release(c);
}

void admission_unanswered(struct conn *c)
{
	struct session *s = session_of(c);
	struct hub *hub = s->mount->hub;
	admission_offered(hub, c);
	const struct request *r = s->lane.current != NULL
					  ? admission_read(&c->conns->request, s->lane.current)
					  : NULL;
	admission_forget(c); /* whose head r points into: it stays with the handler */
	admission_refuse(hub, c, r, 503, SPAN("Retry-After: 1\r\n"),
			 "the handler did not answer in time: see --upgrade-timeout");
}
