/* table: the functions that a plugin can call, as the host has them. */
#include <stdlib.h>

#include "common/header.h"
#include "common/id.h"
#include "common/utf8.h"
#include "test/harness.h"

static int check(const tova_test *t, bool commands)
{
	if (!pthread_equal(pthread_self(), t->thread))
		return TOVA_E_THREAD;
	if (t->phase == HARNESS_IDLE || (commands && t->phase == HARNESS_SILENT))
		return TOVA_E_STATE;
	return TOVA_OK;
}

/* --- messages --------------------------------------------------------------------------------- */

static struct harness_message *message_of(tova_test *t, const tova_payload *p)
{
	if (!abi_payload_ok(p)) {
		commit_spoil(t, TOVA_E_ARG);
		return NULL;
	}
	struct span key = abi_payload_key(p);
	bool keyed = key.n > 0;
	int error = p->kind == TOVA_TEXT && !utf8_valid(p->data, p->len) ? TOVA_E_UTF8
		    : keyed && !rules_name_ok(key)			 ? TOVA_E_ARG
									 : TOVA_OK;
	if (error != TOVA_OK) {
		commit_spoil(t, error);
		return NULL;
	}
	struct harness_message *m = harness_alloc(sizeof *m + p->len + 1);
	m->payload = (tova_payload){.size = sizeof m->payload, .len = p->len, .kind = p->kind};
	if (p->len > 0)
		memcpy(m->bytes, p->data, p->len);
	m->payload.data = m->bytes;
	if (keyed) {
		m->key = harness_alloc(key.n + 1);
		memcpy(m->key, key.p, key.n);
		m->payload.key = m->key;
		m->payload.key_len = key.n;
	}
	return m;
}

static int add_message(tova_test *t, enum harness_kind kind, tova_ws ws, const tova_payload *p)
{
	struct harness_message *message = message_of(t, p);
	if (message == NULL)
		return t->error;
	commit_add(t, kind, ws)->message = message;
	return TOVA_OK;
}

static int add_named(tova_test *t, enum harness_kind kind, tova_ws ws, const char *name, size_t len)
{
	if (!rules_name_ok((struct span){name, len}))
		return commit_spoil(t, TOVA_E_ROOM);
	memcpy(commit_add(t, kind, ws)->name, name, len);
	return TOVA_OK;
}

static int table_send(tova_mount *m, tova_ws ws, const tova_payload *p)
{
	int refused = check(harness_of(m), true);
	return refused != TOVA_OK ? refused : add_message(harness_of(m), HARNESS_SEND, ws, p);
}

static int table_join(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	int refused = check(harness_of(m), true);
	return refused != TOVA_OK ? refused
				  : add_named(harness_of(m), HARNESS_JOIN, ws, room, room_len);
}

/* One whose request is `ok`. NULL: it is refused, as *refused_r says. */
static struct harness_command *table_join_with(tova_test *t, tova_ws ws, const char *room,
					       size_t room_len, bool ok, int *refused_r)
{
	*refused_r = check(t, true);
	if (*refused_r == TOVA_OK && !ok)
		*refused_r = commit_spoil(t, TOVA_E_ARG);
	else if (*refused_r == TOVA_OK && !rules_name_ok((struct span){room, room_len}))
		*refused_r = commit_spoil(t, TOVA_E_ROOM);
	if (*refused_r != TOVA_OK)
		return NULL;
	struct harness_command *c = commit_add(t, HARNESS_JOIN, ws);
	memcpy(c->name, room, room_len);
	return c;
}

static int table_join_history(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			      const tova_history *want)
{
	int refused;
	struct harness_command *c =
		table_join_with(harness_of(m), ws, room, room_len, abi_history_ok(want), &refused);
	if (c != NULL)
		c->want = *want;
	return refused;
}

static int table_leave(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	int refused = check(harness_of(m), true);
	return refused != TOVA_OK ? refused
				  : add_named(harness_of(m), HARNESS_LEAVE, ws, room, room_len);
}

static int table_join_if(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			 const tova_conditions *conditions)
{
	int refused;
	struct harness_command *c = table_join_with(harness_of(m), ws, room, room_len,
						    abi_join_if_ok(conditions), &refused);
	if (c != NULL)
		c->conditions = *conditions;
	return refused;
}

