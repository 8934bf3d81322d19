/* The other hosts, as they announce themselves. */
#include <stdio.h>
#include <stdlib.h>

#include "cluster/cluster_parts.h"
#include "common/utf8.h"
#include "hub/meters.h"

#ifndef TOVA_VERSION
#error "the version is missing"
#endif

/* --- this one --------------------------------------------------------------------------------- */

void cluster_lose(struct cluster *c, const struct channel *at, uint64_t host, uint64_t lost)
{
	struct cluster_mount *of = cluster_mount(c, at->mount);
	const struct cluster_host *from = cluster_host(c, host);
	if (lost == 0 || of == NULL)
		return;
	c->counts.lost += lost;
	of->lost += lost;
	if (of->times++ > 0)
		return;
	struct span room = channel_room(at);
	snprintf(of->room, sizeof of->room, "%.*s", (int)room.n, room.p);
	snprintf(of->host, sizeof of->host, "%s", from != NULL ? from->id : "?");
}

/* As many counts as one announcement takes, from that one on. Returns the next, or NULL. */
static const struct numbers_count *cluster_add_counts(struct cluster *c, struct buffer *to,
						      uint16_t *n_r,
						      const struct numbers_count *from)
{
	const struct numbers_count *at = from;
	for (*n_r = 0; at != NULL && *n_r < ENVELOPE_COUNTS_MAX && to->n < CLUSTER_MESSAGE_MAX / 2;
	     at = numbers_each(&c->numbers, at)) {
		const struct envelope_count count = {{at->channel, at->len},
						     at->series,
						     at->number};
		envelope_add_count(to, &count);
		++*n_r;
	}
	return at;
}

static bool cluster_announce_some(struct cluster *c, const struct numbers_count **at)
{
	struct buffer counts = {0}, bytes = {0};
	struct envelope e = {.kind = ENVELOPE_HOST,
			     .host = c->hub->host_id,
			     .number = c->nonce,
			     .id = span_of(c->id),
			     .version = SPAN(TOVA_VERSION),
			     .machine = span_of(c->machine),
			     .form = span_of(c->form)};
	*at = cluster_add_counts(c, &counts, &e.n_counts, *at);
	e.counts = (struct span){counts.p, counts.n};
	envelope_add(&bytes, &e, NULL);
	const struct engine_message message = {channel_text(c->all_hosts), {bytes.p, bytes.n}};
	bool ok = !counts.failed && !bytes.failed &&
		  c->engine->ops->publish(c->engine, 0, &message, 1);
	buffer_free(&counts);
	buffer_free(&bytes);
	return ok;
}

void cluster_announce(struct cluster *c)
{
	numbers_sweep(&c->numbers);
	const struct numbers_count *at = numbers_each(&c->numbers, NULL);
	c->greet = false;
	bool sent;
	do {
		sent = cluster_announce_some(c, &at);
	} while (sent && at != NULL);
	if (!sent || c->announced_ms != 0)
		return;
	c->announced_us = meters_micros();
	c->announced_ms = loop_now(c->hub->loop);
}

/* --- others ----------------------------------------------------------------------------------- */

static void cluster_copy(char to[ENVELOPE_NAME_MAX + 1], struct span text)
{
	bool good = text.n <= ENVELOPE_NAME_MAX && utf8_valid(text.p, text.n) &&
		    (text.n == 0 || memchr(text.p, '\0', text.n) == NULL);
	snprintf(to, ENVELOPE_NAME_MAX + 1, "%.*s", good ? (int)text.n : 1, good ? text.p : "?");
}

static struct cluster_host *cluster_host_comes(struct cluster *c, const struct envelope *e)
{
	struct cluster_host *h = c->hosts.n < CLUSTER_HOSTS_MAX && hash_table_reserve(&c->hosts)
					 ? calloc(1, sizeof *h)
					 : NULL;
	if (h == NULL)
		return NULL;
	cluster_copy(h->id, e->id);
	cluster_copy(h->version, e->version);
	cluster_copy(h->machine, e->machine);
	hash_table_add(&c->hosts, &h->link, e->host);
	c->greet = true;
	LOG(c->hub->log, LOG_NOTICE, LOG_CLUSTER, "another host is there", LOG_STR("host", h->id),
	    LOG_STR("machine", h->machine), LOG_STR("version", h->version));
	return h;
}

