#include "hub/prolong.h"

#include <time.h>

#include "hub/hub.h"
#include "hub/session_trace.h"
#include "hub/timer.h"
#include "ws/frame.h"

int prolong_verify(const struct session *s, struct span token, uint64_t now,
		   struct token_claims *claims_r, const char **why_r)
{
	int status = token_verify(s->mount->tokens, token, now, claims_r, why_r);
	if (status != 0 || identity_is_of(s, claims_r->subject))
		return status;
	token_claims_free(claims_r);
	*why_r = "the new token is of somebody else";
	return 401;
}

bool prolong_take(struct session *s, const struct token_claims *claims)
{
	return identity_take_token(s, claims) && timer_set_end(s->mount, s, claims->ends);
}

static enum commit_error prolong_judge(const struct mount *m, const struct session *s,
				       struct span token)
{
	struct token_claims claims = {.text = NULL};
	const char *why = NULL;
	char id[SESSION_ID_TEXT];
	if (m->tokens == NULL)
		return COMMIT_E_NO_TOKENS;
	int status = prolong_verify(s, token, (uint64_t)time(NULL), &claims, &why);
	token_claims_free(&claims);
	if (status != 0)
		LOG(m->hub->log, LOG_NOTICE, LOG_HANDLER, "a prolong was refused",
		    LOG_STR("mount", m->path), LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s),
		    LOG_STR("error", why));
	return status == 0 ? COMMIT_OK : status == 503 ? COMMIT_E_MEMORY : COMMIT_E_TOKEN;
}

void prolong_check(const struct mount *m, struct commit *c)
{
	unsigned left = PROLONG_MAX;
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++) {
		const struct command *command = &c->commands[i];
		if (command->kind != COMMAND_PROLONG)
			continue;
		const struct session *s = hub_find_session(m->hub, m, command->target);
		enum commit_error wrong = left-- == 0 ? COMMIT_E_LIMIT
					  : s != NULL ? prolong_judge(m, s, commit_text(c, command))
						      : COMMIT_OK;
		if (wrong != COMMIT_OK)
			commit_spoil_at(c, wrong, i);
	}
}

void prolong_apply(struct mount *m, struct session *s, struct span token)
{
	struct token_claims claims = {.text = NULL};
	const char *why;
	/* It may be over since it was checked, a moment ago: then it ends as it was to. */
	if (m->tokens == NULL ||
	    prolong_verify(s, token, (uint64_t)time(NULL), &claims, &why) != 0)
		return;
	if (!prolong_take(s, &claims))
		hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
	token_claims_free(&claims);
}
