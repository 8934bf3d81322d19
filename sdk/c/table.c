/* table: the functions that a handler can call (tova_plugin.h), and those of a program of its own
 * (tova_worker.h). */
#include <stdlib.h>
#include <strings.h>

#include "c/say.h"
#include "c/task.h"
#include "c/tova_worker.h"
#include "c/worker.h"
#include "common/abi.h"
#include "common/header.h"
#include "common/id.h"
#include "common/utf8.h"

/* May this thread, in this callback, do such a thing? */
static int check(const struct task *t, bool commands)
{
	if (!t->any_thread && !pthread_equal(pthread_self(), t->thread))
		return TOVA_E_THREAD;
	if (t->phase == TASK_IDLE || (commands && t->phase == TASK_SILENT))
		return TOVA_E_STATE;
	return TOVA_OK;
}

/* --- commands --------------------------------------------------------------------------------- */

static int table_send(tova_mount *m, tova_ws ws, const tova_payload *p)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_send(&t->commands, ws, p);
}

static int table_join(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_join(&t->commands, ws, room, room_len);
}

static int table_join_history(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			      const tova_history *want)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK
		       ? refused
		       : commands_join_history(&t->commands, ws, room, room_len, want);
}

static int table_leave(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_leave(&t->commands, ws, room, room_len);
}

static int table_join_if(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			 const tova_conditions *conditions)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK
		       ? refused
		       : commands_join_if(&t->commands, ws, room, room_len, conditions);
}

static int table_leave_all(tova_mount *m, tova_ws ws)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_leave_all(&t->commands, ws);
}

static int table_prolong(tova_mount *m, tova_ws ws, const char *token, size_t token_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused
				  : commands_prolong(&t->commands, ws, token, token_len);
}

static int table_watch(tova_mount *m, const char *room, size_t room_len, uint32_t grace_ms)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused
				  : commands_watch(&t->commands, room, room_len, grace_ms);
}

static int table_unwatch(tova_mount *m, const char *room, size_t room_len, uint32_t if_empty)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK
		       ? refused
		       : commands_unwatch(&t->commands, room, room_len, if_empty != 0);
}

static int table_broadcast_among(tova_mount *m, const tova_among *among, const tova_payload *p)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_broadcast_among(&t->commands, among, p);
}

static int table_close_room(tova_mount *m, const tova_among *among, uint16_t code,
			    const char *reason, size_t reason_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK
		       ? refused
		       : commands_close_room(&t->commands, among, code, reason, reason_len);
}

/* A copy for what is told of the event, and of those that follow it in its run. */
static void table_told(struct task *t, enum who_text which, const char *text, size_t n)
{
	char copy[RULES_INFO_MAX + 1];
	if (text == NULL)
		return;
	if (n > 0)
		memcpy(copy, text, n);
	copy[n] = '\0';
	who_set(&t->who, which, n > 0 ? copy : NULL);
}

/* Of the connection that is asked for: it is part of the answer. */
static int table_introduce(struct task *t, const char *info, size_t info_len, const char *user,
			   size_t user_len)
{
	struct task_answer *a = &t->answer;
	if ((info == NULL && user == NULL) ||
	    (user != NULL && user_len > 0 && !rules_name_ok((struct span){user, user_len})))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	if (info != NULL && (info_len > RULES_INFO_MAX || !utf8_valid(info, info_len)))
		return commands_spoil(&t->commands, TOVA_E_LIMIT);
	a->has_info = a->has_info || info != NULL;
	a->has_user = a->has_user || user != NULL;
	if (info != NULL)
		snprintf(a->info, sizeof a->info, "%.*s", (int)info_len, info);
	if (user != NULL)
		snprintf(a->user, sizeof a->user, "%.*s", (int)user_len, user);
	return TOVA_OK;
}

static int table_info(tova_mount *m, tova_ws ws, const char *info, size_t info_len,
		      const char *user, size_t user_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	if (refused == TOVA_OK && t->phase == TASK_UPGRADE && tova_ws_eq(ws, TOVA_NONE))
		return table_introduce(t, info, info_len, user, user_len);
	if (refused == TOVA_OK)
		refused = commands_info(&t->commands, ws, info, info_len, user, user_len);
	if (refused != TOVA_OK || !t->has_ws || !tova_ws_eq(ws, t->event.ws))
		return refused;
	table_told(t, WHO_INFO, info, info_len);
	table_told(t, WHO_USER, user, user_len);
	return TOVA_OK;
}

static int table_broadcast(tova_mount *m, const tova_payload *p, tova_ws exclude)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_broadcast(&t->commands, p, exclude);
}

