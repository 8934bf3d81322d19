#include "cluster/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/mount.h"

size_t channel_name(const struct channels *all, const struct mount *m, const struct span *room,
		    char name[CHANNEL_NAME_MAX])
{
	int n = room == NULL ? snprintf(name, CHANNEL_NAME_MAX, "%smount:%s", all->prefix, m->path)
			     : snprintf(name, CHANNEL_NAME_MAX, "%sroom:%zu:%s:", all->prefix,
					strlen(m->path), m->path);
	size_t more = room != NULL ? room->n : 0;
	if (n < 0 || (size_t)n + more >= CHANNEL_NAME_MAX)
		return 0;
	if (more > 0)
		memcpy(name + n, room->p, more);
	return (size_t)n + more;
}

struct channel *channel_find(const struct channels *all, struct span name)
{
	struct hash_link *link =
		hash_table_first(&all->table, hash_bytes(&all->key, name.p, name.n));
	for (; link != NULL; link = hash_link_next(link)) {
		struct channel *c = HASH_ENTRY(link, struct channel, link);
		if (c->len == name.n && memcmp(c->name, name.p, name.n) == 0)
			return c;
	}
	return NULL;
}

/* The room is what stands behind the mount. */
static uint16_t channel_room_at(const struct channels *all, const struct channel *c)
{
	char front[CHANNEL_NAME_MAX];
	const struct span none = {"", 0};
	return c->kind == CHANNEL_ROOM ? (uint16_t)channel_name(all, c->mount, &none, front)
				       : c->len;
}

struct channel *channel_add(struct channels *all, enum channel_kind kind, struct mount *m,
			    struct span name)
{
	struct channel *c =
		hash_table_reserve(&all->table) ? calloc(1, sizeof *c + name.n) : NULL;
	if (c == NULL)
		return NULL;
	c->kind = (uint8_t)kind;
	c->mount = m;
	c->len = (uint16_t)name.n;
	memcpy(c->name, name.p, name.n);
	c->room = channel_room_at(all, c);
	hash_table_add(&all->table, &c->link, hash_bytes(&all->key, name.p, name.n));
	return c;
}

void channel_remove(struct channels *all, struct channel **c_p)
{
	struct channel *c = *c_p;
	*c_p = NULL;
	hash_table_remove(&all->table, &c->link);
	numbers_heard_free(&c->publishers);
	free(c);
}

struct channel *channel_each(const struct channels *all, const struct channel *before)
{
	struct hash_link *link =
		hash_table_next(&all->table, before != NULL ? &before->link : NULL);
	return link != NULL ? HASH_ENTRY(link, struct channel, link) : NULL;
}

void channels_free(struct channels *all)
{
	struct channel *c;
	while ((c = channel_each(all, NULL)) != NULL)
		channel_remove(all, &c);
	hash_table_free(&all->table);
}