/* Why it does not fit; NULL: it does. */
static const char *cluster_host_wrong(const struct cluster *c, const struct cluster_host *h,
				      const struct envelope *e)
{
	if (strcmp(h->id, c->id) == 0)
		return "it has the id of this host";
	return e->form.n == strlen(c->form) && memcmp(e->form.p, c->form, e->form.n) == 0
		       ? NULL
		       : "its mounts or its protocol are others";
}

static void cluster_hear_counts(struct cluster *c, struct envelope *e)
{
	struct envelope_count count;
	uint64_t now = loop_now(c->hub->loop);
	while (envelope_count(e, &count)) {
		struct channel *at = channel_find(&c->channels, count.channel);
		if (at == NULL || !at->heard || at->kind > CHANNEL_MOUNT)
			continue;
		const struct numbers_publisher publisher = {e->host, count.series, count.number,
							    now};
		bool settled = now - at->since_ms > NUMBERS_SETTLED_MS;
		cluster_lose(c, at, e->host,
			     numbers_announced(&at->publishers, &publisher, settled));
	}
}

static void cluster_hear_own(struct cluster *c, const struct envelope *e)
{
	if (e->number != c->nonce || c->announced_ms == 0)
		return;
	c->lag_us = meters_micros() - c->announced_us;
	c->announced_ms = 0;
}

void cluster_hear_host(struct cluster *c, struct envelope *e)
{
	if (e->host == c->hub->host_id) {
		cluster_hear_own(c, e);
		return;
	}
	struct cluster_host *h = cluster_host(c, e->host);
	if (h == NULL && (h = cluster_host_comes(c, e)) == NULL)
		return;
	const char *wrong = cluster_host_wrong(c, h, e);
	h->at_ms = loop_now(c->hub->loop);
	h->refused = wrong != NULL;
	if (wrong != NULL && !h->told)
		LOG(c->hub->log, LOG_ERROR, LOG_CLUSTER,
		    "what another host publishes is ignored: it does not fit",
		    LOG_STR("host", h->id), LOG_STR("machine", h->machine), LOG_STR("why", wrong),
		    LOG_SPAN("theirs", e->form), LOG_STR("ours", c->form));
	h->told = wrong != NULL;
	if (wrong == NULL)
		cluster_hear_counts(c, e);
}

static void cluster_host_goes(struct cluster *c, struct cluster_host *h)
{
	hash_table_remove(&c->hosts, &h->link);
	free(h);
}

void cluster_miss(struct cluster *c)
{
	uint64_t now = loop_now(c->hub->loop);
	struct hash_link *link = hash_table_next(&c->hosts, NULL), *next;
	for (; link != NULL; link = next) {
		struct cluster_host *h = HASH_ENTRY(link, struct cluster_host, link);
		next = hash_table_next(&c->hosts, link);
		if (now - h->at_ms <= CLUSTER_SILENCE_MS)
			continue;
		LOG(c->hub->log, LOG_NOTICE, LOG_CLUSTER, "another host is silent, and counts as "
							  "gone",
		    LOG_STR("host", h->id), LOG_STR("machine", h->machine));
		cluster_host_goes(c, h);
	}
}

void cluster_free_hosts(struct cluster *c)
{
	struct hash_link *link;
	while ((link = hash_table_next(&c->hosts, NULL)) != NULL)
		cluster_host_goes(c, HASH_ENTRY(link, struct cluster_host, link));
	hash_table_free(&c->hosts);
}

bool cluster_look_host(const struct cluster *c, uint32_t i, struct cluster_host_seen *seen_r)
{
	struct hash_link *link = hash_table_next(&c->hosts, NULL);
	while (link != NULL && i-- > 0)
		link = hash_table_next(&c->hosts, link);
	if (link == NULL)
		return false;
	const struct cluster_host *h = HASH_ENTRY(link, struct cluster_host, link);
	*seen_r = (struct cluster_host_seen){.id = h->id,
					     .version = h->version,
					     .machine = h->machine,
					     .host = h->link.hash,
					     .silent_ms = loop_now(c->hub->loop) - h->at_ms,
					     .refused = h->refused};
	return true;
}
