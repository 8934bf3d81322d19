#include "handler/worker/sp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/address.h"
#include "base/check.h"
#include "common/buffer.h"
#include "common/pair0.h"
#include "net/acceptor.h"
#include "tls/tls.h"

#define SP_HELLO_MS 10000     /* for the peer's */
#define SP_PIECES 8	      /* of what is made as it is sent, in one turn */
#define SP_READ 65536	      /* room offered to each read */
#define SP_KEEP (4 * SP_READ) /* a buffer larger than this is given back when it is empty */
/* nothing moves to a peer that has to read before it is read again */
#define SP_UNREAD_MS 20000
/* accepted in one go, so that those who are there are read before others take their places */
#define SP_BATCH 16
/* so that a crowd does not have the kernel turn others away before the loop comes to it */
#define SP_BACKLOG 1024
#define SP_PATH_MAX sizeof((struct sockaddr_un *)0)->sun_path
#define SP_CROWD_MS 60000 /* between lines about strangers that give way */
/* to look again for descriptors or memory that others have given back */
#define SP_RETRY_MS 500
#define SP_GROUPS_MAX 1024 /* of a peer, that are looked at */

struct sp_pipe {
	uint16_t magic; /* CHECK_SP_PIPE */
	struct event event;
	struct loop_timer limit; /* of the handshake, of sp_finish */
	struct sp_listener *listener;
	TAILQ_ENTRY(sp_pipe) others;
	void *user;
	int fd;
	pid_t peer;
	bool owner; /* see sp_is_owner */
	struct address from;
	struct buffer in, out;
	uint64_t given;		    /* bytes, to be sent to it, so far */
	size_t unread_max;	    /* paused until no more than these wait */
	struct sp_source source;    /* left 0: none */
	struct buffer tail, behind; /* what follows the source; whole messages that follow that */
	struct tls *tls;	    /* NULL: plain */
	bool trusted;		    /* sp_trust; others stand among the strangers */
	bool greeted, finishing, deaf, closed; /* deaf: the peer takes nothing any more */
	bool paused;	       /* nothing is read, nor handed over: sp_wait_for_reader */
	bool writing, reading; /* what the socket is watched for */
	bool drained;	       /* sp_ops.sent is to be called */
	bool timed_out;	       /* sp_timed_out */
	struct sp_pipe *dead_next;
};

struct sp_listener {
	uint16_t magic; /* CHECK_SP_LISTENER */
	struct acceptor acceptor;
	struct loop *loop;
	struct loop_hook hook;
	struct loop_timer retry;
	const struct sp_ops *ops;
	void *ctx;
	struct sp_limits limits;
	/* strangers: the one that gives way first in front */
	TAILQ_HEAD(sp_pipes, sp_pipe)
	pipes, strangers;
	unsigned n_strangers;
	size_t strange_bytes; /* of memory for what they have sent */
	uint64_t crowd_quiet; /* that strangers give way is not said again before */
	bool full_said;	      /* that none can be accepted, until one is */
	struct sp_pipe *dead;
	bool ipc;
	struct tls_server *tls; /* NULL: plain */
	char *url;
};

/* --- strangers -------------------------------------------------------------------------------- */

/* Whoever can reach the socket can connect. Those who have not said who they are take no more than
 * some places and some memory, and each address no more than a part of the places; the one that has
 * been there longest gives way. */

static void sp_admit(struct sp_pipe *p)
{
	TAILQ_INSERT_TAIL(&p->listener->strangers, p, others);
	p->listener->n_strangers++;
}

/* It leaves the list that it is in. */
static void sp_unlist(struct sp_pipe *p)
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

