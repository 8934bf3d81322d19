#include "net/listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

/* accepted in one go, so that a storm of connects does not starve those that are there */
#define LISTENER_BATCH 64
#define LISTENER_RETRY_MS 500 /* to look again for descriptors that others have freed */

/* Of all loops; or of this one, where none counts for all. */
static uint32_t listeners_sockets(const struct listeners *set)
{
	struct addr_limits *addr_limits = set->conns->client_addr.addr_limits;
	return addr_limits != NULL ? addr_limits_sockets(addr_limits) : set->conns->count;
}

/* A place for one more socket, before it is accepted. */
static bool listeners_take(const struct conns *conns)
{
	struct addr_limits *addr_limits = conns->client_addr.addr_limits;
	return addr_limits != NULL ? addr_limits_take_socket(addr_limits, conns->limits.max)
				   : conns->count < conns->limits.max;
}

static void listeners_give(const struct conns *conns)
{
	if (conns->client_addr.addr_limits != NULL)
		addr_limits_give_socket(conns->client_addr.addr_limits);
}

/* Whether it was said that not all are accepted, and is from now on. One of several loops says it
 * for all. */
static bool listeners_said(struct listeners *set, bool said)
{
	bool before = set->said;
	set->said = said;
	return set->balance != NULL ? atomic_exchange(&set->balance->said, said) : before;
}

static void listeners_pause(struct listeners *set, const char *why)
{
	if (!set->paused) {
		set->conns->loop->stats.accept_pauses++;
		if (!listeners_said(set, true))
			LOG(set->conns->loop->log, LOG_WARN, LOG_LIMIT, why,
			    LOG_U64("sockets", listeners_sockets(set)));
		for (struct listener *l = set->list; l != NULL; l = l->next)
			acceptor_pause(&l->acceptor);
	}
	set->paused = true;
	loop_timer_set(&set->retry, LISTENER_RETRY_MS);
}

static bool listeners_are_full(const struct listeners *set)
{
	return listeners_sockets(set) >= set->conns->limits.max ||
	       !descriptors_left(&set->conns->loop->descriptors, set->user);
}

static void listeners_resume(struct listeners *set)
{
	if (!set->paused || listeners_are_full(set))
		return;
	set->paused = false;
	loop_timer_cancel(&set->retry);
	/* nobody may wait any more, which is to be said, too */
	for (struct listener *l = set->list; l != NULL; l = l->next)
		acceptor_resume(&l->acceptor, set->said);
}

static void listeners_on_retry(void *arg)
{
	struct listeners *set = arg;
	CHECK_IS(set, CHECK_LISTENERS);
	if (listeners_are_full(set))
		loop_timer_set(&set->retry, LISTENER_RETRY_MS);
	else
		listeners_resume(set);
}

void listeners_on_freed(void *arg)
{
	struct listeners *set = arg;
	CHECK_IS(set, CHECK_LISTENERS);
	if (set->balance != NULL)
		balance_give_back(set->balance, set->loop);
	listeners_resume(set);
}

void listeners_adopt(struct listeners *set, int fd, const struct address *remote,
		     const struct conn_kind *kind)
{
	if (conn_add(set->conns, fd, remote, kind))
		return;
	listeners_give(set->conns);
	if (set->balance != NULL)
		balance_give_back(set->balance, set->loop);
}

static void listeners_deal(struct listeners *set, int fd, const struct address *remote,
			   const struct conn_kind *kind)
{
	unsigned chosen =
		set->balance != NULL ? balance_choose(set->balance, set->loop) : set->loop;
	if (chosen == set->loop)
		listeners_adopt(set, fd, remote, kind);
	else
		set->deal(set->deal_ctx, chosen, fd, remote, kind);
}

/* Somebody waits at the first try of a turn: whoever sends nothing gives way to him. */
static bool listeners_make_room(const struct listeners *set, bool first)
{
	if (!first || set->crowd == NULL || !conns_give_way(set->conns))
		return false;
	set->conns->loop->stats.strangers++;
	LOG(set->conns->loop->log, LOG_NOTICE, LOG_ACCEPT, set->crowd,
	    LOG_U64("sockets", listeners_sockets(set)));
	return listeners_take(set->conns);
}

/* Nobody waits any more, or not now. */
static void listener_caught_up(struct listeners *set)
{
	if (set->said && listeners_said(set, false))
		LOG(set->conns->loop->log, LOG_NOTICE, LOG_LIMIT, "everyone who waited is accepted",
		    LOG_U64("sockets", listeners_sockets(set)));
}

/* There was a place for it. False: no more for now. */
static bool listener_take(struct listener *l)
{
	struct listeners *set = l->set;
	struct conns *conns = set->conns;
	struct address remote;
	int fd;
	enum acceptor_got got = acceptor_take(&l->acceptor, &fd, &remote);
	if (got == ACCEPTOR_SOCKET) {
		listeners_deal(set, fd, &remote, &l->kind);
		if (descriptors_may(&conns->loop->descriptors, set->user, fd))
			return true;
		listeners_pause(
			set,
			"the rest of the file descriptors is held back for workers and tova-ctl: "
			"accepting is paused");
		return false;
	}
	listeners_give(conns);
	if (got == ACCEPTOR_FULL)
		listeners_pause(set, "out of file descriptors or memory: accepting is paused");
	else if (got == ACCEPTOR_NOBODY)
		listener_caught_up(set);
	return got == ACCEPTOR_LOST;
}

