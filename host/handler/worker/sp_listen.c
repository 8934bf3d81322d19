/* sp_listen: the socket that peers dial, and who may. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "common/pair0.h"
#include "handler/worker/sp_parts.h"
#include "tls/tls.h"

#define SP_HELLO_MS 10000 /* for the peer's */
/* accepted in one go, so that those who are there are read before others take their places */
#define SP_BATCH 16
/* so that a crowd does not have the kernel turn others away before the loop comes to it */
#define SP_BACKLOG 1024
#define SP_PATH_MAX sizeof((struct sockaddr_un *)0)->sun_path
/* to look again for descriptors or memory that others have given back */
#define SP_RETRY_MS 500
#define SP_GROUPS_MAX 1024 /* of a peer, that are looked at */

/* The kernel asks the socket's mode, which somebody may have changed; the groups are those of the
 * peer when it connected. */
static bool sp_listen_is_of_group(int fd, const struct ucred *who, gid_t group)
{
	gid_t groups[SP_GROUPS_MAX];
	socklen_t len = sizeof groups;
	if (who->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) != 0)
		return false;
	for (size_t i = 0; i < len / sizeof *groups; i++)
		if (groups[i] == group)
			return true;
	return false;
}

static bool sp_listen_peer_ok(const struct sp_listener *l, int fd, struct sp_pipe *p)
{
	struct ucred who;
	socklen_t len = sizeof who;
	if (!l->ipc)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
		return false;
	p->peer = who.pid;
	p->owner = who.uid == geteuid() || who.uid == 0;
	return p->owner || l->limits.any_peer ||
	       (l->limits.group != NULL && sp_listen_is_of_group(fd, &who, *l->limits.group));
}

/* Our half of the handshake. */
static bool sp_listen_begin(struct sp_pipe *p)
{
	if (p->listener->tls != NULL) {
		p->tls = tls_new(&p->listener->loop->tls, &p->listener->loop->stats,
				 p->listener->tls, 0);
		if (p->tls == NULL)
			return false;
	}
	if (!buffer_append(&p->out, pair0_greeting, PAIR0_GREETING))
		return false;
	sp_out_flush(p);
	return true;
}

static void sp_listen_refuse(struct sp_listener *l, struct sp_pipe *p, int fd, const char *why)
{
	char remote[SP_REMOTE_MAX];
	LOG(l->loop->log, LOG_WARN, LOG_ACCEPT, "a peer was turned away from the worker socket",
	    LOG_STR("url", l->url), LOG_STR("remote", p != NULL ? sp_remote(p, remote) : NULL),
	    LOG_STR("error", why));
	free(p);
	close(fd);
}

static void sp_listen_add(struct sp_listener *l, int fd, const struct address *from)
{
	struct sp_pipe *p = calloc(1, sizeof *p);
	const int on = 1;
	if (p == NULL) {
		sp_listen_refuse(l, p, fd, "no memory");
		return;
	}
	*p = (struct sp_pipe){.magic = CHECK_SP_PIPE,
			      .listener = l,
			      .fd = fd,
			      .from = *from,
			      .reading = true};
	if (!sp_listen_peer_ok(l, fd, p)) {
		sp_listen_refuse(l, p, fd,
				 l->limits.group != NULL
					 ? "it runs as another user, who is not of the group"
					 : "it runs as another user");
		return;
	}
	if (!descriptors_may(&l->loop->descriptors, l->limits.user, fd) &&
	    !sp_stranger_can_oust(l)) {
		sp_listen_refuse(
			l, p, fd,
			"the rest of the file descriptors is held back for tova-ctl and the host");
		return;
	}
	loop_timer_init(l->loop, &p->limit, sp_end_on_limit, p);
	loop_timer_set(&p->limit, SP_HELLO_MS);
	if (!l->ipc)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	sp_stranger_admit(p);
	event_assign(&p->event, l->loop->base, fd, EV_READ | EV_PERSIST, sp_on_event, p);
	if (event_add(&p->event, NULL) != 0 || !sp_listen_begin(p))
		sp_close(p);
	else
		sp_stranger_make_room(p);
}

