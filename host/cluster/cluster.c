#include "cluster/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "cluster/cluster_parts.h"
#include "cluster/redis.h"
#include "common/random.h"

#define CLUSTER_START_MS 5000	     /* an engine that is started beside us may need so long */
#define CLUSTER_CLAIM_MS 10000	     /* who was killed has its name so long */
#define CLUSTER_TAKEN_MS (CLUSTER_CLAIM_MS + 2000)

/* --- what the engine tells -------------------------------------------------------------------- */

static void cluster_on_begins(void *ctx)
{
	struct cluster *c = cluster_of(ctx);
	c->began = true;
	cluster_subscribe_all(c);
}

static void cluster_on_up(void *ctx)
{
	struct cluster *c = cluster_of(ctx);
	LOG(c->hub->log, LOG_NOTICE, LOG_CLUSTER, "the engine is there",
	    LOG_STR("engine", c->engine->ops->where(c->engine)), LOG_STR("host", c->id),
	    LOG_U64("away_ms", loop_now(c->hub->loop) - c->away_since));
	if (c->counts.reconnects > 0)
		cluster_tell_cut(c, loop_now(c->hub->loop) - c->away_since);
	c->up = true;
	c->announced_ms = 0;
	cluster_send_again(c);
	cluster_announce(c);
}

static void cluster_on_away(void *ctx, enum engine_trouble trouble, const char *why)
{
	struct cluster *c = cluster_of(ctx);
	bool was = c->up, said = strcmp(c->why, why) == 0;
	c->began = c->up = false;
	c->trouble = trouble;
	c->failed = c->failed || trouble == ENGINE_REFUSED;
	c->counts.errors++;
	buffer_empty(&c->subscribing, 65536);
	snprintf(c->why, sizeof c->why, "%s", why);
	if (was || !said)
		LOG(c->hub->log, LOG_ERROR, LOG_CLUSTER, "the engine can not be used",
		    LOG_STR("engine", c->engine->ops->where(c->engine)), LOG_STR("why", why),
		    LOG_STR("until then",
			    c->local ? "each host serves its own" : "what is for all is held"));
	if (!was)
		return;
	c->away_since = loop_now(c->hub->loop);
	c->counts.reconnects++;
	cluster_fell(c);
}

static void cluster_on_subscribed(void *ctx, struct span channel)
{
	cluster_confirmed(cluster_of(ctx), channel);
}

static void cluster_on_message(void *ctx, struct span channel, struct span bytes)
{
	cluster_hear(cluster_of(ctx), channel, bytes);
}

static void cluster_on_taken(void *ctx, uint64_t batch)
{
	cluster_taken(cluster_of(ctx), batch);
}

static void cluster_on_unclaimed(void *ctx, enum engine_trouble trouble, const char *why)
{
	struct cluster *c = cluster_of(ctx);
	LOG(c->hub->log, trouble == ENGINE_TAKEN ? LOG_ERROR : LOG_WARN, LOG_CLUSTER,
	    "the engine does not keep the name of this host", LOG_STR("host", c->id),
	    LOG_STR("why", why));
}

static const struct engine_events cluster_events = {.begins = cluster_on_begins,
						    .up = cluster_on_up,
						    .away = cluster_on_away,
						    .subscribed = cluster_on_subscribed,
						    .message = cluster_on_message,
						    .taken = cluster_on_taken,
						    .unclaimed = cluster_on_unclaimed};

/* --- time ------------------------------------------------------------------------------------- */

static void cluster_on_turn(void *arg)
{
	struct cluster *c = cluster_of(arg);
	if (!c->due)
		return;
	c->due = false;
	cluster_subscribe_more(c);
	cluster_go_on(c);
}

static void cluster_on_tick(void *arg)
{
	struct cluster *c = cluster_of(arg);
	uint64_t now = loop_now(c->hub->loop);
	c->ticks++;
	loop_timer_set(&c->tick, CLUSTER_TICK_MS);
	c->due = true; /* what failed without memory is tried again */
	cluster_tell_lost(c);
	cluster_sweep(c);
	if (!c->up)
		return;
	cluster_miss(c);
	if (c->announced_ms != 0 && now - c->announced_ms > CLUSTER_SILENCE_MS) {
		c->engine->ops->again(c->engine, "what was published does not come back");
		return;
	}
	if (c->greet || c->ticks % CLUSTER_ANNOUNCE_TICKS == 0)
		cluster_announce(c);
	if (c->ticks % CLUSTER_ANNOUNCE_TICKS == 0)
		c->engine->ops->keep(c->engine);
}

