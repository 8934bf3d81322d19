/* What the hub knows of a session, and holds against it. */
#include <stdlib.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/session_conn.h"

#define HUB_AGE_STEP_MS 100

const char *hub_session_text(const struct session *s, char text[SESSION_ID_TEXT])
{
	if (s == NULL)
		return NULL;
	session_id_text((struct session_id){.host = s->mount->hub->host_id, .local = s->local},
			text);
	return text;
}

const char *hub_session_path(const struct session *s)
{
	return s->more != NULL && s->more->path != NULL ? s->more->path : s->mount->path;
}

/* Since the start, as it fits into a session's note. */
static uint32_t hub_session_steps(const struct hub *hub)
{
	return (uint32_t)((loop_now(hub->loop) - hub->started_ms) / HUB_AGE_STEP_MS);
}

uint64_t hub_session_age_ms(const struct session *s)
{
	const struct hub *hub = s->mount->hub;
	uint32_t opened = slotmap_note(&hub->sessions, s->local);
	return (uint64_t)(hub_session_steps(hub) - opened) * HUB_AGE_STEP_MS;
}

void hub_session_opened(struct session *s)
{
	struct hub *hub = s->mount->hub;
	slotmap_set_note(&hub->sessions, s->local, hub_session_steps(hub));
}

void hub_mark_victim(struct hub *hub, struct session *s)
{
	if (s->victim)
		return;
	CHECK(s->local != 0 && hub->n_victims < hub->cap_victims);
	s->victim = true;
	hub->victims[hub->n_victims++] = s;
}

bool hub_reserve(struct hub *hub)
{
	CHECK(loop_is_own(hub->loop));
	if (hub->sessions.count < hub->cap_victims)
		return true;
	uint32_t cap = hub->cap_victims == 0 ? 64 : 2 * hub->cap_victims;
	struct session **wider = realloc(hub->victims, cap * sizeof(struct session *));
	if (wider == NULL)
		return false;
	hub->victims = wider;
	hub->cap_victims = cap;
	return true;
}

void hub_pause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	if (s->paused || s->ended)
		return;
	s->paused = s->conn != NULL;
	if (s->conn != NULL)
		conn_hold(s->conn, true);
}

void hub_unpause(struct session *s)
{
	CHECK_IS(s, CHECK_SESSION);
	s->paused = false;
	if (s->conn != NULL)
		conn_hold(s->conn, false);
}
