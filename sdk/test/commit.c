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
		return "a command was based on state that somebody else has set meanwhile, or a join did not find what it asks for";
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
	free(c->info);
	free(c->user);
	free(c->among.rooms);
	free(c->among.except);
	free(c->among.exclude);
	for (size_t i = 0; i < c->among.n_users; i++)
		free(c->among.users[i]);
	free(c->among.users);
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

/* --- several, and who they are ---------------------------------------------------------------- */

const char *commit_user(const struct harness_peer *p)
{
	return p->user[0] != '\0' ? p->user : p->subject;
}

static bool commit_is_in_one(const struct harness_peer *p, char (*rooms)[RULES_NAME_MAX + 1],
			     size_t n)
{
	bool in = false;
	for (size_t i = 0; i < n && !in; i++)
		in = commit_is_member(p, rooms[i]);
	return in;
}

static bool commit_is_meant(const struct harness_peer *p, const struct harness_among *among)
{
	const char *user = commit_user(p);
	bool in = !p->gone && p->closed == 0 &&
		  (among->n_rooms == 0 || commit_is_in_one(p, among->rooms, among->n_rooms)) &&
		  !commit_is_in_one(p, among->except, among->n_except);
	for (size_t i = 0; i < among->n_exclude && in; i++)
		in = !tova_ws_eq(p->ws, among->exclude[i]);
	for (size_t i = 0; i < among->n_users && in; i++)
		in = user == NULL || strcmp(user, among->users[i]) != 0;
	return in;
}

static void commit_among(tova_test *t, const struct harness_command *c)
{
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next) {
		if (!commit_is_meant(p, &c->among))
			continue;
		if (c->kind == HARNESS_AMONG)
			commit_give(p, c->message);
		else
			p->closed = c->code != 0 ? c->code : 1005;
	}
	for (size_t i = 0; i < c->among.n_rooms && c->kind == HARNESS_AMONG && c->code == 0; i++)
		history_keep(t, c->among.rooms[i], c->message);
}

static void commit_replace(tova_test *t, const struct harness_peer *by, const char *room)
{
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next)
		if (p != by && !p->gone && p->closed == 0 && commit_is_member(p, room))
			p->closed = 4409;
}

/* Has another member before it in the list the same user? */
static bool commit_is_repeated(const tova_test *t, const struct harness_peer *of, const char *room)
{
	const char *user = commit_user(of);
	for (const struct harness_peer *p = t->peers; p != of && user != NULL; p = p->next)
		if (!p->gone && p->closed == 0 && commit_is_member(p, room) &&
		    commit_user(p) != NULL && strcmp(commit_user(p), user) == 0)
			return true;
	return false;
}

/* Does it find what it asks for? Commands before it have been done. */
static bool commit_may_join(const tova_test *t, const struct harness_command *c,
			    const struct harness_peer *by)
{
	const tova_conditions *asked = &c->conditions;
	const char *user = commit_user(by);
	uint32_t members = 0, users = 0;
	bool known = commit_is_member(by, c->name), in = known;
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next) {
		if (p->gone || p->closed != 0 || p == by || !commit_is_member(p, c->name))
			continue;
		members++;
		users += !commit_is_repeated(t, p, c->name);
		known = known || (user != NULL && commit_user(p) != NULL &&
				  strcmp(commit_user(p), user) == 0);
	}
	return asked->replace || ((!asked->first || members == 0) &&
				  (in || asked->max == 0 || members < asked->max) &&
				  (known || asked->users_max == 0 || users < asked->users_max));
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
		if (c->conditions.replace)
			commit_replace(t, p, c->name);
		break;
	case HARNESS_PROLONG:
		break;
	case HARNESS_LEAVE_ALL:
		commit_leave_all(p);
		break;
	case HARNESS_INFO:
		if (c->info != NULL)
			strcpy(p->info, c->info);
		if (c->user != NULL)
			strcpy(p->user, c->user);
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
	else if (c->kind == HARNESS_AMONG || c->kind == HARNESS_CLOSE_ROOM)
		commit_among(t, c);
	else if (c->kind == HARNESS_SET_ROOM)
		kept_set(t, c->name, c->bytes, c->len);
	else if (c->kind == HARNESS_CANCEL)
		commit_remove_timer(commit_find_timer(t, c->ws, c->name));
	else if (c->kind == HARNESS_WATCH)
		presence_watch(t, c);
	else if (c->kind == HARNESS_UNWATCH ||
		 (c->kind == HARNESS_UNWATCH_EMPTY && presence_is_empty(t, c->name)))
		presence_unwatch(t, c->name);
	else if (c->kind == HARNESS_UNWATCH_EMPTY)
		return;
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
		if (c->kind == HARNESS_SET_ROOM && !kept_holds(t, c))
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

/* What a dry run changes of a peer. */
struct commit_before {
	struct harness_room *rooms;
	uint16_t closed;
	char user[RULES_NAME_MAX + 1], info[RULES_INFO_MAX + 1];
};

static void commit_remember(struct harness_peer *p, struct commit_before *before)
{
	*before = (struct commit_before){.rooms = p->rooms, .closed = p->closed};
	strcpy(before->user, p->user);
	strcpy(before->info, p->info);
	p->rooms = NULL;
	for (const struct harness_room *r = before->rooms; r != NULL; r = r->next)
		commit_join(p, r->name);
}

static void commit_restore(struct harness_peer *p, const struct commit_before *before)
{
	commit_leave_all(p);
	p->rooms = before->rooms;
	p->closed = before->closed;
	strcpy(p->user, before->user);
	strcpy(p->info, before->info);
}

static bool commit_asks(const struct harness_command *c)
{
	return c->kind == HARNESS_JOIN &&
	       (c->conditions.max > 0 || c->conditions.users_max > 0 || c->conditions.first);
}

/* Does every join find what it asks for, when those before it have been done? */
static bool commit_finds(tova_test *t)
{
	bool asks = false, ok = true;
	size_t n = 0;
	for (const struct harness_command *c = t->commands; c != NULL; c = c->next)
		asks = asks || commit_asks(c);
	for (const struct harness_peer *p = t->peers; p != NULL; p = p->next)
		n++;
	if (!asks)
		return true;
	struct commit_before *before = harness_alloc((n + 1) * sizeof *before);
	n = 0;
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next)
		commit_remember(p, &before[n++]);
	uint64_t stale = t->stale;
	for (const struct harness_command *c = t->commands; c != NULL && ok; c = c->next) {
		struct harness_peer *p = harness_find(t, c->ws);
		ok = !commit_asks(c) || p == NULL || commit_may_join(t, c, p);
		if (ok && c->kind == HARNESS_JOIN && p != NULL) {
			commit_join(p, c->name); /* and is not sent what the room remembers */
			if (c->conditions.replace)
				commit_replace(t, p, c->name);
		}
		if (ok && (c->kind == HARNESS_LEAVE || c->kind == HARNESS_LEAVE_ALL ||
			   c->kind == HARNESS_INFO || c->kind == HARNESS_CLOSE ||
			   c->kind == HARNESS_CLOSE_ROOM))
			commit_one(t, c);
	}
	t->stale = stale;
	n = 0;
	for (struct harness_peer *p = t->peers; p != NULL; p = p->next)
		commit_restore(p, &before[n++]);
	free(before);
	return ok;
}

void commit_apply(tova_test *t)
{
	if (!commit_holds(t) || !commit_finds(t))
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
