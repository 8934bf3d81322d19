/* Messages of clients that do not read: with one loop they would not have been read either. */
#include <stdlib.h>

#include "base/check.h"
#include "threads/remote_conn_parts.h"

static void remote_conn_parked_probe(struct conn *c)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	if (stub->probed != 0 || c->out.bytes <= c->conns->limits.queue_max / 2)
		return;
	stub->probed = c->out.bytes;
	remote_conn_put(remote_conn_of(c), CHANNEL_PROBE, c->peer, NULL, 0);
}

/* What waits for the client is known on the other loop; here it is what was sent since that last
 * said that it was little. */
void remote_conn_count(struct conn *c, uint32_t len)
{
	c->out.bytes = c->out.bytes + len < len ? UINT32_MAX : c->out.bytes + len;
	remote_conn_parked_probe(c);
}

/* --- telling ---------------------------------------------------------------------------------- */

void remote_conn_end(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
		     size_t len, const char *why)
{
	c->ended = true;
	c->conns->ops->ended(c, end, code, reason, len, why);
}

bool remote_conn_takes_messages(const struct conn *c)
{
	return !c->ended && c->waiting == CONN_WAIT_IDLE;
}

void *remote_conn_take(struct conn *c, uint8_t **data_r, size_t *size_r)
{
	struct channel_block *block = remote_conn_of(c)->block;
	void *memory = block != NULL ? block->memory : NULL;
	if (memory == NULL)
		return NULL;
	*data_r = block->data;
	*size_r = block->size;
	block->memory = NULL;
	return memory;
}

/* As the hub's loop has it: what is not taken is given back. */
static void remote_conn_parked_tell(struct conn *c, enum frame_opcode opcode, uint8_t *bytes,
				    size_t len, struct channel_block *block)
{
	remote_conn_of(c)->block = block;
	c->conns->ops->message(c, opcode, bytes, len);
	remote_conn_of(c)->block = NULL;
}

/* --- parking ---------------------------------------------------------------------------------- */

static struct budget *remote_conn_parked_budget(struct conn *c)
{
	return c->conns->ops->budget != NULL ? c->conns->ops->budget(c) : NULL;
}

/* What is parked does not come on by itself, and must not look as if it did: it counts as input. */
static void remote_conn_parked_park(struct conn *c, enum frame_opcode opcode, const uint8_t *bytes,
				    size_t len, struct channel_block *block)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	struct budget *b = remote_conn_parked_budget(c);
	struct remote_conn_message *m = malloc(sizeof *m + (block == NULL ? len + 1 : 0));
	if (m == NULL) {
		remote_conn_abort(c);
		remote_conn_end(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0,
				"no memory for its message");
		return;
	}
	*m = (struct remote_conn_message){.opcode = opcode, .len = len};
	if (block != NULL) {
		m->block = *block;
		block->memory = NULL;
	} else {
		memcpy(m->bytes, bytes, len);
		m->block.size = len;
	}
	if (b != NULL)
		budget_add(&b->input, m->block.size);
	m->block.budget = b;
	m->next = stub->last != NULL ? stub->last->next : m;
	if (stub->last != NULL)
		stub->last->next = m;
	stub->last = m;
}

/* Would it be read from, if its socket were here? */
static bool remote_conn_parked_reads(const struct conn *c)
{
	return c->out.bytes <= c->conns->limits.queue_max && (c->paused & CONN_PAUSE_OUTPUT) == 0;
}

/* all: whatever waits for it. */
void remote_conn_unpark(struct conn *c, bool all)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	struct remote_conn_message *m;
	while (stub->last != NULL && (all || remote_conn_parked_reads(c))) {
		m = stub->last->next;
		if (m == stub->last)
			stub->last = NULL;
		else
			stub->last->next = m->next;
		size_t size = m->block.size;
		struct budget *b = m->block.budget;
		if (remote_conn_takes_messages(c))
			remote_conn_parked_tell(c, m->opcode,
						m->block.memory != NULL ? m->block.data : m->bytes,
						m->len, &m->block);
		free(m->block.memory);
		free(m);
		if (b != NULL)
			budget_sub(b, &b->input, size);
	}
}

void remote_conn_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *bytes, size_t len,
			    struct channel_block *block)
{
	if (!remote_conn_takes_messages(c))
		return;
	if (remote_conn_stub(c)->last != NULL || !remote_conn_parked_reads(c))
		remote_conn_parked_park(c, opcode, bytes, len, block);
	else
		remote_conn_parked_tell(c, opcode, bytes, len, block);
}

void remote_conn_on_block(struct conn *c, enum frame_opcode opcode, struct channel_block *block)
{
	struct budget *b = block->budget;
	size_t size = block->size;
	remote_conn_on_message(c, opcode, block->data, block->len, block);
	free(block->memory);
	if (b != NULL)
		budget_sub(b, &b->moving, size);
}

void remote_conn_on_drained(struct conn *c)
{
	struct remote_conn_stub *stub = remote_conn_stub(c);
	CHECK(c->out.bytes >= stub->probed);
	c->out.bytes -= stub->probed;
	stub->probed = 0;
	remote_conn_parked_probe(c);
	remote_conn_unpark(c, false);
	if (c->feeds && !c->ended && c->conns->ops->drained != NULL) {
		c->feeds = false;
		c->conns->ops->drained(c);
	}
}
