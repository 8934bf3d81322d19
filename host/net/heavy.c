#include "net/heavy.h"

#include <stdlib.h>

#include "net/conn.h"

#define HEAVY_INPUT_MIN 4096  /* bytes of input below which a connection is none of the heavy */
#define HEAVY_BEGUN_MAX 16384 /* bytes of a message on its way beyond which it is not waited for */

static struct heavy *heavy_of(const struct conn *c)
{
	return c->more != NULL ? c->more->heavy : NULL;
}

bool heavy_gives_way(const struct conn *c)
{
	return heavy_of(c) != NULL && heavy_of(c)->gives_way;
}

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
	if (holds || h->gives_way)
		return;
	heavy_forget(c);
	conn_less(c);
}

/* --- who gives way ---------------------------------------------------------------------------------------------------------------- */

uint64_t heavies_total(const struct conns *s)
{
	return s->spare.account.held + s->heavies.input;
}

static struct heavy *heavies_worst(const struct conns *s, bool input)
{
	struct heavy *h, *worst = NULL;
	uint64_t most = 0;
	LIST_FOREACH(h, &s->heavies.list, link)
	{
		uint64_t holds = h->conn->out.bytes + (input ? h->input : 0);
		if (holds <= most || h->gives_way || h->conn->state == CONN_ASKING)
			continue;
		worst = h;
		most = holds;
	}
	return worst;
}

/* Its memory goes now, its end is told when nobody walks members any more. */
static void heavy_relieve(struct heavy *h, bool input)
{
	struct conn *c = h->conn;
	const struct conn_ops *ops = c->conns->ops;
	if (c->state != CONN_OPEN || c->ended) { /* nobody above waits for what it still gets */
		conn_cut(c, "connection cut: it has ended, and holds most where --max-buffered is reached");
		return;
	}
	if (ops->heavy(c))
		return;
	h->gives_way = c->conns->heavies.told = true;
	if (outq_backlog(&c->out) != NULL) {
		ops->gave_up(c, conn_given_up(c), true);
		outq_backlog(&c->out)->given_up = 0;
	}
	if (c->out.begun > HEAVY_BEGUN_MAX) {
		h->torn = c->broken = true;
		outq_clear(&c->out, &c->conns->spare);
	} else {
		outq_cut(&c->out, &c->conns->spare);
	}
	if (input) { /* which goes with its end, at once */
		c->conns->heavies.input -= h->input;
		h->input = 0;
	}
}

/* A little below the bound, so that not every message begins this anew. */
static uint64_t heavies_low(const struct conns *s)
{
	return s->limits.buffered_max - s->limits.buffered_max / 16;
}

void heavies_grew(struct conns *s)
{
	struct heavy *h;
	if (s->limits.buffered_max == 0 || s->spare.account.held <= s->limits.buffered_max)
		return;
	while (s->spare.account.held > heavies_low(s) && (h = heavies_worst(s, false)) != NULL)
		heavy_relieve(h, false);
}

void heavies_settle(struct conns *s)
{
	struct heavy *h;
	bool much = s->limits.buffered_max != 0 && heavies_total(s) > s->limits.buffered_max;
	while (much && heavies_total(s) > heavies_low(s) && (h = heavies_worst(s, true)) != NULL)
		heavy_relieve(h, true);
	if (s->heavies.told)
		s->ops->relieved(s->ctx);
	s->heavies.told = false;
}
