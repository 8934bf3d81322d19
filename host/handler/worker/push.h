/* push: which pushes have been done, so that one that is repeated has no second effect. */
#ifndef TOVA_HANDLER_WORKER_PUSH_H
#define TOVA_HANDLER_WORKER_PUSH_H

#include <sys/queue.h>

#include "base/hash.h"
#include "base/hash_table.h"
#include "common/span.h"
#include "hub/commit.h"

#define PUSH_SOURCES_MAX 10000
#define PUSH_SOURCE_NAME_MAX 64

struct push_source;

/* What became of one. */
struct push_outcome {
	uint64_t receivers;
	uint32_t nobody;	 /* commands that named who is gone */
	enum commit_error error; /* COMMIT_OK: it was committed, */
	uint32_t wrong;		 /* else the place of the command that is wrong, or COMMIT_WHOLE */
};

/* The highest number of the sources used last. */
struct push_sources {
	struct hash_table table;
	TAILQ_HEAD(push_list, push_source) by_use; /* the newest first */
	struct hash_key key;
};

enum push_verdict {
	PUSH_NEW,      /* do it, then push_done */
	PUSH_REPEATED, /* it was done */
	/* of a source that is not known and does not begin at 1: whether it was done can not be
	   said */
	PUSH_UNKNOWN,
	PUSH_GAP, /* numbers were left out: they would be taken for done */
	PUSH_NO_MEMORY,
	PUSH_BAD_NAME,
};

/* The key is copied. */
void push_sources_init(struct push_sources *s, const struct hash_key *key);
void push_sources_free(struct push_sources *s);
/* Changes nothing but which source was used last. n: the push's number, from 1. */
enum push_verdict push_judge(struct push_sources *s, struct span source, uint64_t n);
/* It was done, or refused: its number is used. */
void push_done(struct push_sources *s, struct span source, uint64_t n,
	       const struct push_outcome *outcome);
/* What became of the one with this number; NULL: that is not known any more, as it is not the
 * source's last. */
const struct push_outcome *push_outcome(struct push_sources *s, struct span source, uint64_t n);

#endif
