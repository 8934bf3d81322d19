/* pulse: a thread that tells the host that this process lives while a callback keeps the worker's
 * own thread busy. */
#ifndef TOVA_SDK_PULSE_H
#define TOVA_SDK_PULSE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct pulse {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ends;
	bool started, ended;
	atomic_bool busy;    /* the owner does not wait for something to do */
	atomic_uint turns;   /* of the owner */
	void (*say)(void *); /* called by the thread */
	void *ctx;
};

/* False: there is no thread, and the owner answers pings by itself when it can. */
bool pulse_start(struct pulse *p, void (*say)(void *), void *ctx);
void pulse_end(struct pulse *p);

/* The owner waits from here on, or does not any more. */
static inline void pulse_set_busy(struct pulse *p, bool busy)
{
	atomic_fetch_add_explicit(&p->turns, 1, memory_order_relaxed);
	atomic_store_explicit(&p->busy, busy, memory_order_relaxed);
}

#endif