static bool sp_is_of(const struct sp_pipe *p, const struct sp_pipe *other)
{
	struct address a = p->from, b = other->from;
	address_cut(&a, a.family == AF_INET6 ? 64 : 32);
	address_cut(&b, b.family == AF_INET6 ? 64 : 32);
	return p->peer == other->peer && a.family == b.family &&
	       memcmp(a.ip, b.ip, sizeof a.ip) == 0;
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

static void sp_end(struct sp_pipe *p, const char *why);

static bool sp_can_oust(const struct sp_listener *l)
{
	return l->limits.strangers > 0 && !TAILQ_EMPTY(&l->strangers);
}

static const char sp_gave_way[] = "it gave way to another peer";

static void sp_oust(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	char remote[SP_REMOTE_MAX];
	l->loop->stats.strangers++;
	if (loop_now(l->loop) >= l->crowd_quiet)
		LOG(l->loop->log, LOG_NOTICE, LOG_LIMIT, l->limits.crowd, LOG_STR("url", l->url),
		    LOG_STR("remote", sp_remote(p, remote)), LOG_U64("peers", l->n_strangers));
	l->crowd_quiet = loop_now(l->loop) + SP_CROWD_MS;
	sp_end(p, sp_gave_way);
}

/* After p has come: whose place does it take? */
static void sp_make_room(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	struct sp_pipe *q, *oldest = NULL;
	unsigned n = 0;
	TAILQ_FOREACH (q, &l->strangers, others) {
		if (!sp_is_of(q, p))
			continue;
		oldest = oldest != NULL ? oldest : q;
		n++;
	}
	bool low = !descriptors_may(&l->loop->descriptors, DESCRIPTORS_CLIENT, p->fd);
	if (l->limits.strangers_each > 0 && n > l->limits.strangers_each)
		sp_oust(oldest);
	else if (sp_can_oust(l) && (l->n_strangers > l->limits.strangers || low) &&
		 TAILQ_FIRST(&l->strangers) != p)
		sp_oust(TAILQ_FIRST(&l->strangers));
}

/* The memory for what p has sent has changed: among strangers that hold too much the one that holds
 * most gives way. */
static void sp_weigh(struct sp_pipe *p, size_t before)
{
	struct sp_listener *l = p->listener;
	struct sp_pipe *q, *most = p;
	if (p->trusted || p->closed)
		return;
	CHECK(l->strange_bytes >= before);
	l->strange_bytes += buffer_memory(&p->in) - before;
	if (l->limits.strangers_bytes == 0 || l->strange_bytes <= l->limits.strangers_bytes)
		return;
	TAILQ_FOREACH (q, &l->strangers, others)
		if (buffer_memory(&q->in) > buffer_memory(&most->in))
			most = q;
	sp_oust(most);
}

void sp_trust(struct sp_pipe *p)
{
	if (p->trusted || p->closed)
		return;
	sp_unlist(p);
	p->trusted = true;
	TAILQ_INSERT_TAIL(&p->listener->pipes, p, others);
}

void sp_touch(struct sp_pipe *p)
{
	if (p->trusted || p->closed)
		return;
	TAILQ_REMOVE(&p->listener->strangers, p, others);
	TAILQ_INSERT_TAIL(&p->listener->strangers, p, others);
}

/* --- the end of a pipe ------------------------------------------------------------------------ */

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
	sp_unlist(p);
	p->dead_next = l->dead; /* freed at the end of the turn: it may be on the stack */
	l->dead = p;
}

static void sp_end(struct sp_pipe *p, const char *why)
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
	else if (why != sp_gave_way)
		LOG(l->loop->log, why != NULL ? LOG_NOTICE : LOG_INFO, LOG_ACCEPT,
		    why != NULL ? "a peer that is no worker was turned away"
				: "a peer left before its handshake",
		    LOG_STR("url", l->url), LOG_STR("remote", sp_remote(p, remote)),
		    LOG_STR("error", why));
}

static void sp_on_limit(void *arg)
{
	struct sp_pipe *p = arg;
	CHECK_IS(p, CHECK_SP_PIPE);
	sp_end(p, !p->greeted	 ? "the handshake took too long"
		  : p->finishing ? NULL
				 : "it does not read the answers to what it asks");
}

static void sp_bury(void *arg)
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

/* --- output ----------------------------------------------------------------------------------- */

