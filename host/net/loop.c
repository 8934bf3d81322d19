#include "net/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "tls/tls.h"

/* It has ended the sleep, which was all it was for. */
static void loop_on_wake(evutil_socket_t fd, short what, void *arg)
{
	uint64_t count;
	(void)what;
	(void)arg;
	ssize_t n = read(fd, &count, sizeof count);
	(void)n;
}

static struct event_base *loop_new_base(void)
{
	struct event_config *config = event_config_new();
	if (config == NULL)
		return NULL;
	/* one thread a loop; wakers come through an eventfd */
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

struct loop *loop_new(struct log *log)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (loop == NULL)
		return NULL;
	loop->log = log;
	loop->descriptors = descriptors_of_process();
	loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop->input = malloc(LOOP_INPUT + 1);
	loop->base = loop_new_base();
	if (loop->wake_fd < 0 || loop->input == NULL || loop->base == NULL ||
	    event_assign(&loop->wake_event, loop->base, loop->wake_fd, EV_READ | EV_PERSIST,
			 loop_on_wake, loop) != 0 ||
	    event_add(&loop->wake_event, NULL) != 0) {
		loop_free(&loop);
		errno = ENOMEM;
		return NULL;
	}
	return loop;
}

void loop_free(struct loop **loop_p)
{
	struct loop *loop = *loop_p;
	*loop_p = NULL;
	if (loop == NULL)
		return;
	CHECK(!loop->turns && loop->wakers == NULL);
	if (event_initialized(&loop->wake_event))
		event_del(&loop->wake_event);
	if (loop->base != NULL)
		event_base_free(loop->base);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	tls_io_free(&loop->tls);
	chunk_pool_free(&loop->chunks);
	free(loop->input);
	free(loop);
}

static void loop_run_hooks(struct loop *loop)
{
	do {
		loop->again = false;
		for (struct loop_hook *h = loop->hooks; h != NULL; h = h->next)
			h->run(h->arg);
	} while (loop->again);
}

static void loop_run_wakers(struct loop *loop)
{
	struct loop_waker *next;
	for (struct loop_waker *w = loop->wakers; w != NULL; w = next) {
		next = w->next;
		if (atomic_load_explicit(&w->pending, memory_order_relaxed) &&
		    atomic_exchange(&w->pending, false))
			w->run(w->arg);
	}
}

/* Says that whoever wakes the loop from now on has to end its sleep, and looks whether somebody has
 * woken it before that. */
static bool loop_may_sleep(struct loop *loop)
{
	atomic_store(&loop->sleeping, true);
	for (struct loop_waker *w = loop->wakers; w != NULL; w = w->next)
		if (atomic_load(&w->pending))
			return false;
	return true;
}

static uint64_t loop_micros(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* How much of a processor the turn took: sleep takes none, so from the end of a turn to the end of
 * the next. A thread's clock is a system call, so turns that are short are measured together. */
static void loop_measure(struct loop *loop)
{
	uint64_t now = loop_micros(CLOCK_MONOTONIC);
	if (now - loop->measured < LOOP_MEASURE_US)
		return;
	uint64_t cpu = loop_micros(CLOCK_THREAD_CPUTIME_ID), took = cpu - loop->cpu;
	if (loop->measured > 0) {
		histogram_add(&loop->stats.turns, took);
		if (took > loop->stats.loop_turn_max_us)
			loop->stats.loop_turn_max_us = took;
	}
	loop->measured = now;
	loop->cpu = cpu;
}

bool loop_turn(struct loop *loop, bool wait)
{
	loop->now_known = false;
	loop->readers_before = loop->readers;
	loop->readers = 0;
	if (event_base_loop(loop->base,
			    EVLOOP_ONCE | (wait && loop_may_sleep(loop) ? 0 : EVLOOP_NONBLOCK)) <
	    0) {
		LOG(loop->log, LOG_ERROR, LOG_HOST, "waiting for events failed", LOG_ERRNO(errno));
		return false;
	}
	atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
	loop_run_wakers(loop);
	loop_run_hooks(loop);
	loop_measure(loop);
	return true;
}

void loop_run(struct loop *loop)
{
	CHECK(!loop->turns);
	loop->thread = pthread_self();
	loop->turns = true;
	loop_run_hooks(loop); /* what was written before the first turn */
	loop_measure(loop);   /* which took what came before it, too */
	while (!loop->stop && loop_turn(loop, true))
		;
	loop->turns = false; /* it is taken down by whoever made it */
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

const char *loop_library_version(void)
{
	return event_get_version();
}

uint64_t loop_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void loop_add_hook(struct loop *loop, struct loop_hook *hook)
{
	struct loop_hook **end = &loop->hooks;
	while (*end != NULL)
		end = &(*end)->next;
	hook->next = NULL;
	*end = hook;
}

void loop_add_hook_first(struct loop *loop, struct loop_hook *hook)
{
	hook->next = loop->hooks;
	loop->hooks = hook;
}

static void loop_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *t = arg;
	CHECK_IS(t, CHECK_LOOP_TIMER);
	(void)fd;
	(void)what;
	t->run(t->arg);
}

void loop_remove_hook(struct loop *loop, struct loop_hook *hook)
{
	struct loop_hook **at = &loop->hooks;
	while (*at != NULL && *at != hook)
		at = &(*at)->next;
	if (*at != NULL)
		*at = hook->next;
}

void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*run)(void *arg), void *arg)
{
	t->magic = CHECK_LOOP_TIMER;
	t->run = run;
	t->arg = arg;
	evtimer_assign(&t->event, loop->base, loop_on_timer, t);
}

