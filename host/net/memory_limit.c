#include "net/memory_limit.h"

#include <stdlib.h>

#include "base/check.h"
#include "net/conn.h"

/* bytes of input below which a connection does not count */
#define MEMORY_LIMIT_INPUT_MIN 4096

struct memory_limit *memory_limit_of(const struct conn *c)
{
	return c->more != NULL ? c->more->memory_limit : NULL;
}

bool memory_limit_gives_way(const struct conn *c)
{
	return memory_limit_of(c) != NULL && memory_limit_of(c)->gives_way;
}

/* --- scales ----------------------------------------------------------------------------------- */

unsigned memory_limit_class(uint64_t bytes)
{
	if (bytes < 8)
		return (unsigned)bytes;
	unsigned power = 63 - (unsigned)__builtin_clzll(bytes),
		 class = 8 * (power - 2) + (unsigned)(bytes >> (power - 3) & 7);
	return class < MEMORY_LIMIT_CLASSES ? class : MEMORY_LIMIT_CLASSES - 1;
}

void memory_limit_place(struct memory_limit *h, enum memory_limit_of of, unsigned class)
{
	struct memory_limit_scale *scale = &h->conn->conns->memory_limits.scales[of];
	CHECK(class < MEMORY_LIMIT_CLASSES);
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

void memory_limit_place_all(struct memory_limit *h)
{
	const struct conn *c = h->conn;
	bool may = !h->gives_way && c->state != CONN_ASKING && c->state != CONN_DEAD;
	uint64_t output = outq_most(&c->out);
	memory_limit_place(h, MEMORY_LIMIT_OUTPUT, may ? memory_limit_class(output) : 0);
	memory_limit_place(h, MEMORY_LIMIT_ALL, may ? memory_limit_class(output + h->input) : 0);
}

/* One of those in the highest class that has any. */
struct memory_limit *memory_limit_scale_top(struct memory_limit_scale *scale)
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
struct memory_limit *memory_limit_new(struct conn *c)
{
	struct conn_more *more = conn_more(c);
	struct memory_limit *h = more != NULL ? calloc(1, sizeof *h) : NULL;
	if (h == NULL)
		return NULL;
	CHECK(more->memory_limit == NULL);
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
	CHECK(h->conn == c && c->conns->memory_limits.input >= h->input);
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
