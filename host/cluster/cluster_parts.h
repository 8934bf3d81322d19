/* cluster_parts: what the cluster's files share. */
#ifndef TOVA_CLUSTER_CLUSTER_PARTS_H
#define TOVA_CLUSTER_CLUSTER_PARTS_H

#include "base/check.h"
#include "cluster/channel.h"
#include "cluster/cluster.h"
#include "cluster/engine.h"
#include "cluster/envelope.h"
#include "cluster/numbers.h"
#include "hub/gate.h"

#define CLUSTER_MESSAGE_MAX (512u << 10) /* bytes of one that goes to other hosts */
/* of all that one event publishes: what a server keeps for a subscriber is bounded, too */
#define CLUSTER_COMMIT_MAX (4u << 20)
#define CLUSTER_COMMIT_MESSAGES 10000
#define CLUSTER_BATCH_BYTES (1u << 20)	 /* a transaction ends beyond it */
#define CLUSTER_BATCH_MESSAGES 1000
#define CLUSTER_TICK_MS 1000
#define CLUSTER_ANNOUNCE_TICKS 3
#define CLUSTER_SILENCE_MS 10000 /* a host is gone; the engine does not work */
#define CLUSTER_LAG_MS 10000	 /* a room that nobody here is in is listened to so long */
#define CLUSTER_HOSTS_MAX 1024
/* half of what numbers are announced for */
#define CLUSTER_CUT_MS 60000

/* Messages that go at once, kept until they have come back. */
struct cluster_part {
	uint32_t channel, channel_len, at, len; /* in the bytes */
};
struct cluster_batch {
	struct cluster_batch *next;
	uint64_t number;
	struct buffer bytes;
	struct cluster_part *parts;
	uint32_t n, cap;
	bool sent, taken;
};

struct cluster_host {
	struct hash_link link; /* the hash is the host itself */
	uint64_t at_ms;
	bool refused, told;
	char id[ENVELOPE_NAME_MAX + 1], version[ENVELOPE_NAME_MAX + 1],
		machine[ENVELOPE_NAME_MAX + 1];
};

/* What was lost of a mount's messages since its handler was told. */
struct cluster_mount {
	struct mount *mount;
	uint64_t lost;
	uint32_t times; /* places in which that was */
	char room[RULES_NAME_MAX + 1], host[ENVELOPE_NAME_MAX + 1]; /* of the first */
};

struct cluster {
	uint16_t magic; /* CHECK_CLUSTER */
	struct hub *hub;
	struct gate gate;
	struct engine *engine;
	char id[CLUSTER_ID_MAX + 1], prefix[CLUSTER_PREFIX_MAX + 1], machine[128];
	char *form; /* what all hosts must have alike */
	char *value; /* that this host's name has at the engine */
	char form_name[CLUSTER_PREFIX_MAX + 16],
		host_name[CLUSTER_PREFIX_MAX + CLUSTER_ID_MAX + 16];
	bool local, up, began;
	bool failed; /* at the start: it can not be waited for any more */
	enum engine_trouble trouble;
	char why[512];
	uint64_t away_since;
	struct channels channels;
	struct channel *self, *all_hosts;
	struct buffer subscribing; /* of struct channel *: to be asked for at the end of the turn */
	struct cluster_mount *mounts;
	size_t n_mounts;
	/* what goes */
	struct numbers numbers;
	struct cluster_batch *first, *last; /* that have not come back */
	struct cluster_batch *building;	    /* NULL: there is nothing in it */
	uint64_t batches;		    /* number of the last */
	uint64_t nonce;			    /* by which our marks are believed */
	bool due;			    /* there is something to look at */
	struct loop_hook hook;
	/* who is there */
	struct hash_table hosts;
	bool greet; /* somebody has come: announce at once */
	uint64_t announced_us, announced_ms; /* 0: it has come back */
	uint64_t lag_us;
	struct loop_timer tick, patience;
	unsigned ticks;
	struct commit heard; /* what came, as a commit of its own */
	struct cluster_counts counts;
};

static inline struct cluster_mount *cluster_mount(struct cluster *c, const struct mount *m)
{
	for (size_t i = 0; i < c->n_mounts; i++)
		if (c->mounts[i].mount == m)
			return &c->mounts[i];
	return NULL;
}

/* What whoever called has been given as its context. */
static inline struct cluster *cluster_of(void *ctx)
{
	struct cluster *c = ctx;
	CHECK_IS(c, CHECK_CLUSTER);
	return c;
}

/* cluster_publish.c */
extern const struct gate cluster_gate;
/* Parked commits: those whose turn it is are published, or applied. */
void cluster_go_on(struct cluster *c);
/* All up to that batch have come back. */
void cluster_came_back(struct cluster *c, uint64_t batch);
/* The engine has it. */
void cluster_taken(struct cluster *c, uint64_t batch);
/* It is away: what it had taken is done; the rest waits, or is done here alone. */
void cluster_fell(struct cluster *c);
/* It is back. */
void cluster_send_again(struct cluster *c);
void cluster_drop_batches(struct cluster *c);

/* cluster_channels.c */
/* The channel of that room, which is subscribed to if it was not; NULL without memory. */
struct channel *cluster_follow(struct cluster *c, struct mount *m, struct span room);
void cluster_subscribe_all(struct cluster *c);
/* What is to be subscribed to since the last time. */
void cluster_subscribe_more(struct cluster *c);
void cluster_confirmed(struct cluster *c, struct span channel);
/* Rooms without members here are left after a while. */
void cluster_sweep(struct cluster *c);

/* cluster_hear.c */
/* Something was published on that channel, by whomever. */
void cluster_hear(struct cluster *c, struct span channel, struct span bytes);
/* So many messages of a host never came. */
void cluster_lose(struct cluster *c, const struct channel *at, uint64_t host, uint64_t lost);
/* The handlers of mounts are told what was lost. */
void cluster_tell_lost(struct cluster *c);
/* The same of a time for which others may not announce their numbers any more, if it was so long.
 */
void cluster_tell_cut(struct cluster *c, uint64_t ms);

/* cluster_hosts.c */
/* Another host that is there, by the first half of its connections' ids; or NULL. */
static inline struct cluster_host *cluster_host(const struct cluster *c, uint64_t host)
{
	struct hash_link *link = hash_table_first(&c->hosts, host);
	return link != NULL ? HASH_ENTRY(link, struct cluster_host, link) : NULL;
}
/* Tells the others that this one is there, and its last numbers. */
void cluster_announce(struct cluster *c);
/* A host has announced itself, this one among them. */
void cluster_hear_host(struct cluster *c, struct envelope *e);
/* Who was silent for too long is gone. */
void cluster_miss(struct cluster *c);
/* Forgets all. */
void cluster_free_hosts(struct cluster *c);

#endif
