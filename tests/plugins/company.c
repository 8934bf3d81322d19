/* A plugin that does with rooms what each message says: in the host, in a process of its own, and in the harness. */
#include "tova_plugin.h"

/* The connection that has asked is the query's asker. */
static int answer_members(tova_mount *m, const tova_reply *r)
{
	char text[2000] = "members";
	size_t n = strlen(text);
	for (size_t i = 0; i < r->count; i++) {
		const tova_member *one = &tova_members(r)[i];
		if (!tova_ws_eq(one->ws, r->connections[i]))
			return tova_fail(m, "two orders");
		n += (size_t)snprintf(text + n, sizeof text - n, " %s=%s",
				      one->user != NULL ? one->user : "-",
				      one->info != NULL ? one->info : "-");
	}
	return tova_send(m, tova_asker(r), text);
}

static int on_reply(tova_mount *m, const tova_reply *r)
{
	char text[2000] = "users";
	size_t n = strlen(text);
	if (r->kind == TOVA_QUERY_MEMBERS)
		return answer_members(m, r);
	for (size_t i = 0; i < r->count; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, " %s*%llu", tova_users(r)[i].name,
				      (unsigned long long)tova_users(r)[i].connections);
	return tova_send(m, tova_asker(r), text);
}

static int tell(tova_mount *m, const char *text)
{
	static const char *const rooms[] = {"a", "b"}, *const users[] = {"bob"},
				*const except[] = {"c"};
	const tova_among among = {.size = sizeof among,
				  .rooms = rooms,
				  .n_rooms = 2,
				  .exclude_users = users,
				  .n_exclude_users = 1,
				  .exclude_rooms = except,
				  .n_exclude_rooms = 1};
	return tova_broadcast_among(m, &among, text);
}

static int about(tova_mount *m, tova_ws ws)
{
	return tova_sendf(m, ws, "%s %s %s", tova_user(m) != NULL ? tova_user(m) : "-",
			  tova_event_info(m) != NULL ? tova_event_info(m) : "-",
			  tova_event_claims(m) != NULL ? "claims" : "-");
}

static int bad(tova_mount *m, tova_ws ws)
{
	static const char *const rooms[] = {""}, *const none[] = {NULL};
	tova_among among = {.size = sizeof among};
	const tova_conditions twice = {.size = sizeof twice, .first = 2};
	char info[1026];
	memset(info, 'x', sizeof info);
	info[1025] = '\0';
	if (m->host->close_room(m, &among, 0, NULL, 0) == 0 || tova_join_if(m, ws, "r", &twice) == 0 ||
	    tova_join_if(m, ws, "r", NULL) == 0 || tova_info(m, ws, info, NULL) == 0 ||
	    tova_info(m, ws, NULL, NULL) == 0)
		return tova_fail(m, "taken");
	among.rooms = rooms;
	among.n_rooms = 1;
	if (tova_broadcast_among(m, &among, "x") != TOVA_E_ROOM)
		return tova_fail(m, "no room");
	among.rooms = none;
	return tova_broadcast_among(m, &among, "x") == TOVA_E_LIMIT ? 0 : tova_fail(m, "no text");
}

/* Everybody hears who comes and goes. */
static int presence(tova_mount *m, const char *what, const tova_presence *who)
{
	char id[TOVA_WS_TEXT];
	if (strlen(who->room) != who->room_len || strlen(who->user) != who->user_len ||
	    strlen(who->info) != who->info_len ||
	    strlen(tova_ws_text(m, who->ws, id)) != TOVA_WS_TEXT - 1)
		return tova_fail(m, "lengths");
	return tova_broadcastf(m, TOVA_NONE, "%s %s %s/%s %u", what, who->room, who->user,
			       who->info, (unsigned)who->users);
}

static int on_join(tova_mount *m, const tova_presence *who)
{
	return presence(m, "join", who);
}

static int on_leave(tova_mount *m, const tova_presence *who)
{
	return presence(m, "leave", who);
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	char word[16] = "", name[300] = "";
	unsigned n = 0;
	const char *text = message->data;
	sscanf(text, "%15s %299s %u", word, name, &n);
	if (strcmp(word, "user") == 0)
		return tova_info(m, ws, NULL, name);
	if (strcmp(word, "info") == 0)
		return tova_info(m, ws, name, NULL);
	if (strcmp(word, "about") == 0)
		return about(m, ws);
	if (strcmp(word, "join") == 0)
		return n > 0 ? tova_join_max(m, ws, name, n) : tova_join(m, ws, name);
	if (strcmp(word, "alone") == 0)
		return tova_join_alone(m, ws, name);
	if (strcmp(word, "leave") == 0)
		return tova_leave_all(m, ws);
	if (strcmp(word, "clear") == 0)
		return tova_close_room(m, name, 4001, "cleared", ws);
	if (strcmp(word, "watch") == 0)
		return tova_watch_for(m, name, n);
	if (strcmp(word, "watch5") == 0)
		return tova_watch(m, name);
	if (strcmp(word, "unwatch") == 0)
		return tova_unwatch(m, name);
	if (strcmp(word, "tell") == 0)
		return tell(m, name);
	if (strcmp(word, "bad") == 0)
		return bad(m, ws);
	if (strcmp(word, "members") == 0)
		return tova_query_room_for(m, TOVA_QUERY_MEMBERS, name, ws, 1);
	if (strcmp(word, "users") == 0)
		return tova_query_room_for(m, TOVA_QUERY_USERS, name, ws, 1);
	return tova_send(m, ws, text);
}

static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	return tova_send(m, ws, error->text);
}

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("company", "1.0"),
	.on_message = on_message,
	.on_error = on_error,
	.on_reply = on_reply,
	.on_join = on_join,
	.on_leave = on_leave,
};
