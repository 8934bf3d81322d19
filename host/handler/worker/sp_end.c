/* sp_end: the end of a pipe. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "handler/worker/sp_parts.h"
#include "tls/tls.h"

void sp_end_unlist(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	if (p->trusted) {
		TAILQ_REMOVE(&l->pipes, p, others);
		return;
	}
	CHECK(l->n_strangers > 0 && l->strange_bytes >= buffer_memory(&p->in));
	TAILQ_REMOVE(&l->strangers, p, others);
	l->n_strangers--;
	l->strange_bytes -= buffer_memory(&p->in);
}

const char *sp_remote(const struct sp_pipe *p, char text[SP_REMOTE_MAX])
{
	char address[ADDRESS_TEXT];
	if (p->listener->ipc)
		snprintf(text, SP_REMOTE_MAX, "process %d", (int)p->peer);
	else
		snprintf(text, SP_REMOTE_MAX, p->from.family == AF_INET6 ? "[%s]:%u" : "%s:%u",
			 address_text(&p->from, address), p->from.port);
	return text;
}

void sp_close(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	CHECK(p->magic == CHECK_SP_PIPE && loop_is_own(l->loop));
	if (p->closed)
		return;
	p->closed = true;
	event_del(&p->event);
	loop_timer_cancel(&p->limit);
	close(p->fd);
	sp_end_unlist(p);
	p->dead_next = l->dead; /* freed at the end of the turn: it may be on the stack */
	l->dead = p;
}

void sp_end(struct sp_pipe *p, const char *why)
{
	if (p->closed)
		return;
	struct sp_listener *l = p->listener;
	bool was_open = p->greeted;
	void *user = p->user;
	char remote[SP_REMOTE_MAX];
	sp_close(p);
	if (was_open)
		l->ops->closed(l->ctx, p, user, why);
	else if (!p->ousted)
		LOG(l->loop->log, why != NULL ? LOG_NOTICE : LOG_INFO, LOG_ACCEPT,
		    why != NULL ? "a peer that is no worker was turned away"
				: "a peer left before its handshake",
		    LOG_STR("url", l->url), LOG_STR("remote", sp_remote(p, remote)),
		    LOG_STR("error", why));
}

void sp_end_on_limit(void *arg)
{
	struct sp_pipe *p = arg;
	CHECK_IS(p, CHECK_SP_PIPE);
	sp_end(p, !p->greeted	 ? "the handshake took too long"
		  : p->finishing ? NULL
				 : "it does not read the answers to what it asks");
}

void sp_end_bury(void *arg)
{
	struct sp_listener *l = arg;
	CHECK_IS(l, CHECK_SP_LISTENER);
	struct sp_pipe *p;
	while ((p = l->dead) != NULL) {
		CHECK(p->magic == CHECK_SP_PIPE && p->closed);
		l->dead = p->dead_next;
		p->magic = CHECK_GONE;
		buffer_free(&p->in);
		buffer_free(&p->out);
		buffer_free(&p->tail);
		buffer_free(&p->behind);
		tls_free(&p->tls);
		free(p);
	}
}
