#include "net/sp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/pair0.h"
#include "net/tls.h"

#define SP_HELLO_MS 10000     /* for the peer's */
#define SP_READ 65536	      /* room offered to each read */
#define SP_KEEP (4 * SP_READ) /* a buffer larger than this is given back when it is empty */

struct sp_buffer {
	uint8_t *bytes; /* one more than cap */
	size_t at, len, cap;
};

struct sp_pipe {
	struct event event;
	struct loop_timer limit; /* of the handshake, of sp_finish */
	struct sp_listener *listener;
	TAILQ_ENTRY(sp_pipe) others;
	void *user;
	int fd;
	pid_t peer;
	struct sp_buffer in, out;
	struct tls *tls;		       /* NULL: plain */
	bool trusted;			       /* sp_trust */
	bool greeted, finishing, deaf, closed; /* deaf: the peer takes nothing any more */
	bool writing;			       /* waits for room in the socket */
	struct sp_pipe *dead_next;
};

struct sp_listener {
	struct event event;
	struct loop *loop;
	struct loop_hook hook;
	struct loop_timer retry;
	const struct sp_ops *ops;
	void *ctx;
	struct sp_limits limits;
	TAILQ_HEAD(, sp_pipe) pipes;
	struct sp_pipe *dead;
	int fd;
	bool ipc;
	struct tls_server *tls; /* NULL: plain */
	char *path, *url;
};

/* --- buffers ----------------------------------------------------------------------------------------------------------------------- */

/* Room for n more bytes behind what is there. */
static bool sp_reserve(struct sp_buffer *b, size_t n)
{
	if (b->cap - b->at - b->len >= n)
		return true;
	if (b->at > 0) {
		memmove(b->bytes, b->bytes + b->at, b->len);
		b->at = 0;
		if (b->cap - b->len >= n)
			return true;
	}
	size_t cap = b->cap * 2 > b->len + n ? b->cap * 2 : b->len + n;
	uint8_t *wider = realloc(b->bytes, cap + 1);
	if (wider == NULL)
		return false;
	b->bytes = wider;
	b->cap = cap;
	return true;
}

static void sp_consume(struct sp_buffer *b, size_t n)
{
	b->at += n;
	b->len -= n;
	if (b->len > 0)
		return;
	b->at = 0;
	if (b->cap > SP_KEEP) {
		free(b->bytes);
		*b = (struct sp_buffer){.bytes = NULL};
	}
}

/* --- the end of a pipe -------------------------------------------------------------------------------------------------------------- */

void sp_close(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	if (p->closed)
		return;
	p->closed = true;
	event_del(&p->event);
	loop_timer_cancel(&p->limit);
	close(p->fd);
	TAILQ_REMOVE(&l->pipes, p, others);
	p->dead_next = l->dead; /* freed at the end of the turn: it may be on the stack */
	l->dead = p;
}

static void sp_end(struct sp_pipe *p, const char *why)
{
	if (p->closed)
		return;
	struct sp_listener *l = p->listener;
	bool told = p->greeted;
	void *user = p->user;
	sp_close(p);
	if (told)
		l->ops->closed(l->ctx, p, user, why);
	else
		LOG(l->loop->log, LOG_INFO, LOG_HANDLER, "a peer left before its handshake", LOG_STR("url", l->url),
		    LOG_STR("error", why));
}

static void sp_on_limit(void *arg)
{
	struct sp_pipe *p = arg;
	sp_end(p, p->greeted ? NULL : "the handshake took too long");
}

static void sp_bury(void *arg)
{
	struct sp_listener *l = arg;
	struct sp_pipe *p;
	while ((p = l->dead) != NULL) {
		l->dead = p->dead_next;
		free(p->in.bytes);
		free(p->out.bytes);
		tls_free(p->tls);
		free(p);
	}
}

/* --- output ------------------------------------------------------------------------------------------------------------------------- */

static void sp_on_event(evutil_socket_t fd, short what, void *arg);

