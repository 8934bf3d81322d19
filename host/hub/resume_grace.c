/* How what waits for a client that may come back is judged by --max-queue: over time, as the queue
 * of any other (outq_admits). All that one event, push or timer gives it is one delivery, of which
 * the rest is let in once it has begun; and one that alone is more than the bound does not count as
 * long as it waits. There is one of those at a time, beside answers, and what waited when it came
 * back is like one.
 */
#include "hub/resume_parts.h"
#include "hub/session_conn.h"
#include "net/conn.h"

/* That message waits no more. */
static void resume_grace_ease(struct resume *r, uint64_t number, uint64_t before)
{
	struct resume_grace *g = &r->grace;
	uint64_t less = before - kept_weight(&r->waiting);
	if (g->bytes > 0 && number >= g->from && number <= g->to)
		g->bytes -= g->bytes < less ? g->bytes : less;
}

void resume_grace_pop(struct resume *r)
{
	uint64_t number = kept_first(&r->waiting)->number, before = kept_weight(&r->waiting);
	kept_pop(&r->waiting);
	resume_grace_ease(r, number, before);
}

bool resume_grace_supersede(struct resume *r, uint64_t key)
{
	uint64_t number, before = kept_weight(&r->waiting);
	if (!kept_supersede(&r->waiting, key, &number))
		return false;
	resume_grace_ease(r, number, before);
	return true;
}

void resume_grace_back(struct hub *hub, struct resume *r)
{
	const struct resume_limits *limits = &hub->resumes.limits;
	/* more than was kept for a return counts: or who comes back again and again, and reads
	 * nothing, could be sent any amount */
	uint64_t weight = kept_weight(&r->waiting),
		 most = limits->queue + (uint64_t)limits->messages * sizeof(struct kept_message);
	r->grace = (struct resume_grace){.to = r->out,
					 .bytes = weight < most ? weight : most,
					 .delivery = hub->loop->delivery,
					 .pardoned = true};
}

void resume_grace_end(struct resume *r)
{
	r->grace.bytes = 0;
}

uint64_t resume_grace_judged(const struct session *s)
{
	const struct resume *r = session_resume(s);
	uint64_t half = s->conn->conns->limits.queue_max / 2, out = s->conn->out.bytes;
	uint64_t all = kept_weight(&r->waiting);
	/* the socket is given more than half of the bound by one message only */
	return (all > r->grace.bytes ? all - r->grace.bytes : 0) + (out < half ? out : half);
}

bool resume_grace_admits(struct hub *hub, struct session *s, uint64_t number, uint64_t weight,
			 bool own)
{
	struct resume_grace *g = &session_resume(s)->grace;
	uint64_t max = s->conn->conns->limits.queue_max, judged = resume_grace_judged(s);
	if (g->delivery != hub->loop->delivery) {
		g->delivery = hub->loop->delivery;
		g->given = 0;
		g->over = false;
	}
	if (g->bytes == 0) {
		g->pardoned = false;
		g->from = g->given == 0 ? number : g->from;
	}
	bool begins = g->given == 0, large = g->given + weight > max;
	if (!own && begins && judged > max + weight)
		return false;
	g->given += weight;
	if (g->over) {
		g->bytes += weight;
		g->to = number;
	} else if (judged > max && (own || (large && !g->pardoned))) {
		g->bytes += g->given;
		g->to = number;
		g->over = true;
		g->pardoned = g->pardoned || !own;
	}
	return true;
}
