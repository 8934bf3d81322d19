#include "tova/scope.h"

#include <string.h>

#include "common/nearest.h"

#define SCOPE_WIDE 512
#define SCOPE_LOOK_MAX 2000 /* names that are compared for a suggestion */

struct scope_entry {
	struct scope_entry *next;
	struct name *name;
};

/* Ends in NUL. */
static const char *scope_text(struct arena *arena, struct span text)
{
	char *copy = arena_get(arena, text.n + 1);
	memcpy(copy, text.p, text.n);
	return copy;
}

struct scope *scope_new(struct arena *arena, struct scope *outer, bool wide)
{
	struct scope *s = arena_get(arena, sizeof *s);
	s->outer = outer;
	s->n_buckets = wide ? SCOPE_WIDE : 1;
	s->buckets = arena_get(arena, s->n_buckets * sizeof(struct scope_entry *));
	return s;
}

/* FNV-1a; names are the operator's own, so nobody chooses them to collide. */
static struct scope_entry **scope_bucket(const struct scope *s, struct span text)
{
	unsigned hash = 2166136261u;
	for (size_t i = 0; s->n_buckets > 1 && i < text.n; i++)
		hash = (hash ^ (unsigned char)text.p[i]) * 16777619u;
	return &s->buckets[hash % s->n_buckets];
}

struct name *scope_own(const struct scope *s, struct span text)
{
	for (struct scope_entry *e = *scope_bucket(s, text); e != NULL; e = e->next)
		if (span_eq(e->name->text, text))
			return e->name;
	return NULL;
}

struct name *scope_find(const struct scope *s, struct span text)
{
	struct name *name = NULL;
	for (; s != NULL && name == NULL; s = s->outer)
		name = scope_own(s, text);
	return name;
}

void scope_add(struct arena *arena, struct scope *s, struct name *name)
{
	struct scope_entry **bucket = scope_bucket(s, name->text), *e = arena_get(arena, sizeof *e);
	e->name = name;
	e->next = *bucket;
	*bucket = e;
}

const char *scope_nearest(struct arena *arena, const struct scope *s, struct span text)
{
	const char **names = arena_get(arena, SCOPE_LOOK_MAX * sizeof *names);
	size_t n = 0;
	for (; s != NULL; s = s->outer)
		for (unsigned i = 0; i < s->n_buckets; i++)
			for (struct scope_entry *e = s->buckets[i]; e != NULL && n < SCOPE_LOOK_MAX;
			     e = e->next)
				names[n++] = scope_text(arena, e->name->text);
	return nearest_name(scope_text(arena, text), names, n);
}