static void sp_watch(struct sp_pipe *p)
{
	bool writing = p->tls != NULL ? tls_waits(p->tls) : p->out.len > 0 && !p->deaf; /* a handshake is written by reading */
	if (writing == p->writing || p->closed)
		return;
	p->writing = writing;
	event_del(&p->event);
	event_assign(&p->event, p->listener->loop->base, p->fd, (short)(EV_READ | EV_PERSIST | (writing ? EV_WRITE : 0)),
		     sp_on_event, p);
	if (event_add(&p->event, NULL) != 0)
		sp_end(p, "no memory to watch it");
}

static ssize_t sp_write(struct sp_pipe *p, const void *bytes, size_t n)
{
	uint64_t sent = 0;
	if (p->tls == NULL)
		return send(p->fd, bytes, n, MSG_NOSIGNAL);
	return tls_write(p->tls, p->fd, &(struct iovec){.iov_base = (void *)bytes, .iov_len = n}, 1, &sent);
}

static ssize_t sp_read(struct sp_pipe *p, void *bytes, size_t n)
{
	return p->tls == NULL ? recv(p->fd, bytes, n, 0) : tls_read(p->tls, p->fd, bytes, n);
}

/* After a write error the peer may still have said something: it is read to its end. */
static void sp_deafen(struct sp_pipe *p)
{
	p->deaf = true;
	p->out.len = p->out.at = 0;
}

static void sp_flush(struct sp_pipe *p)
{
	while (p->out.len > 0 && !p->deaf) {
		ssize_t n = sp_write(p, p->out.bytes + p->out.at, p->out.len);
		if (n > 0)
			sp_consume(&p->out, (size_t)n);
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		else if (n == 0 || errno != EINTR)
			sp_deafen(p);
	}
	if (p->tls != NULL && p->out.len == 0 && tls_waits(p->tls) && sp_write(p, NULL, 0) < 0 && errno != EAGAIN)
		sp_deafen(p);
	if (p->finishing && p->out.len == 0 && !p->deaf && (p->tls == NULL || !tls_waits(p->tls))) {
		if (p->tls != NULL)
			tls_finish(p->tls, p->fd);
		shutdown(p->fd, SHUT_WR);
		p->deaf = true;
	}
	sp_watch(p);
}

static ssize_t sp_write_now(struct sp_pipe *p, struct iovec *iov, int n)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	if (p->out.len > 0 || p->tls != NULL) /* TLS has no gathering write: it goes through the buffer */
		return 0;
	ssize_t sent = sendmsg(p->fd, &message, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
		sp_deafen(p);
		return -1;
	}
	return sent > 0 ? sent : 0;
}

