#include "hub/room.h"

#include <stdlib.h>

#include "hub/session.h"
#include "net/conn.h"

/* --- the table: open addressing, linear probing ----------------------------------------------- */

static uint32_t room_slot(const struct room_table *table, uint64_t hash, struct span name)
{
	uint32_t mask = table->cap - 1, i = (uint32_t)hash & mask;
	for (; table->slots[i] != NULL; i = (i + 1) & mask) {
		struct room *r = table->slots[i];
		if (r->hash == hash && r->len == name.n && memcmp(r->name, name.p, name.n) == 0)
			break;
	}
	return i;
}

struct room *room_find(const struct room_table *table, struct span name)
{
	if (table->n == 0)
		return NULL;
	return table->slots[room_slot(table, hash_bytes(&table->key, name.p, name.n), name)];
}

static bool room_table_grow(struct room_table *table)
{
	struct room_table wider = *table;
	wider.cap = table->cap == 0 ? 16 : table->cap * 2;
	wider.slots = calloc(wider.cap, sizeof *wider.slots);
	if (wider.slots == NULL)
		return false;
	for (uint32_t i = 0; i < table->cap; i++) {
		struct room *r = table->slots[i];
		if (r != NULL)
			wider.slots[room_slot(&wider, r->hash, (struct span){r->name, r->len})] = r;
	}
	free(table->slots);
	*table = wider;
	return true;
}

static struct room *room_add(struct room_table *table, struct span name)
{
	if (table->n >= table->cap / 2 + table->cap / 4 && !room_table_grow(table))
		return NULL;
	struct room *r = malloc(offsetof(struct room, name) + name.n + 1);
	if (r == NULL)
		return NULL;
	r->hash = hash_bytes(&table->key, name.p, name.n);
	r->here = (struct room_shard){.members = NULL};
	r->elsewhere = NULL;
	r->n = 0;
	r->refs = 1;
	r->len = (uint8_t)name.n;
	memcpy(r->name, name.p, name.n);
	r->name[name.n] = '\0';
	table->slots[room_slot(table, r->hash, name)] = r;
	table->n++;
	table->stats->rooms++;
	return r;
}

static void room_unref(struct room *r)
{
	if (--r->refs > 0)
		return;
	free(r->here.members);
	free(r);
}

static void room_free_far(const struct room_table *table, struct room *r)
{
	if (r->elsewhere == NULL)
		return;
	for (uint32_t i = 0; i < table->n_far; i++) {
		if (r->elsewhere[i].group != NULL)
			conn_group_free(r->elsewhere[i].group);
		free(r->elsewhere[i].shard.members);
	}
	free(r->elsewhere);
	r->elsewhere = NULL;
}

/* Takes the room out; those that were pushed on by it move up, so that no probe ends too early. */
static void room_remove(struct room_table *table, struct room *r)
{
	uint32_t mask = table->cap - 1,
		 hole = room_slot(table, r->hash, (struct span){r->name, r->len});
	for (uint32_t i = (hole + 1) & mask; table->slots[i] != NULL; i = (i + 1) & mask) {
		uint32_t home = (uint32_t)table->slots[i]->hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			table->slots[hole] = table->slots[i];
			hole = i;
		}
	}
	table->slots[hole] = NULL;
	table->n--;
	table->stats->rooms--;
	room_free_far(table, r);
	room_unref(r);
}

/* --- members ---------------------------------------------------------------------------------- */

static inline struct room_shard *room_shard(const struct room *r, uint32_t shard)
{
	return shard == 0 ? (struct room_shard *)&r->here : &r->elsewhere[shard - 1].shard;
}

struct session *room_session(const struct room *r, uint32_t i)
{
	const struct room_shard *shard = &r->here;
	for (uint32_t elsewhere = 0; i >= shard->n; elsewhere++) {
		i -= shard->n;
		shard = &r->elsewhere[elsewhere].shard;
	}
	return shard->members[i].session;
}

