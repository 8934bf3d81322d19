#include "hub/mount.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/timer.h"
#include "net/conn.h"
#include "hub/session_conn.h"

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
	commit_drop(&m->commit);
	commit_free(&m->commit);
	room_table_free(&m->rooms);
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

static struct mount_shard *mount_shard(const struct mount *m, const struct session *s)
{
	return s->shard == SESSION_RESUMES ? (struct mount_shard *)&m->resumes
					   : &m->shards[s->shard];
}

/* The i-th of one shard. */
static struct session *mount_at(const struct mount *m, const struct mount_shard *shard, uint32_t i)
{
	return shard == &m->resumes ? shard->sessions[i] : session_of(shard->conns[i]);
}

/* The other loop's array has room before ours has. */
static bool mount_reserve_far(struct mount_shard *shard, const struct conn *stub, uint32_t cap)
{
	if (stub == NULL)
		return true;
	if (shard->group == NULL)
		shard->group = conn_group_new(stub->conns);
	return shard->group != NULL && conn_group_resize(shard->group, cap);
}

bool mount_reserve(struct mount *m, const struct session *s)
{
	struct mount_shard *shard = mount_shard(m, s);
	CHECK(s->mount == m && shard->n + shard->n_unsettled <= shard->cap);
	if (shard->n + shard->n_unsettled == shard->cap) {
		uint32_t cap = shard->cap == 0 ? 64 : shard->cap * 2;
		struct conn **wider = NULL;
		if (mount_reserve_far(shard, session_stub(s), cap))
			wider = realloc(shard->conns, cap * sizeof *wider);
		if (wider == NULL)
			return false;
		shard->conns = wider;
		shard->cap = cap;
	}
	shard->n_unsettled++;
	return true;
}

void mount_settle(struct mount *m, struct session *s)
{
	struct mount_shard *shard = mount_shard(m, s);
	if (s->settled || s->ended)
		return;
	CHECK(s->mount == m && shard->n_unsettled > 0);
	s->settled = true;
	s->place = shard->n;
	shard->n_unsettled--;
	if (s->shard == SESSION_RESUMES)
		shard->sessions[shard->n++] = s;
	else
		shard->conns[shard->n++] = s->conn;
	m->n_sessions++;
	if (shard->group != NULL)
		conn_group_add(shard->group, s->conn);
}

void mount_remove(struct mount *m, struct session *s)
{
	struct mount_shard *shard = mount_shard(m, s);
	if (!s->settled) {
		CHECK(shard->n_unsettled > 0);
		shard->n_unsettled--;
		return;
	}
	CHECK(s->place < shard->n && mount_at(m, shard, s->place) == s);
	struct session *last = mount_at(m, shard, --shard->n);
	shard->conns[s->place] = shard->conns[shard->n];
	last->place = s->place;
	m->n_sessions--;
	if (shard->group != NULL)
		conn_group_remove(shard->group, s->place);
}

struct session *mount_session(const struct mount *m, uint32_t i)
{
	const struct mount_shard *shard = &m->resumes;
	CHECK(i < m->n_sessions);
	for (uint32_t next = 0; i >= shard->n; next++) {
		i -= shard->n;
		shard = &m->shards[next];
	}
	return mount_at(m, shard, i);
}

void mount_drop_groups(struct mount *m)
{
	for (uint32_t i = 0; i <= m->hub->n_far; i++)
		conn_group_free(&m->shards[i].group);
}