bool sp_send(struct sp_pipe *p, const struct iovec *parts, int n)
{
	uint8_t head[PAIR0_HEAD];
	struct iovec iov[8];
	uint64_t len = 0;
	if (p->closed || p->deaf || n > 7)
		return true; /* as good as sent: its end will be told */
	for (int i = 0; i < n; i++) {
		len += parts[i].iov_len;
		iov[i + 1] = parts[i];
	}
	pair0_write_head(head, len);
	iov[0] = p->listener->ipc ? (struct iovec){head, sizeof head} : (struct iovec){head + 1, sizeof head - 1};
	len += iov[0].iov_len;
	if (!sp_reserve(&p->out, p->out.len > 0 ? len : 1)) /* so that a message is sent whole or not at all */
		return false;
	ssize_t sent = sp_write_now(p, iov, n + 1);
	if (sent < 0 || (uint64_t)sent == len)
		return true;
	if (!sp_reserve(&p->out, len - (uint64_t)sent)) {
		sp_deafen(p); /* the peer has half a message: nothing can follow */
		return false;
	}
	for (int i = 0; i <= n; i++) {
		size_t skip = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
		sent -= (ssize_t)skip;
		memcpy(p->out.bytes + p->out.at + p->out.len, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		p->out.len += iov[i].iov_len - skip;
	}
	if (p->tls != NULL)
		sp_flush(p);
	else
		sp_watch(p);
	return true;
}

void sp_trust(struct sp_pipe *p)
{
	p->trusted = true;
}

size_t sp_waiting(const struct sp_pipe *p)
{
	return p->out.len;
}

void sp_finish(struct sp_pipe *p, uint64_t ms)
{
	if (p->closed)
		return;
	p->finishing = true;
	loop_timer_set(&p->limit, ms);
	sp_flush(p);
}

bool sp_is_closed(const struct sp_pipe *p)
{
	return p->closed;
}

pid_t sp_peer(const struct sp_pipe *p)
{
	return p->peer;
}

/* --- input -------------------------------------------------------------------------------------------------------------------------- */

static bool sp_read_hello(struct sp_pipe *p)
{
	size_t n = p->in.len < PAIR0_GREETING ? p->in.len : PAIR0_GREETING;
	if (memcmp(p->in.bytes + p->in.at, pair0_greeting, n) != 0) {
		sp_end(p, "the peer does not speak nng's PAIR0");
		return false;
	}
	if (n < PAIR0_GREETING)
		return false;
	sp_consume(&p->in, PAIR0_GREETING);
	loop_timer_cancel(&p->limit);
	p->greeted = true;
	p->listener->ops->opened(p->listener->ctx, p, &p->user);
	return !p->closed;
}

/* The next message, if it is whole. The pipe may be closed meanwhile, and is then only good for being buried. */
static bool sp_read_message(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	size_t head = l->ipc ? PAIR0_HEAD : PAIR0_HEAD - 1;
	const uint8_t *at = p->in.bytes + p->in.at;
	if (p->in.len < head)
		return false;
	if (l->ipc && at[0] != 1) {
		sp_end(p, "the peer sent something that is no message");
		return false;
	}
	uint64_t len = pair0_length(at + head - sizeof len);
	if (len > (p->trusted || l->limits.first_max == 0 ? l->limits.message_max : l->limits.first_max)) {
		sp_end(p, "the peer announced a message above the limit");
		return false;
	}
	if (p->in.len - head < len)
		return false;
	l->ops->message(l->ctx, p, p->user, p->in.bytes + p->in.at + head, (size_t)len);
	sp_consume(&p->in, head + (size_t)len);
	return !p->closed;
}

static void sp_read_some(struct sp_pipe *p)
{
	if (!sp_reserve(&p->in, SP_READ)) {
		sp_end(p, "no memory for its messages");
		return;
	}
	size_t room = p->in.cap - p->in.at - p->in.len;
	ssize_t n = sp_read(p, p->in.bytes + p->in.at + p->in.len, room);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n <= 0) {
		bool tls = p->tls != NULL && n < 0 && !p->greeted;
		sp_end(p, tls ? "the TLS handshake failed" : p->in.len > 0 ? "the peer ended in the middle of a message" : NULL);
		return;
	}
	p->in.len += (size_t)n;
	if (!p->greeted && !sp_read_hello(p))
		return;
	while (sp_read_message(p))
		;
}

static void sp_on_readable(struct sp_pipe *p)
{
	do
		sp_read_some(p);
	while (!p->closed && p->tls != NULL &&
	       (tls_more(p->tls) || tls_ended(p->tls))); /* what was read already no descriptor announces */
	if (!p->closed && p->tls != NULL)
		sp_flush(p); /* a handshake that went on may have opened the way */
}

static void sp_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct sp_pipe *p = arg;
	(void)fd;
	if (what & EV_WRITE)
		sp_flush(p);
	if (what & EV_READ && !p->closed)
		sp_on_readable(p);
}

/* --- the listener ------------------------------------------------------------------------------------------------------------------- */

static bool sp_peer_ok(const struct sp_listener *l, int fd, pid_t *peer_r)
{
	struct ucred who;
	socklen_t len = sizeof who;
	if (!l->ipc)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
		return false;
	*peer_r = who.pid;
	return l->limits.any_peer || who.uid == geteuid() || who.uid == 0;
}

/* Our half of the handshake. */
static bool sp_begin(struct sp_pipe *p)
{
	if (p->listener->tls != NULL) {
		p->tls = tls_new(p->listener->loop, p->listener->tls, 0);
		if (p->tls == NULL)
			return false;
	}
	if (!sp_reserve(&p->out, PAIR0_GREETING))
		return false;
	memcpy(p->out.bytes, pair0_greeting, PAIR0_GREETING);
	p->out.len = PAIR0_GREETING;
	sp_flush(p);
	return true;
}

