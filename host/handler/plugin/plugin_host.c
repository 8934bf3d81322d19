/* plugin_host: the functions that a plugin can call. */
#include <stdlib.h>

#include "common/header.h"
#include "common/utf8.h"
#include "handler/plugin/plugin_instance.h"
#include "hub/session_trace.h"
#include "hub/state.h"
#include "ws/request.h"
#include "ws/upgrade.h"

static int plugin_host_result_of(enum commit_error error)
{
	switch (error) {
	case COMMIT_OK:
		return TOVA_OK;
	case COMMIT_E_ROOM:
		return TOVA_E_ROOM;
	case COMMIT_E_UTF8:
		return TOVA_E_UTF8;
	case COMMIT_E_LIMIT:
	case COMMIT_E_INFO:
	case COMMIT_E_LIST:
	case COMMIT_E_ROOM_NAME:
	case COMMIT_E_ROOMS:
	case COMMIT_E_MOUNT_ROOMS:
	case COMMIT_E_ROOM_STATE_BYTES:
	case COMMIT_E_ROOM_STATE_SIZE:
	case COMMIT_E_WATCHES:
	case COMMIT_E_BIG:
		return TOVA_E_LIMIT;
	case COMMIT_E_ARG:
	case COMMIT_E_DELAY:
	case COMMIT_E_EXCLUDE:
	case COMMIT_E_WANT:
	case COMMIT_E_CONN:
	case COMMIT_E_USER:
	case COMMIT_E_GRACE:
	case COMMIT_E_EXPIRED:
	case COMMIT_E_SCOPE:
	case COMMIT_E_ELSEWHERE:
	case COMMIT_E_CONDITION:
	case COMMIT_E_PUSH:
		return TOVA_E_ARG;
	case COMMIT_E_FULL:
	case COMMIT_E_FIRST:
	case COMMIT_E_USERS:
	case COMMIT_E_STATE:
	case COMMIT_E_HISTORY:
	case COMMIT_E_ROOM_STATE:
	case COMMIT_E_ROOM_STATE_TRIES:
	case COMMIT_E_TOKEN:
	case COMMIT_E_NO_TOKENS:
	case COMMIT_E_AWAY:
	case COMMIT_E_ALONE:
		return TOVA_E_STATE;
	case COMMIT_E_MEMORY:
		return TOVA_E_MEMORY;
	}
	return TOVA_E_ARG;
}

/* May this thread, in this callback, do such a thing? */
static int plugin_host_check(const struct plugin *p, bool commands)
{
	if (!pthread_equal(pthread_self(), p->thread))
		return TOVA_E_THREAD;
	if (p->phase == PLUGIN_IDLE || (commands && p->phase >= PLUGIN_SILENT))
		return TOVA_E_STATE;
	return TOVA_OK;
}

/* An id of another host names nobody here. */
static uint64_t plugin_host_local_id(const struct plugin *p, tova_ws ws)
{
	const struct hub *hub = p->base.mount->hub;
	if (__builtin_expect(ws.hi == hub->host_id, 1))
		return ws.lo;
	gate_name(hub, p->commit, ws.hi);
	return 0;
}

/* Takes the result of adding the message; the key of one that was added is added, too. */
static int plugin_host_with_key(const struct plugin *p, const tova_payload *payload,
				enum commit_error added)
{
	struct span key = abi_payload_key(payload);
	return plugin_host_result_of(added == COMMIT_OK && key.n > 0 ? commit_key(p->commit, key)
								     : added);
}

/* May a message be sent now, and is it one? 0: yes. */
static inline int plugin_host_check_payload(struct plugin *p, const tova_payload *payload)
{
	int refused = plugin_host_check(p, true);
	return refused != 0 || abi_payload_ok(payload)
		       ? refused
		       : plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
}

static int plugin_host_send(tova_mount *m, tova_ws ws, const tova_payload *payload)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_payload(p, payload);
	return refused != 0
		       ? refused
		       : plugin_host_with_key(p, payload,
					      commit_send(p->commit, plugin_host_local_id(p, ws),
							  payload->kind == TOVA_BINARY,
							  payload->data, payload->len));
}

static int plugin_host_join(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0
		       ? refused
		       : plugin_host_result_of(commit_join(p->commit, plugin_host_local_id(p, ws),
							   (struct span){room, room_len}));
}

