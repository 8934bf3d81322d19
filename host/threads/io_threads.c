/* All I/O loops but the hub's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "threads/io_thread_parts.h"

/* From the hub's loop, or over it, to whom it was dealt. */
static void io_threads_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
			    const struct conn_kind *kind)
{
	struct io_threads *s = ctx;
	CHECK_IS(s, CHECK_IO_THREADS);
	if (loop == 0)
		listeners_adopt(s->listeners, fd, remote, kind);
	else
		remote_conn_adopt(&s->v[loop - 1]->remote_conn, fd, remote, kind);
}

bool io_threads_init(struct io_threads *s, unsigned n, struct conns *here,
		     struct listeners *listeners)
{
	*s = (struct io_threads){.magic = CHECK_IO_THREADS,
				 .here = here,
				 .listeners = listeners,
				 .balance = {.n = n}};
	if (n <= 1)
		return true;
	s->v = calloc(n - 1, sizeof(struct io_thread *));
	if (s->v == NULL)
		return false;
	listeners->balance = &s->balance;
	listeners->deal = io_threads_deal;
	listeners->deal_ctx = s;
	for (unsigned i = 0; i < n - 1; i++) {
		struct io_thread *side = aligned_alloc(RING_LINE, sizeof *side);
		if (side == NULL)
			return false;
		memset(side, 0, sizeof *side);
		s->v[s->n++] = side;
		if (!io_thread_init(s, side, i + 1))
			return false;
		side->listeners.deal = io_thread_deal;
		side->listeners.deal_ctx = side;
		side->remote_conn.deal = io_threads_deal;
		side->remote_conn.deal_ctx = s;
	}
	return true;
}

bool io_threads_listen(struct io_threads *s, int backlog, char *why, size_t why_cap)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!listeners_add_beside(&s->v[i]->listeners, s->listeners, backlog, why, why_cap))
			return false;
	return true;
}

bool io_threads_start(struct io_threads *s)
{
	sigset_t all, before;
	int failed = 0;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
	for (unsigned i = 0; i < s->n && failed == 0; i++) {
		char name[24];
		io_thread_catch_up(s->v[i]); /* it knows everything before it accepts anybody */
		failed = pthread_create(&s->v[i]->thread, NULL, io_thread_run, s->v[i]);
		s->v[i]->running = failed == 0;
		snprintf(name, sizeof name, "tova-io-%u", i + 1);
		name[15] = '\0'; /* more the kernel does not keep */
		if (failed == 0)
			pthread_setname_np(s->v[i]->thread, name);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = failed;
	return failed == 0;
}

void io_threads_stop(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->v[i]->running)
			remote_conn_stop(&s->v[i]->remote_conn);
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			pthread_join(s->v[i]->thread, NULL);
		s->v[i]->running = false;
	}
}

void io_threads_free(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		io_thread_free(&s->v[i]);
	free(s->v);
	s->v = NULL;
	s->n = 0;
}

/* --- what they are told ----------------------------------------------------------------------- */

void io_threads_set_limits(struct io_threads *s, const struct conn_limits *limits)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_set_limits(&s->v[i]->remote_conn, limits);
}

void io_threads_set_budgets(struct io_threads *s, struct budgets *budgets)
{
	for (unsigned i = 0; i < s->n; i++)
		conns_set_budgets(&s->v[i]->conns, budgets, i + 1);
}

bool io_threads_set_files(struct io_threads *s, const struct files *files)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++) {
		struct files copy = *files;
		if (files->root >= 0)
			copy.root = fcntl(files->root, F_DUPFD_CLOEXEC, 0);
		if (files->root >= 0 && copy.root < 0)
			ok = false;
		else
			remote_conn_set_files(&s->v[i]->remote_conn, &copy);
	}
	return ok;
}

void io_threads_set_tls(struct io_threads *s, struct tls_server *tls)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->v[i]->running)
			remote_conn_set_tls(&s->v[i]->remote_conn, tls);
		else
			conns_set_tls(&s->v[i]->conns, tls); /* before it lets the first one in */
	}
}

bool io_threads_set_gate(struct io_threads *s, const struct client_addr *client_addr)
{
	bool ok = true;
	for (unsigned i = 0; i < s->n; i++)
		ok = remote_conn_set_gate(&s->v[i]->remote_conn, client_addr) && ok;
	return ok;
}

void io_threads_set_rule(struct io_threads *s, const struct rate_limit_rule *rule)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_set_rule(&s->v[i]->remote_conn, rule);
}

void io_threads_drain(struct io_threads *s)
{
	for (unsigned i = 0; i < s->n; i++)
		remote_conn_drain(&s->v[i]->remote_conn);
}

/* --- what they say ---------------------------------------------------------------------------- */

enum conns_busy io_threads_busy(const struct io_threads *s)
{
	enum conns_busy most = CONNS_AT_REST;
	for (unsigned i = 0; i < s->n; i++) {
		enum conns_busy busy = remote_conn_busy(&s->v[i]->remote_conn);
		most = busy > most ? busy : most;
	}
	return most;
}

struct stats io_threads_stats(const struct io_threads *s)
{
	struct stats sum = s->here->loop->stats, one;
	uint64_t *to = (uint64_t *)&one;
	for (unsigned i = 0; i < s->n; i++) {
		for (size_t k = 0; k < sizeof one / sizeof *to; k++)
			to[k] = atomic_load_explicit(&s->v[i]->stats[k], memory_order_relaxed);
		stats_add(&sum, &one);
	}
	return sum;
}
