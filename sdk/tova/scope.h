/* scope: which names are known where. */
#ifndef TOVA_SDK_SCOPE_H
#define TOVA_SDK_SCOPE_H

#include "tova/arena.h"
#include "tova/tree.h"

struct scope_entry;

struct scope {
	struct scope *outer;
	struct scope_entry **buckets;
	unsigned n_buckets;
};

/* wide: many names are expected. */
struct scope *scope_new(struct arena *arena, struct scope *outer, bool wide);
/* In this one only; NULL: there is none. */
struct name *scope_own(const struct scope *s, struct span text);
/* In this one or those around. */
struct name *scope_find(const struct scope *s, struct span text);
/* Adds a name, which hides others of its text. */
void scope_add(struct arena *arena, struct scope *s, struct name *name);
/* The name most like this one, in the arena; NULL: none is like it. */
const char *scope_nearest(struct arena *arena, const struct scope *s, struct span text);

#endif
