/* What an I/O loop's conns have to tell the hub, or wait for, until there is room or memory on the
 * channel.
 */
#include "base/check.h"
#include "threads/io_thread_parts.h"

void io_thread_leave_list(struct io_thread *s, struct io_thread_conn *sc)
{
	if (sc->paused)
		TAILQ_REMOVE(&s->paused, sc, link);
	if (sc->retries)
		TAILQ_REMOVE(&s->retrying, sc, link);
	sc->paused = sc->retries = false;
}

void io_thread_retry_later(struct io_thread *s, struct io_thread_conn *sc)
{
	io_thread_leave_list(s, sc);
	CHECK(sc->magic == CHECK_IO_THREAD_CONN && io_thread_of(sc->conn) == s);
	sc->retries = true;
	TAILQ_INSERT_TAIL(&s->retrying, sc, link);
	loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
}

/* --- ends ------------------------------------------------------------------------------------- */

void io_thread_on_ended(struct conn *c, enum conn_end end, uint16_t code, const char *reason,
			size_t len, const char *why)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r = channel_up(&s->remote_conn.channel, CHANNEL_ENDED,
					      sizeof(struct channel_ended) + len);
	io_thread_leave_list(s, sc);
	if (r == NULL) { /* the reason is lost */
		sc->end = (uint8_t)end;
		sc->code = code;
		sc->why = why;
		io_thread_retry_later(s, sc);
		return;
	}
	struct channel_ended *ended = (struct channel_ended *)r->bytes;
	r->conn = sc->stub;
	r->code = code;
	*ended = (struct channel_ended){.why = why, .end = end};
	if (len > 0)
		memcpy(ended->reason, reason, len);
}

void io_thread_on_withdrawn(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	if (io_thread_of(c)->ended) /* see io_thread_on_gone */
		return;
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_WITHDRAWN, 0);
	if (r != NULL) {
		r->conn = sc->stub;
		return;
	}
	sc->withdrawn = true;
	io_thread_retry_later(io_thread_of(c), sc);
}

void io_thread_break(struct conn *c, const char *why)
{
	conn_abort(c);
	io_thread_on_ended(c, CONN_END_TRANSPORT, CLOSE_ABNORMAL, NULL, 0, why);
}

/* --- room ------------------------------------------------------------------------------------- */

/* Too much is under way to read more from anybody; those who send are read again when it is
 * less. */
bool io_thread_ready(struct conn *c)
{
	struct io_thread *s = io_thread_of(c);
	struct io_thread_conn *sc = io_thread_conn_of(c);
	if (sc->paused || sc->retries || ring_waiting(&s->remote_conn.channel.up) <= CHANNEL_UP_MAX)
		return !sc->paused;
	sc->paused = true;
	TAILQ_INSERT_TAIL(&s->paused, sc, link);
	loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
	conn_pause(c, CONN_PAUSE_HUB, true);
	return false;
}

static bool io_thread_retry_one(struct io_thread *s, struct io_thread_conn *sc)
{
	struct channel_ended *ended;
	struct channel_record *r =
		channel_up(&s->remote_conn.channel,
			   sc->withdrawn ? CHANNEL_WITHDRAWN : CHANNEL_ENDED, sizeof *ended);
	if (r == NULL)
		return false;
	r->conn = sc->stub;
	r->code = sc->code;
	ended = (struct channel_ended *)r->bytes;
	*ended = (struct channel_ended){.why = sc->why, .end = (enum conn_end)sc->end};
	return true;
}

/* Is there room, or memory, again? A connection that goes on may use the room up, and stand at the
 * end of the list anew. */
void io_thread_on_retry(void *arg)
{
	struct io_thread *s = arg;
	CHECK_IS(s, CHECK_IO_THREAD);
	struct io_thread_conn *sc, *last = TAILQ_LAST(&s->paused, io_thread_list);
	while ((sc = TAILQ_FIRST(&s->retrying)) != NULL && io_thread_retry_one(s, sc)) {
		io_thread_leave_list(s, sc);
		if (sc->breaks)
			conn_abort(sc->conn);
	}
	while ((sc = TAILQ_FIRST(&s->paused)) != NULL &&
	       ring_waiting(&s->remote_conn.channel.up) <= CHANNEL_UP_MAX / 2) {
		bool done = sc == last;
		io_thread_leave_list(s, sc);
		conn_pause(sc->conn, CONN_PAUSE_HUB, false);
		if (done)
			break;
	}
	if (!TAILQ_EMPTY(&s->retrying) || !TAILQ_EMPTY(&s->paused))
		loop_timer_set(&s->retry, IO_THREAD_RETRY_MS);
}