/* Without a descriptor, or memory for one: a stranger gives its own; if there is none it is tried
 * again later, else the loop would spin. */
static void sp_listen_on_no_accept(struct sp_listener *l, int error)
{
	if (sp_stranger_can_oust(l)) {
		sp_stranger_oust(TAILQ_FIRST(&l->strangers));
		return; /* the loop comes here again */
	}
	if (!l->full_said)
		LOG(l->loop->log, LOG_WARN, LOG_LIMIT,
		    "no peer can be accepted at a socket for workers or tova-ctl, for now",
		    LOG_STR("url", l->url), LOG_ERRNO(error));
	l->full_said = true;
	acceptor_pause(&l->acceptor);
	loop_timer_set(&l->retry, SP_RETRY_MS);
}

static void sp_listen_on_accept(void *ctx)
{
	struct sp_listener *l = ctx;
	CHECK_IS(l, CHECK_SP_LISTENER);
	enum acceptor_got got = ACCEPTOR_LOST;
	for (int i = 0; i < SP_BATCH && (got == ACCEPTOR_SOCKET || got == ACCEPTOR_LOST); i++) {
		struct address from;
		int fd;
		got = acceptor_take(&l->acceptor, &fd, &from);
		if (got == ACCEPTOR_SOCKET) {
			l->full_said = false;
			sp_listen_add(l, fd, &from);
		} else if (got == ACCEPTOR_FULL) {
			sp_listen_on_no_accept(l, errno);
		}
	}
}

static void sp_listen_on_retry(void *arg)
{
	struct sp_listener *l = arg;
	CHECK_IS(l, CHECK_SP_LISTENER);
	acceptor_resume(&l->acceptor, false);
}

static bool sp_listen_bind_ipc(struct sp_listener *l, const char *path, char *why, size_t cap)
{
	if (path[0] != '/' || strlen(path) >= SP_PATH_MAX) {
		snprintf(why, cap, "expected ipc:// and an absolute path of at most %zu bytes",
			 SP_PATH_MAX - 1);
		return false;
	}
	l->ipc = true;
	/* nobody but the group's own is taken: whose it is until it is given to them does not
	 * matter */
	if (!acceptor_bind_unix(&l->acceptor, path, l->limits.group != NULL ? 0660 : 0600, why,
				cap))
		return false;
	if (l->limits.group == NULL || lchown(path, (uid_t)-1, *l->limits.group) == 0)
		return true;
	snprintf(why, cap,
		 "it can not be given to the group, of which this user would have to be: %s",
		 strerror(errno));
	return false;
}

static bool sp_listen_bind_tcp(struct sp_listener *l, const char *text, char *why, size_t cap)
{
	char host[64];
	uint8_t ip[16];
	const char *colon = strrchr(text, ':');
	size_t n = colon != NULL ? (size_t)(colon - text) : 0;
	char *end = NULL;
	long port = colon != NULL ? strtol(colon + 1, &end, 10) : -1;
	if (colon == NULL || n == 0 || n >= sizeof host || port < 0 || port > 65535 ||
	    *end != '\0' || end == colon + 1) {
		snprintf(why, cap, "expected tcp://ADDRESS:PORT with a numeric address");
		return false;
	}
	bool v6 = text[0] == '[' && text[n - 1] == ']';
	snprintf(host, sizeof host, "%.*s", (int)(v6 ? n - 2 : n), v6 ? text + 1 : text);
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, ip) != 1) {
		snprintf(why, cap, "\"%s\" is not a numeric address", host);
		return false;
	}
	return acceptor_bind_tcp(&l->acceptor, host, (uint16_t)port, true, why, cap);
}

/* What it is called, now that its port is known. */
static bool sp_listen_name(struct sp_listener *l)
{
	return asprintf(&l->url, "%s%s",
			l->ipc		 ? "ipc://"
			: l->tls != NULL ? "tls+tcp://"
					 : "tcp://",
			l->ipc ? l->acceptor.unix_path : l->acceptor.name) > 0;
}

