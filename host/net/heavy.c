#include "net/heavy.h"

#include <errno.h>
#include <stdlib.h>

#include "net/conn.h"

#define HEAVY_INPUT_MIN 4096 /* bytes of input below which a connection is none of the heavy */
/* bytes of a message on its way beyond which it is not waited for */
#define HEAVY_BEGUN_MAX 16384

static struct heavy *heavy_of(const struct conn *c)
{
	return c->more != NULL ? c->more->heavy : NULL;
}

bool heavy_gives_way(const struct conn *c)
{
	return heavy_of(c) != NULL && heavy_of(c)->gives_way;
}

/* --- scales ----------------------------------------------------------------------------------- */

static unsigned heavy_class(uint64_t bytes)
{
	if (bytes < 8)
		return (unsigned)bytes;
	unsigned power = 63 - (unsigned)__builtin_clzll(bytes),
		 class = 8 * (power - 2) + (unsigned)(bytes >> (power - 3) & 7);
	return class < HEAVY_CLASSES ? class : HEAVY_CLASSES - 1;
}

static void heavy_place(struct heavy *h, enum heavy_of of, unsigned class)
{
	struct heavy_scale *scale = &h->conn->conns->heavies.scales[of];
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

static void heavy_place_all(struct heavy *h)
{
	const struct conn *c = h->conn;
	bool may = !h->gives_way && c->state != CONN_ASKING && c->state != CONN_DEAD;
	uint64_t output = outq_most(&c->out);
	heavy_place(h, HEAVY_OUTPUT, may ? heavy_class(output) : 0);
	heavy_place(h, HEAVY_ALL, may ? heavy_class(output + h->input) : 0);
}

/* One of those in the highest class that has any. */
static struct heavy *heavy_scale_top(struct heavy_scale *scale)
{
	for (unsigned word = HEAVY_CLASSES / 64; word-- > 0;)
		while (scale->some[word] != 0) {
			unsigned bit = 63 - (unsigned)__builtin_clzll(scale->some[word]);
			struct heavy *h = LIST_FIRST(&scale->classes[64 * word + bit]);
			if (h != NULL)
				return h;
			scale->some[word] &= ~(UINT64_C(1) << bit);
		}
	return NULL;
}

/* --- what each holds -------------------------------------------------------------------------- */

/* NULL without memory: it can not be found then, and is counted. */
static struct heavy *heavy_new(struct conn *c)
{
	struct conn_more *more = conn_more(c);
	struct heavy *h = more != NULL ? calloc(1, sizeof *h) : NULL;
	if (h == NULL)
		return NULL;
	h->conn = c;
	more->heavy = h;
	LIST_INSERT_HEAD(&c->conns->heavies.list, h, link);
	return h;
}

void heavy_forget(struct conn *c)
{
	struct heavy *h = heavy_of(c);
	if (h == NULL)
		return;
	c->conns->heavies.input -= h->input;
	LIST_REMOVE(h, link);
	for (int of = 0; of < HEAVY_SCALES; of++)
		heavy_place(h, (enum heavy_of)of, 0);
	free(h);
	c->more->heavy = NULL;
}

void heavy_weigh(struct conn *c)
{
	struct heavy *h = heavy_of(c);
	uint64_t input = conn_held(c);
	bool holds = c->state != CONN_DEAD && (c->out.stalled || input >= HEAVY_INPUT_MIN);
	if (!holds && h == NULL)
		return;
	if (h == NULL && (h = heavy_new(c)) == NULL) {
		conn_less(c);
		return;
	}
	c->conns->heavies.input += input - h->input;
	h->input = input;
	if (holds || h->gives_way) {
		heavy_place_all(h);
		return;
	}
	heavy_forget(c);
	conn_less(c);
}

/* --- who gives way ---------------------------------------------------------------------------- */

uint64_t heavies_total(const struct conns *s)
{
	return s->spare.account.held + s->heavies.input + s->loop->lent;
}

/* An entry stands where it did when its connection last did something, and no lower than what it
 * holds as a rule: whoever stands at the top is weighed anew, and goes to where it belongs, until
 * one belongs there. */
static struct heavy *heavies_worst(struct conns *s, enum heavy_of of)
{
	struct heavy *h;
	while ((h = heavy_scale_top(&s->heavies.scales[of])) != NULL) {
		bool may = h->conn->state != CONN_ASKING;
		unsigned class = may ? heavy_class(outq_memory(&h->conn->out) +
						   (of == HEAVY_ALL ? h->input : 0))
				     : 0;
		if (class >= h->at[of].class)
			return h;
		heavy_place(h, of, class);
	}
	return NULL;
}

/* Its memory goes now, its end is told when nobody walks members any more. */
static void heavy_relieve(struct heavy *h, bool input)
{
	struct conn *c = h->conn;
	const struct conn_ops *ops = c->conns->ops;
	if (c->state != CONN_OPEN || c->ended) { /* nobody above waits for what it still gets */
		conn_cut(
			c,
			"connection cut: it has ended, and holds most where --max-buffered is reached");
		return;
	}
	if (ops->heavy(c)) {
		heavy_place_all(h);
		return;
	}
	h->gives_way = c->conns->heavies.told = true;
	heavy_place_all(h);
	if (outq_gives_up(&c->out)) {
		ops->gave_up(c, conn_given_up(c), true);
		outq_backlog(&c->out)->given_up = 0;
	}
	if (c->out.begun > HEAVY_BEGUN_MAX) {
		h->torn = true;
		c->broken = ECANCELED;
		outq_clear(&c->out, &c->conns->spare);
	} else {
		outq_cut(&c->out, &c->conns->spare);
	}
	if (input) { /* which goes with its end, at once */
		c->conns->heavies.input -= h->input;
		h->input = 0;
	}
}

/* False: nobody holds what could be had. */
static bool heavies_relieve(struct conns *s, enum heavy_of of)
{
	struct heavy *h = heavies_worst(s, of);
	if (h != NULL)
		heavy_relieve(h, of == HEAVY_ALL);
	return h != NULL;
}

void heavies_grew(struct conn *c)
{
	struct conns *s = c->conns;
	struct heavy *h = heavy_of(c) != NULL ? heavy_of(c) : heavy_new(c);
	uint64_t max = s->limits.buffered_max;
	if (h != NULL)
		heavy_place_all(h);
	if (max == 0 || s->spare.account.held <= max || s->spare.account.held <= s->heavies.vain)
		return;
	while (s->spare.account.held > max && heavies_relieve(s, HEAVY_OUTPUT))
		;
	s->heavies.vain = s->spare.account.held > max ? s->spare.account.held + max / 64 : 0;
}

void heavies_settle(struct conns *s)
{
	uint64_t max = s->limits.buffered_max;
	while (max != 0 && heavies_total(s) > max && heavies_relieve(s, HEAVY_ALL))
		;
	s->heavies.vain = 0;
	if (s->heavies.told)
		s->ops->relieved(s->ctx);
	s->heavies.told = false;
}
