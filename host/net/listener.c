#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"

/* accepted in one go, so that a storm of connects does not starve those that are there */
#define LISTENER_BATCH 64
#define LISTENER_RETRY_MS 500 /* to look again for descriptors that others have freed */
#define LISTENER_KEEPALIVE_IDLE 60
#define LISTENER_KEEPALIVE_INTERVAL 15
#define LISTENER_UNSENT (128 << 10) /* bytes */
#define LISTENER_KEEPALIVE_COUNT 4

union listener_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

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
			event_del(&l->event);
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
	for (struct listener *l = set->list; l != NULL; l = l->next) {
		event_add(&l->event, NULL);
		if (set->said) /* nobody may wait any more, which is to be said, too */
			event_active(&l->event, EV_READ, 0);
	}
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

static void listener_on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	CHECK_IS(l, CHECK_LISTENER);
	struct conns *conns = l->set->conns;
	(void)what;
	for (int i = 0; i < LISTENER_BATCH; i++) {
		union listener_address from = {.any.sa_family = AF_UNIX};
		struct address remote;
		socklen_t len = sizeof from;
		if (!listeners_take(conns) && !listeners_make_room(l->set, i == 0)) {
			if (i == 0 || l->set->crowd == NULL)
				listeners_pause(
					l->set,
					l->set->crowd != NULL
						? "as many requests as --api-connections allows: accepting is paused"
						: "as many sockets as --max-connections allows: accepting is paused");
			return;
		}
		int got = accept4(fd, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (got >= 0) {
			address_from(&remote, &from.any);
			listeners_deal(l->set, got, &remote, &l->kind);
			if (descriptors_may(&conns->loop->descriptors, l->set->user, got))
				continue;
			listeners_pause(
				l->set,
				"the rest of the file descriptors is held back for workers and tova-ctl: "
				"accepting is paused");
			return;
		}
		int error = errno;
		listeners_give(conns);
		if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
			listeners_pause(l->set,
					"out of file descriptors or memory: accepting is paused");
			return;
		} else if (error == EAGAIN || error == EWOULDBLOCK) {
			if (l->set->said && listeners_said(l->set, false))
				LOG(conns->loop->log, LOG_NOTICE, LOG_LIMIT,
				    "everyone who waited is accepted",
				    LOG_U64("sockets", listeners_sockets(l->set)));
			return;
		} /* anything else concerns only the socket that was to be accepted */
	}
}

static bool listener_fail(char *why, size_t cap, const char *what)
{
	snprintf(why, cap, "%s: %s", what, strerror(errno));
	return false;
}

/* Accepted sockets inherit these on Linux, which saves a system call or five for each. */
static void listener_set_tcp(int fd)
{
	const int on = 1, idle = LISTENER_KEEPALIVE_IDLE, interval = LISTENER_KEEPALIVE_INTERVAL,
		  count = LISTENER_KEEPALIVE_COUNT;
	const int unsent = LISTENER_UNSENT;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	/* What the kernel takes beyond what it can send, up to megabytes for each peer that does
	 * not read, no policy of ours can bound, give up or pass with a control frame. */
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

/* A socket file that nobody listens on is left over from a host that was killed. */
static bool listener_clear_path(const struct sockaddr_un *un, char *why, size_t cap)
{
	struct stat st;
	if (lstat(un->sun_path, &st) != 0)
		return errno == ENOENT || listener_fail(why, cap, "it can not be looked at");
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(why, cap, "there is a file of that name that is no socket");
		return false;
	}
	if (address_unix_is_live(un)) {
		snprintf(why, cap, "another process listens there");
		return false;
	}
	return unlink(un->sun_path) == 0 ||
	       listener_fail(why, cap, "the old socket can not be removed");
}

static bool listener_bind_unix(int fd, const char *path, mode_t mode, union listener_address *a,
			       char *why, size_t cap)
{
	a->un = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof a->un.sun_path) {
		snprintf(why, cap, "the path is longer than the %zu bytes a socket may have",
			 sizeof a->un.sun_path - 1);
		return false;
	}
	strcpy(a->un.sun_path, path);
	if (!listener_clear_path(&a->un, why, cap))
		return false;
	mode_t old = umask(0777 & ~mode);
	int failed = bind(fd, &a->any, sizeof a->un);
	umask(old);
	return failed == 0 || listener_fail(why, cap, "it can not be bound");
}

static bool listener_bind_tcp(int fd, const char *host, uint16_t port, bool both,
			      union listener_address *a, char *why, size_t cap)
{
	const int only = !both;
	socklen_t len = sizeof a->in;
	if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(port);
	} else {
		len = sizeof a->in6;
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons(port);
		inet_pton(AF_INET6, host, &a->in6.sin6_addr);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only,
			   sizeof only); /* whatever the machine's default is */
	}
	listener_set_tcp(fd);
	return bind(fd, &a->any, len) == 0 || listener_fail(why, cap, "it can not be bound");
}

static char *listener_name(int fd, const char *unix_path)
{
	union listener_address a;
	struct address at;
	char text[ADDRESS_TEXT], *name = NULL;
	socklen_t len = sizeof a;
	int n;
	if (unix_path != NULL) {
		n = asprintf(&name, "unix:%s", unix_path);
	} else if (getsockname(fd, &a.any, &len) != 0) {
		return NULL;
	} else if (a.any.sa_family == AF_UNIX) {
		n = asprintf(&name, "unix:%.*s", (int)sizeof a.un.sun_path, a.un.sun_path);
	} else {
		if (!address_from(&at, &a.any))
			return NULL;
		n = asprintf(&name, at.family == AF_INET6 ? "[%s]:%u" : "%s:%u",
			     address_text(&at, text), at.port);
	}
	return n < 0 ? NULL : name;
}

