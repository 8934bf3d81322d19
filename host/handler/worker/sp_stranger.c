/* sp_stranger: whoever can reach the socket can connect. Those who have not said who they are take
 * no more than some places and some memory, and each address no more than a part of the places; the
 * one that has been there longest gives way. */
#include "base/check.h"
#include "handler/worker/sp_parts.h"

#define SP_CROWD_MS 60000 /* between lines about strangers that give way */

void sp_stranger_admit(struct sp_pipe *p)
{
	TAILQ_INSERT_TAIL(&p->listener->strangers, p, others);
	p->listener->n_strangers++;
}

static bool sp_stranger_is_of(const struct sp_pipe *p, const struct sp_pipe *other)
{
	struct address a = p->from, b = other->from;
	address_cut(&a, a.family == AF_INET6 ? 64 : 32);
	address_cut(&b, b.family == AF_INET6 ? 64 : 32);
	return p->peer == other->peer && a.family == b.family &&
	       memcmp(a.ip, b.ip, sizeof a.ip) == 0;
}

bool sp_stranger_can_oust(const struct sp_listener *l)
{
	return l->limits.strangers > 0 && !TAILQ_EMPTY(&l->strangers);
}

void sp_stranger_oust(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	char remote[SP_REMOTE_MAX];
	l->loop->stats.strangers++;
	if (loop_now(l->loop) >= l->crowd_quiet)
		LOG(l->loop->log, LOG_NOTICE, LOG_LIMIT, l->limits.crowd, LOG_STR("url", l->url),
		    LOG_STR("remote", sp_remote(p, remote)), LOG_U64("peers", l->n_strangers));
	l->crowd_quiet = loop_now(l->loop) + SP_CROWD_MS;
	p->ousted = true;
	sp_end(p, "it gave way to another peer");
}

void sp_stranger_make_room(struct sp_pipe *p)
{
	struct sp_listener *l = p->listener;
	struct sp_pipe *q, *oldest = NULL;
	unsigned n = 0;
	TAILQ_FOREACH (q, &l->strangers, others) {
		if (!sp_stranger_is_of(q, p))
			continue;
		oldest = oldest != NULL ? oldest : q;
		n++;
	}
	bool low = !descriptors_may(&l->loop->descriptors, DESCRIPTORS_CLIENT, p->fd);
	if (l->limits.strangers_each > 0 && n > l->limits.strangers_each)
		sp_stranger_oust(oldest);
	else if (sp_stranger_can_oust(l) && (l->n_strangers > l->limits.strangers || low) &&
		 TAILQ_FIRST(&l->strangers) != p)
		sp_stranger_oust(TAILQ_FIRST(&l->strangers));
}

void sp_stranger_weigh(struct sp_pipe *p, size_t before)
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
	sp_stranger_oust(most);
}

void sp_trust(struct sp_pipe *p)
{
	if (p->trusted || p->closed)
		return;
	sp_end_unlist(p);
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
