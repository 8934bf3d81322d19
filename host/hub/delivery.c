#include "hub/delivery.h"

#include <stddef.h>
#include <stdlib.h>

#include "hub/hub.h"

/* --- lanes that have work --------------------------------------------------------------------------------------------------------- */

static struct lane *delivery_lane(struct mount *m, struct session *s)
{
	return s != NULL ? &s->lane : &m->lane;
}

static void delivery_make_ready(struct mount *m, struct lane *lane)
{
	if (lane->ready)
		return;
	lane->ready = true;
	lane->ready_next = NULL;
	if (m->ready_last != NULL)
		m->ready_last->ready_next = lane;
	else
		m->ready_first = lane;
	m->ready_last = lane;
}

static struct lane *delivery_next_ready(struct mount *m)
{
	struct lane *lane = m->ready_first;
	if (lane == NULL)
		return NULL;
	m->ready_first = lane->ready_next;
	if (m->ready_first == NULL)
		m->ready_last = NULL;
	lane->ready = false;
	return lane;
}

static bool delivery_wait(struct mount *m, struct session *s, const struct hub_event *e, bool front)
{
	struct event_held *h = event_hold(e);
	struct lane *lane = delivery_lane(m, s);
	if (h == NULL) {
		LOG(m->hub->log, LOG_ERROR, LOG_HANDLER, "no memory: an event is lost", LOG_STR("mount", m->path),
		    LOG_STR("event", event_name(e->kind)));
		return false;
	}
	if (front)
		lane_push_front(lane, h);
	else
		lane_push(lane, h);
	delivery_make_ready(m, lane);
	return true;
}

/* --- one event -------------------------------------------------------------------------------------------------------------------- */

/* A failure raises `error` for the connection, next of all its events. What can not be raised is logged. */
static void delivery_failed(struct mount *m, const struct hub_event *e, struct span why)
{
	char id[SESSION_ID_TEXT] = "";
	bool raise = e->session != NULL && !e->session->ended && e->kind != EVENT_ERROR && e->kind != EVENT_CLOSE &&
		     (m->handler->wants & EVENT_BIT(EVENT_ERROR)) != 0;
	m->hub->loop->stats.failures++;
	if (e->session != NULL)
		session_id_text(hub_session_id(m->hub, e->session), id);
	LOG(m->hub->log, raise ? LOG_INFO : LOG_WARN, LOG_HANDLER, "the handler failed", LOG_STR("mount", m->path),
	    LOG_STR("event", event_name(e->kind)), LOG_STR("conn", id[0] != '\0' ? id : NULL), LOG_SPAN("error", why));
	struct hub_event error = {.kind = EVENT_ERROR,
				  .session = e->session,
				  .attempt = 1,
				  .error = {.kind = EVENT_ERROR_HANDLER, .text = why}};
	if (raise)
		delivery_wait(m, e->session, &error, true);
}

static void delivery_before(struct mount *m, struct hub_event *e)
{
	e->sequence = ++delivery_lane(m, e->session)->sequence;
	e->attempt = 1;
	/* The close event is the last: earlier ones are settled, which is what the peer's close frame waits for. */
	if (e->kind == EVENT_CLOSE)
		conn_echo_close(session_conn(e->session));
}

static bool delivery_handle(struct mount *m, struct hub_event *e)
{
	struct span why = {0};
	struct commit *c = &m->commit;
	m->running = true;
	delivery_before(m, e);
	bool ok = true;
	if (m->handler->wants & EVENT_BIT(e->kind)) {
		commit_begin(c, e->session);
		m->hub->loop->stats.events++;
		ok = m->handler->ops->deliver(m->handler, e, c, &why) == HANDLER_DONE;
		if (ok && c->error != COMMIT_OK) {
			why = span_of(commit_error_text(c->error));
			ok = false;
		}
		if (ok) {
			m->hub->loop->stats.commits++;
			if (c->n > 0)
				hub_apply(m->hub, m, c);
		} else {
			commit_drop(c);
			delivery_failed(m, e, why);
		}
	}
	if (e->kind == EVENT_CLOSE)
		hub_session_over(e->session);
	if (m->hub->victims != NULL)
		hub_end_victims(m->hub);
	m->running = false;
	return ok;
}

/* --- many ------------------------------------------------------------------------------------------------------------------------- */

/* The next event of a lane; the one that comes behind all others is a session's close. */
static void delivery_handle_next(struct mount *m, struct lane *lane)
{
	struct event_held *h = lane_pop(lane);
	if (h == NULL) {
		struct session *s = (struct session *)((char *)lane - offsetof(struct session, lane));
		struct hub_event e = {
			.kind = EVENT_CLOSE,
			.session = s,
			.close = {.code = s->close_code, .reason = {s->close_reason, s->close_reason_len}, .rooms = &s->rooms},
		};
		delivery_handle(m, &e);
		return;
	}
	if (lane->first != NULL || (h->event.session != NULL && h->event.session->ended))
		delivery_make_ready(m, lane); /* behind the others, so that none starves */
	delivery_handle(m, &h->event);
	free(h);
}

void delivery_run(struct mount *m)
{
	struct lane *lane;
	while (!m->running && (lane = delivery_next_ready(m)) != NULL)
		delivery_handle_next(m, lane);
}

bool delivery_submit(struct mount *m, struct session *s, struct hub_event *e)
{
	e->session = s;
	if (e->kind != EVENT_UPGRADE && (m->running || delivery_lane(m, s)->first != NULL))
		return delivery_wait(m, s, e, false);
	bool ok = delivery_handle(m, e);
	if (m->ready_first != NULL)
		delivery_run(m);
	return ok;
}

void delivery_close(struct mount *m, struct session *s)
{
	delivery_make_ready(m, &s->lane);
	delivery_run(m);
}

void delivery_commit_start(struct mount *m, struct commit *c)
{
	m->running = true;
	hub_apply(m->hub, m, c);
	hub_end_victims(m->hub);
	m->running = false;
	delivery_run(m);
}
