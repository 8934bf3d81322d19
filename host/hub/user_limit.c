#include "hub/user_limit.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/identity.h"
#include "hub/resume.h"
#include "ws/frame.h"

#define USER_LIMITS_MIN 64

/* One user who has connections. */
struct user_limit {
	struct user_limit *next; /* in its chain of the table */
	LIST_HEAD(, identity) connections;
	uint32_t n;
	char subject[];
};

static struct user_limit **user_limit_slot(const struct user_limits *all, const char *subject)
{
	return &all->slots[hash_bytes(&all->key, subject, strlen(subject)) & (all->cap - 1)];
}

static bool user_limits_grow(struct user_limits *all)
{
	struct user_limits wider = *all;
	struct user_limit *u;
	wider.cap = all->cap == 0 ? USER_LIMITS_MIN : 2 * all->cap;
	wider.slots = calloc(wider.cap, sizeof(struct user_limit *));
	if (wider.slots == NULL)
		return false;
	for (uint32_t i = 0; i < all->cap; i++)
		while ((u = all->slots[i]) != NULL) {
			struct user_limit **at = user_limit_slot(&wider, u->subject);
			all->slots[i] = u->next;
			u->next = *at;
			*at = u;
		}
	free(all->slots);
	*all = wider;
	return true;
}

static struct user_limit *user_limit_find(const struct user_limits *all, const char *subject)
{
	struct user_limit *u = all->cap > 0 ? *user_limit_slot(all, subject) : NULL;
	while (u != NULL && strcmp(u->subject, subject) != 0)
		u = u->next;
	return u;
}

static struct user_limit *user_limit_new(struct user_limits *all, const char *subject)
{
	size_t size = strlen(subject) + 1;
	struct user_limit *u = NULL;
	if (all->n < all->cap || user_limits_grow(all))
		u = malloc(sizeof *u + size);
	if (u == NULL)
		return NULL;
	struct user_limit **at = user_limit_slot(all, subject);
	u->next = *at;
	u->n = 0;
	LIST_INIT(&u->connections);
	memcpy(u->subject, subject, size);
	*at = u;
	all->n++;
	return u;
}

static void user_limit_forget(struct user_limits *all, struct user_limit *u)
{
	struct user_limit **at = user_limit_slot(all, u->subject);
	while (*at != u)
		at = &(*at)->next;
	*at = u->next;
	all->n--;
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

bool user_limits_admit(struct mount *m, const char *subject)
{
	const struct user_limits *all = &m->user_limits;
	const struct user_limit *u =
		all->max > 0 && subject != NULL ? user_limit_find(all, subject) : NULL;
	if (u == NULL || u->n < all->max)
		return true;
	struct session *away = u->n == all->max ? user_limit_longest_away(u) : NULL;
	if (away == NULL)
		return false;
	hub_close_session(away, CLOSE_ABNORMAL, (struct span){0}, true);
	return true;
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
	CHECK(all->n == 0);
	free(all->slots);
	all->slots = NULL;
	all->cap = 0;
}
