#include "net/acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"

#define ACCEPTOR_KEEPALIVE_IDLE 60
#define ACCEPTOR_KEEPALIVE_INTERVAL 15
#define ACCEPTOR_KEEPALIVE_COUNT 4
#define ACCEPTOR_UNSENT (128 << 10) /* bytes */

union acceptor_address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

void acceptor_init(struct acceptor *a, void (*run)(void *ctx), void *ctx)
{
	*a = (struct acceptor){.magic = CHECK_ACCEPTOR, .fd = -1, .run = run, .ctx = ctx};
}

static bool acceptor_fail(char *why, size_t cap, const char *what)
{
	snprintf(why, cap, "%s: %s", what, strerror(errno));
	return false;
}

/* --- binding ---------------------------------------------------------------------------------- */

static bool acceptor_socket(struct acceptor *a, int family, char *why, size_t cap)
{
	CHECK(a->fd < 0);
	a->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return a->fd >= 0 || acceptor_fail(why, cap, "no socket can be made");
}

/* A socket file that nobody listens on is left over from a host that was killed. */
static bool acceptor_clear_path(const struct sockaddr_un *un, char *why, size_t cap)
{
	struct stat st;
	if (lstat(un->sun_path, &st) != 0)
		return errno == ENOENT || acceptor_fail(why, cap, "it can not be looked at");
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(why, cap, "there is a file of that name that is no socket");
		return false;
	}
	if (address_unix_is_live(un)) {
		snprintf(why, cap, "another process listens there");
		return false;
	}
	return unlink(un->sun_path) == 0 ||
	       acceptor_fail(why, cap, "the old socket can not be removed");
}

bool acceptor_bind_unix(struct acceptor *a, const char *path, mode_t mode, char *why, size_t cap)
{
	union acceptor_address to = {.un = {.sun_family = AF_UNIX}};
	if (strlen(path) >= sizeof to.un.sun_path) {
		snprintf(why, cap, "the path is longer than the %zu bytes a socket may have",
			 sizeof to.un.sun_path - 1);
		return false;
	}
	strcpy(to.un.sun_path, path);
	if (!acceptor_clear_path(&to.un, why, cap) || !acceptor_socket(a, AF_UNIX, why, cap))
		return false;
	mode_t old = umask(0777 & ~mode);
	int failed = bind(a->fd, &to.any, sizeof to.un);
	umask(old);
	if (failed != 0)
		return acceptor_fail(why, cap, "it can not be bound");
	a->unix_path = strdup(path);
	if (a->unix_path != NULL)
		return true;
	unlink(path);
	return acceptor_fail(why, cap, "no memory");
}

