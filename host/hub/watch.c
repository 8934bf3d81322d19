#include "hub/watch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hub/event.h"
#include "hub/room.h"
#include "hub/session.h"

enum watch_state {
	WATCH_NEW,   /* is there, and waits to be told of */
	WATCH_KNOWN, /* is there, and the handler knows it */
	WATCH_LOST,  /* is not there, but may come back before anybody is told */
	WATCH_GONE,  /* is not there, and waits to be told of */
};

struct watch_user {
	struct hash_link link;
	TAILQ_ENTRY(watch_user) entry; /* of those that wait, or that are lost */
	struct watch *watch;
	uint64_t conn;	/* local id: with which he has come, or has gone */
	uint64_t until; /* LOST */
	char *info;	/* what is said of that; NULL: nothing */
	uint32_t connections;
	uint16_t info_len;
	uint8_t state;
	char name[]; /* and a NUL; empty: nobody in particular */
};

/* --- one user --------------------------------------------------------------------------------- */

static uint64_t watch_hash(const struct watch *w, const struct session *s, const char *user)
{
	return user != NULL ? hash_bytes(&w->all->key, user, strlen(user))
			    : hash_bytes(&w->all->key, &s->local, sizeof s->local);
}

static struct watch_user *watch_user_find(const struct watch *w, const struct session *s,
					  const char *user)
{
	struct hash_link *at = hash_table_first(&w->table, watch_hash(w, s, user));
	for (; at != NULL; at = hash_link_next(at)) {
		struct watch_user *u = HASH_ENTRY(at, struct watch_user, link);
		if (user != NULL ? strcmp(u->name, user) == 0
				 : u->name[0] == '\0' && u->conn == s->local)
			return u;
	}
	return NULL;
}

/* What is said of that connection is what is told of him. False without memory: it stays. */
static bool watch_user_take_info(struct watch_user *u, const struct session *s)
{
	struct span info = identity_info(s);
	char *copy = info.n > 0 ? malloc(info.n) : NULL;
	if (info.n > 0 && copy == NULL)
		return false;
	if (info.n > 0)
		memcpy(copy, info.p, info.n);
	free(u->info);
	u->info = copy;
	u->info_len = (uint16_t)info.n;
	u->conn = s->local;
	return true;
}

static void watch_user_wait(struct watch_user *u, enum watch_state state)
{
	struct watches *all = u->watch->all;
	u->state = (uint8_t)state;
	TAILQ_INSERT_TAIL(&all->waiting, u, entry);
	all->n_waiting++;
	all->loop->stats.watch_waiting++;
	*all->due = true;
}

static void watch_user_unwait(struct watch_user *u)
{
	struct watches *all = u->watch->all;
	CHECK(all->n_waiting > 0);
	TAILQ_REMOVE(&all->waiting, u, entry);
	all->n_waiting--;
	all->loop->stats.watch_waiting--;
}

static void watch_user_free(struct watch_user *u)
{
	free(u->info);
	free(u);
}

/* In no list any more. */
static void watch_user_remove(struct watch_user *u)
{
	struct watch *w = u->watch;
	hash_table_remove(&w->table, &u->link);
	if (u->name[0] != '\0')
		room_users_release(w->users, u->name);
	watch_user_free(u);
}

static bool watch_user_new(struct watch *w, const struct session *s, const char *user)
{
	size_t len = user != NULL ? strlen(user) : 0;
	struct watch_user *u =
		hash_table_reserve(&w->table) ? malloc(sizeof *u + len + 1) : NULL;
	if (u == NULL)
		return false;
	*u = (struct watch_user){.watch = w, .connections = 1};
	memcpy(u->name, user != NULL ? user : "", len + 1);
	if (!watch_user_take_info(u, s)) {
		free(u);
		return false;
	}
	if (user != NULL)
		room_users_hold(w->users, user);
	hash_table_add(&w->table, &u->link, watch_hash(w, s, user));
	watch_user_wait(u, WATCH_NEW);
	return true;
}

