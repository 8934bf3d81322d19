/* What is done about conns that have waited for too long. */
#include "base/check.h"
#include "net/conn_parts.h"

/* Of those that wait for the same so many are looked at together, and the next ones so much
 * later: CONNS_LOOK_MS. */
#define CONNS_LOOKS_MIN 16
#define CONNS_LOOKS_MAX 256

static void conn_timeout_tls_late(struct conn *c)
{
	char text[ADDRESS_TEXT];
	const struct tls *tls = conn_tls(c);
	if (tls == NULL || tls_is_open(tls) || !tls_has_begun(tls))
		return;
	c->conns->loop->stats.tls_failures++;
	LOG(c->conns->loop->log, LOG_INFO, LOG_TLS,
	    "a TLS handshake did not come to its end in time",
	    LOG_STR("remote", conn_remote_text(c, text)));
}

static void conn_timeout_head_timeout(struct conn *c)
{
	if (c->state == CONN_PROXY) {
		client_addr_late(c);
	} else if (c->state == CONN_HEAD && conn_stash(c) != NULL) {
		conn_refuse(c, NULL, 408, "the request head did not come in time");
		conn_watch(c);
	} else if (conn_moves(c, c->conns->limits.head_ms)) {
		conn_wait(c,
			  CONN_WAIT_HEAD); /* our answer to the last request is still being taken */
	} else {
		conn_timeout_tls_late(c);
		conn_kill(c); /* a connection that was opened in advance and not used */
	}
}

/* A slow download goes on as long as it moves. */
static void conn_timeout_answer_timeout(struct conn *c, uint32_t now)
{
	uint32_t head = c->conns->limits.head_ms;
	bool quiet = conn_rest_is_quiet(c) && !conn_has_unsent(c);
	if (quiet || now - c->last_in < head || conn_moves(c, head))
		conn_wait(c, CONN_WAIT_ANSWER);
	else
		conn_cut(c, "connection cut: nobody takes the answer to its request");
}

/* It has been silent for long. A ping, or the answer to it, may be behind much that it takes
 * slowly. */
static bool conn_timeout_lives(struct conn *c)
{
	if (conn_has_unsent(c))
		return conn_took(c);
	if (c->more != NULL)
		c->more->taken = 0;
	return false;
}

/* How late an entry of the list of idle ones may be looked at again. */
static uint32_t conns_idle_lead(const struct conns *s)
{
	return s->waits[CONN_WAIT_IDLE].after_ms * 3 / 2 + CONNS_LOOK_MS;
}

/* One for each ping_ms of silence, and never late: before the next look it could be. */
static bool conn_timeout_ping_due(const struct conn *c, uint32_t silent)
{
	uint32_t lead = conns_idle_lead(c->conns), ping = c->conns->limits.ping_ms,
		 before = c->since - c->last_in;
	if (before > silent) /* it was heard since the last look */
		before = 0;
	return ping != 0 && (silent + lead) / ping > (before + lead) / ping &&
	       !outq_has_urgent(&c->out);
}

static void conn_timeout_idle_timeout(struct conn *c, uint32_t now)
{
	uint32_t idle = c->conns->limits.idle_ms, silent = now - c->last_in;
	/* Where we do not listen for our own reasons, its silence says nothing. */
	if (c->paused & (CONN_PAUSE_HOLD | CONN_PAUSE_HUB | CONN_PAUSE_BUDGET) ||
	    (idle != 0 && silent >= idle / 2 && conn_timeout_lives(c))) {
		c->last_in = now;
	} else if (idle != 0 && silent >= idle) {
		c->conns->loop->stats.idle_ended++;
		conn_hear_last(c);
		conn_kill(c);
		conn_end(c, CONN_END_IDLE, CLOSE_ABNORMAL, (struct span){0},
			 "silent for longer than --idle-timeout");
		return;
	} else if (conn_timeout_ping_due(c, silent) &&
		   !conn_queue_control(c, FRAME_PING, NULL, 0)) {
		conn_lost(c, "no memory to ping it");
		return;
	}
	conn_wait(c, CONN_WAIT_IDLE);
}

/* Where the answer comes from another loop it comes later, and may not come at all if that has too
 * little memory to be asked. */
static void conn_timeout_ask_timeout(struct conn *c)
{
	conn_wait(c, CONN_WAIT_ASK);
	c->conns->ops->unanswered(c);
}