static int table_leave_all(tova_mount *m, tova_ws ws)
{
	int refused = check(harness_of(m), true);
	if (refused == TOVA_OK)
		commit_add(harness_of(m), HARNESS_LEAVE_ALL, ws);
	return refused;
}

/* Nobody verifies tokens here. */
static int table_prolong(tova_mount *m, tova_ws ws, const char *token, size_t token_len)
{
	int refused = check(harness_of(m), true);
	if (refused == TOVA_OK &&
	    (token_len == 0 || token_len > RULES_TOKEN_MAX || !utf8_valid(token, token_len)))
		refused = commit_spoil(harness_of(m), TOVA_E_ARG);
	if (refused == TOVA_OK)
		commit_add(harness_of(m), HARNESS_PROLONG, ws);
	return refused;
}

static int table_watch(tova_mount *m, const char *room, size_t room_len, uint32_t grace_ms)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused == TOVA_OK && grace_ms != TOVA_GRACE && grace_ms > RULES_GRACE_MAX_MS)
		refused = commit_spoil(t, TOVA_E_ARG);
	if (refused == TOVA_OK && !rules_name_ok((struct span){room, room_len}))
		refused = commit_spoil(t, TOVA_E_ROOM);
	if (refused != TOVA_OK)
		return refused;
	struct harness_command *c = commit_add(t, HARNESS_WATCH, TOVA_NONE);
	memcpy(c->name, room, room_len);
	c->grace_ms = grace_ms == TOVA_GRACE ? RULES_GRACE_MS : grace_ms;
	return TOVA_OK;
}

static int table_unwatch(tova_mount *m, const char *room, size_t room_len, uint32_t if_empty)
{
	int refused = check(harness_of(m), true);
	return refused != TOVA_OK
		       ? refused
		       : add_named(harness_of(m),
				   if_empty != 0 ? HARNESS_UNWATCH_EMPTY : HARNESS_UNWATCH,
				   TOVA_NONE, room, room_len);
}

static int check_among(tova_test *t, const tova_among *among)
{
	if (!abi_among_ok(among))
		return commit_spoil(t, TOVA_E_LIMIT);
	for (size_t i = 0; i < among->n_rooms; i++)
		if (!rules_name_ok(span_of(among->rooms[i])))
			return commit_spoil(t, TOVA_E_ROOM);
	for (size_t i = 0; i < among->n_exclude_rooms; i++)
		if (!rules_name_ok(span_of(among->exclude_rooms[i])))
			return commit_spoil(t, TOVA_E_ROOM);
	return TOVA_OK;
}

static void *copy_names(const char *const *names, size_t n)
{
	char(*copy)[RULES_NAME_MAX + 1] = harness_alloc((n + 1) * sizeof *copy);
	for (size_t i = 0; i < n; i++)
		strcpy(copy[i], names[i]);
	return copy;
}

static struct harness_command *add_among(tova_test *t, enum harness_kind kind,
					 const tova_among *among)
{
	struct harness_command *c = commit_add(t, kind, TOVA_NONE);
	struct harness_among *to = &c->among;
	to->n_rooms = among->n_rooms;
	to->rooms = copy_names(among->rooms, among->n_rooms);
	to->n_except = among->n_exclude_rooms;
	to->except = copy_names(among->exclude_rooms, among->n_exclude_rooms);
	to->n_exclude = among->n_exclude;
	to->exclude = harness_alloc((among->n_exclude + 1) * sizeof *to->exclude);
	for (size_t i = 0; i < among->n_exclude; i++)
		to->exclude[i] = among->exclude[i];
	to->users = harness_alloc((among->n_exclude_users + 1) * sizeof *to->users);
	for (; to->n_users < among->n_exclude_users; to->n_users++) {
		const char *user = among->exclude_users[to->n_users];
		to->users[to->n_users] = strcpy(harness_alloc(strlen(user) + 1), user);
	}
	return c;
}