bool watch_add(struct watch *w, const struct session *s, const char *user)
{
	struct watch_user *u = watch_user_find(w, s, user);
	if (u == NULL)
		return watch_user_new(w, s, user);
	if (u->state == WATCH_GONE)
		watch_user_unwait(u);
	else if (u->state == WATCH_LOST)
		TAILQ_REMOVE(&w->lost, u, entry);
	if (u->connections++ == 0)
		u->state = WATCH_KNOWN;
	return true;
}

/* Most have the same grace, so that its place is the last. */
static void watch_user_lose(struct watch *w, struct watch_user *u)
{
	struct watch_user *before = TAILQ_LAST(&w->lost, watch_users);
	u->state = WATCH_LOST;
	u->until = loop_now(w->all->loop) + w->grace_ms;
	while (before != NULL && before->until > u->until)
		before = TAILQ_PREV(before, watch_users, entry);
	if (before != NULL)
		TAILQ_INSERT_AFTER(&w->lost, before, u, entry);
	else
		TAILQ_INSERT_HEAD(&w->lost, u, entry);
	/* without memory for the timer he is gone at once, rather than there for ever */
	if (TAILQ_FIRST(&w->lost) == u && !loop_timer_set(&w->timer, w->grace_ms)) {
		TAILQ_REMOVE(&w->lost, u, entry);
		watch_user_wait(u, WATCH_GONE);
	}
}

static void watch_remove_user(struct watch *w, const struct session *s, const char *user, bool lost)
{
	struct watch_user *u = watch_user_find(w, s, user);
	CHECK(u != NULL && u->connections > 0);
	if (--u->connections > 0)
		return;
	if (u->state == WATCH_NEW) { /* nobody needs to know */
		watch_user_unwait(u);
		watch_user_remove(u);
		return;
	}
	CHECK(u->state == WATCH_KNOWN);
	watch_user_take_info(u, s);
	/* who is nobody in particular does not come back: that would be somebody else */
	if (lost && user != NULL && w->grace_ms > 0)
		watch_user_lose(w, u);
	else
		watch_user_wait(u, WATCH_GONE);
}

bool watch_come(struct room_users *users, const struct session *s, const char *user)
{
	if (!room_users_add(users, user))
		return false;
	if (users->watch == NULL || watch_add(users->watch, s, user))
		return true;
	room_users_remove(users, user);
	return false;
}

/* Who leaves a room, or is made to go, has gone; whose connection was lost may be back. */
void watch_go(struct room_users *users, const struct session *s, const char *user)
{
	room_users_remove(users, user);
	if (users->watch != NULL)
		watch_remove_user(users->watch, s, user, s->ended && !s->dismissed);
}

/* Those of its i-th room; NULL: they are not counted there. */
static struct room_users *watch_users_at(const struct session *s, uint32_t i)
{
	return s->rooms.list->v[i].room->users;
}

bool watch_come_everywhere(const struct session *s, const char *user)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++) {
		if (watch_users_at(s, i) == NULL || watch_come(watch_users_at(s, i), s, user))
			continue;
		while (i-- > 0)
			if (watch_users_at(s, i) != NULL)
				watch_go(watch_users_at(s, i), s, user);
		return false;
	}
	return true;
}

void watch_go_everywhere(const struct session *s, const char *user)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++)
		if (watch_users_at(s, i) != NULL)
			watch_go(watch_users_at(s, i), s, user);
}

static void watch_on_time(void *arg)
{
	struct watch *w = arg;
	struct watch_user *u;
	uint64_t now = loop_now(w->all->loop);
	while ((u = TAILQ_FIRST(&w->lost)) != NULL && u->until <= now) {
		TAILQ_REMOVE(&w->lost, u, entry);
		watch_user_wait(u, WATCH_GONE);
	}
	if (u != NULL)
		loop_timer_set(&w->timer, u->until - now);
}

/* --- one room --------------------------------------------------------------------------------- */

