/* commit: what commands do when their callback has succeeded. */
#include <stdlib.h>

#include "test/harness.h"

int commit_spoil(tova_test *t, int error)
{
	if (t->error == TOVA_OK)
		t->error = error;
	return error;
}

struct harness_command *commit_add(tova_test *t, enum harness_kind kind, tova_ws ws)
{
	struct harness_command *c = harness_alloc(sizeof *c);
	c->kind = kind;
	c->ws = ws;
	*t->commands_end = c;
	t->commands_end = &c->next;
	return c;
}

const char *commit_error_text(int error)
{
	switch (error) {
	case TOVA_E_ROOM:
		return RULES_E_ROOM;
	case TOVA_E_UTF8:
		return RULES_E_UTF8;
	case TOVA_E_LIMIT:
		return RULES_E_LIMIT;
	case TOVA_E_STATE:
		return "a command was based on state that somebody else has set meanwhile";
	case TOVA_E_MEMORY:
		return RULES_E_MEMORY;
	default:
		return RULES_E_ARG;
	}
}

void commit_free_messages(struct harness_message *list)
{
	for (struct harness_message *m; (m = list) != NULL;) {
		list = m->next;
		free(m->key);
		free(m);
	}
}

static void commit_free(struct harness_command *c)
{
	commit_free_messages(c->message);
	free(c->bytes);
	free(c->expected);
	free(c);
}

/* --- rooms ------------------------------------------------------------------------------------ */