static void sp_on_event(evutil_socket_t fd, short what, void *arg);

/* A pause that is over: what has come meanwhile is handed over in a callback of its own. */
static void sp_go_on(struct sp_pipe *p)
{
	p->paused = false;
	if (!p->finishing)
		loop_timer_cancel(&p->limit);
	event_active(&p->event, EV_READ, 0);
}

/* What is made as it is sent is none of what it asked for. */
static size_t sp_unread(const struct sp_pipe *p)
{
	return p->out.n + p->behind.n;
}

static void sp_watch(struct sp_pipe *p)
{
	bool waits = p->out.n > 0 || sp_streams(p);
	if (p->tls != NULL) /* a handshake is written by reading */
		waits = tls_waits(p->tls) || (sp_streams(p) && tls_is_open(p->tls));
	bool writing = waits && !(p->tls == NULL && p->deaf);
	bool over = p->paused && (p->deaf || sp_unread(p) <= p->unread_max),
	     reading = !p->paused || over;
	if (p->closed)
		return;
	if (writing != p->writing || reading != p->reading) {
		p->writing = writing;
		p->reading = reading;
		event_del(&p->event);
		event_assign(&p->event, p->listener->loop->base, p->fd,
			     (short)((reading ? EV_READ : 0) | EV_PERSIST |
				     (writing ? EV_WRITE : 0)),
			     sp_on_event, p);
		if (event_add(&p->event, NULL) != 0) {
			sp_end(p, "no memory to watch it");
			return;
		}
	}
	if (over)
		sp_go_on(p);
}

/* The error is reported once, to whichever of reading and writing comes first. */
static void sp_broke(struct sp_pipe *p, int error)
{
	p->timed_out = p->timed_out || error == ETIMEDOUT || error == EHOSTUNREACH ||
		       error == ENETUNREACH || error == EHOSTDOWN || error == ENETDOWN;
}

static ssize_t sp_write(struct sp_pipe *p, const void *bytes, size_t n)
{
	uint64_t sent = 0;
	if (p->tls == NULL)
		return send(p->fd, bytes, n, MSG_NOSIGNAL);
	return tls_write(p->tls, p->fd, &(struct iovec){.iov_base = (void *)bytes, .iov_len = n}, 1,
			 &sent);
}

static ssize_t sp_read(struct sp_pipe *p, void *bytes, size_t n)
{
	return p->tls == NULL ? recv(p->fd, bytes, n, 0)
			      : tls_read(p->tls, p->fd, bytes, n, SIZE_MAX);
}

/* After a write error the peer may still have said something: it is read to its end. */
static void sp_deafen(struct sp_pipe *p)
{
	p->deaf = true;
	buffer_empty(&p->out, SP_KEEP);
	buffer_empty(&p->tail, SP_KEEP);
	buffer_empty(&p->behind, SP_KEEP);
	p->source.left = 0;
}

static void sp_used(struct buffer *b, size_t n)
{
	buffer_drop(b, n);
	if (b->n == 0)
		buffer_empty(b, SP_KEEP);
}

static bool sp_move(struct buffer *to, struct buffer *from)
{
	bool ok = buffer_append(to, from->p, from->n);
	buffer_empty(from, SP_KEEP);
	return ok;
}

/* The next piece of what is made as it is sent. */
static void sp_make(struct sp_pipe *p)
{
	struct sp_source *s = &p->source;
	bool ok = buffer_reserve(&p->out, SP_PIECE);
	if (ok) {
		size_t n = s->next(s->ctx, (uint8_t *)p->out.p + p->out.n, SP_PIECE);
		CHECK(n <= SP_PIECE);
		p->out.n += n;
		s->left -= n < s->left ? n : s->left;
	}
	if (ok && s->left == 0)
		ok = sp_move(&p->out, &p->tail) && sp_move(&p->out, &p->behind);
	/* the peer has half a message */
	if (!ok)
		sp_deafen(p);
}