static int table_broadcast_to(tova_mount *m, const char *room, size_t room_len,
			      const tova_payload *p, tova_ws exclude)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused
				  : commands_broadcast_to(&t->commands, room, room_len, p, exclude);
}

static int table_close(tova_mount *m, tova_ws ws, uint16_t code, const char *reason,
		       size_t reason_len)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused
				  : commands_close(&t->commands, ws, code, reason, reason_len);
}

/* The host keeps what it is given; the data of a plugin has always the same size. */
static int table_set(tova_mount *m, tova_ws ws, const void *data, size_t len)
{
	struct task *t = task_of(m);
	uint32_t size = worker_plugin(t->worker)->data_size;
	unsigned char whole[RULES_DATA_MAX] = {0};
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (len > size)
		return commands_spoil(&t->commands, TOVA_E_LIMIT);
	if (size == 0)
		return TOVA_OK;
	if (len > 0)
		memcpy(whole, data, len);
	/* Where the event's own connection is meant, the data at hand is replaced, so that there is
	 * one version of it. */
	void *mine = t->has_ws && tova_ws_eq(ws, t->event.ws) ? task_data(t) : NULL;
	if (mine == NULL)
		return commands_set(&t->commands, ws, whole, size);
	memcpy(mine, whole, size);
	return TOVA_OK;
}

/* The host compares, also for the event's own connection: the data at hand says only what this
 * event was given. */
static int table_set_if(tova_mount *m, tova_ws ws, const void *data, size_t len,
			const void *if_data, size_t if_len)
{
	struct task *t = task_of(m);
	uint32_t size = worker_plugin(t->worker)->data_size;
	unsigned char whole[RULES_DATA_MAX] = {0}, expected[RULES_DATA_MAX] = {0};
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if ((data == NULL && len > 0) || (if_data == NULL && if_len > 0))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	if (len > size || if_len > size)
		return commands_spoil(&t->commands, TOVA_E_LIMIT);
	if (len > 0)
		memcpy(whole, data, len);
	if (if_len > 0)
		memcpy(expected, if_data, if_len);
	int result = commands_set_if(&t->commands, ws, whole, size, expected, size);
	return result == TOVA_OK && t->has_ws && tova_ws_eq(ws, t->event.ws)
		       ? table_set(m, ws, whole, size)
		       : result;
}

static int table_set_timer(tova_mount *m, const tova_timer *timer)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_timer(&t->commands, timer);
}

static int table_cancel_timer(tova_mount *m, tova_ws ws, const char *name)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : commands_cancel(&t->commands, ws, name);
}

static int table_query(tova_mount *m, const tova_query *q)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	if (refused != TOVA_OK)
		return refused;
	if (q == NULL || q->size < offsetof(tova_query, asker) || !abi_query_is(q->kind))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	if (q->kind == TOVA_QUERY_HISTORY && !abi_query_has_since(q))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	if (abi_query_has_room(q->kind) && !rules_name_ok((struct span){q->room, q->room_len}))
		return commands_spoil(&t->commands, TOVA_E_ROOM);
	/* nobody would hear the answer */
	if (worker_plugin(t->worker)->on_reply == NULL)
		return TOVA_OK;
	struct query *query = pending_make_query(q), **end = &t->queries;
	if (query == NULL)
		return commands_spoil(&t->commands, TOVA_E_MEMORY);
	while (*end != NULL)
		end = &(*end)->next;
	query->next = NULL;
	*end = query;
	return TOVA_OK;
}

/* --- the event -------------------------------------------------------------------------------- */

static void *table_data(tova_mount *m)
{
	struct task *t = task_of(m);
	return check(t, false) == TOVA_OK ? task_data(t) : NULL;
}

static int table_event(tova_mount *m, tova_event *event_r)
{
	struct task *t = task_of(m);
	int refused = check(t, false);
	if (refused != TOVA_OK)
		return refused;
	/* start, stop, a push */
	if (t->event.sequence == 0 && t->phase != TASK_UPGRADE)
		return TOVA_E_STATE;
	if (event_r == NULL || event_r->size < sizeof *event_r)
		return TOVA_E_ARG;
	event_r->ws = t->event.ws;
	event_r->sequence = t->event.sequence;
	event_r->attempt = t->event.attempt;
	return TOVA_OK;
}

static int table_fail(tova_mount *m, const char *text, size_t len)
{
	struct task *t = task_of(m);
	if (check(t, false) == TOVA_OK)
		t->fail_len = abi_fail_text(t->fail, text, len);
	return -1;
}

