/* The sessions of a mount, for `broadcast`. */
#include <stdlib.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/session_conn.h"
#include "net/conn.h"

static struct mount_shard *mount_members_shard(const struct mount *m, const struct session *s)
{
	return s->shard == SESSION_RESUMES ? (struct mount_shard *)&m->resumes
					   : &m->shards[s->shard];
}

/* The i-th of one shard. */
static struct session *mount_members_at(const struct mount *m, const struct mount_shard *shard,
					uint32_t i)
{
	return shard == &m->resumes ? shard->sessions[i] : session_of(shard->conns[i]);
}

/* The other loop's array has room before ours has. */
static bool mount_members_reserve_far(struct mount_shard *shard, const struct conn *stub,
				      uint32_t cap)
{
	if (stub == NULL)
		return true;
	if (shard->group == NULL)
		shard->group = conn_group_new(stub->conns);
	return shard->group != NULL && conn_group_resize(shard->group, cap);
}

bool mount_reserve(struct mount *m, const struct session *s)
{
	struct mount_shard *shard = mount_members_shard(m, s);
	CHECK(s->mount == m && shard->n + shard->n_unsettled <= shard->cap);
	if (shard->n + shard->n_unsettled == shard->cap) {
		uint32_t cap = shard->cap == 0 ? 64 : shard->cap * 2;
		struct conn **wider = NULL;
		if (mount_members_reserve_far(shard, session_stub(s), cap))
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
	struct mount_shard *shard = mount_members_shard(m, s);
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
	struct mount_shard *shard = mount_members_shard(m, s);
	if (!s->settled) {
		CHECK(shard->n_unsettled > 0);
		shard->n_unsettled--;
		return;
	}
	CHECK(s->place < shard->n && mount_members_at(m, shard, s->place) == s);
	struct session *last = mount_members_at(m, shard, --shard->n);
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
	return mount_members_at(m, shard, i);
}

void mount_drop_groups(struct mount *m)
{
	for (uint32_t i = 0; i <= m->hub->n_far; i++)
		conn_group_free(&m->shards[i].group);
}
