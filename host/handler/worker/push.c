#include "handler/worker/push.h"

#include <stdlib.h>

struct push_source {
	struct hash_link link;
	TAILQ_ENTRY(push_source) by_use;
	uint64_t done; /* highest number, */
	struct push_outcome outcome; /* and what became of that */
	size_t len;
	char name[PUSH_SOURCE_NAME_MAX];
};

void push_sources_init(struct push_sources *s, const struct hash_key *key)
{
	*s = (struct push_sources){.key = *key};
	TAILQ_INIT(&s->by_use);
}

static struct push_source *push_find(const struct push_sources *s, struct span name)
{
	struct hash_link *at = hash_table_first(&s->table, hash_bytes(&s->key, name.p, name.n));
	for (; at != NULL; at = hash_link_next(at)) {
		struct push_source *x = HASH_ENTRY(at, struct push_source, link);
		if (span_eq((struct span){x->name, x->len}, name))
			return x;
	}
	return NULL;
}

static void push_forget_oldest(struct push_sources *s)
{
	struct push_source *x = TAILQ_LAST(&s->by_use, push_list);
	hash_table_remove(&s->table, &x->link);
	TAILQ_REMOVE(&s->by_use, x, by_use);
	free(x);
}

void push_sources_free(struct push_sources *s)
{
	while (!TAILQ_EMPTY(&s->by_use))
		push_forget_oldest(s);
	hash_table_free(&s->table);
}

static struct push_source *push_add(struct push_sources *s, struct span name)
{
	struct push_source *x = hash_table_reserve(&s->table) ? calloc(1, sizeof *x) : NULL;
	if (x == NULL)
		return NULL;
	memcpy(x->name, name.p, name.n);
	x->len = name.n;
	if (s->table.n == PUSH_SOURCES_MAX)
		push_forget_oldest(s);
	hash_table_add(&s->table, &x->link, hash_bytes(&s->key, name.p, name.n));
	TAILQ_INSERT_HEAD(&s->by_use, x, by_use);
	return x;
}

enum push_verdict push_judge(struct push_sources *s, struct span source, uint64_t n)
{
	if (source.n == 0 || source.n > PUSH_SOURCE_NAME_MAX)
		return PUSH_BAD_NAME;
	struct push_source *x = push_find(s, source);
	if (x == NULL && n > 1)
		return PUSH_UNKNOWN;
	if (x == NULL && (x = push_add(s, source)) == NULL)
		return PUSH_NO_MEMORY;
	TAILQ_REMOVE(&s->by_use, x, by_use);
	TAILQ_INSERT_HEAD(&s->by_use, x, by_use);
	return n <= x->done ? PUSH_REPEATED : n == x->done + 1 ? PUSH_NEW : PUSH_GAP;
}

void push_done(struct push_sources *s, struct span source, uint64_t n,
	       const struct push_outcome *outcome)
{
	struct push_source *x = push_find(s, source);
	if (x == NULL)
		return;
	x->done = n;
	x->outcome = *outcome;
}

const struct push_outcome *push_outcome(struct push_sources *s, struct span source, uint64_t n)
{
	const struct push_source *x = push_find(s, source);
	return x != NULL && x->done == n ? &x->outcome : NULL;
}
