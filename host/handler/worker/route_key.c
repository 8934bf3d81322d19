/* route_key: --route: connections with the same key - path, user, first room - go to the same
 * worker as long as that serves. A key is known as long as a connection has it; which worker one
 * that is new goes to depends on the key alone, so that it is often the one that had it before. */
#include <stdlib.h>

#include "handler/worker/pool.h"
#include "hub/identity.h"

#define ROUTE_KEYS_MIN 64

struct route_key {
	struct route_key *next; /* in its chain of the table */
	struct worker *worker;	/* NULL: to be chosen */
	uint64_t key;
	uint32_t n; /* connections that have it */
};

static struct route_key **route_key_slot(const struct route_keys *all, uint64_t key)
{
	return &all->slots[key & (all->cap - 1)];
}

static bool route_key_grow(struct route_keys *all)
{
	struct route_keys wider = {.n = all->n,
				   .cap = all->cap == 0 ? ROUTE_KEYS_MIN : 2 * all->cap};
	struct route_key *k;
	wider.slots = calloc(wider.cap, sizeof *wider.slots);
	if (wider.slots == NULL)
		return false;
	for (uint32_t i = 0; i < all->cap; i++)
		while ((k = all->slots[i]) != NULL) {
			struct route_key **at = route_key_slot(&wider, k->key);
			all->slots[i] = k->next;
			k->next = *at;
			*at = k;
		}
	free(all->slots);
	*all = wider;
	return true;
}

static struct route_key *route_key_find(const struct route_keys *all, uint64_t key)
{
	struct route_key *k = all->cap > 0 ? *route_key_slot(all, key) : NULL;
	while (k != NULL && k->key != key)
		k = k->next;
	return k;
}

/* NULL without memory. */
static struct route_key *route_key_get(struct route_keys *all, uint64_t key)
{
	struct route_key *k = route_key_find(all, key);
	if (k != NULL)
		return k;
	if (all->n >= all->cap && !route_key_grow(all))
		return NULL;
	k = malloc(sizeof *k);
	if (k == NULL)
		return NULL;
	struct route_key **at = route_key_slot(all, key);
	*k = (struct route_key){.next = *at, .key = key};
	*at = k;
	all->n++;
	return k;
}

void route_key_release(struct pool *p, struct session *s)
{
	struct route_keys *all = &p->route_keys;
	uint64_t key = s->more->route_key;
	s->more->route_key = 0;
	struct route_key *k = key != 0 ? route_key_find(all, key) : NULL;
	if (k == NULL || --k->n > 0)
		return;
	struct route_key **at = route_key_slot(all, key);
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	all->n--;
	free(k);
}

void route_keys_lost(struct pool *p, const struct worker *w)
{
	for (uint32_t i = 0; i < p->route_keys.cap; i++)
		for (struct route_key *k = p->route_keys.slots[i]; k != NULL; k = k->next)
			if (k->worker == w)
				k->worker = NULL;
}

void route_keys_free(struct route_keys *all)
{
	struct route_key *k;
	for (uint32_t i = 0; i < all->cap; i++)
		while ((k = all->slots[i]) != NULL) {
			all->slots[i] = k->next;
			free(k);
		}
	free(all->slots);
	*all = (struct route_keys){.slots = NULL};
}

/* --- what it is ------------------------------------------------------------------------------- */

static uint64_t route_key_hash(const struct pool *p, struct span text)
{
	uint64_t key = hash_bytes(&p->base.mount->hub->key, text.p, text.n);
	return key != 0 ? key : 1;
}

/* 0: it has none. */
static uint64_t route_key_of(const struct pool *p, const struct session *s)
{
	const char *user, *path;
	switch (p->route) {
	case WORKER_ROUTE_PATH:
		path = s->more->path != NULL ? s->more->path : s->mount->path;
		return route_key_hash(p, span_of(path));
	case WORKER_ROUTE_USER:
		user = identity_user(s);
		return user != NULL ? route_key_hash(p, span_of(user)) : 0;
	case WORKER_ROUTE_ROOM: /* of one that has ended, what it was last */
		return !s->ended && room_count(&s->rooms) > 0
			       ? route_key_hash(p, span_of(room_name(&s->rooms, 0)))
			       : s->more->route_key;
	case WORKER_ROUTE_CONNECTION:
		break;
	}
	return 0;
}

/* --- whose it is ------------------------------------------------------------------------------ */

/* The one for which key and worker together give most (rendezvous hashing): where one comes or goes
 * the others keep what they have. */
static struct worker *route_key_choose(const struct pool *p, uint64_t key)
{
	struct worker *w, *best = NULL;
	uint64_t most = 0;
	TAILQ_FOREACH (w, &p->workers, link) {
		const uint64_t both[2] = {key, w->child != NULL ? w->child->index
								: (uint64_t)(uintptr_t)w};
		uint64_t score = hash_bytes(&p->base.mount->hub->key, both, sizeof both);
		if (!route_takes(w) || (best != NULL && score <= most))
			continue;
		best = w;
		most = score;
	}
	return best;
}

bool route_by_key(struct pool *p, struct session *s, struct worker **w_r)
{
	uint64_t key = route_key_of(p, s);
	struct route_key *k = key != 0 ? route_key_get(&p->route_keys, key) : NULL;
	if (k == NULL)
		return false;
	if (s->more->route_key != key) {
		k->n++;
		route_key_release(p, s);
		s->more->route_key = key;
	}
	if (k->worker == NULL || !route_takes(k->worker))
		k->worker = route_key_choose(p, key);
	*w_r = k->worker;
	return k->worker != NULL;
}
