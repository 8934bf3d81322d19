/* How it is asked to end: by a signal, over HTTP, by the control socket. */
#include "base/check.h"
#include "server.h"

static void server_stop_drain(struct server *s)
{
	drain_begin(&s->drain, s->settings.drain);
	notify_stopping(&s->notify);
}

void server_on_stop(void *arg, int signal)
{
	struct server *s = arg;
	CHECK_IS(s, CHECK_SERVER);
	(void)signal;
	if (s->drain.running) {
		LOG(s->log, LOG_NOTICE, LOG_DRAIN, "stopping at once");
		loop_stop(s->loop);
	} else {
		server_stop_drain(s);
	}
}

void server_on_drain(void *ctx)
{
	struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	if (!s->drain.running)
		server_stop_drain(s);
}
