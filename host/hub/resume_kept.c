/* What is kept for a client that may come back, and what is said to it about that. */
#include "base/check.h"
#include "hub/resume_parts.h"
#include "net/conn.h"

#define RESUME_FORGET_MAX 16384 /* messages that are forgotten in a turn, beyond all bounds */

/* --- a control message for the client --------------------------------------------------------- */

bool resume_say(struct session *s, const char *text, size_t n)
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

void resume_mark_due(struct hub *hub, struct resume *r)
{
	if (r->due)
		return;
	CHECK(hub->magic == CHECK_HUB && r->session->magic == CHECK_SESSION);
	r->due = true;
	TAILQ_INSERT_TAIL(&hub->resumes.due, r, due_link);
}

void resume_unmark_due(struct hub *hub, struct resume *r)
{
	if (r->due)
		TAILQ_REMOVE(&hub->resumes.due, r, due_link);
	r->due = false;
}

void resume_starve(struct hub *hub, struct resume *r)
{
	if (r->starves)
		return;
	r->starves = true;
	TAILQ_INSERT_TAIL(&hub->resumes.starving, r, starving_link);
	if (!loop_timer_is_set(&hub->resumes.tick))
		loop_timer_set(&hub->resumes.tick, RESUME_TICK_MS);
}

void resume_unstarve(struct hub *hub, struct resume *r)
{
	if (r->starves)
		TAILQ_REMOVE(&hub->resumes.starving, r, starving_link);
	r->starves = false;
}

/* --- what is kept ----------------------------------------------------------------------------- */

void resume_list_kept(struct hub *hub, struct resume *r, uint32_t before)
{
	uint32_t now = r->written.n + r->waiting.n;
	if (before == 0 && now > 0)
		TAILQ_INSERT_TAIL(&hub->resumes.kept, r, kept_link);
	else if (before > 0 && now == 0)
		TAILQ_REMOVE(&hub->resumes.kept, r, kept_link);
}

/* The oldest of all that it keeps; false: nothing was. */
static bool resume_kept_forget_oldest(struct hub *hub, struct resume *r)
{
	uint32_t before = r->written.n + r->waiting.n;
	struct kept *from = r->written.n > 0 ? &r->written : &r->waiting;
	if (from->n == 0)
		return false;
	if (from == &r->waiting && resume_is_data(kept_first(from))) {
		hub->loop->stats.dropped++;
		mount_drop(r->session, 1);
	}
	if (from == &r->waiting)
		resume_grace_pop(r);
	else
		kept_pop(from);
	resume_list_kept(hub, r, before);
	return true;
}

void resume_bound(struct hub *hub, struct resume *r)
{
	const struct resume_limits *limits = &hub->resumes.limits;
	while (r->written.bytes + (r->away ? r->waiting.bytes : 0) > limits->queue ||
	       r->written.n + (r->away ? r->waiting.n : 0) > limits->messages)
		if ((!r->away && r->written.n == 0) || !resume_kept_forget_oldest(hub, r))
			return;
}

void resume_forget_failed(struct resume *r, uint32_t n)
{
	CHECK(n <= r->n_failed);
	memmove(r->failed, r->failed + n, (r->n_failed - n) * sizeof *r->failed);
	r->n_failed -= n;
	if (r->n_failed_unsent > r->n_failed)
		r->n_failed_unsent = r->n_failed;
}

void resume_confirm(struct hub *hub, struct resume *r, uint64_t got)
{
	uint32_t before = r->written.n + r->waiting.n;
	struct kept_message *m;
	while ((m = kept_first(&r->written)) != NULL && m->number <= got)
		kept_pop(&r->written);
	resume_list_kept(hub, r, before);
	if (got > r->confirmed)
		r->confirmed = got;
	if (got > r->failed_sent_at)
		resume_forget_failed(r, r->n_failed - r->n_failed_unsent);
}

void resumes_bound(struct hub *hub)
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
			resume_kept_forget_oldest(hub, r);
	}
	if (left == 0)
		hub->loop->again = true;
}
