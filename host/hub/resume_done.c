/* Which messages of a client that may come back were settled, and when it is told. */
#include "hub/resume_parts.h"

bool resume_done_say(struct session *s, struct resume *r)
{
	char text[TOVA_V1_MAX];
	const uint64_t *untold = r->failed + r->n_failed - r->n_failed_unsent;
	if (!resume_say(s, text, tova_v1_done(text, r->done, untold, r->n_failed_unsent)))
		return false;
	r->done_sent = r->done;
	if (r->n_failed_unsent > 0)
		r->failed_sent_at = r->fed;
	r->n_failed_unsent = 0;
	return true;
}

void resume_settled(struct hub *hub, struct session *s, bool ok)
{
	struct resume *r = session_resume(s);
	if (!ok && r->n_failed_unsent == TOVA_V1_FAILED_MAX && s->conn != NULL)
		resume_done_say(s, r);
	if (!ok && r->n_failed == TOVA_V1_FAILED_MAX)
		resume_forget_failed(r, 1);
	r->done++;
	if (!ok) {
		r->failed[r->n_failed++] = r->done;
		r->n_failed_unsent++;
	}
	resume_mark_due(hub, r);
}

void resume_flush(struct hub *hub, struct session *s)
{
	struct resume *r = session_resume(s);
	resume_feed(hub, s, r, true);
	/* it stands behind all that the events have led to */
	if (s->conn == NULL || r->waiting.n > 0 || r->fed != r->out)
		return;
	if ((r->done_sent != r->done || r->n_failed_unsent > 0) && !resume_done_say(s, r))
		resume_starve(hub, r);
}
