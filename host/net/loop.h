/* loop: readiness, time and turns. One thread, one loop; everything that belongs to a connection
 * happens on its loop.
 *
 * A turn is: wait, handle everything that became ready, run the hooks. What is written to
 * connections during a turn collects and leaves in the hooks, so that each connection costs one
 * system call a turn.
 */
#ifndef TOVA_NET_LOOP_H
#define TOVA_NET_LOOP_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/chunk.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/stats.h"

/* Received bytes of whichever connection is being read. Larger costs cache, smaller costs system
 * calls when messages are big. */
#define LOOP_INPUT 131072
/* bytes that a turn reads about at most, of all who have sent something */
#define LOOP_READ_TURN (2u << 20)
#define LOOP_READ_MAX (LOOP_READ_TURN / 4) /* of one, where it is nearly alone */
#define LOOP_READ_MIN 8192		   /* of each, however many there are */
/* Turns that are shorter are measured together. */
#define LOOP_MEASURE_US 1000

struct loop_hook {
	void (*run)(void *arg);
	void *arg;
	struct loop_hook *next;
};

/* Lets another thread have something run on the loop. */
struct loop_waker {
	void (*run)(void *arg);
	void *arg;
	atomic_bool pending;
	struct loop *loop;
	struct loop_waker *next;
};

struct loop {
	struct event_base *base;
	struct log *log;
	struct stats stats;
	struct chunk_pool chunks;
	/* bytes of memory that handlers hold for connections: counted with what these hold, see
	 * memory_limit.h */
	uint64_t lent;
	struct descriptors descriptors; /* of the process */
	uint8_t *input;			/* LOOP_INPUT bytes, and one more that may be written */
	struct tls_io *tls; /* what its TLS connections share; NULL: there was none yet */
	struct loop_hook *hooks;
	struct loop_waker *wakers;
	struct event wake_event;
	int wake_fd;
	atomic_bool sleeping; /* it waits, or is about to: who wakes it writes to wake_fd */
	/* connections that were read from in this turn, and in the one before */
	uint32_t readers, readers_before;
	uint64_t now; /* see loop_now */
	uint64_t measured,
		cpu; /* microseconds: when its thread's clock was read, and what that said */
	bool now_known, stop;
	/* whose it is, once it turns */
	pthread_t thread;
	bool turns;
	/* number of the commit that is being applied: what it gives to one connection is one
	 * delivery */
	uint32_t delivery;
	bool again; /* set by whoever leaves work for the hooks: they run until nobody does */
};

/* A descriptor that is read, or written, when it is ready. */
struct loop_watch {
	struct event event;
	uint16_t magic; /* CHECK_LOOP_WATCH */
	void (*run)(void *arg);
	void *arg;
	bool on;
};

struct loop_timer {
	struct event event;
	uint16_t magic; /* CHECK_LOOP_TIMER */
	void (*run)(void *arg);
	void *arg;
};

struct loop_signal {
	struct event event;
	uint16_t magic; /* CHECK_LOOP_SIGNAL */
	void (*run)(void *arg, int signal);
	void *arg;
};

/* NULL with errno set on failure. */
struct loop *loop_new(struct log *log);
/* Whatever was on it is off it. */
void loop_free(struct loop **loop_p);
/* Turns until loop_stop. */
void loop_run(struct loop *loop);
/* One turn, with a wait for something to happen or without. False when waiting failed, which was
 * said. */
bool loop_turn(struct loop *loop, bool wait);
void loop_stop(struct loop *loop);

/* Is it this thread's? Everything of a loop is for its own thread but loop_wake; until it turns it
 * is whose it likes. */
static inline bool loop_is_own(const struct loop *loop)
{
	return !loop->turns || loop->thread == pthread_self();
}

/* Milliseconds of a clock that never goes back, a few milliseconds coarse. */
uint64_t loop_clock(void);
/* Of the library that waits, as text. */
const char *loop_library_version(void);

/* The same, read once a turn. */
static inline uint64_t loop_now(struct loop *loop)
{
	if (!loop->now_known) {
		loop->now = loop_clock();
		loop->now_known = true;
	}
	return loop->now;
}

/* Bytes that may be read from one connection in this turn: sockets hold megabytes, which take time
 * to copy. */
static inline size_t loop_read_share(const struct loop *loop)
{
	uint32_t n = loop->readers > loop->readers_before ? loop->readers : loop->readers_before;
	if (n <= LOOP_READ_TURN / LOOP_INPUT)
		return n <= LOOP_READ_TURN / LOOP_READ_MAX ? LOOP_READ_MAX : LOOP_INPUT;
	return n < LOOP_READ_TURN / LOOP_READ_MIN ? LOOP_READ_TURN / n : LOOP_READ_MIN;
}

/* Hooks run at the end of each turn, in the order they were added. */
void loop_add_hook(struct loop *loop, struct loop_hook *hook);
/* Before all others. */
void loop_add_hook_first(struct loop *loop, struct loop_hook *hook);
void loop_remove_hook(struct loop *loop, struct loop_hook *hook);

/* Before anything else is done with it; it is not set. arg is handed to run, on the loop. */
void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*run)(void *arg), void *arg);
/* Once, after that many milliseconds; a timer that runs already is set anew. Returns false without
 * memory. */
bool loop_timer_set(struct loop_timer *t, uint64_t ms);
void loop_timer_cancel(struct loop_timer *t);
bool loop_timer_is_set(const struct loop_timer *t);

/* For reading, or for writing. It is off at first. */
void loop_watch_init(struct loop *loop, struct loop_watch *w, int fd, bool writing,
		     void (*run)(void *arg), void *arg);
/* Returns false without memory. */
bool loop_watch_set(struct loop_watch *w, bool on);

/* run is called on the loop, not in the signal's handler. False without memory. */
bool loop_signal_add(struct loop *loop, struct loop_signal *s, int signal,
		     void (*run)(void *arg, int signal), void *arg);
/* Of one that was never added, too. */
void loop_signal_remove(struct loop_signal *s);

/* [the loop's thread] run is called on the loop. Nobody wakes it any more when it is removed; that
 * may be done twice. */
void loop_waker_add(struct loop *loop, struct loop_waker *w, void (*run)(void *arg), void *arg);
void loop_waker_remove(struct loop_waker *w);
/* [any-thread] `run` will be called on the loop; calls that come before that are answered by
 * one. */
void loop_wake(struct loop_waker *w);

#endif
