/* A worker that does what each message asks for; stories.py and stories.mjs do the same. */
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tova_worker.h"

/* What is kept with each connection. */
struct state {
	char query[64];
	uint32_t n;
	uint8_t n_bytes;
	char bytes[3];
};

/* A question with several parts, whose answers come in order. */
struct asked {
	struct asked *next;
	tova_ws ws;
	uint64_t first; /* query id of the first part */
	json_t *found;
};

struct slow {
	tova_mount *event;
	tova_ws ws;
	unsigned ms;
};

struct stories {
	struct asked *asked;
	uint64_t next_id;
	json_t *members; /* of the last answer */
};

static int send_json(tova_mount *m, tova_ws ws, json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);
	int result = text != NULL ? tova_send(m, ws, text) : tova_fail(m, "no memory");
	free(text);
	json_decref(value);
	return result;
}

static int to_all(tova_mount *m, json_t *value, tova_ws exclude)
{
	char *text = json_dumps(value, JSON_COMPACT);
	int result = text != NULL ? tova_broadcast_to(m, "all", text, exclude)
				  : tova_fail(m, "no memory");
	free(text);
	json_decref(value);
	return result;
}

static json_t *id_json(tova_mount *m, tova_ws ws)
{
	char text[TOVA_WS_TEXT];
	return json_string(tova_ws_text(m, ws, text));
}

/* --- deeds ------------------------------------------------------------------------------------ */

static int do_echo(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const json_t *data = json_object_get(ask, "data");
	tova_payload p = tova_text_n(json_string_value(data), json_string_length(data));
	return tova_send_payload(m, ws, &p);
}

static int do_count(tova_mount *m, tova_ws ws, const json_t *ask)
{
	struct state *state = tova_data(m);
	(void)ask;
	return send_json(m, ws,
			 json_pack("{s:i, s:i}", "n", (int)++state->n, "pid", (int)getpid()));
}

static int do_bytes(tova_mount *m, tova_ws ws, const json_t *ask)
{
	struct state *state = tova_data(m);
	tova_payload p = tova_binary(state->bytes, state->n_bytes);
	(void)ask;
	int result = state->n_bytes > 0 ? tova_send_payload(m, ws, &p) : tova_send(m, ws, "none");
	state->n_bytes = sizeof state->bytes;
	memcpy(state->bytes, "\0\377\n", sizeof state->bytes);
	return result;
}

static int do_die(tova_mount *m, tova_ws ws, const json_t *ask)
{
	tova_event event = tova_current_event(m);
	char id[TOVA_WS_TEXT], key[64];
	json_int_t times = json_integer_value(json_object_get(ask, "times"));
	tova_send(m, ws, "never twice");
	if (event.attempt <= (times > 0 ? times : 1))
		kill(getpid(), SIGKILL);
	snprintf(key, sizeof key, "%s:%llu", tova_ws_text(m, ws, id),
		 (unsigned long long)event.sequence);
	return send_json(m, ws,
			 json_pack("{s:i, s:s, s:i}", "attempt", (int)event.attempt, "key", key,
				   "pid", (int)getpid()));
}

static int do_fail(tova_mount *m, tova_ws ws, const json_t *ask)
{
	tova_send(m, ws, "never");
	tova_broadcast(m, "never", TOVA_NONE);
	tova_leave(m, ws, "all");
	return tova_fail(m, "Error: %s", json_string_value(json_object_get(ask, "text")));
}

static int do_retry(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const json_t *ms = json_object_get(ask, "ms");
	uint32_t after = ms != NULL ? (uint32_t)json_integer_value(ms) : 10;
	tova_send(m, ws, "once");
	return tova_current_event(m).attempt < 3 ? tova_worker_retry(m, after, "not yet") : 0;
}

static void *be_slow(void *arg)
{
	struct slow *slow = arg;
	usleep(slow->ms * 1000);
	send_json(slow->event, slow->ws, json_pack("{s:i}", "slow", (int)slow->ms));
	tova_worker_commit(slow->event);
	free(slow);
	return NULL;
}

static int do_slow(tova_mount *m, tova_ws ws, const json_t *ask)
{
	pthread_t thread;
	struct slow *slow = calloc(1, sizeof *slow);
	*slow = (struct slow){.event = tova_worker_defer(m), .ws = ws};
	slow->ms = (unsigned)json_integer_value(json_object_get(ask, "ms"));
	pthread_create(&thread, NULL, be_slow, slow);
	pthread_detach(thread);
	return 0;
}

