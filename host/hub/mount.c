#include "hub/mount.h"

#include <stdlib.h>

#include "hub/hub.h"
#include "hub/timer.h"

struct mount *mount_new(struct hub *hub, const char *path)
{
	struct mount *m = calloc(1, sizeof *m);
	if (m == NULL)
		return NULL;
	m->path = strdup(path);
	if (m->path == NULL) {
		free(m);
		return NULL;
	}
	m->hub = hub;
	m->rooms = (struct room_table){.key = hub->key, .stats = &hub->loop->stats};
	commit_init(&m->commit, &hub->loop->chunks, 0);
	m->commit.hash = &hub->key;
	return m;
}

void mount_free(struct mount *m)
{
	struct event_held *h;
	if (m->handler != NULL)
		m->handler->ops->free(m->handler);
	while ((h = lane_pop(&m->lane)) != NULL)
		free(h);
	free(m->lane.current);
	timer_free_all(&m->timers);
	commit_drop(&m->commit);
	commit_free(&m->commit);
	room_table_free(&m->rooms);
	token_policy_free(m->tokens);
	free(m->sessions);
	free(m->path);
	free(m);
}

bool mount_matches(const struct mount *m, struct span path)
{
	size_t n = strlen(m->path);
	if (n == 1)
		return true;
	return path.n >= n && memcmp(path.p, m->path, n) == 0 && (path.n == n || path.p[n] == '/');
}

bool mount_reserve(struct mount *m)
{
	if (m->n_sessions + m->n_unsettled == m->cap_sessions) {
		uint32_t cap = m->cap_sessions == 0 ? 64 : m->cap_sessions * 2;
		struct session **wider = realloc(m->sessions, cap * sizeof *wider);
		if (wider == NULL)
			return false;
		m->sessions = wider;
		m->cap_sessions = cap;
	}
	m->n_unsettled++;
	return true;
}

void mount_settle(struct mount *m, struct session *s)
{
	if (s->settled || s->ended)
		return;
	s->settled = true;
	s->place = m->n_sessions;
	m->n_unsettled--;
	m->sessions[m->n_sessions++] = s;
}

void mount_remove(struct mount *m, struct session *s)
{
	if (!s->settled) {
		m->n_unsettled--;
		return;
	}
	struct session *last = m->sessions[--m->n_sessions];
	m->sessions[s->place] = last;
	last->place = s->place;
}