static int plugin_host_join_history(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
				    const tova_history *asked)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (!abi_history_ok(asked))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_WANT));
	bool all = asked->how == TOVA_HISTORY_SINCE_OR_LAST && asked->last == 0;
	const struct history_want want = {.how = (uint8_t)asked->how,
					  .last = all ? UINT32_MAX : asked->last,
					  .since = asked->since,
					  .epoch = asked->epoch};
	enum commit_error added = commit_join(p->commit, plugin_host_local_id(p, ws),
					      (struct span){room, room_len});
	return plugin_host_result_of(added == COMMIT_OK ? commit_history(p->commit, &want)
							: added);
}

static int plugin_host_leave(tova_mount *m, tova_ws ws, const char *room, size_t room_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0
		       ? refused
		       : plugin_host_result_of(commit_leave(p->commit, plugin_host_local_id(p, ws),
							    (struct span){room, room_len}));
}

static int plugin_host_broadcast(tova_mount *m, const tova_payload *payload, tova_ws exclude)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_payload(p, payload);
	if (refused != 0)
		return refused;
	return plugin_host_with_key(p, payload,
				    commit_broadcast(p->commit, payload->kind == TOVA_BINARY,
						     payload->data, payload->len,
						     plugin_host_local_id(p, exclude)));
}

static int plugin_host_broadcast_to(tova_mount *m, const char *room, size_t room_len,
				    const tova_payload *payload, tova_ws exclude)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_payload(p, payload);
	if (refused != 0)
		return refused;
	int result = plugin_host_with_key(
		p, payload,
		commit_broadcast_to(p->commit, (struct span){room, room_len},
				    payload->kind == TOVA_BINARY, payload->data, payload->len,
				    plugin_host_local_id(p, exclude)));
	return result == TOVA_OK && abi_payload_unkept(payload)
		       ? plugin_host_result_of(commit_unkept(p->commit))
		       : result;
}

static int plugin_host_join_if(tova_mount *m, tova_ws ws, const char *room, size_t room_len,
			       const tova_conditions *asked)
{
	static const struct history_want nothing;
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (!abi_join_if_ok(asked))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	const struct commit_conditions conditions = {.max = asked->max,
						     .users_max = asked->users_max,
						     .first = asked->first,
						     .replace = asked->replace};
	return plugin_host_result_of(commit_join_if(p->commit, plugin_host_local_id(p, ws),
						    (struct span){room, room_len}, &conditions,
						    &nothing));
}

static int plugin_host_leave_all(tova_mount *m, tova_ws ws)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(
				      commit_leave_all(p->commit, plugin_host_local_id(p, ws)));
}

/* NULL: it is none; the commit is spoiled. */
static struct selection *plugin_host_selection(const struct plugin *p, const tova_among *among,
					       struct selection *s)
{
	if (!abi_among_ok(among)) {
		commit_spoil(p->commit, COMMIT_E_LIST);
		return NULL;
	}
	selection_init(s);
	s->all = among->n_rooms == 0;
	for (size_t i = 0; i < among->n_rooms; i++)
		selection_add_name(&s->rooms, span_of(among->rooms[i]));
	for (size_t i = 0; i < among->n_exclude_users; i++)
		selection_add_name(&s->except_users, span_of(among->exclude_users[i]));
	for (size_t i = 0; i < among->n_exclude_rooms; i++)
		selection_add_name(&s->except_rooms, span_of(among->exclude_rooms[i]));
	for (size_t i = 0; i < among->n_exclude; i++)
		selection_add_except(s, plugin_host_local_id(p, among->exclude[i]));
	return s;
}

static int plugin_host_broadcast_among(tova_mount *m, const tova_among *among,
				       const tova_payload *payload)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	struct selection s;
	int refused = plugin_host_check_payload(p, payload);
	if (refused != 0)
		return refused;
	if (plugin_host_selection(p, among, &s) == NULL)
		return TOVA_E_LIMIT;
	int result = plugin_host_with_key(
		p, payload,
		commit_broadcast_among(p->commit, &s, payload->kind == TOVA_BINARY, payload->data,
				       payload->len));
	return result == TOVA_OK && abi_payload_unkept(payload)
		       ? plugin_host_result_of(commit_unkept(p->commit))
		       : result;
}

static int plugin_host_close_room(tova_mount *m, const tova_among *among, uint16_t code,
				  const char *reason, size_t reason_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	struct selection s;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (plugin_host_selection(p, among, &s) == NULL)
		return TOVA_E_LIMIT;
	s.all = false;
	return plugin_host_result_of(
		commit_close_room(p->commit, &s, code, (struct span){reason, reason_len}));
}

