/* route_key: --route: connections with the same key - path, user, first room - go to the same
 * worker as long as that serves. A key is known as long as a connection has it; which worker one
 * that is new goes to depends on the key alone, so that it is often the one that had it before. */
#include <stdlib.h>

#include "handler/worker/route.h"
#include "hub/identity.h"

struct route_key {
	struct hash_link link; /* in the pool's table; its hash is the key */
	struct worker *worker; /* NULL: to be chosen */
	uint32_t n;	       /* connections that have it */
};

static struct route_key *route_key_entry(struct hash_link *link)
{
	return link != NULL ? HASH_ENTRY(link, struct route_key, link) : NULL;
}

static struct route_key *route_key_find(const struct hash_table *all, uint64_t key)
{
	return route_key_entry(hash_table_first(all, key));
}

/* NULL without memory. */
static struct route_key *route_key_get(struct hash_table *all, uint64_t key)
{
	struct route_key *k = route_key_find(all, key);
	if (k != NULL)
		return k;
	k = hash_table_reserve(all) ? calloc(1, sizeof *k) : NULL;
	if (k != NULL)
		hash_table_add(all, &k->link, key);
	return k;
}

void route_key_release(struct pool *p, struct session *s)
{
	uint64_t key = s->more->route_key;
	s->more->route_key = 0;
	struct route_key *k = key != 0 ? route_key_find(&p->route_keys, key) : NULL;
	if (k == NULL || --k->n > 0)
		return;
	hash_table_remove(&p->route_keys, &k->link);
	free(k);
}

void route_keys_lost(struct pool *p, const struct worker *w)
{
	struct hash_link *at = NULL;
	while ((at = hash_table_next(&p->route_keys, at)) != NULL)
		if (route_key_entry(at)->worker == w)
			route_key_entry(at)->worker = NULL;
}

void route_keys_free(struct hash_table *all)
{
	struct hash_link *at = hash_table_next(all, NULL);
	while (at != NULL) {
		struct route_key *k = route_key_entry(at);
		at = hash_table_next(all, at);
		free(k);
	}
	hash_table_free(all);
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
