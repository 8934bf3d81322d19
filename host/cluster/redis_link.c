#include "cluster/redis_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

#define REDIS_LINK_READ 65536
#define REDIS_LINK_KEEP 65536

void redis_link_init(struct redis_link *l, struct loop *loop,
		     const struct redis_link_events *events, void *ctx)
{
	*l = (struct redis_link){.magic = CHECK_REDIS_LINK,
				 .loop = loop,
				 .events = events,
				 .ctx = ctx,
				 .fd = -1};
}

void redis_link_close(struct redis_link *l)
{
	CHECK_IS(l, CHECK_REDIS_LINK);
	if (l->fd < 0)
		return;
	loop_watch_set(&l->in, false);
	loop_watch_set(&l->out, false);
	close(l->fd);
	l->fd = -1;
	buffer_free(&l->queue);
	resp_free(&l->resp);
}

static void redis_link_lose(struct redis_link *l, const char *why)
{
	char said[256];
	snprintf(said, sizeof said, "%s", why); /* it may lie in what is closed */
	redis_link_close(l);
	l->events->lost(l->ctx, said);
}

/* --- what comes ------------------------------------------------------------------------------- */

/* Whoever is told may close it. */
static bool redis_link_tell(struct redis_link *l)
{
	struct resp_value *v;
	for (;;) {
		if (!resp_next(l->resp, &v)) {
			redis_link_lose(l, resp_why(l->resp));
			return false;
		}
		if (v == NULL)
			return true;
		l->events->reply(l->ctx, v);
		resp_value_free(v);
		if (l->fd < 0)
			return false;
	}
}

/* False: nothing more is there, or it is closed. */
static bool redis_link_read_some(struct redis_link *l)
{
	char bytes[REDIS_LINK_READ];
	ssize_t n = recv(l->fd, bytes, sizeof bytes, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		redis_link_lose(l, n == 0 ? "it closed the connection" : strerror(errno));
		return false;
	}
	if (!resp_feed(l->resp, bytes, (size_t)n)) {
		redis_link_lose(l, "no memory");
		return false;
	}
	return redis_link_tell(l) && (size_t)n == sizeof bytes;
}

/* Once in a turn, so that a flood leaves time for others. */
static void redis_link_on_readable(void *arg)
{
	struct redis_link *l = arg;
	CHECK_IS(l, CHECK_REDIS_LINK);
	redis_link_read_some(l);
}

void redis_link_drain(struct redis_link *l)
{
	while (l->fd >= 0 && !l->connecting && redis_link_read_some(l))
		;
}

/* --- what goes -------------------------------------------------------------------------------- */

bool redis_link_say(struct redis_link *l, size_t n, const struct span *words)
{
	return l->fd >= 0 && resp_add(&l->queue, n, words);
}

/* One that breaks is found by who reads. */
void redis_link_flush(struct redis_link *l)
{
	if (l->fd < 0 || l->connecting)
		return;
	while (l->queue.n > 0) {
		ssize_t n = send(l->fd, l->queue.p, l->queue.n, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			shutdown(l->fd, SHUT_RDWR);
		if (n < 0)
			break;
		buffer_drop(&l->queue, (size_t)n);
	}
	if (l->queue.n == 0)
		buffer_empty(&l->queue, REDIS_LINK_KEEP);
	if (!loop_watch_set(&l->out, l->queue.n > 0))
		shutdown(l->fd, SHUT_RDWR);
}

static void redis_link_on_connected(struct redis_link *l)
{
	int error = 0;
	socklen_t len = sizeof error;
	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0) {
		redis_link_lose(l, strerror(error));
		return;
	}
	l->connecting = false;
	loop_watch_set(&l->out, false);
	if (!loop_watch_set(&l->in, true)) {
		redis_link_lose(l, "no memory");
		return;
	}
	l->events->open(l->ctx);
	redis_link_flush(l);
}

static void redis_link_on_writable(void *arg)
{
	struct redis_link *l = arg;
	CHECK_IS(l, CHECK_REDIS_LINK);
	if (l->connecting)
		redis_link_on_connected(l);
	else
		redis_link_flush(l);
}

bool redis_link_connect(struct redis_link *l, const struct sockaddr *to, socklen_t len)
{
	const int on = 1;
	CHECK(l->magic == CHECK_REDIS_LINK && l->fd < 0);
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if (to->sa_family != AF_UNIX) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
	}
	/* a Unix socket is connected at once, or its queue is full (EAGAIN), which is tried again
	 */
	if ((connect(fd, to, len) != 0 && errno != EINPROGRESS) ||
	    (l->resp = resp_new()) == NULL) {
		int error = errno;
		close(fd);
		errno = error;
		return false;
	}
	l->fd = fd;
	l->connecting = true;
	loop_watch_init(l->loop, &l->in, fd, false, redis_link_on_readable, l);
	loop_watch_init(l->loop, &l->out, fd, true, redis_link_on_writable, l);
	if (loop_watch_set(&l->out, true))
		return true;
	redis_link_close(l);
	errno = ENOMEM;
	return false;
}
