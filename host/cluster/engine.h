/* engine: what lies between the hosts of a cluster, behind one table: it publishes, and tells what
 * was published, in one order for all. */
#ifndef TOVA_CLUSTER_ENGINE_H
#define TOVA_CLUSTER_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* Why it can not be used. */
enum engine_trouble {
	ENGINE_UNREACHABLE, /* it does not answer, or broke off */
	ENGINE_REFUSED,	    /* it does not let us do what we must: tried again, seldom in vain */
	ENGINE_TAKEN,	    /* a claim is somebody else's: see engine_claim */
};

/* A name that has one value for all who use it, while somebody keeps it so. */
struct engine_claim {
	const char *name;
	struct span value;
	const char *taken; /* a sentence for when it is another; the value is put behind it */
	uint64_t ms; /* it is forgotten so long after the last one kept it */
};

struct engine_message {
	struct span channel, bytes;
};

/* What it tells; none of these from inside of a call. */
struct engine_events {
	/* It is subscribed to nothing: subscribe to all again. */
	void (*begins)(void *ctx);
	/* All subscriptions and claims are made. */
	void (*up)(void *ctx);
	/* It can not be used; it goes on trying. Told at each attempt that fails. */
	void (*away)(void *ctx, enum engine_trouble trouble, const char *why);
	void (*subscribed)(void *ctx, struct span channel);
	void (*message)(void *ctx, struct span channel, struct span bytes);
	/* A batch was taken. */
	void (*taken)(void *ctx, uint64_t batch);
	/* A claim can not be kept, which changes nothing else; or somebody else has it. */
	void (*unclaimed)(void *ctx, enum engine_trouble trouble, const char *why);
	void *ctx;
};

struct engine;

struct engine_ops {
	/* Begins to connect. */
	void (*start)(struct engine *e);
	/* All of them at once: nobody's comes between. While it is up. The bytes are copied. False
	 * without memory: nothing was sent. */
	bool (*publish)(struct engine *e, uint64_t batch, const struct engine_message *v, size_t n);
	/* Are there so many bytes on their way that more should wait? */
	bool (*is_full)(const struct engine *e);
	/* From `begins` on. False without memory. */
	bool (*subscribe)(struct engine *e, const struct span *channels, size_t n);
	void (*unsubscribe)(struct engine *e, const struct span *channels, size_t n);
	/* Keeps the claims. */
	void (*keep)(struct engine *e);
	/* Drops what it has for this reason, and connects again. */
	void (*again)(struct engine *e, const char *why);
	/* For people, borrowed. */
	const char *(*where)(const struct engine *e);
	void (*free)(struct engine *e);
};

struct engine {
	const struct engine_ops *ops;
	struct engine_events events;
};

#endif
