#include "hub/event.h"

#include <stdlib.h>

const char *event_name(enum event_kind kind)
{
	static const char *const names[EVENT_KINDS] = {"upgrade", "open", "message", "close", "error", "timer", "reply", "wake"};
	return names[kind];
}

/* What of the event lies elsewhere. */
static struct span event_bytes(const struct hub_event *e)
{
	switch (e->kind) {
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

struct event_held *event_hold(const struct hub_event *e)
{
	struct span bytes = event_bytes(e);
	struct event_held *h = malloc(sizeof *h + bytes.n + 1);
	if (h == NULL)
		return NULL;
	h->event = *e;
	h->size = sizeof *h + bytes.n + 1;
	if (bytes.n > 0)
		memcpy(h->bytes, bytes.p, bytes.n);
	h->bytes[bytes.n] = '\0';
	event_point_at(&h->event, h->bytes, bytes.n);
	return h;
}
