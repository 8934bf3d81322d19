#include "hub/room.h"

#include <stdlib.h>

#include "base/check.h"
#include "hub/room_state.h"
#include "hub/room_users.h"
#include "hub/session.h"
#include "hub/watch.h"
#include "net/conn.h"
#include "hub/session_conn.h"

/* --- the table -------------------------------------------------------------------------------- */

static inline struct room *room_with_hash(const struct room_table *table, uint64_t hash,
					  struct span name)
{
	struct hash_link *at = hash_table_first(&table->table, hash);
	for (; at != NULL; at = hash_link_next(at)) {
		struct room *r = HASH_ENTRY(at, struct room, link);
		if (r->len == name.n && memcmp(r->name, name.p, name.n) == 0)
			return r;
	}
	return NULL;
}

struct room *room_find(const struct room_table *table, struct span name)
{
	if (table->table.n == 0)
		return NULL;
	return room_with_hash(table, hash_bytes(&table->key, name.p, name.n), name);
}

/* Those of a room that is watched, which has them before it is there. */
static struct room_users *room_watched(const struct room_table *table, struct span name)
{
	struct watch *w = watch_find(table->watches, name);
	if (w == NULL)
		return NULL;
	w->users->of_room = true;
	return w->users;
}

static struct room *room_add(struct room_table *table, struct span name)
{
	struct room *r = hash_table_reserve(&table->table)
				 ? malloc(offsetof(struct room, name) + name.n + 1)
				 : NULL;
	if (r == NULL)
		return NULL;
	r->here = (struct room_shard){.members = NULL};
	r->elsewhere = NULL;
	r->users = table->watches != NULL ? room_watched(table, name) : NULL;
	r->state = NULL;
	r->n = 0;
	r->refs = 1;
	r->mark = 0;
	r->len = (uint8_t)name.n;
	memcpy(r->name, name.p, name.n);
	r->name[name.n] = '\0';
	uint64_t hash = hash_bytes(&table->key, name.p, name.n);
	hash_table_add(&table->table, &r->link, hash);
	if (table->states.n > 0)
		r->state = room_state_enter(&table->states, hash, name);
	table->stats->rooms++;
	return r;
}

static void room_unref(struct room *r)
{
	CHECK(r->refs > 0);
	if (--r->refs > 0)
		return;
	free(r->here.members);
	free(r);
}

static void room_free_far(const struct room_table *table, struct room *r)
{
	if (r->elsewhere == NULL)
		return;
	for (uint32_t i = 0; i <= table->n_far; i++) {
		conn_group_free(&r->elsewhere[i].group);
		free(r->elsewhere[i].shard.members);
	}
	free(r->elsewhere);
	r->elsewhere = NULL;
}

static void room_remove(struct room_table *table, struct room *r)
{
	CHECK(r->n == 0);
	hash_table_remove(&table->table, &r->link);
	if (r->state != NULL)
		room_state_leave(r->state);
	r->state = NULL;
	table->stats->rooms--;
	room_users_unroom(r->users);
	r->users = NULL;
	room_free_far(table, r);
	room_unref(r);
}

/* --- members ---------------------------------------------------------------------------------- */

static inline struct room_shard *room_shard(const struct room *r, uint32_t shard)
{
	return shard == 0		  ? (struct room_shard *)&r->here
	       : shard == SESSION_RESUMES ? &r->elsewhere[0].shard
					  : &r->elsewhere[shard].shard;
}

static struct session *room_at(const struct room *r, const struct room_shard *shard, uint32_t i)
{
	return r->elsewhere != NULL && shard == &r->elsewhere[0].shard
		       ? shard->members[i].session
		       : session_of(shard->members[i].conn);
}

struct session *room_session(const struct room *r, uint32_t i)
{
	const struct room_shard *shard = &r->here;
	CHECK(i < r->n);
	for (uint32_t elsewhere = 0; i >= shard->n; elsewhere++) {
		i -= shard->n;
		shard = &r->elsewhere[elsewhere].shard;
	}
	return room_at(r, shard, i);
}