static int do_push(tova_mount *m, tova_ws ws, const json_t *ask)
{
	(void)ask;
	tova_mount *p = tova_worker_push(m);
	tova_broadcast_to(p, "all", "one", TOVA_NONE);
	tova_broadcast_to(p, "all", "two", ws);
	if (tova_worker_commit(p) != 0)
		return tova_fail(m, "the push was refused");
	p = tova_worker_push(m);
	tova_send(p, ws, "never");
	tova_join(p, ws, "");
	int error = tova_worker_commit(p);
	return error != 0 ? send_json(m, ws, json_pack("{s:i}", "refused", error))
			  : tova_fail(m, "the push was not refused");
}

static int do_query(tova_mount *m, tova_ws ws, const json_t *ask)
{
	struct stories *me = m->user;
	struct asked *a = calloc(1, sizeof *a);
	(void)ask;
	*a = (struct asked){.next = me->asked,
			    .ws = ws,
			    .first = me->next_id,
			    .found = json_object()};
	me->asked = a;
	me->next_id += 5;
	tova_query_room(m, TOVA_QUERY_MEMBERS, "all", a->first);
	tova_query_room(m, TOVA_QUERY_COUNT, "all", a->first + 1);
	tova_query_room(m, TOVA_QUERY_COUNT, "nobody", a->first + 2);
	tova_query_ws(m, TOVA_QUERY_ROOMS, ws, a->first + 3);
	return tova_query_ws(m, TOVA_QUERY_STATS, TOVA_NONE, a->first + 4);
}

static int do_timer(tova_mount *m, tova_ws ws, const json_t *ask)
{
	return tova_every_ws(m, ws, "mine", 7,
			     (uint64_t)json_integer_value(json_object_get(ask, "ms")), 0);
}

static int do_close(tova_mount *m, tova_ws ws, const json_t *ask)
{
	(void)ask;
	return tova_close_ws(m, ws, 3001, "as you wish");
}

static int do_room(tova_mount *m, tova_ws ws, const json_t *ask)
{
	tova_join(m, ws, json_string_value(json_object_get(ask, "room")));
	return tova_send(m, ws, "joined");
}

static int do_me(tova_mount *m, tova_ws ws, const json_t *ask)
{
	(void)ask;
	return send_json(m, ws, json_pack("{s:s?, s:s?}", "user", tova_user(m), "info",
					  tova_event_info(m)));
}

static int do_who(tova_mount *m, tova_ws ws, const json_t *ask)
{
	tova_info(m, ws, json_string_value(json_object_get(ask, "info")),
		  json_string_value(json_object_get(ask, "user")));
	return do_me(m, ws, ask);
}

static int do_enter(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const char *room = json_string_value(json_object_get(ask, "room"));
	const tova_conditions asked = {
		.size = sizeof asked,
		.max = (uint32_t)json_integer_value(json_object_get(ask, "max")),
		.users_max = (uint32_t)json_integer_value(json_object_get(ask, "users_max")),
		.first = json_is_true(json_object_get(ask, "first")),
		.replace = json_is_true(json_object_get(ask, "replace"))};
	tova_join_if(m, ws, room, &asked);
	return send_json(m, ws, json_pack("{s:s}", "entered", room));
}

static int do_leave_all(tova_mount *m, tova_ws ws, const json_t *ask)
{
	(void)ask;
	tova_leave_all(m, ws);
	return send_json(m, ws, json_pack("{s:s}", "left", "all"));
}

static int do_clear(tova_mount *m, tova_ws ws, const json_t *ask)
{
	return tova_close_room(m, json_string_value(json_object_get(ask, "room")),
			       (uint16_t)json_integer_value(json_object_get(ask, "code")),
			       "cleared", ws);
}

static size_t texts_of(const json_t *list, const char *texts[8])
{
	for (size_t i = 0; i < json_array_size(list); i++)
		texts[i] = json_string_value(json_array_get(list, i));
	return json_array_size(list);
}

