#include "hub/user_limit.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/identity.h"
#include "hub/resume.h"
#include "ws/frame.h"

/* One user who has connections. */
struct user_limit {
	struct hash_link link; /* in the mount's table, by subject */
	LIST_HEAD(, identity) connections;
	uint32_t n;
	char subject[];
};

static uint64_t user_limit_hash(const struct user_limits *all, const char *subject)
{
	return hash_bytes(&all->key, subject, strlen(subject));
}

static struct user_limit *user_limit_find(const struct user_limits *all, const char *subject)
{
	struct hash_link *at = hash_table_first(&all->table, user_limit_hash(all, subject));
	for (; at != NULL; at = hash_link_next(at)) {
		struct user_limit *u = HASH_ENTRY(at, struct user_limit, link);
		if (strcmp(u->subject, subject) == 0)
			return u;
	}
	return NULL;
}

static struct user_limit *user_limit_new(struct user_limits *all, const char *subject)
{
	size_t size = strlen(subject) + 1;
	struct user_limit *u = hash_table_reserve(&all->table) ? malloc(sizeof *u + size) : NULL;
	if (u == NULL)
		return NULL;
	u->n = 0;
	LIST_INIT(&u->connections);
	memcpy(u->subject, subject, size);
	hash_table_add(&all->table, &u->link, user_limit_hash(all, subject));
	return u;
}

static void user_limit_forget(struct user_limits *all, struct user_limit *u)
{
	hash_table_remove(&all->table, &u->link);
	free(u);
}

bool user_limits_enter(struct mount *m, struct session *s)
{
	struct identity *own = s->more != NULL ? s->more->identity : NULL;
	if (m->user_limits.max == 0 || own == NULL || own->subject == NULL || own->counted != NULL)
		return true;
	struct user_limit *u = user_limit_find(&m->user_limits, own->subject);
	if (u == NULL)
		u = user_limit_new(&m->user_limits, own->subject);
	if (u == NULL)
		return false;
	own->counted = u;
	own->session = s;
	u->n++;
	LIST_INSERT_HEAD(&u->connections, own, counted_link);
	return true;
}

void user_limits_leave(struct mount *m, struct session *s)
{
	struct identity *own = s->more != NULL ? s->more->identity : NULL;
	struct user_limit *u = own != NULL ? own->counted : NULL;
	if (u == NULL)
		return;
	CHECK(u->n > 0 && own->session == s);
	LIST_REMOVE(own, counted_link);
	own->counted = NULL;
	if (--u->n == 0)
		user_limit_forget(&m->user_limits, u);
}

/* NULL: all of them are there. */
static struct session *user_limit_longest_away(const struct user_limit *u)
{
	struct session *longest = NULL;
	const struct identity *own;
	LIST_FOREACH(own, &u->connections, counted_link)
	{
		const struct resume *r = session_resume(own->session);
		if (r != NULL && r->away &&
		    (longest == NULL || r->away_at < session_resume(longest)->away_at))
			longest = own->session;
	}
	return longest;
}

bool user_limits_admit(struct mount *m, const char *subject, struct session **gives_way_r)
{
	*gives_way_r = NULL;
	const struct user_limits *all = &m->user_limits;
	const struct user_limit *u =
		all->max > 0 && subject != NULL ? user_limit_find(all, subject) : NULL;
	if (u == NULL || u->n < all->max)
		return true;
	*gives_way_r = u->n == all->max ? user_limit_longest_away(u) : NULL;
	return *gives_way_r != NULL;
}

bool user_limits_set(struct mount *m, uint32_t max)
{
	uint32_t before = m->user_limits.max;
	m->user_limits.key = m->hub->key;
	m->user_limits.max = max;
	for (uint32_t i = 0; max > 0 && i < m->n_sessions; i++)
		if (!user_limits_enter(m, mount_session(m, i))) {
			m->user_limits.max = before;
			return false;
		}
	return true;
}

void user_limits_free(struct user_limits *all)
{
	CHECK(all->table.n == 0);
	hash_table_free(&all->table);
}