static void listener_on_accept(void *ctx)
{
	struct listener *l = ctx;
	CHECK_IS(l, CHECK_LISTENER);
	for (int i = 0; i < LISTENER_BATCH; i++) {
		if (!listeners_take(l->set->conns) && !listeners_make_room(l->set, i == 0)) {
			if (i == 0 || l->set->crowd == NULL)
				listeners_pause(
					l->set,
					l->set->crowd != NULL
						? "as many requests as --api-connections allows: "
						  "accepting is paused"
						: "as many sockets as --max-connections allows: "
						  "accepting is paused");
			return;
		}
		if (!listener_take(l))
			return;
	}
}

/* --- the set ---------------------------------------------------------------------------------- */

static void listener_free(struct listener **l_p)
{
	acceptor_close(&(*l_p)->acceptor);
	(*l_p)->magic = CHECK_GONE;
	free(*l_p);
	*l_p = NULL;
}

static struct listener *listener_new(struct listeners *set, const struct conn_kind *kind)
{
	struct listener *l = calloc(1, sizeof *l);
	if (l == NULL)
		return NULL;
	l->magic = CHECK_LISTENER;
	l->set = set;
	l->kind = *kind;
	acceptor_init(&l->acceptor, listener_on_accept, l);
	return l;
}

/* Its socket is bound, where `ok`: starts to accept, at the end of the list. Else, or without
 * memory, it goes. */
static bool listener_start(struct listener *l, bool ok, int backlog, char *why, size_t why_cap)
{
	struct listener **end = &l->set->list;
	if (ok)
		acceptor_of_clients(&l->acceptor);
	if (!ok || !acceptor_start(&l->acceptor, l->set->conns->loop, backlog, why, why_cap)) {
		listener_free(&l);
		return false;
	}
	while (*end != NULL)
		end = &(*end)->next;
	*end = l;
	return true;
}

bool listeners_add(struct listeners *set, const char *host, uint16_t port, bool both,
		   const char *unix_path, const struct conn_kind *kind, int backlog, char *why,
		   size_t why_cap)
{
	struct listener *l = listener_new(set, kind);
	if (l == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	bool ok = host == NULL ? acceptor_bind_unix(&l->acceptor, unix_path, set->unix_mode, why,
						    why_cap)
			       : acceptor_bind_tcp(&l->acceptor, host, port, both, why, why_cap);
	/* Only now: what another process has bound is refused, and what we have bound is refused to
	 * others. */
	if (ok && set->balance != NULL && host != NULL)
		acceptor_share(&l->acceptor);
	return listener_start(l, ok, backlog, why, why_cap);
}

bool listeners_add_given(struct listeners *set, int fd, const struct conn_kind *kind, int backlog,
			 char *why, size_t why_cap)
{
	struct listener *l = listener_new(set, kind);
	if (l == NULL) {
		close(fd);
		snprintf(why, why_cap, "no memory");
		return false;
	}
	l->given = true;
	bool ok = acceptor_take_over(&l->acceptor, fd, why, why_cap);
	return listener_start(l, ok, backlog, why, why_cap);
}

void listeners_announce(const struct listeners *set, const char *what, const char *field)
{
	for (const struct listener *l = set->list; l != NULL; l = l->next)
		LOG(set->conns->loop->log, LOG_NOTICE, LOG_LISTEN, what,
		    LOG_STR(field, l->acceptor.name), LOG_BOOL("tls", l->kind.tls));
}

static bool listener_add_beside(struct listeners *set, const struct listener *first, int backlog,
				char *why, size_t why_cap)
{
	struct listener *l = listener_new(set, &first->kind);
	if (l == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	bool ok = acceptor_bind_beside(&l->acceptor, &first->acceptor, why, why_cap);
	return listener_start(l, ok, backlog, why, why_cap);
}

bool listeners_add_beside(struct listeners *set, const struct listeners *first, int backlog,
			  char *why, size_t why_cap)
{
	for (const struct listener *l = first->list; l != NULL; l = l->next)
		if (l->acceptor.unix_path == NULL && !l->given &&
		    !listener_add_beside(set, l, backlog, why, why_cap))
			return false;
	return true;
}

void listeners_init(struct listeners *set, struct conns *conns)
{
	*set = (struct listeners){.magic = CHECK_LISTENERS, .conns = conns, .unix_mode = 0660};
	loop_timer_init(conns->loop, &set->retry, listeners_on_retry, set);
}

void listeners_close(struct listeners *set)
{
	struct listener *l;
	loop_timer_cancel(&set->retry);
	while ((l = set->list) != NULL) {
		set->list = l->next;
		listener_free(&l);
	}
}
