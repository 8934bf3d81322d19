/* What an I/O loop does about clients that read too slowly, and what it shows of them. */
#include "base/check.h"
#include "threads/io_thread_parts.h"

#define IO_THREAD_SHOW_MS 100 /* how old what is shown of slow connections may be */

/* --- what is shown ---------------------------------------------------------------------------- */

/* What people and the log are told of it. */
static void io_thread_slow_show_load(struct io_thread *s, struct io_thread_conn *sc)
{
	struct conn_load load = conn_load(sc->conn);
	load.given_up += sc->dropped;
	remote_conn_show(sc->stub, &load);
	if (sc->shown)
		return;
	sc->shown = true;
	TAILQ_INSERT_TAIL(&s->shown, sc, shown_link);
	if (!loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
}

/* Those that hold something, and once more those that do not any longer. */
void io_thread_on_show(void *arg)
{
	struct io_thread *s = arg;
	CHECK_IS(s, CHECK_IO_THREAD);
	struct memory_limit *h;
	struct io_thread_conn *sc, *next;
	for (sc = TAILQ_FIRST(&s->shown); sc != NULL; sc = next) {
		next = TAILQ_NEXT(sc, shown_link);
		io_thread_slow_show_load(s, sc);
		struct conn *c = sc->conn;
		if (c->out.stalled || sc->dropped > 0)
			continue;
		TAILQ_REMOVE(&s->shown, sc, shown_link);
		sc->shown = false;
	}
	LIST_FOREACH(h, &s->conns.memory_limits.list, link)
	{
		sc = io_thread_conn_of(h->conn);
		if (sc != NULL)
			io_thread_slow_show_load(s, sc);
	}
	if (!TAILQ_EMPTY(&s->shown))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
}

void io_thread_show(struct io_thread *s)
{
	const uint64_t *now = (const uint64_t *)&s->loop->stats;
	for (size_t i = 0; i < sizeof s->loop->stats / sizeof *now; i++)
		atomic_store_explicit(&s->stats[i], now[i], memory_order_relaxed);
	if (!LIST_EMPTY(&s->conns.memory_limits.list) && !loop_timer_is_set(&s->show))
		loop_timer_set(&s->show, IO_THREAD_SHOW_MS);
	if (s->draining)
		atomic_store(&s->remote_conn.busy, (int)conns_busy(&s->conns));
}

/* --- the policy ------------------------------------------------------------------------------- */

static void io_thread_slow_tell_slow(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r =
		sc->slow ? NULL
			 : channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_SLOW, 0);
	if (r == NULL)
		return;
	sc->slow = true;
	r->conn = sc->stub;
	io_thread_slow_show_load(io_thread_of(c), sc);
}

/* Here and in io_thread_refused is what hub/slow_consumer.c does for the conns of the hub's loop.
 */
bool io_thread_on_memory_limit(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	if (sc->drops && !sc->unsent && conn_lighten(c)) {
		io_thread_slow_tell_slow(c);
		return true;
	}
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_HEAVY, 0);
	sc->unsent = true;
	if (r != NULL) {
		r->conn = sc->stub;
		io_thread_slow_show_load(io_thread_of(c), sc);
		return false;
	}
	sc->breaks = true; /* not now: its caller has yet to do with it */
	sc->end = CONN_END_TRANSPORT;
	sc->code = CLOSE_ABNORMAL;
	sc->why = "no memory for what it is sent";
	io_thread_retry_later(io_thread_of(c), sc);
	return false;
}

void io_thread_on_gave_up(struct conn *c, uint32_t messages, bool gone)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_GAVE_UP, 0);
	sc->slow = false;
	sc->dropped += messages;
	/* they are told of with the next ones */
	if (r == NULL)
		return;
	r->conn = sc->stub;
	r->flag = gone;
	r->cost = sc->dropped;
	sc->dropped = 0;
	remote_conn_show(sc->stub,
			 &(struct conn_load){.given_up = 0}); /* they are the hub's from now on */
}

/* The hub thinks that it was sent, until it is told. */
static void io_thread_slow_tell_unsent(struct conn *c, enum conn_sent why)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	struct channel_record *r =
		channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_UNSENT, 0);
	if (r == NULL) {
		io_thread_break(c, "no memory for what it is sent");
		return;
	}
	sc->unsent = true;
	r->conn = sc->stub;
	r->code = (uint16_t)why;
	r->cost = sc->dropped;
	sc->dropped = 0;
	io_thread_slow_show_load(io_thread_of(c), sc);
}

void io_thread_refused(struct conn *c, struct out_message *o, enum conn_sent sent, bool own,
		       enum slow_policy policy)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	if ((sent != CONN_FULL && sent != CONN_NO_MEMORY) || sc->unsent)
		return;
	struct conn_refusal r = conn_refused(c, o, sent, own, policy);
	if (r.gives_up)
		io_thread_slow_tell_slow(c);
	sc->dropped += r.sent != CONN_SENT;
	if (r.over)
		io_thread_slow_tell_unsent(c, r.sent);
}

/* --- who is asked whether little waits for it ------------------------------------------------- */

void io_thread_on_drained(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	bool probed = sc != NULL && sc->probed; /* not while it answers a request */
	struct channel_record *r =
		probed ? channel_up(&io_thread_of(c)->remote_conn.channel, CHANNEL_DRAINED, 0)
		       : NULL;
	if (!probed)
		return;
	sc->probed = false;
	if (r != NULL)
		r->conn = sc->stub;
	else
		io_thread_break(c, "no memory to go on with it");
}

void io_thread_probe(struct conn *c)
{
	struct io_thread_conn *sc = io_thread_conn_of(c);
	if (c->state == CONN_DEAD || c->ended) /* which the hub knows, or will */
		return;
	sc->probed = true;
	if (conn_unread(c) <= c->conns->limits.queue_max / 2)
		io_thread_on_drained(c);
	else
		conn_pause(c, CONN_PAUSE_OUTPUT, true);
}
