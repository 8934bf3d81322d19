#include "c/pulse.h"

#include <time.h>

#define PULSE_MS 2500 /* the host asks after 10 s of silence, and waits for at least as long */

static void *pulse_run(void *arg)
{
	struct pulse *p = arg;
	unsigned before = atomic_load(&p->turns);
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	pthread_mutex_lock(&p->lock);
	while (!p->ended) {
		at.tv_nsec += PULSE_MS % 1000 * 1000000L;
		at.tv_sec += PULSE_MS / 1000 + at.tv_nsec / 1000000000L;
		at.tv_nsec %= 1000000000L;
		while (!p->ended && pthread_cond_timedwait(&p->ends, &p->lock, &at) == 0)
			;
		unsigned turns = atomic_load(&p->turns);
		if (!p->ended && atomic_load(&p->busy) && turns == before)
			p->say(p->ctx);
		before = turns;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

bool pulse_start(struct pulse *p, void (*say)(void *), void *ctx)
{
	pthread_condattr_t attr;
	p->say = say;
	p->ctx = ctx;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->ends, &attr);
	pthread_condattr_destroy(&attr);
	p->started = pthread_create(&p->thread, NULL, pulse_run, p) == 0;
	return p->started;
}

void pulse_end(struct pulse *p)
{
	if (!p->started)
		return;
	pthread_mutex_lock(&p->lock);
	p->ended = true;
	pthread_cond_signal(&p->ends);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	p->started = false;
}