static int table_broadcast_among(tova_mount *m, const tova_among *among, const tova_payload *p)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused == TOVA_OK)
		refused = check_among(t, among);
	if (refused != TOVA_OK)
		return refused;
	struct harness_message *message = message_of(t, p);
	if (message == NULL)
		return t->error;
	struct harness_command *c = add_among(t, HARNESS_AMONG, among);
	c->message = message;
	c->code = abi_payload_unkept(p);
	return TOVA_OK;
}

static int table_close_room(tova_mount *m, const tova_among *among, uint16_t code,
			    const char *reason, size_t reason_len)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused == TOVA_OK)
		refused = check_among(t, among);
	if (refused != TOVA_OK)
		return refused;
	if (among->n_rooms == 0)
		return commit_spoil(t, TOVA_E_LIMIT);
	if (!rules_close_ok(code, (struct span){reason, reason_len}))
		return commit_spoil(t, TOVA_E_ARG);
	if (!utf8_valid(reason, reason_len))
		return commit_spoil(t, TOVA_E_UTF8);
	add_among(t, HARNESS_CLOSE_ROOM, among)->code = code;
	return TOVA_OK;
}

static char *text_of(const char *text, size_t len)
{
	return text != NULL ? strncpy(harness_alloc(len + 1), text, len) : NULL;
}

/* Of the connection that is asked for. */
static void table_introduce(tova_test *t, const char *info, size_t info_len, const char *user,
			    size_t user_len)
{
	if (info != NULL)
		snprintf(t->info, sizeof t->info, "%.*s", (int)info_len, info);
	if (user != NULL)
		snprintf(t->user, sizeof t->user, "%.*s", (int)user_len, user);
}

static int table_info(tova_mount *m, tova_ws ws, const char *info, size_t info_len,
		      const char *user, size_t user_len)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if ((info == NULL && user == NULL) ||
	    (user != NULL && user_len > 0 && !rules_name_ok((struct span){user, user_len})))
		return commit_spoil(t, TOVA_E_ARG);
	if (info != NULL && (info_len > RULES_INFO_MAX || !utf8_valid(info, info_len)))
		return commit_spoil(t, TOVA_E_LIMIT);
	if (t->phase == HARNESS_UPGRADE && tova_ws_eq(ws, TOVA_NONE)) {
		table_introduce(t, info, info_len, user, user_len);
		return TOVA_OK;
	}
	struct harness_command *c = commit_add(t, HARNESS_INFO, ws);
	c->info = text_of(info, info_len);
	c->user = text_of(user, user_len);
	return TOVA_OK;
}

static const char *table_about(tova_mount *m, uint32_t what)
{
	const tova_test *t = harness_of(m);
	if (check(t, false) != TOVA_OK)
		return NULL;
	const struct harness_peer *own = t->own;
	if (own == NULL)
		return what == TOVA_USER && t->request != NULL	   ? t->request->subject
		       : what == TOVA_CLAIMS && t->request != NULL ? t->request->claims
								   : NULL;
	return what == TOVA_USER			   ? commit_user(own)
	       : what == TOVA_CLAIMS			   ? own->claims
	       : what == TOVA_INFO && own->info[0] != '\0' ? own->info
							   : NULL;
}

static int table_broadcast(tova_mount *m, const tova_payload *p, tova_ws exclude)
{
	int refused = check(harness_of(m), true);
	return refused != TOVA_OK ? refused
				  : add_message(harness_of(m), HARNESS_BROADCAST, exclude, p);
}

static int table_broadcast_to(tova_mount *m, const char *room, size_t room_len,
			      const tova_payload *p, tova_ws exclude)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (!rules_name_ok((struct span){room, room_len}))
		return commit_spoil(t, TOVA_E_ROOM);
	struct harness_message *message = message_of(t, p);
	if (message == NULL)
		return t->error;
	struct harness_command *c = commit_add(t, HARNESS_BROADCAST_TO, exclude);
	memcpy(c->name, room, room_len);
	c->message = message;
	c->code = abi_payload_unkept(p);
	return TOVA_OK;
}