static struct harness_room **commit_room(struct harness_peer *p, const char *name)
{
	struct harness_room **at = &p->rooms;
	while (*at != NULL && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

bool commit_is_member(const struct harness_peer *p, const char *room)
{
	const struct harness_room *r = p->rooms;
	while (r != NULL && strcmp(r->name, room) != 0)
		r = r->next;
	return r != NULL;
}

static void commit_join(struct harness_peer *p, const char *name)
{
	struct harness_room **at = commit_room(p, name);
	if (*at != NULL)
		return;
	*at = harness_alloc(sizeof **at);
	strcpy((*at)->name, name);
}

static void commit_leave(struct harness_room **at)
{
	struct harness_room *r = *at;
	if (r == NULL)
		return;
	*at = r->next;
	free(r);
}

void commit_leave_all(struct harness_peer *p)
{
	while (p->rooms != NULL)
		commit_leave(&p->rooms);
}

/* --- messages --------------------------------------------------------------------------------- */

struct harness_message *commit_copy(const struct harness_message *message)
{
	struct harness_message *copy = harness_alloc(sizeof *copy + message->payload.len + 1);
	*copy = (struct harness_message){.payload = message->payload};
	memcpy(copy->bytes, message->bytes, message->payload.len + 1);
	copy->payload.data = copy->bytes;
	if (message->key != NULL) {
		copy->key = harness_alloc(message->payload.key_len + 1);
		memcpy(copy->key, message->key, message->payload.key_len + 1);
		copy->payload.key = copy->key;
	}
	return copy;
}

void commit_give(struct harness_peer *p, const struct harness_message *message)
{
	struct harness_message **end = &p->inbox;
	if (p->closed != 0) /* as in the host: what follows its close is not sent */
		return;
	while (*end != NULL)
		end = &(*end)->next;
	*end = commit_copy(message);
}

static void commit_broadcast(tova_test *t, const struct harness_command *c, bool to_room)
{
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next)
		if (!p->gone && !tova_ws_eq(p->ws, c->ws) &&
		    (!to_room || commit_is_member(p, c->name)))
			commit_give(p, c->message);
	if (to_room && c->code == 0)
		history_keep(t, c->name, c->message);
}

/* --- timers ----------------------------------------------------------------------------------- */

static struct harness_timer **commit_find_timer(tova_test *t, tova_ws ws, const char *name)
{
	struct harness_timer **at = &t->timers;
	while (*at != NULL && !(tova_ws_eq((*at)->ws, ws) && strcmp((*at)->name, name) == 0))
		at = &(*at)->next;
	return at;
}

static void commit_remove_timer(struct harness_timer **at)
{
	struct harness_timer *timer = *at;
	if (timer == NULL)
		return;
	*at = timer->next;
	free(timer);
}

static void commit_set_timer(tova_test *t, const struct harness_command *c)
{
	struct harness_timer **at = commit_find_timer(t, c->ws, c->name), *timer = *at;
	if (timer != NULL && timer->id == c->timer.id && timer->delay_ms == c->timer.delay_ms &&
	    timer->period_ms == c->timer.period_ms)
		return;
	commit_remove_timer(at);
	timer = harness_alloc(sizeof *timer);
	*timer = (struct harness_timer){.next = t->timers,
					.ws = c->ws,
					.id = c->timer.id,
					.delay_ms = c->timer.delay_ms,
					.period_ms = c->timer.period_ms,
					.due = t->now + c->timer.delay_ms,
					.order = ++t->orders};
	strcpy(timer->name, c->name);
	t->timers = timer;
}

void commit_cancel_all(tova_test *t, tova_ws ws)
{
	for (struct harness_timer **at = &t->timers; *at != NULL;) {
		if (tova_ws_eq((*at)->ws, ws))
			commit_remove_timer(at);
		else
			at = &(*at)->next;
	}
}

/* --- all -------------------------------------------------------------------------------------- */

static void commit_to_peer(tova_test *t, const struct harness_command *c, struct harness_peer *p)
{
	switch (c->kind) {
	case HARNESS_SEND:
		commit_give(p, c->message);
		break;
	case HARNESS_JOIN:
		commit_join(p, c->name);
		if (c->want.how != 0)
			history_give(t, p, c);
		break;
	case HARNESS_LEAVE:
		commit_leave(commit_room(p, c->name));
		break;
	case HARNESS_CLOSE:
		if (p->closed == 0)
			p->closed = c->code != 0 ? c->code : 1005;
		break;
	case HARNESS_SET:
	case HARNESS_SET_IF:
		memset(p->data, 0, sizeof p->data);
		if (c->len > 0)
			memcpy(p->data, c->bytes, c->len);
		if (p == t->own)
			t->data_used = false;
		break;
	default:
		commit_set_timer(t, c);
		break;
	}
}

static void commit_one(tova_test *t, const struct harness_command *c)
{
	bool of_mount = tova_ws_eq(c->ws, TOVA_NONE);
	struct harness_peer *p;
	if (c->kind == HARNESS_BROADCAST || c->kind == HARNESS_BROADCAST_TO)
		commit_broadcast(t, c, c->kind == HARNESS_BROADCAST_TO);
	else if (c->kind == HARNESS_CANCEL)
		commit_remove_timer(commit_find_timer(t, c->ws, c->name));
	else if (c->kind == HARNESS_TIMER && of_mount)
		commit_set_timer(t, c);
	else if ((p = harness_find(t, c->ws)) != NULL)
		commit_to_peer(t, c, p);
	else
		t->stale++;
}

/* Does every set_if find what it expects, and every join what it must? */
static bool commit_holds(tova_test *t)
{
	for (const struct harness_command *c = t->commands; c != NULL; c = c->next) {
		const struct harness_peer *p = harness_find(t, c->ws);
		unsigned char expected[RULES_DATA_MAX] = {0};
		if (p != NULL && !history_holds(t, c))
			return false;
		if (c->kind != HARNESS_SET_IF || p == NULL)
			continue;
		if (c->expected_len > 0)
			memcpy(expected, c->expected, c->expected_len);
		if (memcmp(expected, p->data, t->plugin.data_size) != 0)
			return false;
	}
	return true;
}

void commit_apply(tova_test *t)
{
	if (!commit_holds(t))
		commit_spoil(t, TOVA_E_STATE);
	while (t->error == TOVA_OK && t->commands != NULL) {
		struct harness_command *c = t->commands;
		t->commands = c->next;
		if (c->kind != HARNESS_QUERY) {
			commit_one(t, c);
			commit_free(c);
			continue;
		}
		c->next = NULL;
		*t->queries_end = c;
		t->queries_end = &c->next;
	}
	commit_drop(t);
}

void commit_drop(tova_test *t)
{
	for (struct harness_command *c; (c = t->commands) != NULL;) {
		t->commands = c->next;
		commit_free(c);
	}
	t->commands_end = &t->commands;
}