static int do_tell(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const char *rooms[8], *users[8], *except[8], *ids[8];
	tova_ws exclude[8];
	(void)ws;
	tova_among among = {.size = sizeof among,
			    .rooms = rooms,
			    .exclude = exclude,
			    .exclude_users = users,
			    .exclude_rooms = except};
	among.n_rooms = texts_of(json_object_get(ask, "rooms"), rooms);
	among.n_exclude_users = texts_of(json_object_get(ask, "exclude_users"), users);
	among.n_exclude_rooms = texts_of(json_object_get(ask, "exclude_rooms"), except);
	among.n_exclude = texts_of(json_object_get(ask, "exclude"), ids);
	for (size_t i = 0; i < among.n_exclude; i++)
		if (tova_ws_parse(m, ids[i], &exclude[i]) != 0)
			return tova_fail(m, "%s is no connection", ids[i]);
	return tova_broadcast_among(m, &among, json_string_value(json_object_get(ask, "text")));
}

static int do_roster(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const char *room = json_string_value(json_object_get(ask, "room"));
	tova_query_room_for(m, TOVA_QUERY_MEMBERS, room, ws, 0);
	return tova_query_room_for(m, TOVA_QUERY_USERS, room, ws, 0);
}

static int do_watch(tova_mount *m, tova_ws ws, const json_t *ask)
{
	const char *room = json_string_value(json_object_get(ask, "room"));
	const json_t *grace = json_object_get(ask, "grace");
	if (grace != NULL)
		tova_watch_for(m, room, (uint32_t)json_integer_value(grace));
	else
		tova_unwatch(m, room);
	return send_json(m, ws, json_pack("{s:s}", "watched", room));
}

static int tell_all(tova_mount *m, const char *what, const tova_presence *who)
{
	json_t *told = json_pack("{s:s s:s? s:s? s:i}", what, who->room, "user",
				 who->user_len > 0 ? who->user : NULL, "info",
				 who->info_len > 0 ? who->info : NULL, "users", (int)who->users);
	char *text = json_dumps(told, JSON_COMPACT);
	int result = tova_broadcast_to(m, "all", text, TOVA_NONE);
	free(text);
	json_decref(told);
	return result;
}

static int on_join(tova_mount *m, const tova_presence *who)
{
	int result = tell_all(m, "in", who);
	return result != 0 ? result
			   : send_json(m, who->ws,
				       json_pack("{s:s?}", "you",
						 who->user_len > 0 ? who->user : NULL));
}

static int on_leave(tova_mount *m, const tova_presence *who)
{
	int result = tell_all(m, "out", who);
	return strcmp(who->user, "trouble") == 0 ? tova_fail(m, "trouble") : result;
}

static const struct deed {
	const char *name;
	int (*act)(tova_mount *m, tova_ws ws, const json_t *ask);
} deeds[] = {
	{"echo", do_echo},   {"count", do_count}, {"bytes", do_bytes}, {"die", do_die},
	{"fail", do_fail},   {"retry", do_retry}, {"slow", do_slow},   {"push", do_push},
	{"query", do_query}, {"timer", do_timer}, {"close", do_close}, {"room", do_room},
	{"me", do_me},	     {"who", do_who},	  {"enter", do_enter}, {"leave_all", do_leave_all},
	{"clear", do_clear}, {"tell", do_tell},	  {"roster", do_roster}, {"watch", do_watch},
};

/* --- events ----------------------------------------------------------------------------------- */

static int start(tova_mount *m)
{
	m->user = calloc(1, sizeof(struct stories));
	return m->user != NULL ? 0 : tova_fail(m, "no memory");
}

static int on_upgrade(tova_mount *m, const tova_request *request)
{
	struct state *state = tova_data(m);
	unsigned status;
	if (sscanf(request->query, "refuse=%u", &status) == 1) {
		tova_response_header(m, "WWW-Authenticate", "Basic");
		return tova_refuse(m, status, "who are you?");
	}
	if (strcmp(request->query, "fail") == 0)
		return tova_fail(m, "no upgrades today");
	for (size_t i = 0; i < request->n_subprotocols; i++)
		if (strcmp(request->subprotocols[i], "v1") == 0)
			tova_subprotocol(m, "v1");
	snprintf(state->query, sizeof state->query, "%s", request->query);
	return 0;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	const struct state *state = tova_data(m);
	tova_join(m, ws, "all");
	to_all(m, json_pack("{s:o}", "came", id_json(m, ws)), ws);
	return send_json(m, ws,
			 json_pack("{s:o, s:s, s:{s:s, s:i}}", "welcome", id_json(m, ws), "path",
				   request->path, "state", "query", state->query, "n",
				   (int)state->n));
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	if (message->kind == TOVA_BINARY)
		return tova_send_payload(m, ws, message);
	json_t *ask = json_loadb(message->data, message->len, JSON_ALLOW_NUL, NULL);
	const char *name = json_string_value(json_object_get(ask, "do"));
	int result = tova_fail(m, "no such deed");
	for (size_t i = 0; name != NULL && i < sizeof deeds / sizeof *deeds; i++)
		if (strcmp(deeds[i].name, name) == 0)
			result = deeds[i].act(m, ws, ask);
	json_decref(ask);
	return result;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	const char *rooms[16];
	size_t n = why->n_rooms < 16 ? why->n_rooms : 16;
	json_t *list = json_array();
	for (size_t i = 0; i < n; i++)
		rooms[i] = why->rooms[i];
	qsort(rooms, n, sizeof *rooms, by_name);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(rooms[i]));
	return to_all(m,
		      json_pack("{s:o, s:i, s:s, s:o}", "left", id_json(m, ws), "code", why->code,
				"reason", why->reason, "rooms", list),
		      ws);
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	return error->kind == TOVA_ERROR_HANDLER
		       ? send_json(m, ws, json_pack("{s:s}", "error", error->text))
		       : 0;
}

