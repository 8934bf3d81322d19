/* Compression: what a conn has agreed on, and what is kept for it. */
#include "net/conn_parts.h"

#define CONN_PACKED_BASE (DEFLATE_BITS_MIN - 1) /* see conn->packed */

/* What is agreed on about it, with the line of the answer's head that says so. */
void conn_pack(struct conn *c, const struct request *r, bool all, char answer[DEFLATE_ANSWER_MAX])
{
	struct deflate_contexts *s = &c->conns->deflate;
	struct deflate_context *kept;
	unsigned bits = deflate_contexts_accept(s, r, all, &kept, answer);
	if (bits == 0)
		return;
	if (kept != NULL && conn_more(c) == NULL) {
		deflate_contexts_leave(s, kept);
		answer[0] = '\0';
		return;
	}
	if (kept != NULL)
		c->more->deflate = kept;
	c->packed = (uint8_t)(bits - CONN_PACKED_BASE) & 7;
}

struct deflate_context *conn_kept(const struct conn *c)
{
	return c->more != NULL ? c->more->deflate : NULL;
}

void conn_unpack(struct conn *c)
{
	if (c->packed)
		deflate_contexts_leave(&c->conns->deflate, conn_kept(c));
	if (c->more != NULL)
		c->more->deflate = NULL;
	c->packed = 0;
}

bool conn_deflate(struct conn *c, struct out_message *o, struct slice *packed_r)
{
	return deflate_contexts_frame(&c->conns->deflate, conn_kept(c),
				      c->packed + CONN_PACKED_BASE, o, packed_r);
}

bool conn_refers(const struct conn *c)
{
	const struct deflate_context *kept = conn_kept(c);
	return kept != NULL && kept->keep_out;
}