static void sp_write_out(struct sp_pipe *p)
{
	while (p->out.n > 0 && !p->deaf) {
		ssize_t n = sp_write(p, p->out.p, p->out.n);
		if (n > 0) {
			sp_used(&p->out, (size_t)n);
			if (p->paused && !p->finishing)
				loop_timer_set(&p->limit, SP_UNREAD_MS);
		} else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			break;
		} else if (n == 0 || errno != EINTR) {
			sp_broke(p, n < 0 ? errno : 0);
			sp_deafen(p);
		}
	}
}

static void sp_flush(struct sp_pipe *p)
{
	bool waited = sp_waiting(p) > 0;
	sp_write_out(p);
	for (int pieces = 0; p->out.n == 0 && sp_streams(p) && !p->deaf && pieces < SP_PIECES;
	     pieces++) {
		sp_make(p);
		sp_write_out(p);
	}
	if (p->tls != NULL && p->out.n == 0 && tls_waits(p->tls) && sp_write(p, NULL, 0) < 0 &&
	    errno != EAGAIN)
		sp_deafen(p);
	if (p->finishing && p->out.n == 0 && !sp_streams(p) && !p->deaf &&
	    (p->tls == NULL || !tls_waits(p->tls))) {
		if (p->tls != NULL)
			tls_finish(p->tls, p->fd);
		shutdown(p->fd, SHUT_WR);
		p->deaf = true;
	}
	p->drained = p->drained || (waited && sp_waiting(p) == 0);
	sp_watch(p);
}

static ssize_t sp_write_now(struct sp_pipe *p, struct iovec *iov, int n)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	/* TLS has no gathering write: it goes through the buffer */
	if (p->out.n > 0 || p->tls != NULL)
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
	CHECK(p->magic == CHECK_SP_PIPE && loop_is_own(p->listener->loop));
	/* as good as sent: its end will be told */
	if (p->closed || p->deaf || n > 7)
		return true;
	for (int i = 0; i < n; i++) {
		len += parts[i].iov_len;
		iov[i + 1] = parts[i];
	}
	pair0_write_head(head, len);
	iov[0] = p->listener->ipc ? (struct iovec){head, sizeof head}
				  : (struct iovec){head + 1, sizeof head - 1};
	len += iov[0].iov_len;
	p->given += len;
	if (sp_streams(p)) {
		bool ok = buffer_reserve(&p->behind, len);
		for (int i = 0; ok && i <= n; i++)
			buffer_append(&p->behind, iov[i].iov_base, iov[i].iov_len);
		return ok;
	}
	/* so that a message is sent whole or not at all */
	if (!buffer_reserve(&p->out, p->out.n > 0 ? len : 1))
		return false;
	ssize_t sent = sp_write_now(p, iov, n + 1);
	if (sent < 0 || (uint64_t)sent == len)
		return true;
	if (!buffer_reserve(&p->out, len - (uint64_t)sent)) {
		sp_deafen(p); /* the peer has half a message: nothing can follow */
		return false;
	}
	for (int i = 0; i <= n; i++) {
		size_t skip = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
		sent -= (ssize_t)skip;
		buffer_append(&p->out, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
	}
	if (p->tls != NULL)
		sp_flush(p);
	else
		sp_watch(p);
	return true;
}

static uint64_t sp_length(const struct iovec *parts, int n)
{
	uint64_t len = 0;
	for (int i = 0; i < n; i++)
		len += parts[i].iov_len;
	return len;
}

bool sp_stream(struct sp_pipe *p, const struct iovec *head, int n_head,
	       const struct sp_source *source, const struct iovec *tail, int n_tail)
{
	uint8_t frame[PAIR0_HEAD];
	size_t skip = p->listener->ipc ? 0 : 1, waited = sp_waiting(p);
	/* as in sp_send */
	if (p->closed || p->deaf)
		return true;
	pair0_write_head(frame, sp_length(head, n_head) + source->left + sp_length(tail, n_tail));
	if (!buffer_reserve(&p->out, sizeof frame + sp_length(head, n_head)) ||
	    !buffer_reserve(&p->tail, sp_length(tail, n_tail)))
		return false;
	buffer_append(&p->out, frame + skip, sizeof frame - skip);
	for (int i = 0; i < n_head; i++)
		buffer_append(&p->out, head[i].iov_base, head[i].iov_len);
	for (int i = 0; i < n_tail; i++)
		buffer_append(&p->tail, tail[i].iov_base, tail[i].iov_len);
	CHECK(p->source.left == 0);
	p->source = *source;
	p->given += sp_waiting(p) - waited;
	sp_flush(p);
	return true;
}

