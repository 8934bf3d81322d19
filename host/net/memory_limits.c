/* Who gives way when all together hold too much. */
#include <errno.h>

#include "base/check.h"
#include "net/conn.h"
#include "net/memory_limit.h"

/* bytes of a message on its way beyond which it is not waited for */
#define MEMORY_LIMIT_BEGUN_MAX 16384

uint64_t memory_limits_total(const struct conns *s)
{
	return s->spare.account.held + s->memory_limits.input + (s->lent != NULL ? *s->lent : 0);
}

/* An entry stands where it did when its connection last did something, and no lower than what it
 * holds as a rule: whoever stands at the top is weighed anew, and goes to where it belongs, until
 * one belongs there. */
static struct memory_limit *memory_limits_worst(struct conns *s, enum memory_limit_of of)
{
	struct memory_limit *h;
	while ((h = memory_limit_scale_top(&s->memory_limits.scales[of])) != NULL) {
		bool may = h->conn->state != CONN_ASKING;
		unsigned class = may ? memory_limit_class(outq_memory(&h->conn->out) +
							  (of == MEMORY_LIMIT_ALL ? h->input : 0))
				     : 0;
		if (class >= h->at[of].class)
			return h;
		memory_limit_place(h, of, class);
	}
	return NULL;
}

/* Its memory goes now, its end is told when nobody walks members any more. */
static void memory_limit_relieve(struct memory_limit *h, bool input)
{
	struct conn *c = h->conn;
	CHECK(c->magic == CHECK_CONN && !h->gives_way);
	const struct conn_ops *ops = c->conns->ops;
	if (c->state != CONN_OPEN || c->ended) { /* nobody above waits for what it still gets */
		conn_cut(
			c,
			"connection cut: it has ended, and holds most where --max-buffered is "
			"reached");
		return;
	}
	if (ops->memory_limit(c)) {
		memory_limit_place_all(h);
		return;
	}
	h->gives_way = c->conns->memory_limits.relief_due = true;
	memory_limit_place_all(h);
	if (outq_gives_up(&c->out)) {
		ops->gave_up(c, conn_given_up(c), true);
		outq_backlog(&c->out)->given_up = 0;
	}
	if (c->out.begun > MEMORY_LIMIT_BEGUN_MAX) {
		h->cut_short = true;
		c->broken = ECANCELED;
		outq_clear(&c->out, &c->conns->spare);
	} else {
		outq_cut(&c->out, &c->conns->spare);
	}
	if (input) { /* which goes with its end, at once */
		CHECK(c->conns->memory_limits.input >= h->input);
		c->conns->memory_limits.input -= h->input;
		h->input = 0;
	}
}

/* False: nobody holds what could be had. */
static bool memory_limits_relieve(struct conns *s, enum memory_limit_of of)
{
	struct memory_limit *h = memory_limits_worst(s, of);
	if (h != NULL)
		memory_limit_relieve(h, of == MEMORY_LIMIT_ALL);
	return h != NULL;
}

void memory_limits_grew(struct conn *c)
{
	struct conns *s = c->conns;
	struct memory_limit *h =
		memory_limit_of(c) != NULL ? memory_limit_of(c) : memory_limit_new(c);
	uint64_t max = s->limits.buffered_max;
	if (h != NULL)
		memory_limit_place_all(h);
	if (max == 0 || s->spare.account.held <= max ||
	    s->spare.account.held <= s->memory_limits.vain)
		return;
	while (s->spare.account.held > max && memory_limits_relieve(s, MEMORY_LIMIT_OUTPUT))
		;
	s->memory_limits.vain = s->spare.account.held > max ? s->spare.account.held + max / 64 : 0;
}

void memory_limits_settle(struct conns *s)
{
	uint64_t max = s->limits.buffered_max;
	while (max != 0 && memory_limits_total(s) > max &&
	       memory_limits_relieve(s, MEMORY_LIMIT_ALL))
		;
	s->memory_limits.vain = 0;
	if (s->memory_limits.relief_due)
		s->ops->relieved(s->ctx);
	s->memory_limits.relief_due = false;
}