static int plugin_host_prolong(tova_mount *m, tova_ws ws, const char *token, size_t token_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(
				      commit_prolong(p->commit, plugin_host_local_id(p, ws),
						     (struct span){token, token_len}));
}

/* Of the connection that is asked for: it is part of the answer. */
static int plugin_host_introduce(struct plugin *p, struct span info, struct span user)
{
	if (info.p == NULL && user.p == NULL)
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	return event_answer_identity(p->event->answer, info, user)
		       ? TOVA_OK
		       : plugin_host_result_of(commit_spoil(
				 p->commit, user.n > 0 && !rules_name_ok(user) ? COMMIT_E_USER
									       : COMMIT_E_INFO));
}

static int plugin_host_info(tova_mount *m, tova_ws ws, const char *info, size_t info_len,
			    const char *user, size_t user_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused == 0 && p->phase == PLUGIN_UPGRADE && ws.hi == 0 && ws.lo == 0)
		return plugin_host_introduce(p, (struct span){info, info != NULL ? info_len : 0},
					     (struct span){user, user != NULL ? user_len : 0});
	return refused != 0 ? refused
			    : plugin_host_result_of(
				      commit_info(p->commit, plugin_host_local_id(p, ws),
						  (struct span){info, info != NULL ? info_len : 0},
						  (struct span){user, user != NULL ? user_len : 0}));
}

static int plugin_host_close(tova_mount *m, tova_ws ws, uint16_t code, const char *reason,
			     size_t reason_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(
				      commit_close(p->commit, plugin_host_local_id(p, ws), code,
						   (struct span){reason, reason_len}));
}

/* Where the event's own connection is meant, the data at hand is replaced, so that there is one
 * version of it. */
static int plugin_host_set(tova_mount *m, tova_ws ws, const void *data, size_t len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	struct session *own = p->event != NULL ? p->event->session : NULL;
	if (own == NULL || own->local != plugin_host_local_id(p, ws) ||
	    len > p->base.mount->data_size)
		return plugin_host_result_of(
			commit_set(p->commit, plugin_host_local_id(p, ws), data, len));
	unsigned char *mine = m->host->data(m);
	if (mine != NULL) {
		memmove(mine, data, len);
		memset(mine + len, 0, p->base.mount->data_size - len);
	}
	return TOVA_OK;
}

static bool plugin_host_own_is(const struct plugin *p, const struct session *own, const void *data,
			       size_t len)
{
	const struct span kept = {own->data, own->data != NULL ? p->base.mount->data_size : 0};
	return state_equal(kept, (struct span){data, len});
}

/* Of the event's own connection nobody else can have set the data meanwhile, so it is compared at
 * once. */
static int plugin_host_set_if(tova_mount *m, tova_ws ws, const void *data, size_t len,
			      const void *expected, size_t expected_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if ((data == NULL && len > 0) || (expected == NULL && expected_len > 0))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	struct session *own = p->event != NULL ? p->event->session : NULL;
	if (own == NULL || own->local != plugin_host_local_id(p, ws) ||
	    len > p->base.mount->data_size || expected_len > p->base.mount->data_size)
		return plugin_host_result_of(commit_set_if(p->commit, plugin_host_local_id(p, ws),
							   data, len, expected, expected_len));
	if (plugin_host_own_is(p, own, expected, expected_len))
		return plugin_host_set(m, ws, data, len);
	commit_spoil(p->commit, COMMIT_E_STATE); /* as in a worker, where it is found out later */
	return TOVA_OK;
}

static bool plugin_host_names_one(tova_ws ws)
{
	return ws.hi != 0 || ws.lo != 0;
}

static int plugin_host_set_timer(tova_mount *m, const tova_timer *t)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (t == NULL || t->size < sizeof *t || t->name == NULL)
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	struct event_timer timer = {.name = t->name,
				    .id = t->id,
				    .delay_ms = t->delay_ms,
				    .period_ms = t->period_ms};
	return plugin_host_result_of(commit_timer(p->commit, plugin_host_names_one(t->ws),
						  plugin_host_local_id(p, t->ws), &timer));
}

static int plugin_host_cancel_timer(tova_mount *m, tova_ws ws, const char *name)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(
				      commit_cancel(p->commit, plugin_host_names_one(ws),
						    plugin_host_local_id(p, ws), span_of(name)));
}