struct watch *watch_find(const struct watches *all, struct span room)
{
	struct hash_link *at =
		all != NULL && all->table.n > 0
			? hash_table_first(&all->table, hash_bytes(&all->key, room.p, room.n))
			: NULL;
	for (; at != NULL; at = hash_link_next(at)) {
		struct watch *w = HASH_ENTRY(at, struct watch, link);
		if (span_eq((struct span){w->name, w->len}, room))
			return w;
	}
	return NULL;
}

static void watch_free(struct watch *w)
{
	struct hash_link *at, *next;
	for (at = hash_table_next(&w->table, NULL); at != NULL; at = next) {
		struct watch_user *u = HASH_ENTRY(at, struct watch_user, link);
		next = hash_table_next(&w->table, at);
		if (u->state == WATCH_NEW || u->state == WATCH_GONE)
			watch_user_unwait(u);
		watch_user_remove(u);
	}
	hash_table_free(&w->table);
	loop_timer_cancel(&w->timer);
	room_users_unwatch(w->users);
	free(w);
}

struct watch *watch_begin(struct watches *all, struct span room, struct room_users *users,
			  uint32_t grace_ms)
{
	struct watch *w = hash_table_reserve(&all->table)
				  ? malloc(offsetof(struct watch, name) + room.n + 1)
				  : NULL;
	struct room_users *own = users != NULL || w == NULL ? users : room_users_new();
	if (w == NULL || own == NULL) {
		free(w);
		return NULL;
	}
	memset(w, 0, offsetof(struct watch, name));
	w->all = all;
	w->users = own;
	w->users->watch = w;
	w->grace_ms = grace_ms;
	w->len = (uint8_t)room.n;
	memcpy(w->name, room.p, room.n);
	w->name[room.n] = '\0';
	TAILQ_INIT(&w->lost);
	loop_timer_init(all->loop, &w->timer, watch_on_time, w);
	hash_table_add(&all->table, &w->link, hash_bytes(&all->key, room.p, room.n));
	all->loop->stats.watches++;
	return w;
}

static void watch_remove(struct watch *w)
{
	hash_table_remove(&w->all->table, &w->link);
	w->all->loop->stats.watches--;
	watch_free(w);
}

bool watch_end(struct watches *all, struct span room)
{
	struct watch *w = watch_find(all, room);
	if (w != NULL)
		watch_remove(w);
	return w != NULL;
}

/* --- all of a mount --------------------------------------------------------------------------- */

struct watches *watches_new(struct loop *loop, const struct hash_key *key, uint64_t host, bool *due)
{
	struct watches *all = calloc(1, sizeof *all);
	if (all == NULL)
		return NULL;
	TAILQ_INIT(&all->waiting);
	all->loop = loop;
	all->key = *key;
	all->host = host;
	all->due = due;
	return all;
}

void watches_free(struct watches **all_p)
{
	struct watches *all = *all_p;
	struct hash_link *at, *next;
	*all_p = NULL;
	if (all == NULL)
		return;
	for (at = hash_table_next(&all->table, NULL); at != NULL; at = next) {
		next = hash_table_next(&all->table, at);
		watch_remove(HASH_ENTRY(at, struct watch, link));
	}
	hash_table_free(&all->table);
	free(all);
}

struct event_presence *watches_next(struct watches *all, bool *come_r)
{
	struct watch_user *u = TAILQ_FIRST(&all->waiting);
	struct watch *w = u->watch;
	bool come = u->state == WATCH_NEW;
	uint32_t known = come ? w->known + 1 : w->known - 1;
	struct event_presence *presence =
		event_presence_new((struct span){w->name, w->len}, span_of(u->name),
				   (struct span){u->info, u->info_len});
	if (presence == NULL)
		return NULL;
	presence->host = all->host;
	presence->conn = u->conn;
	presence->users = known;
	watch_user_unwait(u);
	w->known = known;
	if (come)
		u->state = WATCH_KNOWN;
	else
		watch_user_remove(u);
	*come_r = come;
	return presence;
}