bool loop_timer_set(struct loop_timer *t, uint64_t ms)
{
	struct timeval tv = {.tv_sec = (time_t)(ms / 1000),
			     .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
	CHECK_IS(t, CHECK_LOOP_TIMER);
	return event_add(&t->event, &tv) == 0;
}

void loop_timer_cancel(struct loop_timer *t)
{
	event_del(&t->event);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
	return evtimer_pending(&t->event, NULL) != 0;
}

static void loop_on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct loop_watch *w = arg;
	CHECK_IS(w, CHECK_LOOP_WATCH);
	(void)fd;
	(void)what;
	w->run(w->arg);
}

void loop_watch_init(struct loop *loop, struct loop_watch *w, int fd, bool writing,
		     void (*run)(void *arg), void *arg)
{
	w->magic = CHECK_LOOP_WATCH;
	w->run = run;
	w->arg = arg;
	w->on = false;
	event_assign(&w->event, loop->base, fd,
		     (short)((writing ? EV_WRITE : EV_READ) | EV_PERSIST), loop_on_ready, w);
}

bool loop_watch_set(struct loop_watch *w, bool on)
{
	if (w->on == on)
		return true;
	w->on = on;
	return (on ? event_add(&w->event, NULL) : event_del(&w->event)) == 0;
}

static void loop_on_signal(evutil_socket_t signal, short what, void *arg)
{
	struct loop_signal *s = arg;
	CHECK_IS(s, CHECK_LOOP_SIGNAL);
	(void)what;
	s->run(s->arg, (int)signal);
}

bool loop_signal_add(struct loop *loop, struct loop_signal *s, int signal,
		     void (*run)(void *arg, int signal), void *arg)
{
	s->magic = CHECK_LOOP_SIGNAL;
	s->run = run;
	s->arg = arg;
	return evsignal_assign(&s->event, loop->base, signal, loop_on_signal, s) == 0 &&
	       event_add(&s->event, NULL) == 0;
}

void loop_signal_remove(struct loop_signal *s)
{
	if (event_initialized(&s->event))
		event_del(&s->event);
}

void loop_waker_add(struct loop *loop, struct loop_waker *w, void (*run)(void *arg), void *arg)
{
	CHECK(loop_is_own(loop));
	*w = (struct loop_waker){.run = run, .arg = arg, .loop = loop, .next = loop->wakers};
	loop->wakers = w;
}

void loop_waker_remove(struct loop_waker *w)
{
	if (w->loop == NULL)
		return;
	for (struct loop_waker **at = &w->loop->wakers; *at != NULL; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			break;
		}
	w->loop = NULL;
}

void loop_wake(struct loop_waker *w)
{
	uint64_t one = 1;
	CHECK(w->loop != NULL);
	if (atomic_exchange(&w->pending, true) || !atomic_load(&w->loop->sleeping))
		return;
	/* Only a counter that is full makes this fail, and then the loop is about to wake
	 * anyway. */
	ssize_t n = write(w->loop->wake_fd, &one, sizeof one);
	(void)n;
}
