#include "hub/event.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/header.h"
#include "common/utf8.h"
#include "auth/token.h"

const char *event_name(enum event_kind kind)
{
	static const char *const names[EVENT_KINDS] = {"upgrade", "open",  "message", "close",
						       "error",	  "timer", "reply",   "wake",
						       "away",	  "back",  "join",    "leave"};
	return names[kind];
}

static size_t event_presence_size(const struct event_presence *p)
{
	return sizeof *p + p->room_len + 1 + p->user_len + 1 + p->info_len + 1;
}

struct event_presence *event_presence_new(struct span room, struct span user, struct span info)
{
	struct event_presence *p =
		calloc(1, sizeof *p + room.n + 1 + user.n + 1 + info.n + 1);
	if (p == NULL)
		return NULL;
	p->room_len = (uint8_t)room.n;
	p->user_len = (uint32_t)user.n;
	p->info_len = (uint16_t)info.n;
	memcpy(p->texts, room.p, room.n);
	memcpy(p->texts + room.n + 1, user.p, user.n);
	if (info.n > 0)
		memcpy(p->texts + room.n + 1 + user.n + 1, info.p, info.n);
	return p;
}

/* What of the event lies elsewhere. */
static struct span event_bytes(const struct hub_event *e)
{
	switch (e->kind) {
	case EVENT_UPGRADE:
	case EVENT_OPEN:
	case EVENT_BACK:
		return e->request->head;
	case EVENT_MESSAGE:
		return (struct span){(const char *)e->message.bytes, e->message.len};
	case EVENT_ERROR:
		return e->error.text;
	case EVENT_TIMER:
		return span_of(e->timer.name);
	case EVENT_REPLY:
		return e->query.room;
	case EVENT_JOIN:
	case EVENT_LEAVE:
		return (struct span){(const char *)e->presence, event_presence_size(e->presence)};
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
	case EVENT_JOIN:
	case EVENT_LEAVE:
		e->presence = (const struct event_presence *)(const void *)bytes;
		break;
	default:
		break;
	}
}

/* A request's facts lie in front of its bytes, and the texts among them behind. */
struct event_facts {
	struct event_request request;
	struct token_claims token;
};

static bool event_has_facts(const struct hub_event *e)
{
	return e->kind == EVENT_UPGRADE || e->kind == EVENT_OPEN || e->kind == EVENT_BACK;
}

static size_t event_text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static size_t event_facts_size(const struct hub_event *e)
{
	if (!event_has_facts(e))
		return 0;
	const struct token_claims *token = e->request->token;
	const struct tls_facts *tls = &e->request->tls;
	size_t said =
		token != NULL ? event_text_size(token->text) + event_text_size(token->subject) : 0;
	return sizeof(struct event_facts) + said + event_text_size(tls->subject) +
	       event_text_size(tls->name);
}

static const char *event_keep_text(char **at, const char *text)
{
	char *copy = *at;
	if (text == NULL)
		return NULL;
	*at = stpcpy(copy, text) + 1;
	return copy;
}

/* Texts live with the connection, which may be gone before the event: copies of them follow the
 * head. */
static void event_keep_facts(struct event_held *h, char *head, size_t head_len)
{
	struct event_facts *facts = (struct event_facts *)h->bytes;
	const struct token_claims *token = h->event.request->token;
	char *at = head + head_len + 1;
	facts->request = *h->event.request;
	facts->request.request = NULL;
	facts->request.head = (struct span){head, head_len};
	facts->request.tls.subject = event_keep_text(&at, facts->request.tls.subject);
	facts->request.tls.name = event_keep_text(&at, facts->request.tls.name);
	if (token != NULL) {
		facts->token = *token;
		facts->token.text = (char *)event_keep_text(&at, token->text);
		facts->token.subject = (char *)event_keep_text(&at, token->subject);
		facts->request.token = &facts->token;
	}
	h->event.request = &facts->request;
	h->event.answer = NULL;
}

static inline struct event_held *event_held_new(const struct hub_event *e, size_t bytes)
{
	size_t size = sizeof(struct event_held) + bytes;
	struct event_held *h = malloc(size);
	if (h == NULL)
		return NULL;
	/* One by one: to clear all of it costs more than the rest of this. */
	h->magic = CHECK_EVENT;
	h->next = h->run_last = NULL;
	h->event = *e;
	h->size = size;
	h->memory = NULL;
	h->lane = NULL;
	h->single = h->suspect = h->embedded = h->turn = h->again = h->parked = false;
	h->conflicts = 0;
	h->with = NULL;
	h->number = h->since = 0;
	h->received = h->given = 0;
	h->blame = h->run = 0;
	return h;
}

struct event_held *event_hold(const struct hub_event *e)
{
	struct span bytes = event_bytes(e);
	struct event_held *h = event_held_new(e, event_facts_size(e) + bytes.n + 1);
	if (h == NULL)
		return NULL;
	char *copy = h->bytes + (event_has_facts(e) ? sizeof(struct event_facts) : 0);
	if (bytes.n > 0)
		memcpy(copy, bytes.p, bytes.n);
	copy[bytes.n] = '\0';
	if (event_has_facts(e))
		event_keep_facts(h, copy, bytes.n);
	else
		event_point_at(&h->event, copy, bytes.n);
	return h;
}

struct event_held *event_hold_memory(const struct hub_event *e, void *memory, size_t size)
{
	struct event_held *h = event_held_new(e, 0);
	if (h == NULL) {
		free(memory);
		return NULL;
	}
	h->memory = memory;
	h->size += size;
	h->event.message.bytes[e->message.len] = '\0';
	return h;
}

void event_held_free(struct event_held **h_p)
{
	struct event_held *h = *h_p;
	*h_p = NULL;
	if (h == NULL)
		return;
	CHECK_IS(h, CHECK_EVENT);
	if (h->memory != NULL)
		free(h->memory);
	h->magic = CHECK_GONE;
	if (!h->embedded)
		free(h);
}

void event_free_all(struct event_held **first_p)
{
	struct event_held *next;
	for (struct event_held *h = *first_p; h != NULL; h = next) {
		next = h->next;
		event_held_free(&h);
	}
	*first_p = NULL;
}

bool event_answer_identity(struct event_answer *a, struct span info, struct span user)
{
	if (info.n > RULES_INFO_MAX || !utf8_valid(info.p, info.n) ||
	    (info.n > 0 && memchr(info.p, '\0', info.n) != NULL) ||
	    (user.n > 0 && !rules_name_ok(user)))
		return false;
	if (info.p != NULL) {
		a->has_info = true;
		memcpy(a->info, info.p, info.n);
		a->info[info.n] = '\0';
	}
	if (user.p != NULL) {
		a->has_user = true;
		memcpy(a->user, user.p, user.n);
		a->user[user.n] = '\0';
	}
	return true;
}

bool event_answer_header(struct event_answer *a, const char *name, const char *value)
{
	size_t room = sizeof a->head - a->head_len;
	int n = header_ok(name, value)
			? snprintf(a->head + a->head_len, room, "%s: %s\r\n", name, value)
			: -1;
	if (n < 0 || (size_t)n >= room)
		return false;
	a->head_len += (size_t)n;
	return true;
}
