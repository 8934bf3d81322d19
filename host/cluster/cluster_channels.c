/* Which rooms this host listens to. */
#include <stdlib.h>

#include "cluster/cluster_parts.h"

/* At the end of the turn, with others. */
static bool cluster_want(struct cluster *c, struct channel *at)
{
	at->asked = buffer_append(&c->subscribing, &at, sizeof at);
	c->due = c->hub->loop->again = true;
	return at->asked;
}

struct channel *cluster_follow(struct cluster *c, struct mount *m, struct span room)
{
	char name[CHANNEL_NAME_MAX];
	struct span text = {name, channel_name(&c->channels, m, &room, name)};
	struct channel *at = text.n > 0 ? channel_find(&c->channels, text) : NULL;
	if (at == NULL && text.n > 0)
		at = channel_add(&c->channels, CHANNEL_ROOM, m, text);
	if (at == NULL)
		return NULL;
	at->wanted_ms = loop_now(c->hub->loop);
	if (!at->asked && c->began)
		cluster_want(c, at);
	return at;
}

void cluster_subscribe_more(struct cluster *c)
{
	size_t n = c->subscribing.n / sizeof(struct channel *);
	struct span *names = n > 0 ? malloc(n * sizeof *names) : NULL;
	if (names == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		struct channel *at;
		memcpy(&at, c->subscribing.p + i * sizeof(struct channel *),
		       sizeof(struct channel *));
		names[i] = channel_text(at);
	}
	if (!c->began || !c->engine->ops->subscribe(c->engine, names, n))
		c->engine->ops->again(c->engine, "no memory");
	buffer_empty(&c->subscribing, 65536);
	free(names);
}

void cluster_subscribe_all(struct cluster *c)
{
	buffer_empty(&c->subscribing, 65536);
	for (struct channel *at = channel_each(&c->channels, NULL); at != NULL;
	     at = channel_each(&c->channels, at)) {
		at->heard = false;
		cluster_want(c, at);
	}
	cluster_subscribe_more(c);
}

void cluster_confirmed(struct cluster *c, struct span channel)
{
	struct channel *at = channel_find(&c->channels, channel);
	if (at == NULL || !at->asked)
		return;
	at->heard = true;
	if (at->since_ms == 0)
		at->since_ms = loop_now(c->hub->loop);
	c->due = c->hub->loop->again = true;
}

/* Is it still of use? Commits that wait to join it have said so when they came. */
static bool cluster_is_wanted(struct cluster *c, struct channel *at, uint64_t now)
{
	if (at->kind != CHANNEL_ROOM)
		return true;
	if (room_find(&at->mount->rooms, channel_room(at)) != NULL)
		at->wanted_ms = now;
	(void)c;
	return now - at->wanted_ms <= CLUSTER_LAG_MS || at->mount->parked.first != NULL;
}

void cluster_sweep(struct cluster *c)
{
	uint64_t now = loop_now(c->hub->loop);
	struct channel *next;
	for (struct channel *at = channel_each(&c->channels, NULL); at != NULL; at = next) {
		next = channel_each(&c->channels, at);
		if (c->ticks % 64 == 0)
			numbers_forget(&at->publishers, now);
		if (cluster_is_wanted(c, at, now) || (c->began && !at->heard))
			continue;
		struct span name = channel_text(at);
		if (c->began)
			c->engine->ops->unsubscribe(c->engine, &name, 1);
		channel_remove(&c->channels, &at);
	}
}
