/* remote_conn_parts: what the parts of remote_conn share. remote_conn_stub.c is what stands for a
 * conn, remote_conn_parked.c what its client sends, remote_conn_down.c what the hub asks of it,
 * remote_conn_up.c what the other loop tells. All of it is for the hub's loop, but where it says
 * so.
 */
#ifndef TOVA_THREADS_REMOTE_CONN_PARTS_H
#define TOVA_THREADS_REMOTE_CONN_PARTS_H

#include "base/check.h"
#include "threads/remote_conn.h"

/* What stands for a conn of another loop here. */
struct remote_conn_stub {
	struct conn conn;
	struct remote_conn_message *last; /* of a ring of those that are parked: first behind it */
	_Atomic uint32_t waiting, held, given_up,
		unread; /* written by the other loop: see conn_load */
	/* bytes that were sent when it was asked whether they are gone; 0: it was not */
	uint32_t probed;
};

/* A message that came while too much waited for its sender, as it would not have been read with one
 * loop. */
struct remote_conn_message {
	struct remote_conn_message *next;
	enum frame_opcode opcode;
	size_t len;
	struct channel_block block; /* its memory where that is its own; memory NULL: it follows */
	uint8_t bytes[];
};

static inline struct remote_conn *remote_conn_of(const struct conn *c)
{
	struct remote_conn *f = c->conns->remote_ctx;
	CHECK_IS(f, CHECK_REMOTE_CONN);
	return f;
}

static inline struct remote_conn_stub *remote_conn_stub(struct conn *c)
{
	return (struct remote_conn_stub *)c;
}

/* --- remote_conn_stub.c ----------------------------------------------------------------------- */

/* A small record, that always finds room; conn: of the other loop, or NULL. */
struct channel_record *remote_conn_put(struct remote_conn *f, enum channel_down kind,
				       struct conn *conn, const void *bytes, size_t len);
/* For conn_remote. */
void remote_conn_abort(struct conn *c);
struct conn_load remote_conn_load(struct conn *c);

/* --- remote_conn_parked.c --------------------------------------------------------------------- */

/* Bytes were sent to it: what waits for the client is known on the other loop; here it is what was
 * sent since that last said that it was little. */
void remote_conn_count(struct conn *c, uint32_t len);
/* Tells the conn_ops that it ends. */
void remote_conn_end(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
		     size_t len, const char *why);
/* Does anybody hear what it sends? */
bool remote_conn_takes_messages(const struct conn *c);
/* For conn_remote. */
void *remote_conn_take(struct conn *c, uint8_t **data_r, size_t *size_r);
/* Tells messages that are parked. all: whatever waits for it. */
void remote_conn_unpark(struct conn *c, bool all);
/* What CHANNEL_MESSAGE, CHANNEL_BLOCK and CHANNEL_DRAINED say. block: the memory of the message, or
 * NULL; what is taken of it is not there any more. */
void remote_conn_on_message(struct conn *c, enum frame_opcode opcode, uint8_t *bytes, size_t len,
			    struct channel_block *block);
void remote_conn_on_block(struct conn *c, enum frame_opcode opcode, struct channel_block *block);
void remote_conn_on_drained(struct conn *c);

/* --- remote_conn_down.c ----------------------------------------------------------------------- */

extern const struct conn_remote remote_conn_ops;

/* --- remote_conn_up.c ------------------------------------------------------------------------- */

/* Records have come from the other loop; arg: the remote_conn. */
void remote_conn_on_records(void *arg);
void remote_conn_on_withdrawn(struct conn *c);
/* The last record that names it: it is freed. */
void remote_conn_on_gone(struct remote_conn *f, struct conn *c);

#endif
