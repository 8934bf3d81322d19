#include "threads/io_thread.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "threads/io_thread_parts.h"

static void io_thread_on_turn(void *arg)
{
	struct io_thread *s = arg;
	CHECK_IS(s, CHECK_IO_THREAD);
	channel_publish_up(&s->remote_conn.channel);
	io_thread_show(s);
}

/* While there is no thread. */
void io_thread_catch_up(struct io_thread *s)
{
	channel_publish_down(&s->remote_conn.channel);
	while (ring_has(&s->remote_conn.channel.down))
		io_thread_on_records(s);
}

void *io_thread_run(void *arg)
{
	struct io_thread *s = arg;
	CHECK_IS(s, CHECK_IO_THREAD);
	loop_run(s->loop);
	return NULL;
}

/* On a loop that is not the hub's. */
void io_thread_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
		    const struct conn_kind *kind)
{
	struct io_thread *s = ctx;
	CHECK_IS(s, CHECK_IO_THREAD);
	struct channel_record *r =
		channel_up(&s->remote_conn.channel, CHANNEL_DEAL, sizeof(struct channel_socket));
	if (r == NULL) {
		balance_give_back(s->listeners.balance, loop);
		if (s->conns.client_addr.addr_limits != NULL)
			addr_limits_give_socket(s->conns.client_addr.addr_limits);
		close(fd);
		return;
	}
	r->code = (uint16_t)loop;
	*(struct channel_socket *)r->bytes =
		(struct channel_socket){.remote = *remote, .kind = *kind, .fd = fd};
}

bool io_thread_init(struct io_threads *all, struct io_thread *s, unsigned number)
{
	s->magic = CHECK_IO_THREAD;
	TAILQ_INIT(&s->paused);
	TAILQ_INIT(&s->retrying);
	TAILQ_INIT(&s->shown);
	s->files.root = -1;
	s->loop = loop_new(all->here->loop->log);
	if (s->loop == NULL)
		return false;
	bool ok = conns_init(&s->conns, s->loop, &io_thread_ops, s, &all->here->limits);
	s->conns.later = true;
	listeners_init(&s->listeners, &s->conns);
	s->conns.freed = listeners_on_freed;
	s->conns.freed_ctx = &s->listeners;
	s->listeners.balance = &all->balance;
	s->listeners.loop = number;
	loop_timer_init(s->loop, &s->retry, io_thread_on_retry, s);
	loop_timer_init(s->loop, &s->show, io_thread_on_show, s);
	s->hook = (struct loop_hook){.run = io_thread_on_turn, .arg = s};
	loop_add_hook_first(s->loop, &s->hook);
	return remote_conn_init(&s->remote_conn, (uint8_t)number, all->here, s->loop,
				io_thread_on_records, s) &&
	       ok;
}

void io_thread_free(struct io_thread **s_p)
{
	struct io_thread *s = *s_p;
	*s_p = NULL;
	CHECK(!s->running);
	if (s->loop != NULL) {
		/* descriptors and memory may have been handed over */
		if (s->remote_conn.channel.down.last != NULL)
			io_thread_catch_up(s);
		s->ended = true;
		listeners_close(&s->listeners);
		s->conns.freed = NULL;
		conns_free(&s->conns);
		remote_conn_free(&s->remote_conn);
		loop_timer_cancel(&s->retry);
		loop_timer_cancel(&s->show);
		loop_free(&s->loop);
	}
	for (struct io_thread_rule *r; (r = s->rules) != NULL;) {
		s->rules = r->next;
		free(r);
	}
	files_close(&s->files);
	address_set_free(&s->trusted);
	free(s->hosts);
	free(s);
}
