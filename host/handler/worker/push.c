#include "handler/worker/push.h"

#include <stdlib.h>

#define PUSH_BUCKETS 16384

struct push_source {
	struct push_source *next;	   /* in its bucket */
	struct push_source *newer, *older; /* by use */
	uint64_t done;			   /* highest number */
	size_t len;
	char name[PUSH_SOURCE_NAME_MAX];
};

bool push_sources_init(struct push_sources *s, const struct hash_key *key)
{
	*s = (struct push_sources){.key = *key};
	s->buckets = calloc(PUSH_BUCKETS, sizeof(struct push_source *));
	return s->buckets != NULL;
}

static struct push_source **push_find(struct push_sources *s, struct span name)
{
	struct push_source **at = &s->buckets[hash_bytes(&s->key, name.p, name.n) % PUSH_BUCKETS];
	while (*at != NULL && !span_eq((struct span){(*at)->name, (*at)->len}, name))
		at = &(*at)->next;
	return at;
}

static void push_unlink(struct push_sources *s, struct push_source *x)
{
	*(x->newer != NULL ? &x->newer->older : &s->newest) = x->older;
	*(x->older != NULL ? &x->older->newer : &s->oldest) = x->newer;
}

static void push_make_newest(struct push_sources *s, struct push_source *x)
{
	x->newer = NULL;
	x->older = s->newest;
	*(s->newest != NULL ? &s->newest->newer : &s->oldest) = x;
	s->newest = x;
}

static void push_forget_oldest(struct push_sources *s)
{
	struct push_source *x = s->oldest, **at = push_find(s, (struct span){x->name, x->len});
	*at = x->next;
	push_unlink(s, x);
	free(x);
	s->n--;
}

void push_sources_free(struct push_sources *s)
{
	while (s->oldest != NULL)
		push_forget_oldest(s);
	free(s->buckets);
	s->buckets = NULL;
}

static struct push_source *push_add(struct push_sources *s, struct span name)
{
	struct push_source *x = calloc(1, sizeof *x), **at;
	if (x == NULL)
		return NULL;
	memcpy(x->name, name.p, name.n);
	x->len = name.n;
	if (s->n == PUSH_SOURCES_MAX)
		push_forget_oldest(s);
	at = push_find(s, name);
	x->next = *at;
	*at = x;
	push_make_newest(s, x);
	s->n++;
	return x;
}

enum push_verdict push_judge(struct push_sources *s, struct span source, uint64_t n)
{
	if (source.n == 0 || source.n > PUSH_SOURCE_NAME_MAX)
		return PUSH_BAD_NAME;
	struct push_source *x = *push_find(s, source);
	if (x == NULL && n > 1)
		return PUSH_UNKNOWN;
	if (x == NULL && (x = push_add(s, source)) == NULL)
		return PUSH_NO_MEMORY;
	push_unlink(s, x);
	push_make_newest(s, x);
	return n <= x->done ? PUSH_REPEATED : n == x->done + 1 ? PUSH_NEW : PUSH_GAP;
}

void push_done(struct push_sources *s, struct span source, uint64_t n)
{
	struct push_source *x = *push_find(s, source);
	if (x != NULL)
		x->done = n;
}
