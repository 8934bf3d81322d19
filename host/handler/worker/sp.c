/* sp: what a peer says. */
#include <errno.h>
#include <sys/socket.h>

#include "base/check.h"
#include "common/pair0.h"
#include "handler/worker/sp_parts.h"
#include "tls/tls.h"

static ssize_t sp_read(struct sp_pipe *p, void *bytes, size_t n)
{
	return p->tls == NULL ? recv(p->fd, bytes, n, 0)
			      : tls_read(p->tls, p->fd, bytes, n, SIZE_MAX);
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

static const char *sp_other_protocol(const uint8_t *said)
{
	if (said[0] == 0x16)
		return "the peer speaks TLS, which this URL does not; one that begins with "
		       "tls+tcp:// does";
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
	sp_out_used(&p->in, PAIR0_GREETING);
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
	sp_out_used(&p->in, head + (size_t)len);
	sp_stranger_weigh(p, held);
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
	sp_stranger_weigh(p, held);
	if (p->closed)
		return false;
	size_t room = p->in.cap - p->in.n;
	ssize_t n = sp_read(p, p->in.p + p->in.n, room);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return true;
	if (n <= 0) {
		bool tls = p->tls != NULL && n < 0 && !p->greeted;
		if (n < 0)
			sp_out_broke(p, errno);
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
	sp_stranger_weigh(p, held);
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
		sp_out_flush(p);
}

void sp_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct sp_pipe *p = arg;
	CHECK_IS(p, CHECK_SP_PIPE);
	(void)fd;
	if (what & EV_WRITE)
		sp_out_flush(p);
	if (what & EV_READ && !p->closed)
		sp_on_readable(p);
	if (p->drained && p->greeted && !p->closed && p->listener->ops->sent != NULL) {
		p->drained = false;
		p->listener->ops->sent(p->listener->ctx, p, p->user);
	}
}

/* --- the listener ----------------------------------------------------------------------------- */
