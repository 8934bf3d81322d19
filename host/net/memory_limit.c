#include "net/memory_limit.h"

#include <errno.h>
#include <stdlib.h>

#include "net/conn.h"

#define MEMORY_LIMIT_INPUT_MIN \
	4096 /* bytes of input below which a connection is none of the heavy */
/* bytes of a message on its way beyond which it is not waited for */
#define MEMORY_LIMIT_BEGUN_MAX 16384

static struct memory_limit *memory_limit_of(const struct conn *c)
{
	return c->more != NULL ? c->more->memory_limit : NULL;
}

bool memory_limit_gives_way(const struct conn *c)
{
	return memory_limit_of(c) != NULL && memory_limit_of(c)->gives_way;
}

/* --- scales ----------------------------------------------------------------------------------- */

static unsigned memory_limit_class(uint64_t bytes)
{
	if (bytes < 8)
		return (unsigned)bytes;
	unsigned power = 63 - (unsigned)__builtin_clzll(bytes),
		 class = 8 * (power - 2) + (unsigned)(bytes >> (power - 3) & 7);
	return class < MEMORY_LIMIT_CLASSES ? class : MEMORY_LIMIT_CLASSES - 1;
}

static void memory_limit_place(struct memory_limit *h, enum memory_limit_of of, unsigned class)
{
	struct memory_limit_scale *scale = &h->conn->conns->memory_limits.scales[of];
	if (h->at[of].class == class)
		return;
	if (h->at[of].class != 0)
		LIST_REMOVE(h, at[of].link);
	h->at[of].class = (uint16_t) class;
	if (class == 0)
		return;
	LIST_INSERT_HEAD(&scale->classes[class], h, at[of].link);
	scale->some[class / 64] |= UINT64_C(1) << class % 64;
}

static void memory_limit_place_all(struct memory_limit *h)
{
	const struct conn *c = h->conn;
	bool may = !h->gives_way && c->state != CONN_ASKING && c->state != CONN_DEAD;
	uint64_t output = outq_most(&c->out);
	memory_limit_place(h, MEMORY_LIMIT_OUTPUT, may ? memory_limit_class(output) : 0);
	memory_limit_place(h, MEMORY_LIMIT_ALL, may ? memory_limit_class(output + h->input) : 0);
}

/* One of those in the highest class that has any. */
static struct memory_limit *memory_limit_scale_top(struct memory_limit_scale *scale)
{
	for (unsigned word = MEMORY_LIMIT_CLASSES / 64; word-- > 0;)
		while (scale->some[word] != 0) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(scale->some[word]);
			struct memory_limit *h = LIST_FIRST(&scale->classes[64 * word + bit]);
			if (h != NULL)
				return h;
			scale->some[word] &= ~(UINT64_C(1) << bit);
		}
	return NULL;
}

/* --- what each holds -------------------------------------------------------------------------- */

/* NULL without memory: it can not be found then, and is counted. */
static struct memory_limit *memory_limit_new(struct conn *c)
{
	struct conn_more *more = conn_more(c);
	struct memory_limit *h = more != NULL ? calloc(1, sizeof *h) : NULL;
	if (h == NULL)
		return NULL;
	h->conn = c;
	more->memory_limit = h;
	LIST_INSERT_HEAD(&c->conns->memory_limits.list, h, link);
	return h;
}

void memory_limit_forget(struct conn *c)
{
	struct memory_limit *h = memory_limit_of(c);
	if (h == NULL)
		return;
	c->conns->memory_limits.input -= h->input;
	LIST_REMOVE(h, link);
	for (int of = 0; of < MEMORY_LIMIT_SCALES; of++)
		memory_limit_place(h, (enum memory_limit_of)of, 0);
	free(h);
	c->more->memory_limit = NULL;
}

void memory_limit_weigh(struct conn *c)
{
	struct memory_limit *h = memory_limit_of(c);
	uint64_t input = conn_held(c);
	bool holds = c->state != CONN_DEAD && (c->out.stalled || input >= MEMORY_LIMIT_INPUT_MIN);
	if (!holds && h == NULL)
		return;
	if (h == NULL && (h = memory_limit_new(c)) == NULL) {
		conn_less(c);
		return;
	}
	c->conns->memory_limits.input += input - h->input;
	h->input = input;
	if (holds || h->gives_way) {
		memory_limit_place_all(h);
		return;
	}
	memory_limit_forget(c);
	conn_less(c);
}

/* --- who gives way ---------------------------------------------------------------------------- */

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
	const struct conn_ops *ops = c->conns->ops;
	if (c->state != CONN_OPEN || c->ended) { /* nobody above waits for what it still gets */
		conn_cut(
			c,
			"connection cut: it has ended, and holds most where --max-buffered is reached");
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
