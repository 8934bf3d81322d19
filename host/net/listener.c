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

#define LISTENER_BATCH 64     /* accepted in one go, so that a storm of connects does not starve those that are there */
#define LISTENER_RETRY_MS 500 /* to look again for descriptors that others have freed */
#define LISTENER_KEEPALIVE_IDLE 60
#define LISTENER_KEEPALIVE_INTERVAL 15
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
	struct tally *tally = set->conns->gate.tally;
	return tally != NULL ? tally_sockets(tally) : set->conns->count;
}

/* A place for one more socket, before it is accepted. */
static bool listeners_take(const struct conns *conns)
{
	struct tally *tally = conns->gate.tally;
	return tally != NULL ? tally_take_socket(tally, conns->limits.max) : conns->count < conns->limits.max;
}

static void listeners_give(const struct conns *conns)
{
	if (conns->gate.tally != NULL)
		tally_give_socket(conns->gate.tally);
}

static void listeners_pause(struct listeners *set, const char *why)
{
	if (!set->paused) {
		set->conns->loop->stats.accept_pauses++;
		if (!set->said)
			LOG(set->conns->loop->log, LOG_WARN, LOG_LIMIT, why, LOG_U64("sockets", listeners_sockets(set)));
		set->said = true;
		for (struct listener *l = set->list; l != NULL; l = l->next)
			event_del(&l->event);
	}
	set->paused = true;
	loop_timer_set(&set->retry, LISTENER_RETRY_MS);
}

void listeners_resume(struct listeners *set)
{
	if (!set->paused || listeners_sockets(set) >= set->conns->limits.max)
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
	if (listeners_sockets(set) >= set->conns->limits.max)
		loop_timer_set(&set->retry, LISTENER_RETRY_MS);
	else
		listeners_resume(set);
}

static void listener_on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;
	struct conns *conns = l->set->conns;
	(void)what;
	for (int i = 0; i < LISTENER_BATCH; i++) {
		union listener_address from = {.any.sa_family = AF_UNIX};
		struct address remote;
		socklen_t len = sizeof from;
		if (!listeners_take(conns)) {
			listeners_pause(l->set, "as many sockets as --max-connections allows: accepting is paused");
			return;
		}
		int got = accept4(fd, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		address_from(&remote, &from.any);
		if (got >= 0 && conn_add(conns, got, &remote, &l->kind))
			continue;
		listeners_give(conns);
		if (got >= 0)
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			listeners_pause(l->set, "out of file descriptors or memory: accepting is paused");
			return;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			if (l->set->said)
				LOG(conns->loop->log, LOG_NOTICE, LOG_LIMIT, "everyone who waited is accepted",
				    LOG_U64("sockets", conns->count));
			l->set->said = false;
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
	const int on = 1, idle = LISTENER_KEEPALIVE_IDLE, interval = LISTENER_KEEPALIVE_INTERVAL, count = LISTENER_KEEPALIVE_COUNT;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
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
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool live = fd >= 0 && connect(fd, (const struct sockaddr *)un, sizeof *un) == 0;
	if (fd >= 0)
		close(fd);
	if (live) {
		snprintf(why, cap, "another process listens there");
		return false;
	}
	return unlink(un->sun_path) == 0 || listener_fail(why, cap, "the old socket can not be removed");
}

static bool listener_bind_unix(int fd, const char *path, mode_t mode, union listener_address *a, char *why, size_t cap)
{
	a->un = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof a->un.sun_path) {
		snprintf(why, cap, "the path is longer than the %zu bytes a socket may have", sizeof a->un.sun_path - 1);
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

static bool listener_bind_tcp(int fd, const char *host, uint16_t port, union listener_address *a, char *why, size_t cap)
{
	const int on = 1;
	socklen_t len = sizeof a->in;
	if (inet_pton(AF_INET, host, &a->in.sin_addr) == 1) {
		a->in.sin_family = AF_INET;
		a->in.sin_port = htons(port);
	} else {
		len = sizeof a->in6;
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons(port);
		inet_pton(AF_INET6, host, &a->in6.sin6_addr);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on); /* what is listened on is what was asked for */
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
	} else {
		if (getsockname(fd, &a.any, &len) != 0 || !address_from(&at, &a.any))
			return NULL;
		n = asprintf(&name, at.family == AF_INET6 ? "[%s]:%u" : "%s:%u", address_text(&at, text), at.port);
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

bool listeners_add(struct listeners *set, const char *host, uint16_t port, const char *unix_path, const struct conn_kind *kind,
		   int backlog, char *why, size_t why_cap)
{
	union listener_address a = {.any.sa_family = AF_UNSPEC};
	int family = host == NULL ? AF_UNIX : strchr(host, ':') != NULL ? AF_INET6 : AF_INET;
	struct listener *l = calloc(1, sizeof *l);
	if (l == NULL)
		return listener_fail(why, why_cap, "no memory");
	l->set = set;
	l->kind = *kind;
	l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool ok = l->fd >= 0 || listener_fail(why, why_cap, "no socket can be made");
	ok = ok && (host == NULL ? listener_bind_unix(l->fd, unix_path, set->unix_mode, &a, why, why_cap)
				 : listener_bind_tcp(l->fd, host, port, &a, why, why_cap));
	ok = ok && (listen(l->fd, backlog) == 0 || listener_fail(why, why_cap, "it can not be listened on"));
	if (ok) {
		l->unix_path = unix_path != NULL ? strdup(unix_path) : NULL;
		l->name = listener_name(l->fd, unix_path);
		ok = (l->name != NULL && (unix_path == NULL || l->unix_path != NULL) &&
		      event_assign(&l->event, set->conns->loop->base, l->fd, EV_READ | EV_PERSIST, listener_on_accept, l) == 0 &&
		      event_add(&l->event, NULL) == 0) ||
		     listener_fail(why, why_cap, "no memory");
	}
	if (!ok) {
		listener_free(l);
		return false;
	}
	l->next = set->list;
	set->list = l;
	LOG(set->conns->loop->log, LOG_NOTICE, LOG_LISTEN, "listening", LOG_STR("address", l->name));
	return true;
}

void listeners_init(struct listeners *set, struct conns *conns)
{
	*set = (struct listeners){.conns = conns, .unix_mode = 0660};
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