static int table_close(tova_mount *m, tova_ws ws, uint16_t code, const char *reason,
		       size_t reason_len)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (!rules_close_ok(code, (struct span){reason, reason_len}))
		return commit_spoil(t, TOVA_E_ARG);
	if (!utf8_valid(reason, reason_len))
		return commit_spoil(t, TOVA_E_UTF8);
	commit_add(t, HARNESS_CLOSE, ws)->code = code;
	return TOVA_OK;
}

/* --- data ------------------------------------------------------------------------------------- */

static void *table_data(tova_mount *m)
{
	tova_test *t = harness_of(m);
	if (check(t, false) != TOVA_OK || t->plugin.data_size == 0 ||
	    (t->own == NULL && t->phase != HARNESS_UPGRADE))
		return NULL;
	if (!t->data_used) {
		if (t->own != NULL)
			memcpy(t->data, t->own->data, sizeof t->data);
		else
			memset(t->data, 0, sizeof t->data);
		t->data_used = true;
	}
	return t->data;
}

static unsigned char *copy_of(const void *data, size_t len)
{
	unsigned char *copy = harness_alloc(len + 1);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

static int table_room_state(tova_mount *m, tova_room_state *state_r)
{
	const tova_test *t = harness_of(m);
	int refused = check(t, false);
	if (refused != TOVA_OK)
		return refused;
	if (state_r == NULL || state_r->size < sizeof *state_r)
		return TOVA_E_ARG;
	const struct harness_room *first = t->own == NULL ? NULL
					   : t->own->gone ? t->own->left
							  : t->own->rooms;
	if ((t->plugin.flags & TOVA_ROOM_STATE) == 0 || first == NULL)
		return TOVA_E_STATE;
	kept_state(t, first->name, state_r);
	return TOVA_OK;
}

static int table_set_room(tova_mount *m, const char *room, size_t room_len, const void *data,
			  size_t len, uint64_t version)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (!rules_name_ok((struct span){room, room_len}))
		return commit_spoil(t, TOVA_E_ROOM);
	if (data == NULL && len > 0)
		return commit_spoil(t, TOVA_E_ARG);
	if (len > RULES_ROOM_STATE_MAX)
		return commit_spoil(t, TOVA_E_LIMIT);
	struct harness_command *c = commit_add(t, HARNESS_SET_ROOM, TOVA_NONE);
	memcpy(c->name, room, room_len);
	c->bytes = copy_of(data, len);
	c->len = len;
	c->version = version;
	return TOVA_OK;
}

static void *table_mount_data(tova_mount *m)
{
	tova_test *t = harness_of(m);
	if (check(t, true) != TOVA_OK || t->plugin.mount_size == 0)
		return NULL;
	if (!t->mount_used)
		memcpy(t->mount_copy, t->mount_data, t->plugin.mount_size);
	t->mount_used = t->phase == HARNESS_COMMANDS;
	return t->mount_copy;
}

static int table_set_if(tova_mount *m, tova_ws ws, const void *data, size_t len,
			const void *if_data, size_t if_len)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if ((data == NULL && len > 0) || (if_data == NULL && if_len > 0))
		return commit_spoil(t, TOVA_E_ARG);
	if (len > t->plugin.data_size || if_len > t->plugin.data_size)
		return commit_spoil(t, TOVA_E_LIMIT);
	struct harness_command *c = commit_add(t, HARNESS_SET_IF, ws);
	c->bytes = copy_of(data, len);
	c->len = len;
	c->expected = copy_of(if_data, if_len);
	c->expected_len = if_len;
	return TOVA_OK;
}

/* Of the event's own connection the data at hand is replaced, so that there is one version. */
static int table_set(tova_mount *m, tova_ws ws, const void *data, size_t len)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (data == NULL && len > 0)
		return commit_spoil(t, TOVA_E_ARG);
	if (len > t->plugin.data_size)
		return commit_spoil(t, TOVA_E_LIMIT);
	unsigned char *mine = t->own != NULL && tova_ws_eq(ws, t->own->ws) ? table_data(m) : NULL;
	if (mine != NULL) {
		memset(mine, 0, RULES_DATA_MAX);
		memcpy(mine, data, len);
		return TOVA_OK;
	}
	struct harness_command *c = commit_add(t, HARNESS_SET, ws);
	c->bytes = copy_of(data, len);
	c->len = len;
	return TOVA_OK;
}