static int on_timer(tova_mount *m, const tova_timer *timer)
{
	return send_json(m, timer->ws,
			 json_pack("{s:s, s:i}", "timer", timer->name, "id", (int)timer->id));
}

static json_t *part(tova_mount *m, const tova_reply *reply, const char **key_r, uint64_t which)
{
	static const char *const keys[] = {"members", "count", "nobody", "rooms", "connections"};
	*key_r = keys[which];
	if (which == 4)
		return json_integer((json_int_t)reply->stats->connections);
	if (which == 1 || which == 2)
		return json_integer((json_int_t)reply->count);
	json_t *list = json_array();
	for (uint64_t i = 0; i < reply->count; i++)
		json_array_append_new(list, which == 0 ? id_json(m, reply->connections[i])
						       : json_string(reply->rooms[i]));
	return list;
}

static const char *or_nothing(const char *text)
{
	return text != NULL ? text : "";
}

/* By user, then by info. */
static json_t *members_json(const tova_reply *reply)
{
	json_t *sorted = json_array();
	for (size_t i = 0; i < reply->count; i++) {
		const char *user = or_nothing(tova_members(reply)[i].user);
		const char *info = or_nothing(tova_members(reply)[i].info);
		size_t at = 0;
		for (; at < json_array_size(sorted); at++) {
			const json_t *there = json_array_get(sorted, at);
			int differ = strcmp(json_string_value(json_array_get(there, 0)), user);
			if (differ > 0 ||
			    (differ == 0 &&
			     strcmp(json_string_value(json_array_get(there, 1)), info) > 0))
				break;
		}
		json_array_insert_new(sorted, at, json_pack("[s, s]", user, info));
	}
	return sorted;
}

static int on_roster(tova_mount *m, const tova_reply *reply)
{
	struct stories *me = m->user;
	json_t *names = json_array();
	if (reply->kind == TOVA_QUERY_MEMBERS) {
		json_decref(names);
		me->members = members_json(reply);
		return 0;
	}
	for (size_t i = 0; i < reply->count; i++)
		json_array_append_new(names, json_string(tova_users(reply)[i].name));
	return send_json(m, reply->asker,
			 json_pack("{s:o, s:o}", "members", me->members, "users", names));
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	struct stories *me = m->user;
	if (!tova_ws_eq(reply->asker, TOVA_NONE))
		return on_roster(m, reply);
	struct asked **at = &me->asked;
	const char *key;
	while (*at != NULL && reply->id - (*at)->first > 4)
		at = &(*at)->next;
	struct asked *a = *at;
	if (a == NULL)
		return tova_fail(m, "an answer to nothing");
	json_t *value = part(m, reply, &key, reply->id - a->first);
	json_object_set_new(a->found, key, value);
	if (reply->id - a->first < 4)
		return 0;
	int result = send_json(m, a->ws, a->found);
	*at = a->next;
	free(a);
	return result;
}

int main(void)
{
	static const tova_plugin worker = {
		TOVA_PLUGIN_HEAD("stories", "1.0"),
		.data_size = sizeof(struct state),
		.start = start,
		.on_upgrade = on_upgrade,
		.on_open = on_open,
		.on_message = on_message,
		.on_close = on_close,
		.on_error = on_error,
		.on_timer = on_timer,
		.on_reply = on_reply,
		.on_join = on_join,
		.on_leave = on_leave,
	};
	return tova_worker_run(&worker, NULL);
}
