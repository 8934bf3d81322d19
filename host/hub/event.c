#include "hub/event.h"

#include <stdio.h>
#include <stdlib.h>

#include "ws/header.h"

const char *event_name(enum event_kind kind)
{
	static const char *const names[EVENT_KINDS] = {"upgrade", "open", "message", "close", "error", "timer", "reply", "wake"};
	return names[kind];
}

/* What of the event lies elsewhere. */
static struct span event_bytes(const struct hub_event *e)
{
	switch (e->kind) {
	case EVENT_UPGRADE:
	case EVENT_OPEN:
		return e->request->head;
	case EVENT_MESSAGE:
		return (struct span){(const char *)e->message.bytes, e->message.len};
	case EVENT_ERROR:
		return e->error.text;
	case EVENT_TIMER:
		return span_of(e->timer.name);
	case EVENT_REPLY:
		return e->query.room;
	default:
		return (struct span){0};
	}
}

static void event_point_at(struct hub_event *e, char *bytes, size_t len)
{
	switch (e->kind) {
	case EVENT_MESSAGE:
		e->message.bytes = (uint8_t *)bytes;
		break;
	case EVENT_ERROR:
		e->error.text = (struct span){bytes, len};
		break;
	case EVENT_TIMER:
		e->timer.name = bytes;
		break;
	case EVENT_REPLY:
		e->query.room = (struct span){bytes, len};
		break;
	default:
		break;
	}
}

/* A request's facts lie in front of its bytes. */
static size_t event_facts(const struct hub_event *e)
{
	return e->kind == EVENT_UPGRADE || e->kind == EVENT_OPEN ? sizeof(struct event_request) : 0;
}

static void event_keep_facts(struct event_held *h, struct span head)
{
	struct event_request *facts = (struct event_request *)h->bytes;
	*facts = *h->event.request;
	facts->request = NULL;
	facts->head = head;
	h->event.request = facts;
	h->event.answer = NULL;
}

struct event_held *event_hold(const struct hub_event *e)
{
	struct span bytes = event_bytes(e);
	size_t facts = event_facts(e);
	struct event_held *h = malloc(sizeof *h + facts + bytes.n + 1);
	if (h == NULL)
		return NULL;
	*h = (struct event_held){.event = *e, .size = sizeof *h + facts + bytes.n + 1};
	char *copy = h->bytes + facts;
	if (bytes.n > 0)
		memcpy(copy, bytes.p, bytes.n);
	copy[bytes.n] = '\0';
	if (facts > 0)
		event_keep_facts(h, (struct span){copy, bytes.n});
	else
		event_point_at(&h->event, copy, bytes.n);
	return h;
}

bool event_answer_header(struct event_answer *a, const char *name, const char *value)
{
	size_t room = sizeof a->head - a->head_len;
	int n = header_ok(name, value) ? snprintf(a->head + a->head_len, room, "%s: %s\r\n", name, value) : -1;
	if (n < 0 || (size_t)n >= room)
		return false;
	a->head_len += (size_t)n;
	return true;
}