/* --- timers and queries -------------------------------------------------------------------------
 */

static int table_set_timer(tova_mount *m, const tova_timer *timer)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (timer == NULL || timer->size < sizeof *timer || timer->name == NULL ||
	    !rules_name_ok(span_of(timer->name)) || timer->delay_ms > RULES_TIMER_MAX_MS ||
	    timer->period_ms > RULES_TIMER_MAX_MS)
		return commit_spoil(t, TOVA_E_ARG);
	struct harness_command *c = commit_add(t, HARNESS_TIMER, timer->ws);
	c->timer = *timer;
	strcpy(c->name, timer->name);
	return TOVA_OK;
}

static int table_cancel_timer(tova_mount *m, tova_ws ws, const char *name)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (name == NULL || !rules_name_ok(span_of(name)))
		return commit_spoil(t, TOVA_E_ARG);
	strcpy(commit_add(t, HARNESS_CANCEL, ws)->name, name);
	return TOVA_OK;
}

static int table_query(tova_mount *m, const tova_query *q)
{
	tova_test *t = harness_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (q == NULL || q->size < offsetof(tova_query, asker) || !abi_query_is(q->kind))
		return commit_spoil(t, TOVA_E_ARG);
	if (q->kind == TOVA_QUERY_HISTORY && !abi_query_has_since(q))
		return commit_spoil(t, TOVA_E_ARG);
	bool has_room = abi_query_has_room(q->kind);
	if (has_room && !rules_name_ok((struct span){q->room, q->room_len}))
		return commit_spoil(t, TOVA_E_ROOM);
	struct harness_command *c = commit_add(t, HARNESS_QUERY, q->ws);
	memcpy(&c->query, q, q->size < sizeof c->query ? q->size : sizeof c->query);
	if (has_room)
		memcpy(c->name, q->room, q->room_len);
	return TOVA_OK;
}

/* --- the event -------------------------------------------------------------------------------- */

static int table_event(tova_mount *m, tova_event *event_r)
{
	const tova_test *t = harness_of(m);
	int refused = check(t, false);
	if (refused != TOVA_OK)
		return refused;
	if (event_r == NULL || event_r->size < sizeof *event_r)
		return TOVA_E_ARG;
	event_r->ws = t->own != NULL ? t->own->ws : TOVA_NONE;
	event_r->sequence = t->own != NULL ? t->own->sequence : t->sequence;
	event_r->attempt = 1;
	return TOVA_OK;
}

static int table_fail(tova_mount *m, const char *text, size_t len)
{
	tova_test *t = harness_of(m);
	if (check(t, false) == TOVA_OK)
		abi_fail_text(t->fail, text, len);
	return -1;
}

static const char *table_quote(tova_mount *m, const char *text, size_t len)
{
	tova_test *t = harness_of(m);
	if (check(t, false) != TOVA_OK)
		return NULL;
	int limit = 0;
	bool utf8 = text != NULL && utf8_valid(text, len);
	const char *quoted = utf8 ? scratch_quote(&t->scratch, text, len, &limit) : NULL;
	if (quoted == NULL)
		commit_spoil(t, text == NULL ? TOVA_E_ARG : !utf8 ? TOVA_E_UTF8 : TOVA_E_LIMIT);
	return quoted;
}

static const char *table_subject(tova_mount *m)
{
	const tova_test *t = harness_of(m);
	if (check(t, false) != TOVA_OK)
		return NULL;
	return t->own != NULL ? t->own->subject : t->request != NULL ? t->request->subject : NULL;
}

/* --- the answer to an upgrade -------------------------------------------------------------------
 */

static int check_upgrade(const tova_test *t)
{
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : t->phase == HARNESS_UPGRADE ? TOVA_OK : TOVA_E_STATE;
}

static int table_subprotocol(tova_mount *m, const char *name)
{
	tova_test *t = harness_of(m);
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	for (size_t i = 0; name != NULL && i < t->request->n_subprotocols; i++) {
		if (strcmp(t->request->subprotocols[i], name) != 0)
			continue;
		t->subprotocol = t->request->subprotocols[i];
		return TOVA_OK;
	}
	return commit_spoil(t, TOVA_E_ARG);
}