void sp_give_up(struct sp_pipe *p)
{
	sp_deafen(p);
	sp_watch(p);
}

bool sp_streams(const struct sp_pipe *p)
{
	return p->source.left > 0;
}

void sp_wait_for_reader(struct sp_pipe *p, size_t at_most)
{
	if (p->closed || p->finishing || p->deaf || sp_unread(p) <= at_most)
		return;
	if (!p->paused)
		loop_timer_set(&p->limit, SP_UNREAD_MS);
	p->paused = true;
	p->unread_max = at_most;
	sp_watch(p);
}

bool sp_is_paused(const struct sp_pipe *p)
{
	return p->paused;
}

uint64_t sp_given(const struct sp_pipe *p)
{
	return p->given;
}

size_t sp_waiting(const struct sp_pipe *p)
{
	return p->out.n + (size_t)p->source.left + p->tail.n + p->behind.n;
}

size_t sp_held(const struct sp_pipe *p)
{
	return buffer_memory(&p->out) + buffer_memory(&p->tail) + buffer_memory(&p->behind);
}

void sp_finish(struct sp_pipe *p, uint64_t ms)
{
	if (p->closed)
		return;
	p->finishing = true;
	p->unread_max = SIZE_MAX; /* its last words are heard in any case */
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

bool sp_is_owner(const struct sp_pipe *p)
{
	return p->owner;
}

bool sp_is_remote(const struct sp_pipe *p)
{
	return !p->listener->ipc;
}

bool sp_timed_out(const struct sp_pipe *p)
{
	return p->timed_out;
}

/* --- input ------------------------------------------------------------------------------------ */

static const char *sp_other_protocol(const uint8_t *said)
{
	if (said[0] == 0x16)
		return "the peer speaks TLS, which this URL does not; one that begins with tls+tcp:// does";
	if (said[0] >= 'A' && said[0] <= 'Z')
		return "the peer does not speak nng's PAIR0; it may be a client that speaks HTTP";
	return "the peer does not speak nng's PAIR0";
}

static bool sp_read_hello(struct sp_pipe *p)
{
	size_t n = p->in.n < PAIR0_GREETING ? p->in.n : PAIR0_GREETING;
	if (memcmp(p->in.p, pair0_greeting, n) != 0) {
		sp_end(p, sp_other_protocol((const uint8_t *)p->in.p));
		return false;
	}
	if (n < PAIR0_GREETING)
		return false;
	sp_used(&p->in, PAIR0_GREETING);
	loop_timer_cancel(&p->limit);
	p->greeted = true;
	p->listener->ops->opened(p->listener->ctx, p, &p->user);
	return !p->closed;
}

/* The next message, if it is whole. The pipe may be closed meanwhile, and is then only good for
 * being buried. */
static bool sp_read_message(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	size_t head = l->ipc ? PAIR0_HEAD : PAIR0_HEAD - 1, held = buffer_memory(&p->in);
	if (p->paused || p->in.n < head)
		return false;
	const uint8_t *at = (const uint8_t *)p->in.p;
	if (l->ipc && at[0] != 1) {
		sp_end(p, "the peer sent something that is no message");
		return false;
	}
	uint64_t len = pair0_length(at + head - sizeof len);
	if (len > (p->trusted || l->limits.first_max == 0 ? l->limits.message_max
							  : l->limits.first_max)) {
		sp_end(p, "the peer announced a message above the limit");
		return false;
	}
	if (p->in.n - head < len)
		return false;
	l->ops->message(l->ctx, p, p->user, (uint8_t *)p->in.p + head, (size_t)len);
	if (p->closed)
		return false;
	sp_used(&p->in, head + (size_t)len);
	sp_weigh(p, held);
	return !p->closed;
}

/* Returns whether all that has come so far may be handed over. */
static bool sp_read_some(struct sp_pipe *p)
{
	size_t held = buffer_memory(&p->in);
	if (!buffer_reserve(&p->in, SP_READ)) {
		sp_end(p, "no memory for its messages");
		return false;
	}
	sp_weigh(p, held);
	if (p->closed)
		return false;
	size_t room = p->in.cap - p->in.n;
	ssize_t n = sp_read(p, p->in.p + p->in.n, room);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return true;
	if (n <= 0) {
		bool tls = p->tls != NULL && n < 0 && !p->greeted;
		if (n < 0)
			sp_broke(p, errno);
		sp_end(p, tls		? "the TLS handshake failed"
			  : p->in.n > 0 ? "the peer ended in the middle of a message"
					: NULL);
		return false;
	}
	p->in.n += (size_t)n;
	return true;
}

static void sp_hand_over(struct sp_pipe *p)
{
	if (!p->greeted && (p->in.n == 0 || !sp_read_hello(p)))
		return;
	while (sp_read_message(p))
		;
	if (p->trusted || p->closed || p->in.n > 0)
		return;
	size_t held = buffer_memory(&p->in); /* strangers that say nothing hold nothing */
	buffer_free(&p->in);
	sp_weigh(p, held);
}

static void sp_on_readable(struct sp_pipe *p)
{
	do
		if (sp_read_some(p))
			sp_hand_over(p);
	/* what was read already no descriptor announces */
	while (!p->closed && p->tls != NULL && (tls_more(p->tls) || tls_ended(p->tls)));
	/* a handshake that went on may have opened the way */
	if (!p->closed && p->tls != NULL)
		sp_flush(p);
}

static void sp_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct sp_pipe *p = arg;
	CHECK_IS(p, CHECK_SP_PIPE);
	(void)fd;
	if (what & EV_WRITE)
		sp_flush(p);
	if (what & EV_READ && !p->closed)
		sp_on_readable(p);
	if (p->drained && p->greeted && !p->closed && p->listener->ops->sent != NULL) {
		p->drained = false;
		p->listener->ops->sent(p->listener->ctx, p, p->user);
	}
}