static const char *table_quote(tova_mount *m, const char *text, size_t len)
{
	struct task *t = task_of(m);
	if (check(t, false) != TOVA_OK)
		return NULL;
	int limit = 0;
	bool utf8 = text != NULL && utf8_valid(text, len);
	const char *quoted = utf8 ? scratch_quote(&t->scratch, text, len, &limit) : NULL;
	if (quoted == NULL)
		commands_spoil(&t->commands, text == NULL ? TOVA_E_ARG
					     : !utf8	  ? TOVA_E_UTF8
					     : limit	  ? TOVA_E_LIMIT
							  : TOVA_E_MEMORY);
	return quoted;
}

static const char *table_subject(tova_mount *m)
{
	const struct task *t = task_of(m);
	return check(t, false) == TOVA_OK ? t->who.text[WHO_SUBJECT] : NULL;
}

static const char *table_about(tova_mount *m, uint32_t what)
{
	const struct task *t = task_of(m);
	if (check(t, false) != TOVA_OK)
		return NULL;
	const char *const *text = (const char *const *)t->who.text;
	return what == TOVA_USER     ? text[WHO_USER] != NULL ? text[WHO_USER] : text[WHO_SUBJECT]
	       : what == TOVA_INFO   ? text[WHO_INFO]
	       : what == TOVA_CLAIMS ? text[WHO_CLAIMS]
	       : what == TOVA_TRACEPARENT ? text[WHO_TRACEPARENT]
	       : what == TOVA_TRACESTATE  ? text[WHO_TRACESTATE]
				     : NULL;
}

/* --- what is kept with a room, and for the mount ---------------------------------------------- */

static int table_room_state(tova_mount *m, tova_room_state *state_r)
{
	const struct task *t = task_of(m);
	int refused = check(t, false);
	if (refused != TOVA_OK)
		return refused;
	if (state_r == NULL || state_r->size < sizeof *state_r)
		return TOVA_E_ARG;
	if (t->room.room == NULL)
		return TOVA_E_STATE;
	*state_r = t->room;
	return TOVA_OK;
}

static int table_set_room(tova_mount *m, const char *room, size_t room_len, const void *data,
			  size_t len, uint64_t version)
{
	struct task *t = task_of(m);
	int refused = check(t, true);
	return refused != TOVA_OK
		       ? refused
		       : commands_set_room(&t->commands, room, room_len, data, len, version);
}

static void *table_mount_data(tova_mount *m)
{
	struct task *t = task_of(m);
	return check(t, true) == TOVA_OK ? task_mount_data(t) : NULL;
}

/* --- the answer to an upgrade ----------------------------------------------------------------- */

static int check_upgrade(const struct task *t)
{
	int refused = check(t, true);
	return refused != TOVA_OK ? refused : t->phase == TASK_UPGRADE ? TOVA_OK : TOVA_E_STATE;
}

static int table_subprotocol(tova_mount *m, const char *name)
{
	struct task *t = task_of(m);
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	const json_t *offered =
		json_object_get(json_object_get(t->json, "request"), "subprotocols");
	for (size_t i = 0; name != NULL && i < json_array_size(offered); i++) {
		const char *have = json_string_value(json_array_get(offered, i));
		if (have == NULL || strcmp(have, name) != 0)
			continue;
		t->answer.subprotocol = have;
		return TOVA_OK;
	}
	return commands_spoil(&t->commands, TOVA_E_ARG);
}

static int table_header(tova_mount *m, const char *name, const char *value)
{
	struct task *t = task_of(m);
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	if (!header_ok(name, value) || !utf8_valid(value, strlen(value)))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	struct task_answer *a = &t->answer;
	size_t size = strlen(name) + strlen(value) + sizeof ": \r\n" - 1;
	if (a->head_len + size >= RULES_HEAD_MAX)
		return commands_spoil(&t->commands, TOVA_E_LIMIT);
	a->head_len += size;
	buffer_addf(&a->headers, "%s[", a->headers.n > 0 ? "," : "");
	buffer_add_json(&a->headers, name, strlen(name));
	buffer_add(&a->headers, ",", 1);
	buffer_add_json(&a->headers, value, strlen(value));
	buffer_add(&a->headers, "]", 1);
	return a->headers.failed ? commands_spoil(&t->commands, TOVA_E_MEMORY) : TOVA_OK;
}

