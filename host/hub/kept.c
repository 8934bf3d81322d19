#include "hub/kept.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define KEPT_LOOK_MAX 4096 /* messages among which one with a key is looked for */
#define KEPT_CAP_MIN 8

/* Moves them to memory for so many. */
static bool kept_resize(struct kept *k, uint32_t cap)
{
	struct kept_message *v = malloc(cap * sizeof *v);
	CHECK(cap >= k->n);
	if (v == NULL)
		return false;
	for (uint32_t i = 0; i < k->n; i++)
		v[i] = *kept_at(k, i);
	free(k->v);
	k->v = v;
	k->first = 0;
	k->cap = cap;
	return true;
}

static bool kept_reserve(struct kept *k)
{
	return k->n < k->cap || kept_resize(k, k->cap == 0 ? KEPT_CAP_MIN : 2 * k->cap);
}

bool kept_push(struct kept *k, const struct slice *frame, uint64_t key, uint64_t number)
{
	CHECK(k->n == 0 || kept_at(k, k->n - 1)->number <= number);
	if (!kept_reserve(k))
		return false;
	chunk_ref(frame->chunk);
	k->n++;
	*kept_at(k, k->n - 1) = (struct kept_message){*frame, key, number};
	k->bytes += frame->len;
	return true;
}

struct kept_message *kept_first(const struct kept *k)
{
	return k->n > 0 ? kept_at(k, 0) : NULL;
}

static void kept_drop(struct kept *k, struct kept_message *m)
{
	CHECK(k->bytes >= m->frame.len);
	k->bytes -= m->frame.len;
	slice_unref(&m->frame);
}

void kept_pop(struct kept *k)
{
	CHECK(k->n > 0);
	kept_drop(k, kept_at(k, 0));
	do {
		k->first = (k->first + 1) & (k->cap - 1);
		k->n--;
	} while (k->n > 0 && kept_at(k, 0)->frame.chunk == NULL && k->gone-- > 0);
	if (k->n == 0)
		kept_free(k);
	else if (k->cap > 4 * KEPT_CAP_MIN && k->n < k->cap / 4)
		kept_resize(k, k->cap / 2);
}

/* Those that were given up go, when they are most. */
static void kept_pack(struct kept *k)
{
	uint32_t to = 0;
	if (k->gone < KEPT_CAP_MIN || k->gone < k->n / 2)
		return;
	for (uint32_t i = 0; i < k->n; i++)
		if (kept_at(k, i)->frame.chunk != NULL)
			*kept_at(k, to++) = *kept_at(k, i);
	k->n = to;
	k->gone = 0;
}

bool kept_supersede(struct kept *k, uint64_t key, uint64_t *number_r)
{
	uint32_t looks = k->n < KEPT_LOOK_MAX ? k->n : KEPT_LOOK_MAX;
	for (uint32_t i = k->n; i > k->n - looks; i--) {
		struct kept_message *m = kept_at(k, i - 1);
		if (m->frame.chunk == NULL || m->key != key)
			continue;
		*number_r = m->number;
		if (i == 1) {
			kept_pop(k);
			return true;
		}
		kept_drop(k, m);
		m->frame.len = 0;
		k->gone++;
		kept_pack(k);
		return true;
	}
	return false;
}

void kept_free(struct kept *k)
{
	for (uint32_t i = 0; i < k->n; i++)
		slice_unref(&kept_at(k, i)->frame);
	free(k->v);
	*k = (struct kept){.v = NULL};
}
