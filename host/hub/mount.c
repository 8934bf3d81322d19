#include "hub/mount.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/watch.h"

struct mount *mount_new(struct hub *hub, const char *path)
{
	struct mount *m = calloc(1, sizeof *m);
	if (m == NULL)
		return NULL;
	m->path = strdup(path);
	m->shards = calloc(1 + hub->n_far, sizeof *m->shards);
	m->budget = budget_new(&hub->budgets, 1 + hub->n_far);
	m->meters = hub->measures ? calloc(1, sizeof *m->meters) : NULL;
	if (m->path == NULL || m->shards == NULL || m->budget == NULL ||
	    (hub->measures && m->meters == NULL)) {
		free(m->meters);
		free(m->path);
		free(m->shards);
		free(m);
		return NULL;
	}
	m->hub = hub;
	m->trace_sample = -1;
	m->rooms = (struct room_table){.key = hub->key,
				       .stats = &hub->loop->stats,
				       .n_far = hub->n_far};
	commit_init(&m->commit, &hub->loop->chunks, 0);
	m->commit.hash = &hub->key;
	return m;
}

void mount_free(struct mount **m_p)
{
	struct mount *m = *m_p;
	*m_p = NULL;
	CHECK(m->n_sessions == 0 && !m->running);
	struct event_held *h;
	if (m->handler != NULL)
		m->handler->ops->free(m->handler);
	if (m->pushers != NULL)
		m->pushers->ops->free(m->pushers);
	while ((h = lane_pop(&m->lane)) != NULL)
		event_held_free(&h);
	event_free_all(&m->lane.current);
	timer_free_all(&m->timers);
	gate_drop_all(m);
	commit_drop(&m->commit);
	commit_free(&m->commit);
	room_table_free(&m->rooms);
	room_state_free_all(m);
	watches_free(&m->rooms.watches);
	history_free(m);
	user_limits_free(&m->user_limits);
	token_policy_free(&m->tokens);
	free(m->subprotocols);
	for (uint32_t i = 0; i <= m->hub->n_far; i++)
		free(m->shards[i].conns);
	free(m->shards);
	free(m->resumes.sessions);
	free(m->meters);
	free(m->path);
	free(m);
}

void mount_deployed(struct mount *m, int64_t now)
{
	m->deploy = (struct mount_deploy){.at = now};
}

void mount_not_deployed(struct mount *m, int64_t now, const char *why)
{
	m->deploy.failed = now;
	snprintf(m->deploy.why, sizeof m->deploy.why, "%s", why);
}

bool mount_set_subprotocols(struct mount *m, const char *list)
{
	char *copy = list != NULL ? strdup(list) : NULL;
	if (list != NULL && copy == NULL)
		return false;
	free(m->subprotocols);
	m->subprotocols = copy;
	return true;
}

bool mount_matches(const struct mount *m, struct span path)
{
	size_t n = strlen(m->path);
	if (n == 1)
		return true;
	return path.n >= n && memcmp(path.p, m->path, n) == 0 && (path.n == n || path.p[n] == '/');
}

struct mount *mount_find(const struct hub *hub, struct span path)
{
	struct mount *m = hub->mounts;
	while (m != NULL && !mount_matches(m, path))
		m = m->next;
	return m;
}