static void sp_listen_on_tls_warning(void *ctx, const char *file, const char *sentence)
{
	const struct sp_listener *l = ctx;
	CHECK_IS(l, CHECK_SP_LISTENER);
	LOG(l->loop->log, LOG_WARN, LOG_HANDLER, sentence, LOG_STR("file", file));
}

bool sp_set_tls(struct sp_listener *l, const char *cert, const char *key, const char *client_ca,
		char *why, size_t why_cap)
{
	const struct tls_server_settings set = {.certs = &cert,
						.keys = &key,
						.n = 1,
						.client_ca = client_ca};
	struct tls_server_error error;
	struct tls_server *tls = tls_server_new(&set, l->tls, sp_listen_on_tls_warning, l, &error);
	if (tls == NULL) {
		snprintf(why, why_cap, "%.400s: %s", error.file, error.why);
		return false;
	}
	tls_server_unref(&l->tls);
	l->tls = tls;
	return true;
}

static bool sp_listen_bind(struct sp_listener *l, const char *url, char *why, size_t cap)
{
	if (strncmp(url, "ipc://", 6) == 0)
		return sp_listen_bind_ipc(l, url + 6, why, cap);
	if (strncmp(url, "tcp://", 6) == 0)
		return sp_listen_bind_tcp(l, url + 6, why, cap);
	if (strncmp(url, "tls+tcp://", 10) != 0) {
		snprintf(why, cap,
			 "expected ipc:///PATH, tcp://ADDRESS:PORT or tls+tcp://ADDRESS:PORT");
		return false;
	}
	if (l->limits.tls_cert == NULL || l->limits.tls_key == NULL) {
		snprintf(why, cap, "tls+tcp needs a certificate and a key");
		return false;
	}
	return sp_set_tls(l, l->limits.tls_cert, l->limits.tls_key, l->limits.tls_client_ca, why,
			  cap) &&
	       sp_listen_bind_tcp(l, url + 10, why, cap);
}

struct sp_listener *sp_listen(struct loop *loop, const char *url, const struct sp_ops *ops,
			      void *ctx, const struct sp_limits *limits, char *why, size_t why_cap)
{
	struct sp_listener *l = calloc(1, sizeof *l);
	if (l == NULL) {
		snprintf(why, why_cap, "no memory");
		return NULL;
	}
	*l = (struct sp_listener){.magic = CHECK_SP_LISTENER,
				  .loop = loop,
				  .ops = ops,
				  .ctx = ctx,
				  .limits = *limits};
	TAILQ_INIT(&l->pipes);
	TAILQ_INIT(&l->strangers);
	acceptor_init(&l->acceptor, sp_listen_on_accept, l);
	loop_timer_init(loop, &l->retry, sp_listen_on_retry, l);
	l->hook = (struct loop_hook){.run = sp_end_bury, .arg = l};
	loop_add_hook(loop, &l->hook);
	if (sp_listen_bind(l, url, why, why_cap) &&
	    acceptor_start(&l->acceptor, loop, SP_BACKLOG, why, why_cap)) {
		if (sp_listen_name(l))
			return l;
		snprintf(why, why_cap, "no memory");
	}
	sp_listener_free(&l);
	return NULL;
}

const char *sp_url(const struct sp_listener *l)
{
	return l->url;
}

void sp_listener_free(struct sp_listener **l_p)
{
	struct sp_listener *l = *l_p;
	*l_p = NULL;
	if (l == NULL)
		return;
	while (!TAILQ_EMPTY(&l->pipes))
		sp_close(TAILQ_FIRST(&l->pipes));
	while (!TAILQ_EMPTY(&l->strangers))
		sp_close(TAILQ_FIRST(&l->strangers));
	sp_end_bury(l);
	loop_remove_hook(l->loop, &l->hook);
	loop_timer_cancel(&l->retry);
	acceptor_close(&l->acceptor);
	tls_server_unref(&l->tls);
	free(l->url);
	free(l);
}