static void listener_free(struct listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	free(l->unix_path);
	free(l->name);
	free(l);
}

/* The socket is bound: starts to accept. */
static bool listener_start(struct listener *l, struct listeners *set, const char *unix_path,
			   int backlog, char *why, size_t why_cap)
{
	if (listen(l->fd, backlog) != 0)
		return listener_fail(why, why_cap, "it can not be listened on");
	l->unix_path = unix_path != NULL ? strdup(unix_path) : NULL;
	l->name = listener_name(l->fd, unix_path);
	if (l->name == NULL || (unix_path != NULL && l->unix_path == NULL) ||
	    event_assign(&l->event, set->conns->loop->base, l->fd, EV_READ | EV_PERSIST,
			 listener_on_accept, l) != 0 ||
	    event_add(&l->event, NULL) != 0)
		return listener_fail(why, why_cap, "no memory");
	struct listener **end = &set->list;
	while (*end != NULL)
		end = &(*end)->next;
	*end = l;
	return true;
}

static struct listener *listener_new(struct listeners *set, int family, char *why, size_t why_cap)
{
	struct listener *l = calloc(1, sizeof *l);
	if (l == NULL) {
		listener_fail(why, why_cap, "no memory");
		return NULL;
	}
	l->magic = CHECK_LISTENER;
	l->set = set;
	l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd >= 0)
		return l;
	listener_fail(why, why_cap, "no socket can be made");
	listener_free(l);
	return NULL;
}

bool listeners_add(struct listeners *set, const char *host, uint16_t port, bool both,
		   const char *unix_path, const struct conn_kind *kind, int backlog, char *why,
		   size_t why_cap)
{
	const int on = 1;
	union listener_address a = {.any.sa_family = AF_UNSPEC};
	int family = host == NULL ? AF_UNIX : strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
	struct listener *l = listener_new(set, family, why, why_cap);
	if (l == NULL)
		return false;
	l->kind = *kind;
	bool ok = host == NULL
			  ? listener_bind_unix(l->fd, unix_path, set->unix_mode, &a, why, why_cap)
			  : listener_bind_tcp(l->fd, host, port, both, &a, why, why_cap);
	/* Only now: what another process has bound is refused, and what we have bound is refused to
	 * others. */
	if (ok && set->balance != NULL && host != NULL)
		setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	if (!ok || !listener_start(l, set, unix_path, backlog, why, why_cap)) {
		listener_free(l);
		return false;
	}
	return true;
}

static bool listener_accepts(int fd, char *why, size_t cap)
{
	int type = 0, family = 0;
	socklen_t len = sizeof type;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 &&
	    (family == AF_INET || family == AF_INET6 || family == AF_UNIX))
		return true;
	snprintf(why, cap, "it is no socket that takes TCP or Unix connections (ListenStream=)");
	return false;
}

bool listeners_add_given(struct listeners *set, int fd, const struct conn_kind *kind, int backlog,
			 char *why, size_t why_cap)
{
	struct listener *l = calloc(1, sizeof *l);
	if (l == NULL) {
		close(fd);
		return listener_fail(why, why_cap, "no memory");
	}
	*l = (struct listener){.magic = CHECK_LISTENER,
			       .set = set,
			       .kind = *kind,
			       .fd = fd,
			       .given = true};
	listener_set_tcp(fd);
	if (listener_accepts(fd, why, why_cap) && evutil_make_socket_nonblocking(fd) == 0 &&
	    listener_start(l, set, NULL, backlog, why, why_cap))
		return true;
	listener_free(l);
	return false;
}

void listeners_announce(const struct listeners *set, const char *what, const char *field)
{
	for (const struct listener *l = set->list; l != NULL; l = l->next)
		LOG(set->conns->loop->log, LOG_NOTICE, LOG_LISTEN, what, LOG_STR(field, l->name),
		    LOG_BOOL("tls", l->kind.tls));
}

static bool listener_add_beside(struct listeners *set, const struct listener *first, int backlog,
				char *why, size_t why_cap)
{
	const int on = 1;
	int only = 1;
	union listener_address a;
	socklen_t len = sizeof a, only_len = sizeof only;
	if (getsockname(first->fd, &a.any, &len) != 0)
		return listener_fail(why, why_cap, "its address can not be told");
	struct listener *l = listener_new(set, a.any.sa_family, why, why_cap);
	if (l == NULL)
		return false;
	l->kind = first->kind;
	if (a.any.sa_family == AF_INET6 &&
	    getsockopt(first->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &only_len) == 0)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
	listener_set_tcp(l->fd);
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
	bool ok = bind(l->fd, &a.any, len) == 0 ||
		  listener_fail(why, why_cap, "it can not be bound for several loops");
	if (ok && listener_start(l, set, NULL, backlog, why, why_cap))
		return true;
	listener_free(l);
	return false;
}

bool listeners_add_beside(struct listeners *set, const struct listeners *first, int backlog,
			  char *why, size_t why_cap)
{
	for (const struct listener *l = first->list; l != NULL; l = l->next)
		if (l->unix_path == NULL && !l->given &&
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
		event_del(&l->event);
		if (l->unix_path != NULL)
			unlink(l->unix_path);
		listener_free(l);
	}
}