static void sp_add(struct sp_listener *l, int fd)
{
	struct sp_pipe *p = calloc(1, sizeof *p);
	pid_t peer = 0;
	const int on = 1;
	if (p == NULL || !sp_peer_ok(l, fd, &peer)) {
		LOG(l->loop->log, LOG_WARN, LOG_HANDLER, "a peer was turned away from the worker socket", LOG_STR("url", l->url));
		free(p);
		close(fd);
		return;
	}
	*p = (struct sp_pipe){.listener = l, .fd = fd, .peer = peer};
	loop_timer_init(l->loop, &p->limit, sp_on_limit, p);
	loop_timer_set(&p->limit, SP_HELLO_MS);
	if (!l->ipc)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	TAILQ_INSERT_TAIL(&l->pipes, p, others);
	event_assign(&p->event, l->loop->base, fd, EV_READ | EV_PERSIST, sp_on_event, p);
	if (event_add(&p->event, NULL) != 0 || !sp_begin(p))
		sp_close(p);
}

static void sp_on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct sp_listener *l = arg;
	int got;
	(void)what;
	while ((got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		sp_add(l, got);
	if (errno == EMFILE || errno == ENFILE) {
		event_del(&l->event); /* else the loop would spin */
		loop_timer_set(&l->retry, 500);
	}
}

static void sp_on_retry(void *arg)
{
	event_add(&((struct sp_listener *)arg)->event, NULL);
}

static bool sp_fail(char *why, size_t cap, const char *what)
{
	snprintf(why, cap, "%s: %s", what, strerror(errno));
	return false;
}

static bool sp_bind_ipc(struct sp_listener *l, const char *path, char *why, size_t cap)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (path[0] != '/' || strlen(path) >= sizeof un.sun_path) {
		snprintf(why, cap, "expected ipc:// and an absolute path of at most %zu bytes", sizeof un.sun_path - 1);
		return false;
	}
	strcpy(un.sun_path, path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int probe = l->fd >= 0 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
	bool live = probe >= 0 && connect(probe, (struct sockaddr *)&un, sizeof un) == 0;
	struct stat st;
	if (probe >= 0)
		close(probe);
	if (live) {
		snprintf(why, cap, "another process listens there");
		return false;
	}
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	mode_t old = umask(0177);
	bool ok = l->fd >= 0 && bind(l->fd, (struct sockaddr *)&un, sizeof un) == 0;
	umask(old);
	if (!ok)
		return sp_fail(why, cap, "it can not be bound");
	l->path = strdup(path);
	l->url = NULL;
	return asprintf(&l->url, "ipc://%s", path) > 0 && l->path != NULL;
}

static bool sp_bind_tcp(struct sp_listener *l, const char *text, char *why, size_t cap)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	char host[64], address[INET6_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	const int on = 1;
	size_t n = colon != NULL ? (size_t)(colon - text) : 0;
	char *end = NULL;
	long port = colon != NULL ? strtol(colon + 1, &end, 10) : -1;
	if (colon == NULL || n == 0 || n >= sizeof host || port < 0 || port > 65535 || *end != '\0' || end == colon + 1) {
		snprintf(why, cap, "expected tcp://ADDRESS:PORT with a numeric address");
		return false;
	}
	bool v6 = text[0] == '[' && text[n - 1] == ']';
	snprintf(host, sizeof host, "%.*s", (int)(v6 ? n - 2 : n), v6 ? text + 1 : text);
	in.sin_port = in6.sin6_port = htons((uint16_t)port);
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr) != 1) {
		snprintf(why, cap, "\"%s\" is not a numeric address", host);
		return false;
	}
	struct sockaddr *sa = v6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in;
	socklen_t len = v6 ? sizeof in6 : sizeof in;
	l->fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(l->fd, sa, len) != 0 ||
	    getsockname(l->fd, sa, &len) != 0)
		return sp_fail(why, cap, "it can not be bound");
	inet_ntop(v6 ? AF_INET6 : AF_INET, v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr, address, sizeof address);
	return asprintf(&l->url, v6 ? "%stcp://[%s]:%u" : "%stcp://%s:%u", l->tls != NULL ? "tls+" : "", address,
			ntohs(v6 ? in6.sin6_port : in.sin_port)) > 0;
}