static int table_refuse(tova_mount *m, unsigned status, const char *type, const char *body,
			size_t body_len)
{
	struct task *t = task_of(m);
	struct task_answer *a = &t->answer;
	int refused = check_upgrade(t);
	if (refused != TOVA_OK)
		return refused;
	if (!abi_refusal_ok(status, type, body, body_len) ||
	    (type != NULL && !utf8_valid(type, strlen(type))))
		return commands_spoil(&t->commands, TOVA_E_ARG);
	if (body_len >= COMMANDS_BYTES_MAX / 6)
		return commands_spoil(&t->commands, TOVA_E_LIMIT);
	buffer_clear(&a->body);
	buffer_add(&a->body, body, body_len);
	if (a->body.failed)
		return commands_spoil(&t->commands, TOVA_E_MEMORY);
	a->status = status;
	strcpy(a->type, type != NULL ? type : "");
	return TOVA_OK;
}

/* --- any thread ------------------------------------------------------------------------------- */

static void table_log(tova_mount *m, uint32_t level, const char *text, size_t len)
{
	(void)m;
	say_text(level, text, len);
}

static void table_wake(tova_mount *m)
{
	worker_wake(task_of(m)->worker);
}

static const char *table_setting(tova_mount *m, const char *key)
{
	return worker_setting(task_of(m)->worker, key);
}

static void table_ws_text(tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	id_text(ws.hi, ws.lo, text_r);
}

static int table_ws_parse(const char *text, size_t len, tova_ws *ws_r)
{
	return id_parse((struct span){text, len}, &ws_r->hi, &ws_r->lo) ? TOVA_OK : TOVA_E_ARG;
}

/* The next library is another process. */
static int table_keep(tova_mount *m, const void *data, size_t len)
{
	(void)m, (void)data, (void)len;
	return TOVA_E_STATE;
}

static const void *table_kept(tova_mount *m, size_t *len_r)
{
	(void)m;
	*len_r = 0;
	return NULL;
}

const tova_host task_host = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = TOVA_ABI_MINOR,
	.size = sizeof task_host,
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

/* --- programs of their own -------------------------------------------------------------------- */

static struct task *task_new(struct task *of)
{
	struct task *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	t->api = of->api;
	t->worker = of->worker;
	t->any_thread = true;
	return t;
}

tova_mount *tova_worker_push(tova_mount *m)
{
	struct task *t = task_new(task_of(m));
	if (t == NULL)
		return NULL;
	task_begin(t, TASK_COMMANDS);
	return &t->api;
}

/* Moves the event out of the task in which callbacks run, which is then free for the next. */
tova_mount *tova_worker_defer(tova_mount *m)
{
	struct task *from = task_of(m);
	if (check(from, true) != TOVA_OK || !from->is_event || from->deferred)
		return NULL;
	struct task *t = task_new(from);
	if (t == NULL)
		return NULL;
	task_data(from); /* what the event's bytes say of it is needed after they are gone */
	*t = *from;
	t->api = from->api;
	t->any_thread = true;
	t->state = NULL;
	t->room.room = NULL; /* it lies in the message, which goes */
	from->mount_data = NULL;
	from->json = NULL;
	from->commands = (struct commands){0};
	from->queries = NULL;
	from->answer = (struct task_answer){0};
	from->who = (struct who){0};
	from->scratch = (struct scratch){0};
	from->phase = TASK_SILENT;
	from->deferred = true;
	return &t->api;
}

int tova_worker_commit(tova_mount *p)
{
	struct task *t = task_of(p);
	int error = t->commands.error;
	if (t->is_event) {
		worker_submit(t->worker, t);
		return error;
	}
	struct pending *pending = worker_pending(t->worker);
	struct push *push = NULL;
	if (error == TOVA_OK && t->commands.text.n > 0) {
		push = pending_make_push(pending, &t->commands.text, &t->commands.binary);
		error = push == NULL ? TOVA_E_LIMIT : TOVA_OK;
	}
	if (error != TOVA_OK) {
		task_free(t);
		return error;
	}
	t->push = push;
	worker_submit(t->worker, t);
	return TOVA_OK;
}

void tova_worker_abort(tova_mount *p)
{
	struct task *t = task_of(p);
	t->aborted = true;
	if (t->is_event)
		worker_submit(t->worker, t);
	else
		task_free(t);
}

int tova_worker_retry(tova_mount *m, uint32_t after_ms, const char *why)
{
	struct task *t = task_of(m);
	char text[96];
	if (after_ms > TASK_RETRY_MAX_MS) {
		snprintf(text, sizeof text,
			 "a retry after %u ms: at most %u, an hour, was expected", after_ms,
			 TASK_RETRY_MAX_MS);
		return table_fail(m, text, strlen(text));
	}
	if (check(t, false) == TOVA_OK && t->is_event) {
		t->retry = true;
		t->retry_ms = after_ms;
	}
	return table_fail(m, why, strlen(why));
}