/* Its handler still works on earlier messages; the peer shall not wait for that. */
static void conn_timeout_close_unanswered(struct conn *c)
{
	char remote[ADDRESS_TEXT];
	LOG(c->conns->loop->log, LOG_NOTICE, LOG_CONN_CLOSE,
	    "answers are not waited for: its handler needs longer than --close-timeout for "
	    "earlier messages",
	    LOG_STR("remote", conn_remote_text(c, remote)));
	conn_echo_close(c);
}

static void conn_timeout_outstay(struct conn *c)
{
	c->conns->outstaying += !c->more->outstays;
	c->more->outstays = true;
	conn_wait(c, CONN_WAIT_CLOSE);
}

static void conn_timeout_close_timeout(struct conn *c)
{
	if (c->state == CONN_CLOSED || c->state == CONN_LEAVING)
		conn_timeout_close_unanswered(c);
	else if (conn_moves(c, c->conns->limits.close_ms))
		conn_timeout_outstay(c);
	else
		conn_cut(c,
			 "connection cut: its peer does not take what was sent before the close");
}

static void conn_timeout(struct conn *c, enum conn_wait which, uint32_t now)
{
	switch ((int)which) {
	case CONN_WAIT_HEAD:
		conn_timeout_head_timeout(c);
		break;
	case CONN_WAIT_ANSWER:
		conn_timeout_answer_timeout(c, now);
		break;
	case CONN_WAIT_ASK:
		conn_timeout_ask_timeout(c);
		break;
	case CONN_WAIT_BODY:
		conn_body_timeout(c);
		conn_watch(c);
		break;
	case CONN_WAIT_IDLE:
		conn_timeout_idle_timeout(c, now);
		break;
	case CONN_WAIT_CLOSE:
		conn_timeout_close_timeout(c);
		break;
	}
}

/* --- all of them ------------------------------------------------------------------------------ */

/* How many of a list are looked at in a turn, the others CONNS_LOOK_MS later. Many that came at
 * once are due at once; idle ones are spread over half the time of their list, so that their pings
 * do not leave together, then or ever again. */
static uint32_t conns_looks(const struct conns *s, enum conn_wait which)
{
	const struct conn_list *list = &s->waits[which];
	uint64_t spread = 2 * (uint64_t)list->n * CONNS_LOOK_MS / list->after_ms + CONNS_LOOKS_MIN;
	return which == CONN_WAIT_IDLE && spread < CONNS_LOOKS_MAX ? (uint32_t)spread
								   : CONNS_LOOKS_MAX;
}

static void conns_look(struct conns *s, enum conn_wait which, uint32_t now)
{
	struct conn_list *list = &s->waits[which];
	uint32_t looks = list->after_ms != 0 ? conns_looks(s, which) : 0;
	struct conn *c = NULL;
	while (looks > 0 && (c = TAILQ_FIRST(&list->list)) != NULL &&
	       now - c->since >= list->after_ms) {
		conn_timeout(c, which, now);
		looks--;
	}
	if (list->after_ms == 0 || (c = TAILQ_FIRST(&list->list)) == NULL)
		return;
	uint32_t waited = now - c->since,
		 left = waited < list->after_ms ? list->after_ms - waited : 0;
	conns_set_tick(s, loop_now(s->loop) + (left > CONNS_LOOK_MS ? left : CONNS_LOOK_MS));
}

void conns_on_tick(void *arg)
{
	struct conns *s = arg;
	CHECK_IS(s, CHECK_CONNS);
	uint32_t now = (uint32_t)loop_now(s->loop);
	s->tick_at = 0;
	for (int which = CONN_WAIT_HEAD; which < CONN_WAITS; which++)
		conns_look(s, (enum conn_wait)which, now);
}

/* So often that the timeout is kept to an eighth of itself, and a ping leaves at most a third of
 * its time early (conns_idle_lead), without a list entry moving for each message. */
uint32_t conns_idle_looks(const struct conn_limits *limits)
{
	uint32_t idle = limits->idle_ms / 12 + 1, ping = limits->ping_ms / 5 + 1;
	if (limits->idle_ms == 0 && limits->ping_ms == 0)
		return 0;
	return limits->idle_ms == 0 || (limits->ping_ms != 0 && ping < idle) ? ping : idle;
}