/* --- its life --------------------------------------------------------------------------------- */

bool cluster_name_ok(const char *text, size_t most)
{
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= most;
}

static int cluster_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The protocol, and all mounts in one order. NULL without memory. */
static char *cluster_form(struct mount *const *mounts, size_t n)
{
	const char **paths = calloc(n + 1, sizeof *paths);
	struct buffer text = {0};
	if (paths == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		paths[i] = mounts[i]->path;
	qsort(paths, n, sizeof *paths, cluster_compare);
	buffer_addf(&text, "protocol %d, mounts", ENVELOPE_PROTOCOL);
	for (size_t i = 0; i < n; i++)
		buffer_addf(&text, " %s", paths[i]);
	free(paths);
	char *form = text.failed ? NULL : strndup(text.p, text.n);
	buffer_free(&text);
	return form;
}

static bool cluster_make_channels(struct cluster *c, struct mount *const *mounts, size_t n)
{
	char name[CHANNEL_NAME_MAX];
	size_t len = (size_t)snprintf(name, sizeof name, "%shosts", c->prefix);
	c->all_hosts = channel_add(&c->channels, CHANNEL_HOSTS, NULL, (struct span){name, len});
	len = (size_t)snprintf(name, sizeof name, "%sself:%016llx", c->prefix,
			       (unsigned long long)c->hub->host_id);
	c->self = channel_add(&c->channels, CHANNEL_SELF, NULL, (struct span){name, len});
	c->mounts = calloc(n + 1, sizeof *c->mounts);
	bool ok = c->all_hosts != NULL && c->self != NULL && c->mounts != NULL;
	for (size_t i = 0; ok && i < n; i++) {
		len = channel_name(&c->channels, mounts[i], NULL, name);
		c->mounts[c->n_mounts++].mount = mounts[i];
		ok = len > 0 && channel_add(&c->channels, CHANNEL_MOUNT, mounts[i],
					    (struct span){name, len}) != NULL;
	}
	return ok;
}

static bool cluster_name(struct cluster *c, const struct cluster_settings *settings)
{
	uint64_t random;
	char value[256];
	if (!random_bytes(&random, sizeof random) || !random_bytes(&c->nonce, sizeof c->nonce))
		return false;
	snprintf(c->prefix, sizeof c->prefix, "%s", settings->prefix);
	if (settings->id != NULL)
		snprintf(c->id, sizeof c->id, "%s", settings->id);
	else
		snprintf(c->id, sizeof c->id, "%016llx", (unsigned long long)random);
	if (gethostname(c->machine, sizeof c->machine) != 0)
		snprintf(c->machine, sizeof c->machine, "?");
	c->machine[sizeof c->machine - 1] = '\0';
	snprintf(c->form_name, sizeof c->form_name, "%sform", c->prefix);
	snprintf(c->host_name, sizeof c->host_name, "%shost:%s", c->prefix, c->id);
	snprintf(value, sizeof value, "process %ld at %s, %016llx", (long)getpid(), c->machine,
		 (unsigned long long)c->hub->host_id);
	c->value = strdup(value);
	return c->value != NULL;
}

static struct engine *cluster_engine(struct cluster *c, const struct cluster_settings *settings,
				     char why[CLUSTER_WHY_MAX])
{
	struct engine_events events = cluster_events;
	events.ctx = c;
	const struct engine_claim claims[] = {
		{c->form_name, span_of(c->form),
		 "the hosts that are there have other mounts, or another protocol: ",
		 CLUSTER_CLAIM_MS},
		{c->host_name, span_of(c->value), "another host has this --cluster-id: ",
		 CLUSTER_CLAIM_MS},
	};
	struct redis_settings redis = {.password = settings->password,
				       .claims = claims,
				       .n_claims = sizeof claims / sizeof *claims};
	return redis_url_read(&redis.url, settings->url, why, CLUSTER_WHY_MAX)
		       ? redis_new(c->hub->loop, &redis, &events, why, CLUSTER_WHY_MAX)
		       : NULL;
}

static struct cluster *cluster_new(struct hub *hub, struct mount *const *mounts, size_t n,
				   const struct cluster_settings *settings,
				   char why[CLUSTER_WHY_MAX])
{
	struct cluster *c = calloc(1, sizeof *c);
	snprintf(why, CLUSTER_WHY_MAX, "no memory");
	if (c == NULL)
		return NULL;
	c->magic = CHECK_CLUSTER;
	c->hub = hub;
	c->local = settings->local;
	c->away_since = loop_now(hub->loop);
	c->gate = cluster_gate;
	c->gate.ctx = c;
	c->channels = (struct channels){.key = hub->key, .prefix = c->prefix};
	c->numbers.key = hub->key;
	commit_init(&c->heard, &hub->loop->chunks, 0);
	loop_timer_init(hub->loop, &c->tick, cluster_on_tick, c);
	c->hook = (struct loop_hook){.run = cluster_on_turn, .arg = c};
	loop_add_hook_first(hub->loop, &c->hook);
	if (cluster_name(c, settings) && (c->form = cluster_form(mounts, n)) != NULL &&
	    cluster_make_channels(c, mounts, n) &&
	    (c->engine = cluster_engine(c, settings, why)) != NULL)
		return c;
	cluster_free(&c);
	return NULL;
}

static void cluster_on_patience(void *arg)
{
	cluster_of(arg)->failed = true;
}

/* False: it can not be had, and the host is not to start. */
static bool cluster_wait(struct cluster *c, bool optional)
{
	uint64_t began = loop_clock();
	loop_timer_init(c->hub->loop, &c->patience, cluster_on_patience, c);
	c->engine->ops->start(c->engine);
	while (!c->up && !c->failed) {
		uint64_t waited = loop_clock() - began,
			 most = c->trouble == ENGINE_TAKEN ? CLUSTER_TAKEN_MS : CLUSTER_START_MS;
		if (waited >= most || c->hub->loop->stop)
			break;
		loop_timer_set(&c->patience, most - waited);
		if (!loop_turn(c->hub->loop, true))
			break;
	}
	loop_timer_cancel(&c->patience);
	bool unreachable = c->trouble == ENGINE_UNREACHABLE;
	c->failed = false;
	return c->up || (optional && unreachable);
}

struct cluster *cluster_start(struct hub *hub, struct mount *const *mounts, size_t n,
			      const struct cluster_settings *settings, char why[CLUSTER_WHY_MAX])
{
	struct cluster *c = cluster_new(hub, mounts, n, settings, why);
	if (c == NULL)
		return NULL;
	if (!cluster_wait(c, settings->optional)) {
		snprintf(why, CLUSTER_WHY_MAX, "%s", c->why[0] != '\0' ? c->why : "it does not answer");
		cluster_free(&c);
		return NULL;
	}
	hub->gate = &c->gate;
	loop_timer_set(&c->tick, CLUSTER_TICK_MS);
	return c;
}

void cluster_free(struct cluster **c_p)
{
	struct cluster *c = *c_p;
	*c_p = NULL;
	if (c == NULL)
		return;
	for (struct mount *m = c->hub->mounts; m != NULL; m = m->next)
		gate_drop_all(m);
	c->hub->gate = NULL;
	if (c->engine != NULL)
		c->engine->ops->free(c->engine);
	loop_timer_cancel(&c->tick);
	loop_remove_hook(c->hub->loop, &c->hook);
	cluster_drop_batches(c);
	cluster_free_hosts(c);
	channels_free(&c->channels);
	numbers_free(&c->numbers);
	buffer_free(&c->subscribing);
	commit_drop(&c->heard);
	commit_free(&c->heard);
	free(c->mounts);
	free(c->form);
	free(c->value);
	c->magic = CHECK_GONE;
	free(c);
}

void cluster_look(const struct cluster *c, struct cluster_seen *seen_r)
{
	*seen_r = (struct cluster_seen){
		.id = c->id,
		.prefix = c->prefix,
		.engine = c->engine->ops->where(c->engine),
		.up = c->up,
		.local = c->local,
		.why = c->why,
		.away_ms = c->up ? 0 : loop_now(c->hub->loop) - c->away_since,
		.lag_us = c->lag_us,
		.channels = c->channels.table.n,
		.hosts = 1 + c->hosts.n,
		.counts = c->counts,
	};
	for (const struct channel *at = channel_each(&c->channels, NULL); at != NULL;
	     at = channel_each(&c->channels, at))
		seen_r->unconfirmed += !at->heard;
	for (const struct mount *m = c->hub->mounts; m != NULL; m = m->next)
		seen_r->parked += m->parked.n;
}
