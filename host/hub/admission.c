#include "hub/admission.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "hub/delivery.h"
#include "hub/hub.h"
#include "net/answer.h"
#include "ws/upgrade.h"

static void admission_refuse(struct hub *hub, struct conn *c, int status, struct span head, const char *why)
{
	char remote[CONN_ADDRESS_TEXT];
	hub->loop->stats.refused++;
	LOG(hub->log, LOG_INFO, LOG_UPGRADE, why, LOG_U64("status", (uint64_t)status),
	    LOG_STR("remote", conn_address_text(&c->remote, remote)));
	answer_error(c, status, head, why);
}

static void admission_refuse_by_handler(struct hub *hub, struct conn *c, const struct event_answer *answer)
{
	char remote[CONN_ADDRESS_TEXT];
	hub->loop->stats.refused++;
	LOG(hub->log, LOG_INFO, LOG_UPGRADE, "the handler refused an upgrade", LOG_U64("status", (uint64_t)answer->status),
	    LOG_STR("remote", conn_address_text(&c->remote, remote)));
	answer_respond(c, answer->status, (struct span){answer->head, answer->head_len},
		       answer->type[0] != '\0' ? answer->type : NULL, (struct span){answer->body, answer->body_len});
}

/* What the request alone decides: the mount, or NULL when it was refused. */
static struct mount *admission_mount(struct hub *hub, struct conn *c, const struct request *r)
{
	struct mount *m = hub_find_mount(hub, r->path);
	if (m == NULL)
		admission_refuse(hub, c, 404, (struct span){0}, "nothing takes WebSocket connections at this path");
	else if (hub->draining)
		admission_refuse(hub, c, 503, SPAN("Retry-After: 1\r\n"), "the host is stopping");
	else if (!upgrade_origin_ok(r, (const char *const *)hub->origins, hub->n_origins))
		admission_refuse(hub, c, 403, (struct span){0}, "pages of this origin may not connect");
	else
		return m;
	return NULL;
}

static bool admission_make_session(struct hub *hub, struct mount *m, struct session *s, const void *data)
{
	*s = (struct session){.mount = m};
	if (m->data_size > 0) {
		s->data = calloc(1, m->data_size);
		if (s->data == NULL)
			return false;
		if (data != NULL)
			memcpy(s->data, data, m->data_size);
	}
	if (!mount_add_session(m, s)) {
		free(s->data);
		return false;
	}
	s->local = slotmap_add(&hub->sessions, s);
	if (s->local == 0) {
		mount_remove_session(m, s);
		free(s->data);
		return false;
	}
	hub->loop->stats.opened++;
	hub->loop->stats.connections++;
	return true;
}

static void admission_open(struct hub *hub, struct mount *m, struct conn *c, const struct event_request *request)
{
	struct session *s = conn_session(c);
	struct hub_event e = {.kind = EVENT_OPEN, .request = request};
	char id[SESSION_ID_TEXT], remote[CONN_ADDRESS_TEXT];
	LOG(hub->log, LOG_DEBUG, LOG_CONN_OPEN, "connection opened", LOG_STR("mount", m->path),
	    LOG_STR("conn", (session_id_text(hub_session_id(hub, s), id), id)),
	    LOG_STR("remote", conn_address_text(&c->remote, remote)));
	delivery_submit(m, s, &e);
}

static void admission_accept(struct hub *hub, struct mount *m, struct conn *c, const struct event_request *request,
			     const struct event_answer *answer)
{
	if (!admission_make_session(hub, m, conn_session(c), answer->data)) {
		admission_refuse(hub, c, 503, (struct span){0}, "no memory for another connection");
		return;
	}
	if (conn_accept(c, request->request, span_of(answer->subprotocol), (struct span){answer->head, answer->head_len})) {
		admission_open(hub, m, c, request);
		return;
	}
	struct session *s = conn_session(c); /* no memory even for the 101: it never opened */
	mount_remove_session(m, s);
	s->ended = true;
	hub->loop->stats.connections--;
	hub_session_over(s);
}

static void admission_request_facts(struct event_request *e, const struct mount *m, struct conn *c, struct request *r)
{
	struct sockaddr_storage local = {.ss_family = AF_UNIX};
	socklen_t len = sizeof local;
	*e = (struct event_request){.request = r, .remote = c->remote, .mount_path = m->path};
	if (m->handler->wants & (EVENT_BIT(EVENT_UPGRADE) | EVENT_BIT(EVENT_OPEN)))
		getsockname(c->fd, (struct sockaddr *)&local, &len);
	conn_address_from(&e->local, (struct sockaddr *)&local);
}

void admission_upgrade(void *ctx, struct conn *c, struct request *r)
{
	struct hub *hub = ctx;
	struct event_answer answer;
	struct event_request request;
	struct mount *m = admission_mount(hub, c, r);
	if (m == NULL)
		return;
	answer.status = 0;
	answer.subprotocol[0] = answer.type[0] = '\0';
	answer.head_len = answer.body_len = 0;
	answer.body = NULL;
	answer.data = NULL;
	admission_request_facts(&request, m, c, r);
	struct hub_event e = {.kind = EVENT_UPGRADE};
	e.request = &request;
	e.answer = &answer;
	if ((m->handler->wants & EVENT_BIT(EVENT_UPGRADE)) != 0 && !delivery_submit(m, NULL, &e))
		admission_refuse(hub, c, 500, (struct span){0}, "the handler failed");
	else if (answer.status != 0)
		admission_refuse_by_handler(hub, c, &answer);
	else
		admission_accept(hub, m, c, &request, &answer);
	free(answer.body);
}

void admission_withdrawn(struct conn *c)
{
	conn_release(c); /* it had no session yet */
}
