/* idempotency: which requests were done, so that one that is repeated (Idempotency-Key) has no
 * second effect and gets the same answer: whoever got none can ask again.
 *
 * A key is its sender's own: others may use the same. It is known for ten minutes, as long as no
 * more than so many of that sender's are newer.
 */
#ifndef TOVA_OPS_IDEMPOTENCY_H
#define TOVA_OPS_IDEMPOTENCY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/hash_table.h"
#include "common/span.h"

#define IDEMPOTENCY_MS (10 * 60 * 1000)
#define IDEMPOTENCY_KEYS_MAX 10000 /* of each sender */
#define IDEMPOTENCY_SENDERS_MAX 128
#define IDEMPOTENCY_KEY_MAX 255 /* bytes */
#define IDEMPOTENCY_DIGEST 32
#define IDEMPOTENCY_SMALL 64 /* bytes of an answer for which there is room beforehand */

struct idempotency_done {
	struct hash_link link;
	TAILQ_ENTRY(idempotency_done) others; /* of its sender's, by age */
	struct idempotency_sender *sender;
	uint8_t key[IDEMPOTENCY_DIGEST], request[IDEMPOTENCY_DIGEST];
	uint64_t at; /* milliseconds */
	int status;  /* 0: it is still being done */
	/* whoever does it, who is told by a NULL there that it is forgotten; or NULL */
	struct idempotency_done **held;
	uint32_t len;
	char *large; /* its answer where that is longer than the other */
	char small[IDEMPOTENCY_SMALL];
};

struct idempotency {
	struct hash_key hash;
	struct hash_table table;
	LIST_HEAD(, idempotency_sender) senders;
	uint32_t n_senders;
};

/* Nothing is known at first. idempotency_free: no request is under way. */
void idempotency_init(struct idempotency *all, const struct hash_key *hash);
void idempotency_free(struct idempotency *all);

/* What is asked: who asks, by which key, and a digest of all that he asks. */
struct idempotency_request {
	uint8_t sender[IDEMPOTENCY_DIGEST], key[IDEMPOTENCY_DIGEST], request[IDEMPOTENCY_DIGEST];
};
/* False without memory. */
bool idempotency_request_make(struct idempotency_request *r,
			      const uint8_t sender[IDEMPOTENCY_DIGEST], struct span key,
			      struct span method, struct span path, struct span body);

/* The one with this key; NULL: there was none. *same_r: it asked the same. now: milliseconds. */
const struct idempotency_done *idempotency_find(struct idempotency *all,
						const struct idempotency_request *r, uint64_t now,
						bool *same_r);
static inline struct span idempotency_answer(const struct idempotency_done *d)
{
	return (struct span){d->large != NULL ? d->large : d->small, d->len};
}

/* One that idempotency_find does not know begins. NULL without memory: it must not be done, as
 * nobody would know of it. */
struct idempotency_done *idempotency_begin(struct idempotency *all,
					   const struct idempotency_request *r, uint64_t now);
/* It takes longer than this turn: *d is kept there, and is NULL when it was forgotten meanwhile,
 * for newer ones. */
void idempotency_hold(struct idempotency_done **d);
/* It was done, and answered so. Where there is no memory for a long answer, which is that of one
 * that had no effect, it is forgotten. */
void idempotency_end(struct idempotency_done *d, int status, struct span answer);
/* It had no effect, and may be tried again. */
void idempotency_cancel(struct idempotency_done *d);

#endif
