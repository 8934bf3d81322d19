/* io_thread_parts: what the parts of io_thread share. io_thread_up.c is what its conns tell,
 * io_thread_down.c what the hub commands, io_thread_slow.c what is done about clients that read too
 * slowly, io_thread_retry.c what waits for room or memory. Of them each needs only those after it
 * in this sentence. All of it is for the I/O loop's own thread, but where it says so.
 */
#ifndef TOVA_THREADS_IO_THREAD_PARTS_H
#define TOVA_THREADS_IO_THREAD_PARTS_H

#include "base/check.h"
#include "threads/io_thread.h"

#define IO_THREAD_RETRY_MS 2 /* to look again whether there is room, or memory */

/* The user of each conn that has asked for an upgrade. */
struct io_thread_conn {
	uint16_t magic; /* CHECK_IO_THREAD_CONN */
	struct conn *conn, *stub;
	TAILQ_ENTRY(io_thread_conn) link, shown_link;
	struct budget *budget; /* of its mount */
	const char *why;       /* why it has ended, which the hub is not told yet */
	uint32_t dropped;      /* messages that it did not get and nobody was told of */
	uint16_t code;
	uint8_t end;
	bool paused : 1, retries : 1; /* which list it is in */
	bool shown : 1;		      /* see io_thread.h */
	bool breaks : 1;	      /* it is ended when that is told */
	bool withdrawn : 1;	      /* that is to be told, not an end */
	bool probed : 1;	      /* the hub waits for it to be drained */
	bool drops : 1;	 /* its mount drops the oldest messages of who reads too slowly */
	bool slow : 1;	 /* it was told that messages are given up */
	bool unsent : 1; /* it was told that something was not sent; it will be ended for that */
};

/* What each connection of a mount may send. */
struct io_thread_rule {
	struct io_thread_rule *next;
	const struct rate_limit_rule *name; /* the hub's own, which is not looked at */
	struct rate_limit_rule rule;
};

static inline struct io_thread *io_thread_of(const struct conn *c)
{
	struct io_thread *s = c->conns->ctx;
	CHECK_IS(s, CHECK_IO_THREAD);
	return s;
}

/* NULL: it has not asked for an upgrade. */
static inline struct io_thread_conn *io_thread_conn_of(const struct conn *c)
{
	struct io_thread_conn *sc = conn_user(c);
	CHECK(sc == NULL || (sc->magic == CHECK_IO_THREAD_CONN && sc->conn == c));
	return sc;
}

/* --- io_thread_retry.c ------------------------------------------------------------------------ */

/* It is in none of the lists of those that wait for the channel. */
void io_thread_leave_list(struct io_thread *s, struct io_thread_conn *sc);
/* There was no memory to tell the hub what stands in it: that is tried again. */
void io_thread_retry_later(struct io_thread *s, struct io_thread_conn *sc);
/* For conn_ops: tells the hub, now or later. */
void io_thread_on_ended(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			size_t len, const char *why);
void io_thread_on_withdrawn(struct conn *c);
/* Ends the conn, and tells the hub why. */
void io_thread_break(struct conn *c, const char *why);
/* For conn_ops: false where too much is under way to read more from anybody; those who send are
 * read again when it is less. */
bool io_thread_ready(struct conn *c);
/* Is there room, or memory, again? A connection that goes on may use the room up, and stand at the
 * end of the list anew. arg: the io_thread. */
void io_thread_on_retry(void *arg);

/* --- io_thread_slow.c ------------------------------------------------------------------------- */

/* For conn_ops. */
bool io_thread_on_memory_limit(struct conn *c);
void io_thread_on_gave_up(struct conn *c, uint32_t messages, bool gone);
void io_thread_on_drained(struct conn *c);
/* What the mount's policy makes of a message that was not queued. */
void io_thread_refused(struct conn *c, struct out_message *o, enum conn_sent sent, bool own,
		       enum slow_policy policy);
/* The hub waits until little waits for the client. */
void io_thread_probe(struct conn *c);
/* What others may know of the loop, at the end of each turn. */
void io_thread_show(struct io_thread *s);
void io_thread_on_show(void *arg);

/* --- io_thread_up.c --------------------------------------------------------------------------- */

extern const struct conn_ops io_thread_ops;

/* --- io_thread_down.c ------------------------------------------------------------------------- */

/* Records have come from the hub; arg: the io_thread. */
void io_thread_on_records(void *arg);

/* --- io_thread.c ------------------------------------------------------------------------------ */

/* Makes the loop, without a thread. False with errno; io_thread_free is called all the same. */
bool io_thread_init(struct io_threads *all, struct io_thread *s, unsigned number);
/* The thread has ended, or there was none. Frees s. */
void io_thread_free(struct io_thread **s_p);
/* [main] While there is no thread: does what was commanded. */
void io_thread_catch_up(struct io_thread *s);
/* What the thread does. */
void *io_thread_run(void *arg);
/* For listeners: a socket for another loop goes there over the hub's. */
void io_thread_deal(void *ctx, unsigned loop, int fd, const struct address *remote,
		    const struct conn_kind *kind);

#endif