/* --- the listener ----------------------------------------------------------------------------- */

/* The kernel asks the socket's mode, which somebody may have changed; the groups are those of the
 * peer when it connected. */
static bool sp_is_of_group(int fd, const struct ucred *who, gid_t group)
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

static bool sp_peer_ok(const struct sp_listener *l, int fd, struct sp_pipe *p)
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
	       (l->limits.group != NULL && sp_is_of_group(fd, &who, *l->limits.group));
}

/* Our half of the handshake. */
static bool sp_begin(struct sp_pipe *p)
{
	if (p->listener->tls != NULL) {
		p->tls = tls_new(&p->listener->loop->tls, &p->listener->loop->stats,
				 p->listener->tls, 0);
		if (p->tls == NULL)
			return false;
	}
	if (!buffer_append(&p->out, pair0_greeting, PAIR0_GREETING))
		return false;
	sp_flush(p);
	return true;
}

static void sp_refuse(struct sp_listener *l, struct sp_pipe *p, int fd, const char *why)
{
	char remote[SP_REMOTE_MAX];
	LOG(l->loop->log, LOG_WARN, LOG_ACCEPT, "a peer was turned away from the worker socket",
	    LOG_STR("url", l->url), LOG_STR("remote", p != NULL ? sp_remote(p, remote) : NULL),
	    LOG_STR("error", why));
	free(p);
	close(fd);
}

