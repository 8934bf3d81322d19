/* redis: a Redis server (7, or Valkey) as the engine of a cluster.
 *
 * One connection for commands and one for subscriptions, which come and go together. What is
 * published at once is a transaction (MULTI, EXEC), which the server does without anything in
 * between, and tells all subscribers in one order. Claims are keys that expire.
 */
#ifndef TOVA_CLUSTER_REDIS_H
#define TOVA_CLUSTER_REDIS_H

#include "cluster/engine.h"
#include "cluster/redis_url.h"
#include "net/loop.h"

#define REDIS_CLAIMS_MAX 4

struct redis_settings {
	struct redis_url url;
	const char *password; /* NULL: none; copied */
	const struct engine_claim *claims; /* the array is copied, what it points at is not */
	size_t n_claims;
};

/* Looks the server's name up, which may take a while. NULL with a sentence in why. */
struct engine *redis_new(struct loop *loop, const struct redis_settings *settings,
			 const struct engine_events *events, char *why, size_t why_cap);

#endif