/* The slot of the room among the session's, looked for on the shorter side; -1: not a member. */
static int64_t room_membership_slot(const struct room *r, const struct room_memberships *own)
{
	if (own->n == 0)
		return -1;
	uint32_t shard = own->v[0].shard; /* as of all of a session's */
	if (shard > 0 && r->elsewhere == NULL)
		return -1;
	const struct room_shard *members = room_shard(r, shard);
	if (own->n <= members->n) {
		for (uint32_t i = 0; i < own->n; i++)
			if (own->v[i].room == r)
				return i;
	} else {
		for (uint32_t i = 0; i < members->n; i++)
			if (&members->members[i].session->rooms == own)
				return members->members[i].slot;
	}
	return -1;
}

bool room_has(const struct room_table *table, struct span name, const struct room_memberships *own)
{
	const struct room *r = room_find(table, name);
	return r != NULL && room_membership_slot(r, own) >= 0;
}

static void *room_grow(void *v, uint32_t n, uint32_t *cap, size_t size)
{
	if (n < *cap)
		return v;
	uint32_t cap_new = *cap == 0 ? 1 : *cap * 2;
	void *wider = realloc(v, cap_new * size);
	if (wider != NULL)
		*cap = cap_new;
	return wider;
}

/* The other loop's array has room before ours has, so that it always has at least as much. */
static bool room_grow_far(const struct room_table *table, struct room *r, const struct conn *stub)
{
	uint32_t i = stub->conns->shard - 1u;
	if (r->elsewhere == NULL)
		r->elsewhere = calloc(table->n_far, sizeof *r->elsewhere);
	if (r->elsewhere == NULL)
		return false;
	struct room_far *elsewhere = &r->elsewhere[i];
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
	if (stub != NULL && !room_grow_far(table, r, stub))
		return false;
	struct room_shard *s = room_shard(r, shard);
	void *v = room_grow(s->members, s->n, &s->cap, sizeof *s->members);
	if (v == NULL)
		return false;
	s->members = v;
	return true;
}

enum room_joined room_join(struct room_table *table, struct span name, struct session *session,
			   struct room_memberships *own, struct conn *stub)
{
	struct room *r = room_find(table, name);
	uint32_t shard = stub != NULL ? stub->conns->shard : 0;
	if (r != NULL && room_membership_slot(r, own) >= 0)
		return ROOM_ALREADY;
	void *v = room_grow(own->v, own->n, &own->cap, sizeof *own->v);
	if (v == NULL)
		return ROOM_NO_MEMORY;
	own->v = v;
	if (r == NULL && (r = room_add(table, name)) == NULL)
		return ROOM_NO_MEMORY;
	if (!room_reserve(table, r, stub, shard)) {
		if (r->n == 0)
			room_remove(table, r);
		return ROOM_NO_MEMORY;
	}
	struct room_shard *s = room_shard(r, shard);
	own->v[own->n] = (struct room_membership){.room = r, .slot = s->n, .shard = shard};
	s->members[s->n++] = (struct room_member){.session = session, .slot = own->n++};
	if (shard > 0)
		conn_group_add(r->elsewhere[shard - 1].group, stub);
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

/* Takes the session out of its shard's array; the room goes with its last member. */
static void room_drop_member(struct room_table *table, struct room_membership at)
{
	struct room *r = at.room;
	struct room_shard *s = room_shard(r, at.shard);
	struct room_member last = s->members[--s->n];
	s->members[at.slot] = last;
	last.session->rooms.v[last.slot].slot = at.slot;
	if (at.shard > 0)
		conn_group_remove(r->elsewhere[at.shard - 1].group, at.slot);
	table->stats->memberships--;
	if (--r->n == 0)
		room_remove(table, r);
	else if (s->cap > 16 && s->n < s->cap / 4)
		room_shrink(s);
}

bool room_leave(struct room_table *table, struct span name, struct room_memberships *own)
{
	struct room *r = room_find(table, name);
	int64_t slot = r != NULL ? room_membership_slot(r, own) : -1;
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

void room_leave_all(struct room_table *table, struct room_memberships *own)
{
	for (uint32_t i = 0; i < own->n; i++) {
		own->v[i].room->refs++;
		room_drop_member(table, own->v[i]);
	}
}

void room_forget_all(struct room_memberships *left)
{
	for (uint32_t i = 0; i < left->n; i++)
		room_unref(left->v[i].room);
	free(left->v);
	*left = (struct room_memberships){.v = NULL};
}

void room_table_free(struct room_table *table)
{
	free(table->slots);
	table->slots = NULL;
	table->n = table->cap = 0;
}
