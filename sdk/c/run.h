/* run: messages of one connection that the host gave together (PROTOCOL.md 4). One that follows
 * another is handled when that is acknowledged, with the state that it left, and not at all if that
 * has failed. */
#ifndef TOVA_SDK_RUN_H
#define TOVA_SDK_RUN_H

#include "c/task.h"

#define RUN_MAX 64 /* what the worker asks for */

enum run_outcome {
	RUN_UNDER_WAY, /* the last one that was begun */
	RUN_DONE,
	RUN_FAILED, /* what follows is not handled */
};

/* A message that waits for the one before. */
struct run_message {
	struct run_message *next;
	bool binary;
	size_t n;
	uint8_t bytes[]; /* and one more that may be written */
};

struct run {
	struct run *next; /* in a list */
	unsigned link;
	uint64_t s, seq; /* of the last one that was begun */
	tova_ws ws;
	enum run_outcome outcome;
	bool listed;			    /* among those that are settled later */
	struct run_message *waiting, **end; /* set where something waits */
	struct who who; /* whose connection it is, as the last one has left it */
	bool has_state;
	size_t state_len;
	uint8_t state[RULES_DATA_MAX];
};

/* The task's event is the last one of the run now. */
void run_begin(struct run *r, const struct task *t);
/* The event's outcome; done: it was acknowledged. */
void run_end(struct run *r, const struct task *t, bool done);
/* What to know of the next one. */
struct task_facts run_next(const struct run *r);
/* A copy of the message waits. False without memory. */
bool run_wait(struct run *r, bool binary, const void *bytes, size_t n);
struct run_message *run_take(struct run *r);
/* Forgets what waits. */
void run_clear(struct run *r);
void run_free(struct run *r);

#endif