static int plugin_host_watch(tova_mount *m, const char *room, size_t room_len, uint32_t grace_ms)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(commit_watch(
				      p->commit, (struct span){room, room != NULL ? room_len : 0},
				      grace_ms == TOVA_GRACE ? RULES_GRACE_MS : grace_ms));
}

static int plugin_host_unwatch(tova_mount *m, const char *room, size_t room_len, uint32_t if_empty)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused
			    : plugin_host_result_of(commit_unwatch(
				      p->commit, (struct span){room, room != NULL ? room_len : 0},
				      if_empty != 0));
}

static int plugin_host_query(tova_mount *m, const tova_query *q)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (q == NULL || q->size < offsetof(tova_query, asker))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	bool asks_for = q->size >= offsetof(tova_query, asker) + sizeof q->asker;
	tova_ws asker = asks_for ? q->asker : TOVA_NONE;
	struct event_query query = {
		.kind = q->kind,
		.id = q->id,
		.asker = {asker.hi, asker.lo},
		.session = plugin_host_local_id(p, q->ws),
		.room = {q->room, q->room != NULL ? q->room_len : 0},
	};
	if (q->kind == EVENT_QUERY_HISTORY && !abi_query_has_since(q))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	if (q->kind == EVENT_QUERY_HISTORY) {
		query.since = q->since;
		query.limit = q->limit;
	}
	return plugin_host_result_of(commit_query(p->commit, &query));
}

/* The plugin works on a copy, made when it first asks, which replaces the original when the
 * callback has succeeded. */
static void *plugin_host_data(tova_mount *m)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	uint32_t size = plugin_instance_of(m)->lib.plugin.data_size;
	if (plugin_host_check(p, false) != 0 || size == 0)
		return NULL;
	const struct session *s = p->event != NULL ? p->event->session : NULL;
	if (s == NULL && p->phase != PLUGIN_UPGRADE && !p->data_used)
		return NULL;
	if (!p->data_used) {
		if (s != NULL)
			memcpy(p->data, s->data, size);
		else
			memset(p->data, 0, size);
		p->data_used = true;
	}
	return p->data;
}

static int plugin_host_event(tova_mount *m, tova_event *event_r)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, false);
	if (refused != 0)
		return refused;
	if (p->event == NULL)
		return TOVA_E_STATE;
	if (event_r == NULL || event_r->size < sizeof *event_r)
		return TOVA_E_ARG;
	event_r->ws = plugin_ws(p->base.mount->hub, p->event->session);
	event_r->sequence = p->event->sequence;
	event_r->attempt = p->event->attempt;
	return TOVA_OK;
}

static int plugin_host_fail(tova_mount *m, const char *text, size_t len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	if (plugin_host_check(p, false) == 0)
		p->fail_len = abi_fail_text(p->fail, text, len);
	return -1;
}

static const char *plugin_host_quote(tova_mount *m, const char *text, size_t len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	if (plugin_host_check(p, false) != 0)
		return NULL;
	int limit = 0;
	bool utf8 = text != NULL && utf8_valid(text, len);
	const char *quoted = utf8 ? scratch_quote(&p->scratch, text, len, &limit) : NULL;
	if (quoted == NULL && p->commit != NULL)
		commit_spoil(p->commit, text == NULL ? COMMIT_E_ARG
					: !utf8	     ? COMMIT_E_UTF8
					: limit	     ? COMMIT_E_LIMIT
						     : COMMIT_E_MEMORY);
	return quoted;
}

static const char *plugin_host_subject(tova_mount *m)
{
	const struct plugin *p = plugin_instance_of(m)->plugin;
	return plugin_host_check(p, false) == 0 && p->event != NULL
		       ? session_event_subject(p->event)
		       : NULL;
}

static const char *plugin_host_about(tova_mount *m, uint32_t what)
{
	const struct plugin *p = plugin_instance_of(m)->plugin;
	if (plugin_host_check(p, false) != TOVA_OK || p->event == NULL)
		return NULL;
	if (what == TOVA_TRACEPARENT)
		return session_trace_parent(p->event,
					    plugin_instance_of(m)->plugin->traceparent);
	if (what == TOVA_TRACESTATE)
		return session_trace_state(p->event).p;
	if (what == TOVA_INFO)
		return p->event->session != NULL ? identity_info(p->event->session).p : NULL;
	return what == TOVA_USER     ? session_event_user(p->event)
	       : what == TOVA_CLAIMS ? session_event_claims(p->event)
				     : NULL;
}

