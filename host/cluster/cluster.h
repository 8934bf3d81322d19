/* cluster: the rooms of a host are those of other hosts, too. README.md tells what is promised. */
#ifndef TOVA_CLUSTER_CLUSTER_H
#define TOVA_CLUSTER_CLUSTER_H

#include "hub/hub.h"

#define CLUSTER_ID_MAX 64
#define CLUSTER_PREFIX_MAX 64
#define CLUSTER_WHY_MAX 1024

struct cluster;

struct cluster_settings {
	const char *url;      /* --cluster; checked */
	const char *id;	      /* NULL: a random one */
	const char *prefix;
	const char *password; /* NULL: none */
	bool optional;	      /* it need not be reached at the start */
	bool local;	      /* --cluster-away local; else hold */
};

/* Is it a name for a host, or in front of the engine's? */
bool cluster_name_ok(const char *text, size_t most);
/* Connects, and turns the loop until that is done, or can not be. The mounts exist, and have no
 * handlers yet. NULL with a sentence in why. */
struct cluster *cluster_start(struct hub *hub, struct mount *const *mounts, size_t n,
			      const struct cluster_settings *settings, char why[CLUSTER_WHY_MAX]);
/* NULL is allowed. After the sessions, before the mounts. */
void cluster_free(struct cluster **c_p);

/* name, name of the metric, what it counts */
#define CLUSTER_COUNTS(X) \
	X(published, published, "messages published to other hosts") \
	X(batches, batches, "transactions in which they went") \
	X(received, received, "messages of other hosts that were for somebody here") \
	X(repeated, repeated, "messages that came again, and were dropped") \
	X(lost, lost, "messages of other hosts that never came") \
	X(foreign, foreign, "what was published by something else than a host that fits, and ignored") \
	X(reconnects, reconnects, "times that the engine was lost") \
	X(errors, errors, "attempts to reach it that failed")

struct cluster_counts {
#define CLUSTER_COUNT(field, name, text) uint64_t field;
	CLUSTER_COUNTS(CLUSTER_COUNT)
#undef CLUSTER_COUNT
};

struct cluster_seen {
	const char *id, *prefix, *engine; /* borrowed */
	bool up, local;
	const char *why;     /* it is not up; borrowed */
	uint64_t away_ms;    /* for so long */
	uint64_t lag_us;     /* until what was published last came back; 0: not known */
	uint64_t parked;     /* commits that wait */
	uint64_t channels;   /* that are subscribed to */
	uint64_t unconfirmed; /* of those */
	uint64_t hosts;	     /* that are there, this one among them */
	struct cluster_counts counts;
};
/* How it is, for people and metrics. */
void cluster_look(const struct cluster *c, struct cluster_seen *seen_r);

struct cluster_host_seen {
	const char *id, *version, *machine; /* borrowed, until the loop turns */
	uint64_t host;			    /* first half of its connections' ids */
	uint64_t silent_ms;
	bool refused; /* its mounts or its id do not fit */
};
/* Another host; i counts from 0. False: there are no more. */
bool cluster_look_host(const struct cluster *c, uint32_t i, struct cluster_host_seen *seen_r);

#endif
