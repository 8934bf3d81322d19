/* budget: how much memory may hold what the clients of one mount have sent and its handler has not
 * settled: messages that came in part, those that are on their way between loops, events that wait
 * or are with a worker, and the text that is made of them for it.
 *
 * All loops share it; what it counts may be changed from each. Whoever reads asks budget_admits
 * before a byte is taken from the socket:
 * - At the bound nothing is read. Messages in part have three quarters of it, so that those who
 * have sent some of one and stop there do not keep small messages out, which come whole.
 * - Whatever has been read in part, somebody can finish: while little of the budget is whole
 * messages, one connection of the mount may read on beyond the bound, to the end of its message
 * (budget_pass). So the mount holds its bound and one message.
 * - What all mounts hold together is bounded, too, by holds.max: half of that is divided among the
 * mounts, so that each has a share which no other takes; the other half goes to whoever needs it.
 */
#ifndef TOVA_NET_BUDGET_H
#define TOVA_NET_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/check.h"
#include "net/loop.h"

#define BUDGET_LOOPS_MAX 64

struct conn;
struct budgets;

/* Of one loop, which alone uses it: its connections that wait until they may be read again. For
 * conn_budget.c and conns_budget.c. */
enum budget_wait {
	BUDGET_WAIT_BEGUN,
	BUDGET_WAIT_REST,
	BUDGET_WAITS
}; /* is something there of a message of theirs? */
TAILQ_HEAD(budget_list, conn);
struct budget_queue {
	struct budget_list waiting[BUDGET_WAITS];
	struct conn *pass; /* who reads beyond the bound; NULL: nobody here */
	uint64_t pass_at;  /* when it was last seen to come on */
	size_t pass_len;   /* bytes of its message that were there then */
	bool pass_read;	   /* it was read from since it has the pass */
	uint8_t turn;	   /* enum budget_wait: of whom the next one that gets it is */
};

static inline bool budget_queue_waits(const struct budget_queue *q)
{
	return !TAILQ_EMPTY(&q->waiting[BUDGET_WAIT_BEGUN]) ||
	       !TAILQ_EMPTY(&q->waiting[BUDGET_WAIT_REST]);
}

struct budget {
	struct budgets *all;
	struct budget *next;
	_Atomic uint64_t max, share; /* bytes */
	/* half of the lesser: what is held up to here leaves room for sure */
	_Atomic uint64_t easy;
	_Atomic uint64_t events;      /* bytes of events; the hub's loop alone writes it */
	_Atomic uint64_t moving;      /* of messages on their way to the hub's loop */
	_Atomic uint64_t input;	      /* of messages that came in part */
	_Atomic uint64_t waiting;     /* a bit for each loop that has a queue */
	atomic_bool passed;	      /* somebody reads beyond the bound */
	struct budget_queue queues[]; /* of each loop */
};

/* Of all mounts. */
struct budgets {
	struct budget *first;
	uint64_t max; /* bytes; 0: what the mounts may hold is all there is to say */
	/* bytes that are nobody's share; UINT64_MAX: the total is no bound */
	_Atomic uint64_t common;
	struct loop_waker *wakers[BUDGET_LOOPS_MAX]; /* of each loop: there may be room */
};

/* There is no bound at first. budgets_free: no loop counts in any of them any more. */
void budgets_init(struct budgets *all);
void budgets_free(struct budgets *all);
/* Of a new mount, which may hold any number of bytes until it is told another; NULL without memory.
 * It lives as long as `all`. */
struct budget *budget_new(struct budgets *all, unsigned n_loops);
/* [hub] The bounds have changed: that of all, after b->max of each. */
void budgets_set(struct budgets *all, uint64_t max);

static inline uint64_t budget_whole(const struct budget *b)
{
	return atomic_load_explicit(&b->events, memory_order_relaxed) +
	       atomic_load_explicit(&b->moving, memory_order_relaxed);
}

static inline uint64_t budget_held(const struct budget *b)
{
	return budget_whole(b) + atomic_load_explicit(&b->input, memory_order_relaxed);
}

static inline bool budget_is_easy(const struct budget *b)
{
	return budget_held(b) <= atomic_load_explicit(&b->easy, memory_order_relaxed);
}

/* What it may hold as things are. */
uint64_t budget_bound(const struct budget *b);
static inline uint64_t budget_room(const struct budget *b)
{
	uint64_t bound = budget_bound(b), held = budget_held(b);
	return bound > held ? bound - held : 0;
}

/* May more be read from a connection? rests: nothing is there of a message of its. */
bool budget_admits(const struct budget *b, bool rests);
/* Should connections that begin be turned away? The mount's handler is behind. */
bool budget_refuses(const struct budget *b);
/* May one connection read on beyond the bound? True: the caller's does, until budget_end_pass. */
bool budget_pass(struct budget *b);
void budget_end_pass(struct budget *b);

/* There may be room: loops that have connections which wait for it look. */
void budget_wake(struct budget *b);
static inline void budget_freed(struct budget *b)
{
	if (atomic_load_explicit(&b->waiting, memory_order_relaxed) != 0)
		budget_wake(b);
}

/* [hub] */
static inline void budget_add_event(struct budget *b, uint64_t bytes)
{
	atomic_store_explicit(&b->events,
			      atomic_load_explicit(&b->events, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
}

/* [hub] */
static inline void budget_sub_event(struct budget *b, uint64_t bytes)
{
	uint64_t events = atomic_load_explicit(&b->events, memory_order_relaxed);
	CHECK(events >= bytes);
	atomic_store_explicit(&b->events, events - bytes, memory_order_relaxed);
	budget_freed(b);
}

static inline void budget_add(_Atomic uint64_t *what, uint64_t bytes)
{
	atomic_fetch_add_explicit(what, bytes, memory_order_relaxed);
}

static inline void budget_sub(struct budget *b, _Atomic uint64_t *what, uint64_t bytes)
{
	CHECK(atomic_fetch_sub_explicit(what, bytes, memory_order_relaxed) >= bytes);
	budget_freed(b);
}

#endif