/* --- what is kept with a room, and for the mount ---------------------------------------------- */

static int plugin_host_room_state(tova_mount *m, tova_room_state *state_r)
{
	const struct plugin_instance *i = plugin_instance_of(m);
	const struct plugin *p = i->plugin;
	int refused = plugin_host_check(p, false);
	if (refused != 0)
		return refused;
	if (state_r == NULL || state_r->size < sizeof *state_r)
		return TOVA_E_ARG;
	const struct room *r = (i->lib.plugin.flags & TOVA_ROOM_STATE) != 0 && p->event != NULL
				       ? session_first_room(p->event->session)
				       : NULL;
	if (r == NULL)
		return TOVA_E_STATE;
	plugin_room_state(r->name, room_state_of_session(p->event->session), state_r);
	return TOVA_OK;
}

static int plugin_host_set_room(tova_mount *m, const char *room, size_t room_len, const void *data,
				size_t len, uint64_t version)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, true);
	if (refused != 0)
		return refused;
	if (data == NULL && len > 0)
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	return plugin_host_result_of(
		commit_set_room(p->commit, (struct span){room, room_len}, data, len,
				version != TOVA_ANY_VERSION ? &version : NULL));
}

/* A copy, made when it is first asked for, as with a connection's data. */
static void *plugin_host_mount_data(tova_mount *m)
{
	struct plugin_instance *i = plugin_instance_of(m);
	struct plugin *p = i->plugin;
	if (plugin_host_check(p, true) != 0 || i->mount_data == NULL || p->event == NULL)
		return NULL;
	if (!p->mount_used) {
		struct span kept = room_state_bytes(room_state_of_mount(p->base.mount));
		CHECK(kept.n == i->lib.plugin.mount_size);
		memcpy(i->mount_data, kept.p, kept.n);
	}
	p->mount_used = p->phase == PLUGIN_COMMANDS;
	return i->mount_data;
}

/* --- from one library to the next ------------------------------------------------------------- */

#define PLUGIN_HOST_KEPT_MAX (16u << 20)

static int plugin_host_keep(tova_mount *m, const void *data, size_t len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check(p, false);
	if (refused != 0 || p->phase != PLUGIN_SAVE)
		return refused != 0 ? refused : TOVA_E_STATE;
	if (len > PLUGIN_HOST_KEPT_MAX)
		return TOVA_E_LIMIT;
	void *copy = malloc(len + 1);
	if (copy == NULL)
		return TOVA_E_MEMORY;
	if (len > 0)
		memcpy(copy, data, len);
	free(p->kept);
	p->kept = copy;
	p->kept_len = len;
	return TOVA_OK;
}

static const void *plugin_host_kept(tova_mount *m, size_t *len_r)
{
	const struct plugin *p = plugin_instance_of(m)->plugin;
	bool given = plugin_host_check(p, false) == TOVA_OK && p->phase == PLUGIN_START &&
		     p->kept != NULL;
	*len_r = given ? p->kept_len : 0;
	return given ? p->kept : NULL;
}

/* --- the answer to an upgrade ----------------------------------------------------------------- */

static int plugin_host_check_upgrade(const struct plugin *p)
{
	int refused = plugin_host_check(p, true);
	return refused != 0 ? refused : p->phase == PLUGIN_UPGRADE ? TOVA_OK : TOVA_E_STATE;
}

static int plugin_host_subprotocol(tova_mount *m, const char *name)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_upgrade(p);
	if (refused != 0)
		return refused;
	if (name == NULL || strlen(name) >= sizeof p->event->answer->subprotocol ||
	    !upgrade_offers(p->event->request->request, span_of(name)))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	strcpy(p->event->answer->subprotocol, name);
	return TOVA_OK;
}

static int plugin_host_header(tova_mount *m, const char *name, const char *value)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_upgrade(p);
	if (refused != 0)
		return refused;
	if (!header_ok(name, value))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	return event_answer_header(p->event->answer, name, value)
		       ? TOVA_OK
		       : plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_LIMIT));
}