static void sp_add(struct sp_listener *l, int fd, const struct address *from)
{
	struct sp_pipe *p = calloc(1, sizeof *p);
	const int on = 1;
	if (p == NULL) {
		sp_refuse(l, p, fd, "no memory");
		return;
	}
	*p = (struct sp_pipe){.magic = CHECK_SP_PIPE,
			      .listener = l,
			      .fd = fd,
			      .from = *from,
			      .reading = true};
	if (!sp_peer_ok(l, fd, p)) {
		sp_refuse(l, p, fd,
			  l->limits.group != NULL
				  ? "it runs as another user, who is not of the group"
				  : "it runs as another user");
		return;
	}
	if (!descriptors_may(&l->loop->descriptors, l->limits.user, fd) && !sp_can_oust(l)) {
		sp_refuse(
			l, p, fd,
			"the rest of the file descriptors is held back for tova-ctl and the host");
		return;
	}
	loop_timer_init(l->loop, &p->limit, sp_on_limit, p);
	loop_timer_set(&p->limit, SP_HELLO_MS);
	if (!l->ipc)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	sp_admit(p);
	event_assign(&p->event, l->loop->base, fd, EV_READ | EV_PERSIST, sp_on_event, p);
	if (event_add(&p->event, NULL) != 0 || !sp_begin(p))
		sp_close(p);
	else
		sp_make_room(p);
}

/* Without a descriptor, or memory for one: a stranger gives its own; if there is none it is tried
 * again later, else the loop would spin. */
static void sp_on_no_accept(struct sp_listener *l, int error)
{
	if (sp_can_oust(l)) {
		sp_oust(TAILQ_FIRST(&l->strangers));
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

static void sp_on_accept(void *ctx)
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
			sp_add(l, fd, &from);
		} else if (got == ACCEPTOR_FULL) {
			sp_on_no_accept(l, errno);
		}
	}
}

static void sp_on_retry(void *arg)
{
	struct sp_listener *l = arg;
	CHECK_IS(l, CHECK_SP_LISTENER);
	acceptor_resume(&l->acceptor, false);
}

static bool sp_bind_ipc(struct sp_listener *l, const char *path, char *why, size_t cap)
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

static bool sp_bind_tcp(struct sp_listener *l, const char *text, char *why, size_t cap)
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
static bool sp_name(struct sp_listener *l)
{
	return asprintf(&l->url, "%s%s",
			l->ipc		 ? "ipc://"
			: l->tls != NULL ? "tls+tcp://"
					 : "tcp://",
			l->ipc ? l->acceptor.unix_path : l->acceptor.name) > 0;
}

static void sp_on_tls_warning(void *ctx, const char *file, const char *sentence)
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
	struct tls_server *tls = tls_server_new(&set, l->tls, sp_on_tls_warning, l, &error);
	if (tls == NULL) {
		snprintf(why, why_cap, "%.400s: %s", error.file, error.why);
		return false;
	}
	tls_server_unref(&l->tls);
	l->tls = tls;
	return true;
}

static bool sp_bind(struct sp_listener *l, const char *url, char *why, size_t cap)
{
	if (strncmp(url, "ipc://", 6) == 0)
		return sp_bind_ipc(l, url + 6, why, cap);
	if (strncmp(url, "tcp://", 6) == 0)
		return sp_bind_tcp(l, url + 6, why, cap);
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
	       sp_bind_tcp(l, url + 10, why, cap);
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
	acceptor_init(&l->acceptor, sp_on_accept, l);
	loop_timer_init(loop, &l->retry, sp_on_retry, l);
	l->hook = (struct loop_hook){.run = sp_bury, .arg = l};
	loop_add_hook(loop, &l->hook);
	if (sp_bind(l, url, why, why_cap) &&
	    acceptor_start(&l->acceptor, loop, SP_BACKLOG, why, why_cap)) {
		if (sp_name(l))
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
	sp_bury(l);
	loop_remove_hook(l->loop, &l->hook);
	loop_timer_cancel(&l->retry);
	acceptor_close(&l->acceptor);
	tls_server_unref(&l->tls);
	free(l->url);
	free(l);
}
