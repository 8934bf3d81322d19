/* relief: a process that has handled --max-events, or has grown beyond --max-rss, is replaced.
 * First another one is started; when that is ready it takes its place, and the old one finishes
 * what it has and leaves, as at a reload. */

#include "base/resident.h"
#include "handler/worker/supervisor.h"

#define RELIEF_LOOK_MS 1000 /* between two looks at how large they are */

/* By which option is its time over? NULL: it is not. */
static const char *relief_why(const struct worker *w, bool looks, uint64_t *rss_r)
{
	const struct pool *p = w->pool;
	*rss_r = 0;
	if (p->max_events > 0 && w->settled >= p->max_events)
		return "a worker is replaced: it has handled as many events as --max-events allows";
	if (!looks)
		return NULL;
	*rss_r = resident_bytes((pid_t)sp_peer(w->pipe));
	return *rss_r > p->max_rss ? "a worker is replaced: it is larger than --max-rss allows"
				   : NULL;
}

static bool relief_is_under_way(const struct pool *p)
{
	const struct child *c = p->children;
	while (c != NULL && c->relieves == NULL)
		c = c->next;
	return c != NULL || p->coming != 0 || p->later_program.count > 0;
}

void relief_tick(struct pool *p, uint64_t now)
{
	bool looks = p->max_rss > 0 && now >= p->look_at;
	if ((p->max_events == 0 && !looks) || p->stopped || relief_is_under_way(p))
		return;
	if (looks)
		p->look_at = now + RELIEF_LOOK_MS;
	for (struct child *c = p->children; c != NULL; c = c->next) {
		const struct worker *w = c->worker;
		uint64_t rss;
		if (w == NULL || w->state != WORKER_READY || c->stopping || c->kill_at != 0)
			continue;
		const char *why = relief_why(w, looks, &rss);
		if (why == NULL)
			continue;
		LOG(p->base.mount->hub->log, LOG_NOTICE, LOG_WORKER, why,
		    LOG_STR("mount", p->base.mount->path), LOG_STR("worker", w->name),
		    LOG_U64("events", w->settled), LOG_U64("rss", rss));
		supervisor_relieve(c); /* without memory for it later */
		return;
	}
}