/* The slot of the room among the session's, looked for on the shorter side; -1: not a member. */
static int64_t room_membership_slot(const struct room *r, const struct session *s)
{
	const struct room_list *own = s->rooms.list;
	if (own == NULL || own->n == 0)
		return -1;
	uint32_t shard = s->shard;
	const void *member = shard == SESSION_RESUMES ? (const void *)s : s->conn;
	if (shard > 0 && r->elsewhere == NULL)
		return -1;
	const struct room_shard *members = room_shard(r, shard);
	if (own->n <= members->n) {
		for (uint32_t i = 0; i < own->n; i++)
			if (own->v[i].room == r)
				return i;
	} else {
		for (uint32_t i = 0; i < members->n; i++)
			if (members->members[i].conn == member)
				return members->members[i].slot;
	}
	return -1;
}

bool room_has(const struct room_table *table, struct span name, const struct session *s)
{
	const struct room *r = room_find(table, name);
	return r != NULL && room_membership_slot(r, s) >= 0;
}

static uint32_t room_cap_next(uint32_t cap)
{
	return cap == 0 ? 1 : cap * 2;
}

/* Room for one more among the session's. */
static bool room_list_reserve(struct room_memberships *own)
{
	struct room_list *list = own->list;
	uint32_t cap = list != NULL ? list->cap : 0;
	if (list != NULL && list->n < cap)
		return true;
	list = realloc(list, sizeof *list + room_cap_next(cap) * sizeof *list->v);
	if (list == NULL)
		return false;
	list->n = own->list != NULL ? list->n : 0;
	list->cap = room_cap_next(cap);
	own->list = list;
	return true;
}

/* The other loop's array has room before ours has, so that it always has at least as much. */
static bool room_grow_far(struct room *r, const struct conn *stub)
{
	struct room_far *elsewhere = &r->elsewhere[stub->conns->shard];
	if (elsewhere->group == NULL && (elsewhere->group = conn_group_new(stub->conns)) == NULL)
		return false;
	return elsewhere->shard.n < elsewhere->shard.cap ||
	       conn_group_resize(elsewhere->group,
				 elsewhere->shard.cap == 0 ? 2 : elsewhere->shard.cap * 2);
}

/* Room for one more member in its shard. */
static inline bool room_reserve(const struct room_table *table, struct room *r,
				const struct conn *stub, uint32_t shard)
{
	if (shard != 0 && r->elsewhere == NULL &&
	    (r->elsewhere = calloc(1 + table->n_far, sizeof *r->elsewhere)) == NULL)
		return false;
	if (stub != NULL && !room_grow_far(r, stub))
		return false;
	struct room_shard *s = room_shard(r, shard);
	if (s->n < s->cap)
		return true;
	struct room_member *wider = realloc(s->members, room_cap_next(s->cap) * sizeof *s->members);
	if (wider == NULL)
		return false;
	s->members = wider;
	s->cap = room_cap_next(s->cap);
	return true;
}

enum room_joined room_join(struct room_table *table, struct span name, struct session *s)
{
	struct room *r = room_find(table, name);
	struct conn *stub = session_stub(s);
	uint32_t shard = s->shard;
	if (r != NULL && room_membership_slot(r, s) >= 0)
		return ROOM_ALREADY;
	if (!room_list_reserve(&s->rooms) || (r == NULL && (r = room_add(table, name)) == NULL))
		return ROOM_NO_MEMORY;
	if (!room_reserve(table, r, stub, shard) ||
	    (r->users != NULL && !watch_come(r->users, s, identity_user(s)))) {
		if (r->n == 0)
			room_remove(table, r);
		return ROOM_NO_MEMORY;
	}
	struct room_shard *to = room_shard(r, shard);
	struct room_list *own = s->rooms.list;
	CHECK(own->n < own->cap);
	own->v[own->n] = (struct room_membership){.room = r, .slot = to->n, .shard = shard};
	to->members[to->n].slot = own->n++;
	if (shard == SESSION_RESUMES)
		to->members[to->n++].session = s;
	else
		to->members[to->n++].conn = s->conn;
	if (stub != NULL)
		conn_group_add(r->elsewhere[shard].group, stub);
	r->n++;
	table->stats->memberships++;
	return ROOM_JOINED;
}

/* A crowd has left: half of the memory is enough for those who stay. */
static void room_shrink(struct room_shard *s)
{
	void *v = realloc(s->members, s->cap / 2 * sizeof *s->members);
	if (v == NULL)
		return;
	s->members = v;
	s->cap /= 2;
}

