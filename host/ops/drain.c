#include "ops/drain.h"

#include "base/check.h"
#include "hub/access.h"
#include "threads/io_thread.h"

#define DRAIN_TICK_MS 20
/* Times --close-timeout that are waited when all have ended: for a close handshake and the peer's
 * end behind it; and for peers that take what was sent before, slowly, which alone could keep the
 * host from stopping for as long as they like. */
#define DRAIN_CLOSES 2
#define DRAIN_OUTSTAYS 12

/* How many sessions should be left by now: the time passed and the number closed keep step. */
static void drain_close_some(struct drain *d, uint64_t passed)
{
	const struct stats *stats = &d->hub->loop->stats;
	uint64_t all = stats->connections + stats->away;
	uint32_t left = all > UINT32_MAX ? UINT32_MAX : (uint32_t)all;
	uint64_t time_left = passed < d->over_ms ? d->over_ms - passed : 0;
	uint64_t n = time_left <= DRAIN_TICK_MS
			     ? left
			     : (left * (uint64_t)DRAIN_TICK_MS + time_left - 1) / time_left;
	while (n > 0) {
		struct session *s = slotmap_next(&d->hub->sessions, &d->cursor);
		if (s == NULL) {
			/* an upgrade that was under way may have taken a slot that was passed */
			d->cursor = 0;
			return;
		}
		if (s->ended)
			continue;
		access_ended_by(s, "drain");
		/* who speaks tova.v1 knows that 1012 means to come again */
		hub_close_session(s, session_resume(s) != NULL ? CLOSE_RESTART : CLOSE_GOING_AWAY,
				  SPAN("the host is stopping"), false);
		n--;
	}
}

/* Handlers that do not take the last events of connections that have ended, for want of workers,
 * can not put it off for ever. */
static bool drain_gives_up(const struct drain *d, uint64_t now)
{
	if (now - d->began <= d->over_ms + DRAIN_CLOSES * (uint64_t)d->conns->limits.close_ms)
		return false;
	LOG(d->hub->log, LOG_WARN, LOG_DRAIN,
	    "connections have ended whose handlers were never told",
	    LOG_U64("connections", d->hub->sessions.count));
	return true;
}

static bool drain_is_over(struct drain *d)
{
	uint64_t now = loop_now(d->hub->loop);
	enum conns_busy here = conns_busy(d->conns), there = io_threads_busy(d->io_threads),
			busy = here > there ? here : there;
	if (d->hub->sessions.count > 0) {
		d->empty = 0;
		return drain_gives_up(d, now);
	}
	if (d->empty == 0)
		d->empty = now;
	uint64_t most = (busy == CONNS_OUTSTAYED ? DRAIN_OUTSTAYS : DRAIN_CLOSES) *
			(uint64_t)d->conns->limits.close_ms;
	if (busy == CONNS_OUTSTAYED && now - d->empty > most)
		LOG(d->hub->log, LOG_WARN, LOG_DRAIN,
		    "connections are cut whose peers still take what was sent to them",
		    LOG_U64("waited_ms", now - d->empty));
	return busy == CONNS_AT_REST || now - d->empty > most;
}

/* A worker that is given the time stops its plugin in order; one that takes too much of it is ended
 * by its supervisor. */
static bool drain_handlers_left(struct drain *d)
{
	bool left = true;
	for (const struct mount *m = d->hub->mounts; m != NULL; m = m->next)
		if (m->handler->ops->leave != NULL)
			left = m->handler->ops->leave(m->handler) && left;
	return left;
}

static void drain_on_tick(void *arg)
{
	struct drain *d = arg;
	CHECK_IS(d, CHECK_DRAIN);
	uint64_t passed = loop_now(d->hub->loop) - d->began;
	drain_close_some(d, passed);
	d->leaving = d->leaving || drain_is_over(d);
	if (d->leaving && drain_handlers_left(d)) {
		if (d->hub->sessions.count == 0)
			LOG(d->hub->log, LOG_NOTICE, LOG_DRAIN, "everybody has left");
		loop_stop(d->hub->loop);
		return;
	}
	loop_timer_set(&d->tick, DRAIN_TICK_MS);
}

void drain_init(struct drain *d, struct hub *hub, struct conns *conns,
		struct io_threads *io_threads)
{
	*d = (struct drain){.magic = CHECK_DRAIN,
			    .hub = hub,
			    .conns = conns,
			    .io_threads = io_threads};
	loop_timer_init(hub->loop, &d->tick, drain_on_tick, d);
}

void drain_begin(struct drain *d, uint64_t over_ms)
{
	d->running = true;
	d->began = loop_now(d->hub->loop);
	d->over_ms = over_ms;
	d->hub->draining = true;
	io_threads_drain(d->io_threads);
	LOG(d->hub->log, LOG_NOTICE, LOG_DRAIN, "stopping: connections are being closed",
	    LOG_U64("connections", d->hub->loop->stats.connections), LOG_U64("over_ms", over_ms));
	loop_timer_set(&d->tick, 0);
}

void drain_cancel(struct drain *d)
{
	loop_timer_cancel(&d->tick);
}
