/* Sessions that end. */
#include <stdlib.h>

#include "base/check.h"
#include "hub/access.h"
#include "hub/resume.h"
#include "hub/session_conn.h"
#include "hub/session_trace.h"
#include "hub/slow_consumer.h"
#include "hub/timer.h"

#define HUB_END_TURN 64 /* victims that are ended in one turn */

/* A reason is text, in which a NUL is a character like others. */
static void hub_end_reason(struct session *s, struct span reason)
{
	struct session_more *more = reason.n > 0 ? session_more(s) : NULL;
	if (more == NULL || (more->reason = malloc(reason.n + 1)) == NULL)
		return;
	memcpy(more->reason, reason.p, reason.n);
	more->reason[reason.n] = '\0';
	more->reason_len = (uint16_t)reason.n;
}

static void hub_end_count(struct close_counts *all, uint16_t code)
{
	unsigned i = 0;
	while (i < all->n && all->codes[i].code != code)
		i++;
	if (i == CLOSE_COUNTS) {
		all->others++;
		return;
	}
	all->codes[i].code = code;
	all->codes[i].n++;
	all->n = i == all->n ? i + 1 : all->n;
}

void hub_end_session(struct session *s, uint16_t code, struct span reason)
{
	struct mount *m = s->mount;
	CHECK(!s->ended);
	hub_end_reason(s, reason);
	s->ended = true;
	room_leave_all(&m->rooms, s);
	mount_remove(m, s);
	s->close_code = code;
	resume_end(m->hub, s);
	user_limits_leave(m, s);
	if (s->more != NULL)
		timer_free_all(&s->more->timers);
	CHECK(m->hub->loop->stats.connections > 0);
	m->hub->loop->stats.connections--;
	hub_end_count(&m->hub->closes, code);
	slow_consumer_end(m->hub, s);
	access_end(s, code, reason);
	char id[SESSION_ID_TEXT];
	LOG(m->hub->log, LOG_DEBUG, LOG_CONN_CLOSE, "connection ended", LOG_STR("mount", m->path),
	    LOG_STR("conn", hub_session_text(s, id)), LOG_TRACE_ID(s), LOG_U64("code", code),
	    LOG_SPAN("reason", reason), LOG_U64("dropped", slow_consumer_dropped(s)));
}

void hub_close_session(struct session *s, uint16_t code, struct span reason, bool urgent)
{
	CHECK(s->magic == CHECK_SESSION && loop_is_own(s->mount->hub->loop));
	if (s->ended)
		return;
	struct mount *m = s->mount;
	resume_end_note(m->hub, s, code == 0 ? CLOSE_NONE : code, reason);
	hub_end_session(s, code == 0 ? CLOSE_NONE : code, reason);
	if (s->conn != NULL)
		conn_close(s->conn, code, reason.p, reason.n, urgent);
	m->hub->ops->ended(m, s);
}

void hub_echo_close(struct session *s)
{
	if (s->conn == NULL)
		return;
	if (s->shard == SESSION_RESUMES)
		resume_flush(s->mount->hub, s);
	conn_echo_close(s->conn);
}

static void hub_end_victim(struct hub *hub, struct session *s)
{
	CHECK(s->magic == CHECK_SESSION && s->victim);
	if (s->ended)
		return;
	if (!s->no_memory) {
		struct span why = slow_consumer_blame(hub, s);
		hub_close_session(s, CLOSE_TRY_LATER, why, true);
		return;
	}
	LOG(hub->log, LOG_ERROR, LOG_HANDLER, "no memory: a connection is closed",
	    LOG_STR("mount", s->mount->path));
	hub_close_session(s, CLOSE_INTERNAL, SPAN("no memory"), true);
}

/* A broadcast can be too much for thousands at once: their ends, of which each is logged and told
 * to a handler, are not to stop the loop. */
void hub_end_victims(struct hub *hub)
{
	CHECK_IS(hub, CHECK_HUB);
	if (hub->n_victims == 0 || loop_timer_is_set(&hub->more_victims))
		return;
	for (int n = 0; hub->n_victims > 0 && n < HUB_END_TURN; n++)
		hub_end_victim(hub, hub->victims[--hub->n_victims]);
	if (hub->n_victims > 0)
		loop_timer_set(&hub->more_victims, 1);
}

/* Who is over is no victim any more: so there are never more of them than sessions, for which there
 * is room, and none that is freed. */
static void hub_end_forget_victim(struct hub *hub, const struct session *s)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < hub->n_victims; i++)
		if (hub->victims[i] != s)
			hub->victims[kept++] = hub->victims[i];
	hub->n_victims = kept;
}

void hub_session_over(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	struct hub *hub = s->mount->hub;
	struct mount *m = s->mount;
	CHECK(s->ended && s->local != 0);
	if (s->victim)
		hub_end_forget_victim(hub, s);
	if (m->handler->ops->forget != NULL)
		m->handler->ops->forget(m->handler, s);
	s->paused = false;
	access_forget(s);
	room_forget_all(s);
	slotmap_remove(&hub->sessions, s->local);
	s->local = 0;
	if (s->conn != NULL)
		session_detach(s);
	CHECK(s->rooms.list == NULL && s->conn == NULL && s->route == NULL);
	s->over_next = hub->over;
	hub->over = s;
	if (hub->sessions.count == 0 && hub->emptied != NULL)
		hub->emptied(hub->emptied_ctx);
}