static void sp_on_tls_warning(void *ctx, const char *file, const char *sentence)
{
	const struct sp_listener *l = ctx;
	LOG(l->loop->log, LOG_WARN, LOG_HANDLER, sentence, LOG_STR("file", file));
}

bool sp_set_tls(struct sp_listener *l, const char *cert, const char *key, const char *client_ca, char *why, size_t why_cap)
{
	const struct tls_server_settings set = {.certs = &cert, .keys = &key, .n = 1, .client_ca = client_ca};
	struct tls_server_error error;
	struct tls_server *tls = tls_server_new(&set, l->tls, sp_on_tls_warning, l, &error);
	if (tls == NULL) {
		snprintf(why, why_cap, "%.400s: %s", error.file, error.why);
		return false;
	}
	tls_server_unref(l->tls);
	l->tls = tls;
	return true;
}

static bool sp_bind(struct sp_listener *l, const char *url, char *why, size_t cap)
{
	if (strncmp(url, "ipc://", 6) == 0) {
		l->ipc = true;
		return sp_bind_ipc(l, url + 6, why, cap);
	}
	if (strncmp(url, "tcp://", 6) == 0)
		return sp_bind_tcp(l, url + 6, why, cap);
	if (strncmp(url, "tls+tcp://", 10) != 0) {
		snprintf(why, cap, "expected ipc:///PATH, tcp://ADDRESS:PORT or tls+tcp://ADDRESS:PORT");
		return false;
	}
	if (l->limits.tls_cert == NULL || l->limits.tls_key == NULL) {
		snprintf(why, cap, "tls+tcp needs a certificate and a key");
		return false;
	}
	return sp_set_tls(l, l->limits.tls_cert, l->limits.tls_key, l->limits.tls_client_ca, why, cap) &&
	       sp_bind_tcp(l, url + 10, why, cap);
}

struct sp_listener *sp_listen(struct loop *loop, const char *url, const struct sp_ops *ops, void *ctx,
			      const struct sp_limits *limits, char *why, size_t why_cap)
{
	struct sp_listener *l = calloc(1, sizeof *l);
	if (l == NULL) {
		sp_fail(why, why_cap, "no memory");
		return NULL;
	}
	*l = (struct sp_listener){.loop = loop, .ops = ops, .ctx = ctx, .limits = *limits, .fd = -1};
	TAILQ_INIT(&l->pipes);
	loop_timer_init(loop, &l->retry, sp_on_retry, l);
	l->hook = (struct loop_hook){.run = sp_bury, .arg = l};
	loop_add_hook(loop, &l->hook);
	bool ok = sp_bind(l, url, why, why_cap) && (listen(l->fd, 128) == 0 || sp_fail(why, why_cap, "it can not be listened on"));
	if (ok) {
		event_assign(&l->event, loop->base, l->fd, EV_READ | EV_PERSIST, sp_on_accept, l);
		ok = event_add(&l->event, NULL) == 0 || sp_fail(why, why_cap, "no memory");
	}
	if (ok)
		return l;
	sp_listener_free(l);
	return NULL;
}

const char *sp_url(const struct sp_listener *l)
{
	return l->url;
}

void sp_listener_free(struct sp_listener *l)
{
	if (l == NULL)
		return;
	while (!TAILQ_EMPTY(&l->pipes))
		sp_close(TAILQ_FIRST(&l->pipes));
	sp_bury(l);
	loop_remove_hook(l->loop, &l->hook);
	loop_timer_cancel(&l->retry);
	if (event_initialized(&l->event))
		event_del(&l->event);
	if (l->fd >= 0)
		close(l->fd);
	if (l->path != NULL)
		unlink(l->path);
	tls_server_unref(l->tls);
	free(l->path);
	free(l->url);
	free(l);
}
