/* sp_out: what a peer is sent. */
#include <errno.h>
#include <sys/socket.h>

#include "base/check.h"
#include "common/pair0.h"
#include "handler/worker/sp_parts.h"
#include "tls/tls.h"

#define SP_PIECES 8	      /* of what is made as it is sent, in one turn */
#define SP_KEEP (4 * SP_READ) /* a buffer larger than this is given back when it is empty */
/* nothing moves to a peer that has to read before it is read again */
#define SP_UNREAD_MS 20000

/* A pause that is over: what has come meanwhile is handed over in a callback of its own. */
static void sp_out_go_on(struct sp_pipe *p)
{
	p->paused = false;
	if (!p->finishing)
		loop_timer_cancel(&p->limit);
	event_active(&p->event, EV_READ, 0);
}

/* What is made as it is sent is none of what it asked for. */
static size_t sp_out_unread(const struct sp_pipe *p)
{
	return p->out.n + p->behind.n;
}

static void sp_out_watch(struct sp_pipe *p)
{
	bool waits = p->out.n > 0 || sp_streams(p);
	if (p->tls != NULL) /* a handshake is written by reading */
		waits = tls_waits(p->tls) || (sp_streams(p) && tls_is_open(p->tls));
	bool writing = waits && !(p->tls == NULL && p->deaf);
	bool over = p->paused && (p->deaf || sp_out_unread(p) <= p->unread_max),
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
			     event_get_callback(&p->event), p);
		if (event_add(&p->event, NULL) != 0) {
			sp_end(p, "no memory to watch it");
			return;
		}
	}
	if (over)
		sp_out_go_on(p);
}

void sp_out_broke(struct sp_pipe *p, int error)
{
	p->timed_out = p->timed_out || error == ETIMEDOUT || error == EHOSTUNREACH ||
		       error == ENETUNREACH || error == EHOSTDOWN || error == ENETDOWN;
}

static ssize_t sp_out_write(struct sp_pipe *p, const void *bytes, size_t n)
{
	uint64_t sent = 0;
	if (p->tls == NULL)
		return send(p->fd, bytes, n, MSG_NOSIGNAL);
	return tls_write(p->tls, p->fd, &(struct iovec){.iov_base = (void *)bytes, .iov_len = n}, 1,
			 &sent);
}

static void sp_out_deafen(struct sp_pipe *p)
{
	p->deaf = true;
	buffer_empty(&p->out, SP_KEEP);
	buffer_empty(&p->tail, SP_KEEP);
	buffer_empty(&p->behind, SP_KEEP);
	p->source.left = 0;
}

void sp_out_used(struct buffer *b, size_t n)
{
	buffer_drop(b, n);
	if (b->n == 0)
		buffer_empty(b, SP_KEEP);
}

static bool sp_out_move(struct buffer *to, struct buffer *from)
{
	bool ok = buffer_append(to, from->p, from->n);
	buffer_empty(from, SP_KEEP);
	return ok;
}

/* The next piece of what is made as it is sent. */
static void sp_out_make(struct sp_pipe *p)
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
		ok = sp_out_move(&p->out, &p->tail) && sp_out_move(&p->out, &p->behind);
	/* the peer has half a message */
	if (!ok)
		sp_out_deafen(p);
}

static void sp_out_some(struct sp_pipe *p)
{
	while (p->out.n > 0 && !p->deaf) {
		ssize_t n = sp_out_write(p, p->out.p, p->out.n);
		if (n > 0) {
			sp_out_used(&p->out, (size_t)n);
			if (p->paused && !p->finishing)
				loop_timer_set(&p->limit, SP_UNREAD_MS);
		} else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			break;
		} else if (n == 0 || errno != EINTR) {
			sp_out_broke(p, n < 0 ? errno : 0);
			sp_out_deafen(p);
		}
	}
}

void sp_out_flush(struct sp_pipe *p)
{
	bool waited = sp_waiting(p) > 0;
	sp_out_some(p);
	for (int pieces = 0; p->out.n == 0 && sp_streams(p) && !p->deaf && pieces < SP_PIECES;
	     pieces++) {
		sp_out_make(p);
		sp_out_some(p);
	}
	if (p->tls != NULL && p->out.n == 0 && tls_waits(p->tls) && sp_out_write(p, NULL, 0) < 0 &&
	    errno != EAGAIN)
		sp_out_deafen(p);
	if (p->finishing && p->out.n == 0 && !sp_streams(p) && !p->deaf &&
	    (p->tls == NULL || !tls_waits(p->tls))) {
		if (p->tls != NULL)
			tls_finish(p->tls, p->fd);
		shutdown(p->fd, SHUT_WR);
		p->deaf = true;
	}
	p->drained = p->drained || (waited && sp_waiting(p) == 0);
	sp_out_watch(p);
}

static ssize_t sp_out_now(struct sp_pipe *p, struct iovec *iov, int n)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	/* TLS has no gathering write: it goes through the buffer */
	if (p->out.n > 0 || p->tls != NULL)
		return 0;
	ssize_t sent = sendmsg(p->fd, &message, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
		sp_out_deafen(p);
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
	ssize_t sent = sp_out_now(p, iov, n + 1);
	if (sent < 0 || (uint64_t)sent == len)
		return true;
	if (!buffer_reserve(&p->out, len - (uint64_t)sent)) {
		sp_out_deafen(p); /* the peer has half a message: nothing can follow */
		return false;
	}
	for (int i = 0; i <= n; i++) {
		size_t skip = (size_t)sent < iov[i].iov_len ? (size_t)sent : iov[i].iov_len;
		sent -= (ssize_t)skip;
		buffer_append(&p->out, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
	}
	if (p->tls != NULL)
		sp_out_flush(p);
	else
		sp_out_watch(p);
	return true;
}

static uint64_t sp_out_length(const struct iovec *parts, int n)
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
	pair0_write_head(frame,
			 sp_out_length(head, n_head) + source->left + sp_out_length(tail, n_tail));
	if (!buffer_reserve(&p->out, sizeof frame + sp_out_length(head, n_head)) ||
	    !buffer_reserve(&p->tail, sp_out_length(tail, n_tail)))
		return false;
	buffer_append(&p->out, frame + skip, sizeof frame - skip);
	for (int i = 0; i < n_head; i++)
		buffer_append(&p->out, head[i].iov_base, head[i].iov_len);
	for (int i = 0; i < n_tail; i++)
		buffer_append(&p->tail, tail[i].iov_base, tail[i].iov_len);
	CHECK(p->source.left == 0);
	p->source = *source;
	p->given += sp_waiting(p) - waited;
	sp_out_flush(p);
	return true;
}

void sp_give_up(struct sp_pipe *p)
{
	sp_out_deafen(p);
	sp_out_watch(p);
}

bool sp_streams(const struct sp_pipe *p)
{
	return p->source.left > 0;
}

void sp_wait_for_reader(struct sp_pipe *p, size_t at_most)
{
	if (p->closed || p->finishing || p->deaf || sp_out_unread(p) <= at_most)
		return;
	if (!p->paused)
		loop_timer_set(&p->limit, SP_UNREAD_MS);
	p->paused = true;
	p->unread_max = at_most;
	sp_out_watch(p);
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
	sp_out_flush(p);
}
