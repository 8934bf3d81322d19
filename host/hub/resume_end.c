/* The end of a session whose client may come back, and what is remembered of it. */
#include <stdlib.h>

#include "base/check.h"
#include "common/rules.h"
#include "hub/resume_parts.h"
#include "ws/frame.h"

#define RESUME_ENDS_MAX 10000 /* ends of away sessions that are remembered */

static void resume_end_tokens(struct resume_tokens *all, struct resume *r)
{
	resume_token_forget(all, &r->token);
	resume_token_forget(all, &r->before);
	resume_token_forget(all, &r->past);
}

static void resume_end_counted(struct hub *hub, struct resume *r)
{
	if (r->counted)
		addr_limits_not_away(hub->resumes.client_addr->addr_limits, &r->remote,
				     loop_now(hub->loop));
	r->counted = false;
}

void resume_free(struct hub *hub, struct session *s)
{
	struct resume *r = session_resume(s);
	if (r == NULL)
		return;
	uint32_t before = r->written.n + r->waiting.n;
	resume_unstarve(hub, r);
	resume_unmark_due(hub, r);
	if (r->away) {
		TAILQ_REMOVE(&hub->resumes.away, r, away_link);
		hub->resumes.n_away--;
		resume_end_counted(hub, r);
	}
	resume_end_tokens(&hub->resumes.tokens, r);
	kept_free(&r->written);
	kept_free(&r->waiting);
	resume_list_kept(hub, r, before);
	free(r->protocol);
	free(r->rate);
	free(r);
	s->more->resume = NULL;
}

void resume_end_away(struct hub *hub, struct resume *r)
{
	if (!r->away)
		return;
	CHECK(hub->resumes.n_away > 0 && hub->loop->stats.away > 0);
	r->away = false;
	resume_end_counted(hub, r);
	TAILQ_REMOVE(&hub->resumes.away, r, away_link);
	hub->resumes.n_away--;
	hub->loop->stats.away--;
	hub->loop->stats.connections++;
}

void resume_end_free(struct resumes *all, struct resume_end *e)
{
	resume_token_forget(&all->tokens, &e->token);
	resume_token_forget(&all->tokens, &e->before);
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
	resume_unstarve(hub, r);
	resume_unmark_due(hub, r);
	resume_end_away(hub, r);
	resume_end_tokens(&hub->resumes.tokens, r);
}

/* Is it an end of which a client that comes back has to know? One that comes for a code that asks
 * it to is welcome; and one whose close frame may have met a dead socket has not heard of it. */
static bool resume_end_matters(const struct resume *r, uint16_t code)
{
	bool again = code == CLOSE_RESTART || code == CLOSE_TRY_LATER || code == CLOSE_GOING_AWAY;
	return r->keeps && r->token.listed && code != CLOSE_ABNORMAL && (r->away || !again);
}

/* Who shows it is told of that end. */
static void resume_end_take(struct resumes *all, struct resume_token *to,
			    struct resume_token *from, struct resume_end *e)
{
	resume_token_move(&all->tokens, to, from);
	to->over = true;
	to->end = e;
}

void resume_end_note(struct hub *hub, struct session *s, uint16_t code, struct span reason)
{
	struct resume *r = session_resume(s);
	struct resumes *all = &hub->resumes;
	bool tells = r != NULL && resume_end_matters(r, code);
	size_t n = reason.n < RULES_REASON_MAX ? reason.n : RULES_REASON_MAX;
	struct resume_end *e = tells ? malloc(sizeof *e + n) : NULL;
	if (e == NULL)
		return;
	*e = (struct resume_end){.mount = s->mount,
				 .until = loop_now(hub->loop) + s->mount->resume_ms,
				 .code = code != CLOSE_NONE ? code : CLOSE_NORMAL,
				 .reason_len = (uint8_t)n};
	if (n > 0)
		memcpy(e->reason, reason.p, n);
	resume_end_take(all, &e->token, &r->token, e);
	resume_end_take(all, &e->before, &r->before, e);
	TAILQ_INSERT_TAIL(&all->ends, e, link);
	if (++all->n_ends > RESUME_ENDS_MAX)
		resume_end_free(all, TAILQ_FIRST(&all->ends));
	if (!loop_timer_is_set(&all->tick))
		loop_timer_set(&all->tick, RESUME_TICK_MS);
}