/* Kept as NAME NUL VALUE NUL. */
static int table_header(tova_mount *m, const char *name, const char *value)
{
	tova_test *t = harness_of(m);
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	if (!header_ok(name, value))
		return commit_spoil(t, TOVA_E_ARG);
	if (t->headers.n + strlen(name) + strlen(value) + 4 >= RULES_HEAD_MAX)
		return commit_spoil(t, TOVA_E_LIMIT);
	buffer_add(&t->headers, name, strlen(name) + 1);
	buffer_add(&t->headers, value, strlen(value) + 1);
	return TOVA_OK;
}

static int table_refuse(tova_mount *m, unsigned status, const char *type, const char *body,
			size_t body_len)
{
	tova_test *t = harness_of(m);
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	if (!abi_refusal_ok(status, type, body, body_len))
		return commit_spoil(t, TOVA_E_ARG);
	t->status = status;
	buffer_clear(&t->body);
	buffer_add(&t->body, body, body_len);
	buffer_add(&t->body, "", 1);
	return TOVA_OK;
}

/* --- any thread ------------------------------------------------------------------------------- */

static void table_log(tova_mount *m, uint32_t level, const char *text, size_t len)
{
	tova_test *t = harness_of(m);
	(void)level;
	pthread_mutex_lock(&t->log_lock);
	len = len < sizeof t->log - 1 ? len : sizeof t->log - 1;
	memcpy(t->log, text, len);
	t->log[len] = '\0';
	pthread_mutex_unlock(&t->log_lock);
}

static void table_wake(tova_mount *m)
{
	atomic_store(&harness_of(m)->woken, true);
}

static const char *table_setting(tova_mount *m, const char *key)
{
	const tova_test *t = harness_of(m);
	for (const tova_pair *p = t->settings; p != NULL && p->name != NULL; p++)
		if (strcmp(p->name, key) == 0)
			return p->value;
	const tova_setting_spec *spec = abi_setting(&t->plugin, key);
	return spec != NULL ? spec->fallback : NULL;
}

static void table_ws_text(tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	id_text(ws.hi, ws.lo, text_r);
}

static int table_ws_parse(const char *text, size_t len, tova_ws *ws_r)
{
	return id_parse((struct span){text, len}, &ws_r->hi, &ws_r->lo) ? TOVA_OK : TOVA_E_ARG;
}

/* Nothing follows this library, and none was before it. */
static int table_keep(tova_mount *m, const void *data, size_t len)
{
	(void)m;
	(void)data;
	(void)len;
	return TOVA_E_STATE;
}

static const void *table_kept(tova_mount *m, size_t *len_r)
{
	(void)m;
	*len_r = 0;
	return NULL;
}

const tova_host harness_table = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = TOVA_ABI_MINOR,
	.size = sizeof harness_table,
	.version = TOVA_VERSION,
	.send = table_send,
	.join = table_join,
	.leave = table_leave,
	.broadcast = table_broadcast,
	.broadcast_to = table_broadcast_to,
	.close = table_close,
	.set = table_set,
	.set_timer = table_set_timer,
	.cancel_timer = table_cancel_timer,
	.query = table_query,
	.data = table_data,
	.event = table_event,
	.fail = table_fail,
	.subprotocol = table_subprotocol,
	.header = table_header,
	.refuse = table_refuse,
	.log = table_log,
	.wake = table_wake,
	.setting = table_setting,
	.ws_text = table_ws_text,
	.ws_parse = table_ws_parse,
	.set_if = table_set_if,
	.quote = table_quote,
	.subject = table_subject,
	.keep = table_keep,
	.kept = table_kept,
	.join_history = table_join_history,
	.join_if = table_join_if,
	.leave_all = table_leave_all,
	.broadcast_among = table_broadcast_among,
	.close_room = table_close_room,
	.info = table_info,
	.about = table_about,
	.watch = table_watch,
	.unwatch = table_unwatch,
	.prolong = table_prolong,
	.room_state = table_room_state,
	.set_room = table_set_room,
	.mount_data = table_mount_data,
};