static void room_drop_user(const struct room *r, const struct session *s)
{
	watch_go(r->users, s, identity_user(s));
}

/* Takes the session out of its shard's array; the room goes with its last member. */
static void room_drop_member(struct room_table *table, struct room_membership at)
{
	struct room *r = at.room;
	struct room_shard *s = room_shard(r, at.shard);
	CHECK(at.slot < s->n);
	if (r->users != NULL)
		room_drop_user(r, room_at(r, s, at.slot));
	const struct session *last = room_at(r, s, --s->n);
	s->members[at.slot] = s->members[s->n];
	last->rooms.list->v[s->members[s->n].slot].slot = at.slot;
	if (at.shard != 0 && at.shard != SESSION_RESUMES)
		conn_group_remove(r->elsewhere[at.shard].group, at.slot);
	table->stats->memberships--;
	if (--r->n == 0)
		room_remove(table, r);
	else if (s->cap > 16 && s->n < s->cap / 4)
		room_shrink(s);
}

bool room_leave(struct room_table *table, struct span name, struct session *s)
{
	struct room *r = room_find(table, name);
	int64_t slot = r != NULL ? room_membership_slot(r, s) : -1;
	struct room_list *own = s->rooms.list;
	if (slot < 0)
		return false;
	room_drop_member(table, own->v[slot]);
	struct room_membership last = own->v[--own->n];
	if ((uint32_t)slot != own->n) {
		own->v[slot] = last;
		room_shard(last.room, last.shard)->members[last.slot].slot = (uint32_t)slot;
	}
	return true;
}

void room_leave_all(struct room_table *table, struct session *s)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++) {
		s->rooms.list->v[i].room->refs++;
		room_drop_member(table, s->rooms.list->v[i]);
	}
}

void room_forget_all(struct session *s)
{
	for (uint32_t i = 0; i < room_count(&s->rooms); i++)
		room_unref(s->rooms.list->v[i].room);
	free(s->rooms.list);
	s->rooms.list = NULL;
}

static uint32_t room_reversed(uint32_t bits)
{
	bits = __builtin_bswap32(bits);
	bits = (bits & 0x0F0F0F0F) << 4 | (bits >> 4 & 0x0F0F0F0F);
	bits = (bits & 0x33333333) << 2 | (bits >> 2 & 0x33333333);
	return (bits & 0x55555555) << 1 | (bits >> 1 & 0x55555555);
}

/* Places are counted from their highest bit down: when the table grows, all that a place becomes
 * lies before, or behind, where the walk has come to. */
uint32_t room_table_scan(const struct room_table *table, uint32_t place,
			 void (*visit)(void *ctx, const struct room *r), void *ctx)
{
	const struct hash_table *t = &table->table;
	uint32_t mask = t->cap - 1;
	if (t->cap == 0)
		return 0;
	for (struct hash_link *at = t->slots[place & mask]; at != NULL; at = at->next)
		visit(ctx, HASH_ENTRY(at, struct room, link));
	return room_reversed(room_reversed(place | ~mask) + 1);
}

void room_table_free(struct room_table *table)
{
	CHECK(table->table.n == 0); /* each goes with its last member */
	hash_table_free(&table->table);
}

/* --- their users ------------------------------------------------------------------------------ */

static int room_users_compare(const void *left, const void *right)
{
	return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* In their order, so that a room of many is counted in one go. */
static bool room_users_fill(struct room_users *users, const struct room *r)
{
	const char **names = malloc((r->n + 1) * sizeof *names);
	uint32_t n = 0;
	bool ok = names != NULL;
	for (uint32_t i = 0; ok && i < r->n; i++) {
		names[n] = identity_user(room_session(r, i));
		users->anonymous += names[n] == NULL;
		n += names[n] != NULL;
	}
	if (ok)
		qsort(names, n, sizeof *names, room_users_compare);
	for (uint32_t i = 0; ok && i < n; i++)
		ok = room_users_add(users, names[i]);
	free(names);
	return ok;
}

struct room_users *room_users_of(struct room *r)
{
	if (r->users != NULL)
		return r->users;
	struct room_users *users = room_users_new();
	if (users == NULL || !room_users_fill(users, r)) {
		room_users_free(users);
		return NULL;
	}
	users->of_room = true;
	return r->users = users;
}