bool acceptor_bind_tcp(struct acceptor *a, const char *host, uint16_t port, bool both, char *why,
		       size_t cap)
{
	union acceptor_address to = {.any.sa_family = AF_UNSPEC};
	const int on = 1, only = !both;
	socklen_t len = sizeof to.in;
	bool v6 = strchr(host, ':') != NULL;
	if (!acceptor_socket(a, v6 ? AF_INET6 : AF_INET, why, cap))
		return false;
	if (v6) {
		len = sizeof to.in6;
		to.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		inet_pton(AF_INET6, host, &to.in6.sin6_addr);
		setsockopt(a->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only,
			   sizeof only); /* whatever the machine's default is */
	} else {
		to.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
		inet_pton(AF_INET, host, &to.in.sin_addr);
	}
	setsockopt(a->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	return bind(a->fd, &to.any, len) == 0 || acceptor_fail(why, cap, "it can not be bound");
}

void acceptor_share(const struct acceptor *a)
{
	const int on = 1;
	setsockopt(a->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
}

bool acceptor_bind_beside(struct acceptor *a, const struct acceptor *first, char *why, size_t cap)
{
	const int on = 1;
	int only = 1;
	union acceptor_address to;
	socklen_t len = sizeof to, only_len = sizeof only;
	if (getsockname(first->fd, &to.any, &len) != 0)
		return acceptor_fail(why, cap, "its address can not be told");
	if (!acceptor_socket(a, to.any.sa_family, why, cap))
		return false;
	if (to.any.sa_family == AF_INET6 &&
	    getsockopt(first->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &only_len) == 0)
		setsockopt(a->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
	setsockopt(a->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	acceptor_share(a);
	return bind(a->fd, &to.any, len) == 0 ||
	       acceptor_fail(why, cap, "it can not be bound for several loops");
}

static bool acceptor_accepts(int fd)
{
	int type = 0, family = 0;
	socklen_t len = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) == 0 &&
	       (family == AF_INET || family == AF_INET6 || family == AF_UNIX);
}

bool acceptor_take_over(struct acceptor *a, int fd, char *why, size_t cap)
{
	CHECK(a->fd < 0);
	a->fd = fd;
	if (!acceptor_accepts(fd)) {
		snprintf(why, cap,
			 "it is no socket that takes TCP or Unix connections (ListenStream=)");
		return false;
	}
	return evutil_make_socket_nonblocking(fd) == 0 ||
	       acceptor_fail(why, cap, "it can not be made non-blocking");
}

void acceptor_of_clients(const struct acceptor *a)
{
	const int on = 1, idle = ACCEPTOR_KEEPALIVE_IDLE, interval = ACCEPTOR_KEEPALIVE_INTERVAL,
		  count = ACCEPTOR_KEEPALIVE_COUNT, unsent = ACCEPTOR_UNSENT;
	setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(a->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	setsockopt(a->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
	setsockopt(a->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
	setsockopt(a->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
	/* What the kernel takes beyond what it can send, up to megabytes for each peer that does
	 * not read, no policy of ours can bound, give up or pass with a control frame. */
	setsockopt(a->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

static char *acceptor_name(const struct acceptor *a)
{
	union acceptor_address to;
	struct address at;
	char text[ADDRESS_TEXT], *name = NULL;
	socklen_t len = sizeof to;
	int n;
	if (a->unix_path != NULL) {
		n = asprintf(&name, "unix:%s", a->unix_path);
	} else if (getsockname(a->fd, &to.any, &len) != 0) {
		return NULL;
	} else if (to.any.sa_family == AF_UNIX) {
		n = asprintf(&name, "unix:%.*s", (int)sizeof to.un.sun_path, to.un.sun_path);
	} else {
		if (!address_from(&at, &to.any))
			return NULL;
		n = asprintf(&name, at.family == AF_INET6 ? "[%s]:%u" : "%s:%u",
			     address_text(&at, text), at.port);
	}
	return n < 0 ? NULL : name;
}

/* --- accepting -------------------------------------------------------------------------------- */

static void acceptor_on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct acceptor *a = arg;
	CHECK_IS(a, CHECK_ACCEPTOR);
	(void)fd;
	(void)what;
	a->run(a->ctx);
}

bool acceptor_start(struct acceptor *a, struct loop *loop, int backlog, char *why, size_t cap)
{
	if (listen(a->fd, backlog) != 0)
		return acceptor_fail(why, cap, "it can not be listened on");
	a->name = acceptor_name(a);
	return (a->name != NULL &&
		event_assign(&a->event, loop->base, a->fd, EV_READ | EV_PERSIST, acceptor_on_ready,
			     a) == 0 &&
		event_add(&a->event, NULL) == 0) ||
	       acceptor_fail(why, cap, "no memory");
}

enum acceptor_got acceptor_take(const struct acceptor *a, int *fd_r, struct address *from_r)
{
	union acceptor_address from = {.any.sa_family = AF_UNIX};
	socklen_t len = sizeof from;
	*fd_r = accept4(a->fd, &from.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (*fd_r >= 0) {
		address_from(from_r, &from.any);
		return ACCEPTOR_SOCKET;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		return ACCEPTOR_FULL;
	return errno == EAGAIN || errno == EWOULDBLOCK ? ACCEPTOR_NOBODY : ACCEPTOR_LOST;
}

void acceptor_pause(struct acceptor *a)
{
	event_del(&a->event);
}

void acceptor_resume(struct acceptor *a, bool now)
{
	event_add(&a->event, NULL);
	if (now)
		event_active(&a->event, EV_READ, 0);
}

void acceptor_close(struct acceptor *a)
{
	CHECK_IS(a, CHECK_ACCEPTOR);
	if (event_initialized(&a->event))
		event_del(&a->event);
	if (a->unix_path != NULL)
		unlink(a->unix_path);
	if (a->fd >= 0)
		close(a->fd);
	free(a->unix_path);
	free(a->name);
	*a = (struct acceptor){.magic = CHECK_ACCEPTOR, .fd = -1};
}