static int plugin_host_refuse(tova_mount *m, unsigned status, const char *type, const char *body,
			      size_t body_len)
{
	struct plugin *p = plugin_instance_of(m)->plugin;
	int refused = plugin_host_check_upgrade(p);
	if (refused != 0)
		return refused;
	struct event_answer *a = p->event->answer;
	if (!abi_refusal_ok(status, type, body, body_len))
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_ARG));
	if (body_len > COMMIT_BYTES_MAX)
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_LIMIT));
	char *copy = malloc(body_len + 1);
	if (copy == NULL)
		return plugin_host_result_of(commit_spoil(p->commit, COMMIT_E_MEMORY));
	if (body_len > 0)
		memcpy(copy, body, body_len);
	free(a->body);
	a->body = copy;
	a->body_len = body_len;
	a->status = (int)status;
	strcpy(a->type, type != NULL ? type : "");
	return TOVA_OK;
}

/* --- any thread ------------------------------------------------------------------------------- */

static void plugin_host_log(tova_mount *m, uint32_t level, const char *text, size_t len)
{
	static const enum log_level levels[] = {LOG_ERROR, LOG_WARN, LOG_NOTICE, LOG_INFO,
						LOG_DEBUG};
	struct plugin_instance *i = plugin_instance_of(m);
	const struct mount *mount = i->plugin->base.mount;
	enum log_level at = level <= TOVA_LOG_DEBUG ? levels[level] : LOG_INFO;
	if (!log_would(mount->hub->log, at))
		return;
	const struct log_field fields[] = {LOG_SPAN("message", ((struct span){text, len})),
					   LOG_STR("mount", mount->path),
					   LOG_STR("plugin", i->lib.plugin.name)};
	log_write(mount->hub->log, at, LOG_PLUGIN, fields, 3);
}

static void plugin_host_wake(tova_mount *m)
{
	loop_wake(&plugin_instance_of(m)->waker);
}

static const char *plugin_host_setting(tova_mount *m, const char *key)
{
	const struct plugin_instance *i = plugin_instance_of(m);
	for (size_t k = 0; k < i->n_pairs; k++)
		if (strcmp(i->pairs[k].key, key) == 0)
			return i->pairs[k].value;
	const tova_setting_spec *spec = abi_setting(&i->lib.plugin, key);
	return spec != NULL ? spec->fallback : NULL;
}

static void plugin_host_ws_text(tova_ws ws, char text_r[TOVA_WS_TEXT])
{
	id_text(ws.hi, ws.lo, text_r);
}

static int plugin_host_ws_parse(const char *text, size_t len, tova_ws *ws_r)
{
	return id_parse((struct span){text, len}, &ws_r->hi, &ws_r->lo) ? TOVA_OK : TOVA_E_ARG;
}

const tova_host plugin_host = {
	.abi_major = TOVA_ABI_MAJOR,
	.abi_minor = TOVA_ABI_MINOR,
	.size = sizeof plugin_host,
	.version = TOVA_VERSION,
	.send = plugin_host_send,
	.join = plugin_host_join,
	.leave = plugin_host_leave,
	.broadcast = plugin_host_broadcast,
	.broadcast_to = plugin_host_broadcast_to,
	.close = plugin_host_close,
	.set = plugin_host_set,
	.set_timer = plugin_host_set_timer,
	.cancel_timer = plugin_host_cancel_timer,
	.query = plugin_host_query,
	.data = plugin_host_data,
	.event = plugin_host_event,
	.fail = plugin_host_fail,
	.subprotocol = plugin_host_subprotocol,
	.header = plugin_host_header,
	.refuse = plugin_host_refuse,
	.log = plugin_host_log,
	.wake = plugin_host_wake,
	.setting = plugin_host_setting,
	.ws_text = plugin_host_ws_text,
	.ws_parse = plugin_host_ws_parse,
	.set_if = plugin_host_set_if,
	.quote = plugin_host_quote,
	.subject = plugin_host_subject,
	.keep = plugin_host_keep,
	.kept = plugin_host_kept,
	.join_history = plugin_host_join_history,
	.join_if = plugin_host_join_if,
	.leave_all = plugin_host_leave_all,
	.broadcast_among = plugin_host_broadcast_among,
	.close_room = plugin_host_close_room,
	.info = plugin_host_info,
	.about = plugin_host_about,
	.watch = plugin_host_watch,
	.unwatch = plugin_host_unwatch,
	.prolong = plugin_host_prolong,
	.room_state = plugin_host_room_state,
	.set_room = plugin_host_set_room,
	.mount_data = plugin_host_mount_data,
};
