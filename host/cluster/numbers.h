/* numbers: what a host publishes on a channel is counted, so that who hears it drops what comes
 * twice and knows what is missing.
 *
 * A count lives while its channel is in use: its last number is announced from time to time, so
 * that the loss of the last message is seen, too; when nothing was published there for many
 * announcements it is dropped, and a later one begins at 1, as a later series.
 */
#ifndef TOVA_CLUSTER_NUMBERS_H
#define TOVA_CLUSTER_NUMBERS_H

#include "base/hash.h"
#include "base/hash_table.h"
#include "common/span.h"

#define NUMBERS_TOLD_MAX 40		 /* announcements of a number: about two minutes */
#define NUMBERS_SETTLED_MS 9000		 /* three: whoever publishes there has been heard of */
#define NUMBERS_FORGET_MS (600u * 1000u) /* by who hears */
#define NUMBERS_HEARD_MAX 256		 /* publishers on one channel */

/* --- publishing ------------------------------------------------------------------------------- */

struct numbers_count {
	struct hash_link link;
	uint64_t series, number;
	uint16_t told; /* announcements since the last number */
	uint16_t len;
	char channel[];
};

struct numbers {
	struct hash_table table;
	struct hash_key key;
	uint64_t series; /* the last that was begun */
};

/* Forgets all. */
void numbers_free(struct numbers *n);
/* The next number on that channel, in *series_r and *number_r. False without memory. */
bool numbers_next(struct numbers *n, struct span channel, uint64_t *series_r, uint64_t *number_r);
/* All are about to be announced; drops those that were often enough. */
void numbers_sweep(struct numbers *n);
/* The one behind that one; NULL: the first, and after the last. */
const struct numbers_count *numbers_each(const struct numbers *n,
					 const struct numbers_count *before);

/* --- hearing ---------------------------------------------------------------------------------- */

struct numbers_publisher {
	uint64_t host, series, last, at_ms;
};

/* Of one channel. All zero: nobody was heard yet. */
struct numbers_heard {
	struct numbers_publisher *v;
	uint32_t n, cap;
};

/* Forgets who was heard. */
void numbers_heard_free(struct numbers_heard *h);
/* A message has come. settled: the channel is subscribed to for so long that who publishes there
 * would be known. False: it came before. *lost_r: so many in front of it never came. Without memory
 * it is taken, and what is lost not known. */
bool numbers_hear(struct numbers_heard *h, const struct numbers_publisher *at, bool settled,
		  uint64_t *lost_r);
/* It was announced that the last has this number. Returns how many never came. */
uint64_t numbers_announced(struct numbers_heard *h, const struct numbers_publisher *at,
			   bool settled);
/* Forgets who was silent for long. */
void numbers_forget(struct numbers_heard *h, uint64_t now_ms);

#endif
