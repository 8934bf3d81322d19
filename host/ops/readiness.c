#include "ops/readiness.h"

#include "base/check.h"
#include "handler/worker/codec.h"
#include "handler/worker/worker.h"

#define READINESS_TICK_MS 100

/* What keeps a client of this mount from being served; NULL: nothing does. */
static const char *readiness_of_mount(const struct mount *m)
{
	if (worker_is(m) && worker_count(m) == 0)
		return "no worker is ready";
	if (budget_refuses(m->budget))
		return "its handler is behind: --hold-bytes is reached";
	return NULL;
}

static const char *readiness_of_listeners(const struct readiness *r)
{
	return listeners_are_paused(r->listeners)
		       ? "accepting is paused: there are as many sockets as there may be"
		       : NULL;
}

static const char *readiness_of_host(const struct readiness *r)
{
	return r->hub->draining ? "the host is stopping" : NULL;
}

static bool readiness_is_ready(const struct readiness *r)
{
	bool ready = readiness_of_listeners(r) == NULL && readiness_of_host(r) == NULL;
	for (const struct mount *m = r->hub->mounts; m != NULL && ready; m = m->next)
		ready = readiness_of_mount(m) == NULL;
	return ready;
}

static void readiness_check(struct codec_out *o, const char *name, const char *mount,
			    const char *reason)
{
	codec_raw(o, "{\"name\":", 8);
	codec_string(o, span_of(name));
	if (mount != NULL)
		codec_member_text(o, "mount", span_of(mount));
	codec_member_raw(o, "ok", reason == NULL ? "true" : "false");
	if (reason != NULL)
		codec_member_text(o, "reason", span_of(reason));
	codec_raw(o, "}", 1);
}

bool readiness_describe(const struct readiness *r, struct codec_out *o)
{
	bool ready = readiness_is_ready(r);
	struct span head = ready ? SPAN("{\"ready\":true,\"checks\":[")
				 : SPAN("{\"ready\":false,\"checks\":[");
	codec_raw(o, head.p, head.n);
	readiness_check(o, "listening", NULL, readiness_of_listeners(r));
	codec_raw(o, ",", 1);
	readiness_check(o, "running", NULL, readiness_of_host(r));
	for (const struct mount *m = r->hub->mounts; m != NULL; m = m->next) {
		codec_raw(o, ",", 1);
		readiness_check(o, "handler", m->path, readiness_of_mount(m));
	}
	codec_raw(o, "]}", 2);
	return ready;
}

void readiness_look(struct readiness *r)
{
	struct codec_out out = {.n = 0};
	bool ready = readiness_describe(r, &out);
	if (codec_failed(&out))
		LOG(r->hub->log, LOG_WARN, LOG_HTTP, "no memory to say whether the host is ready");
	else
		health_set(r->health, ready, (struct span){out.text.p, out.text.n});
	codec_free(&out);
}

static void readiness_on_tick(void *arg)
{
	struct readiness *r = arg;
	CHECK_IS(r, CHECK_READINESS);
	readiness_look(r);
	loop_timer_set(&r->tick, READINESS_TICK_MS);
}

void readiness_init(struct readiness *r, struct hub *hub, const struct listeners *listeners,
		    struct health *health)
{
	*r = (struct readiness){.magic = CHECK_READINESS,
				.hub = hub,
				.listeners = listeners,
				.health = health};
	loop_timer_init(hub->loop, &r->tick, readiness_on_tick, r);
}

void readiness_start(struct readiness *r, bool beside)
{
	readiness_look(r);
	if (beside)
		loop_timer_set(&r->tick, READINESS_TICK_MS);
}

void readiness_stop(struct readiness *r)
{
	loop_timer_cancel(&r->tick);
}
