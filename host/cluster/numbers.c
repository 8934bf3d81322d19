#include "cluster/numbers.h"

#include <stdlib.h>
#include <string.h>

/* --- publishing ------------------------------------------------------------------------------- */

static struct numbers_count *numbers_find(const struct numbers *n, struct span channel,
					  uint64_t hash)
{
	struct hash_link *link = hash_table_first(&n->table, hash);
	for (; link != NULL; link = hash_link_next(link)) {
		struct numbers_count *count = HASH_ENTRY(link, struct numbers_count, link);
		if (count->len == channel.n && memcmp(count->channel, channel.p, channel.n) == 0)
			return count;
	}
	return NULL;
}

bool numbers_next(struct numbers *n, struct span channel, uint64_t *series_r, uint64_t *number_r)
{
	uint64_t hash = hash_bytes(&n->key, channel.p, channel.n);
	struct numbers_count *count = numbers_find(n, channel, hash);
	if (count == NULL) {
		count = hash_table_reserve(&n->table) ? malloc(sizeof *count + channel.n) : NULL;
		if (count == NULL)
			return false;
		*count = (struct numbers_count){.series = ++n->series, .len = (uint16_t)channel.n};
		memcpy(count->channel, channel.p, channel.n);
		hash_table_add(&n->table, &count->link, hash);
	}
	count->told = 0;
	*series_r = count->series;
	*number_r = ++count->number;
	return true;
}

const struct numbers_count *numbers_each(const struct numbers *n,
					 const struct numbers_count *before)
{
	struct hash_link *link =
		hash_table_next(&n->table, before != NULL ? &before->link : NULL);
	return link != NULL ? HASH_ENTRY(link, struct numbers_count, link) : NULL;
}

void numbers_sweep(struct numbers *n)
{
	struct hash_link *link = hash_table_next(&n->table, NULL), *next;
	for (; link != NULL; link = next) {
		struct numbers_count *count = HASH_ENTRY(link, struct numbers_count, link);
		next = hash_table_next(&n->table, link);
		if (++count->told <= NUMBERS_TOLD_MAX)
			continue;
		hash_table_remove(&n->table, link);
		free(count);
	}
}

void numbers_free(struct numbers *n)
{
	struct hash_link *link;
	while ((link = hash_table_next(&n->table, NULL)) != NULL) {
		hash_table_remove(&n->table, link);
		free(HASH_ENTRY(link, struct numbers_count, link));
	}
	hash_table_free(&n->table);
}

/* --- hearing ---------------------------------------------------------------------------------- */

static struct numbers_publisher *numbers_publisher(struct numbers_heard *h, uint64_t host)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (h->v[i].host == host)
			return &h->v[i];
	return NULL;
}

/* Where there are too many, whoever may publish at the engine makes them up: the oldest goes. */
static struct numbers_publisher *numbers_add(struct numbers_heard *h)
{
	if (h->n == NUMBERS_HEARD_MAX) {
		struct numbers_publisher *oldest = &h->v[0];
		for (uint32_t i = 1; i < h->n; i++)
			oldest = h->v[i].at_ms < oldest->at_ms ? &h->v[i] : oldest;
		return oldest;
	}
	if (h->n == h->cap) {
		uint32_t cap = h->cap == 0 ? 2 : 2 * h->cap;
		struct numbers_publisher *wider = realloc(h->v, cap * sizeof *wider);
		if (wider == NULL)
			return NULL;
		h->v = wider;
		h->cap = cap;
	}
	return &h->v[h->n++];
}

bool numbers_hear(struct numbers_heard *h, const struct numbers_publisher *at, bool settled,
		  uint64_t *lost_r)
{
	struct numbers_publisher *known = numbers_publisher(h, at->host);
	*lost_r = 0;
	if (known != NULL && at->series == known->series && at->last <= known->last)
		return false;
	if (known != NULL && at->series < known->series)
		return false;
	if (known != NULL)
		*lost_r = at->last - 1 - (at->series == known->series ? known->last : 0);
	else if (settled)
		*lost_r = at->last - 1;
	if (known == NULL && (known = numbers_add(h)) == NULL) {
		*lost_r = 0;
		return true;
	}
	*known = *at;
	return true;
}

uint64_t numbers_announced(struct numbers_heard *h, const struct numbers_publisher *at,
			   bool settled)
{
	bool known = settled || numbers_publisher(h, at->host) != NULL;
	uint64_t lost;
	if (at->last == 0 || !numbers_hear(h, at, settled, &lost) || !known)
		return 0;
	return lost + 1; /* with the last itself */
}

void numbers_forget(struct numbers_heard *h, uint64_t now_ms)
{
	for (uint32_t i = 0; i < h->n;) {
		if (now_ms - h->v[i].at_ms > NUMBERS_FORGET_MS)
			h->v[i] = h->v[--h->n];
		else
			i++;
	}
	if (h->n == 0)
		numbers_heard_free(h);
}

void numbers_heard_free(struct numbers_heard *h)
{
	free(h->v);
	*h = (struct numbers_heard){.n = 0};
}
