/* What a client that may come back sends. */
#include <time.h>

#include "auth/token.h"
#include "base/check.h"
#include "hub/access.h"
#include "hub/prolong.h"
#include "hub/resume_parts.h"
#include "hub/session_trace.h"
#include "hub/timer.h"
#include "net/conn.h"

static void resume_in_break(struct hub *hub, struct session *s, uint16_t code, const char *why)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	LOG(hub->log, LOG_NOTICE, LOG_CONN_PROTOCOL, why, LOG_STR("mount", s->mount->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
	    LOG_STR("remote", session_remote_text(s, remote)));
	access_ended_by(s, "protocol");
	hub_close_session(s, code, span_of(why), false);
}

static void resume_in_on_got(struct hub *hub, struct session *s, uint64_t got)
{
	struct resume *r = session_resume(s);
	if (got > r->fed) {
		resume_in_break(hub, s, CLOSE_PROTOCOL,
				"the client confirms messages that it was never sent");
		return;
	}
	resume_confirm(hub, r, got);
}

static void resume_in_refuse(struct hub *hub, struct session *s, const char *why)
{
	char text[TOVA_V1_MAX];
	resume_say(s, text, tova_v1_refused(text, 401, 0));
	resume_in_break(hub, s, (uint16_t)tova_v1_close_code(401), why);
}

/* A fresh token for the one that its upgrade had, of the same subject. */
static void resume_in_on_jwt(struct hub *hub, struct session *s, struct span token)
{
	struct token_claims claims = {.text = NULL};
	char text[TOVA_V1_MAX];
	const char *why = NULL;
	uint64_t now = (uint64_t)time(NULL);
	if (s->mount->tokens == NULL) {
		resume_say(s, text, tova_v1_renewed(text, 0));
		return;
	}
	if (prolong_verify(s, token, now, &claims, &why) != 0)
		resume_in_refuse(hub, s, why);
	else if (!prolong_take(s, &claims))
		hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
	else
		resume_say(s, text,
			   tova_v1_renewed(text,
					   claims.ends > now ? (claims.ends - now) * 1000 : 0));
	token_claims_free(&claims);
}

static void resume_in_on_control(struct hub *hub, struct session *s, char *text, size_t len)
{
	char answer[TOVA_V1_MAX];
	struct tova_v1_control control;
	tova_v1_read(text, len, &control);
	if (control.said & TOVA_V1_BAD)
		resume_in_break(hub, s, CLOSE_PROTOCOL,
				"a control message of tova.v1 is no JSON object");
	if (control.said & TOVA_V1_GOT)
		resume_in_on_got(hub, s, control.got);
	if (control.said & TOVA_V1_JWT && !s->ended)
		resume_in_on_jwt(hub, s, control.jwt);
	if (control.said & TOVA_V1_PING && !s->ended)
		resume_say(s, answer, tova_v1_pong(answer));
	if (control.said & TOVA_V1_BYE && !s->ended) {
		access_ended_by(s, "client");
		hub_close_session(s, CLOSE_GOING_AWAY, (struct span){0}, false);
	}
}

/* One too many is settled at once, as an event that failed. */
static bool resume_in_measure(struct hub *hub, struct session *s, struct resume *r, uint32_t n)
{
	uint64_t now = loop_now(hub->loop);
	if (r->rate == NULL || rate_limit_take(r->rate, now, n))
		return true;
	hub->loop->stats.rate_dropped++;
	if (r->rate->rule->close) {
		resume_in_break(hub, s, CLOSE_POLICY, "more messages than --rate-limit allows");
		return false;
	}
	uint32_t untold = rate_limit_due(r->rate, now);
	if (untold > 0)
		hub_dropped(s, untold);
	return false;
}

static uint32_t resume_in_lines(const struct resume *r, const uint8_t *data, size_t len)
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
static void resume_in_token_pass(struct hub *hub, struct resume *r)
{
	resume_token_move(&hub->resumes.tokens, &r->past, &r->before);
}

bool resume_take(struct hub *hub, struct session *s, bool binary, uint8_t **data_r, size_t *len_r)
{
	struct resume *r = session_resume(s);
	bool marked = !binary && *len_r > 0 && (*data_r)[0] == TOVA_V1_MARK,
	     control = marked && (*len_r == 1 || (*data_r)[1] != TOVA_V1_MARK);
	if (r->before.listed)
		resume_in_token_pass(hub, r);
	if (!control) {
		r->in++;
		bool takes = resume_in_measure(hub, s, r, resume_in_lines(r, *data_r, *len_r));
		if (!takes)
			resume_settled(hub, s, false);
		*data_r += marked;
		*len_r -= marked;
		return takes;
	}
	if (!resume_in_measure(hub, s, r, 1))
		return false;
	if (*len_r > s->conn->conns->limits.head.head_max)
		resume_in_break(hub, s, CLOSE_TOO_BIG,
				"a control message of tova.v1 is longer than --max-head");
	else
		resume_in_on_control(hub, s, (char *)*data_r + 1, *len_r - 1);
	return false;
}
