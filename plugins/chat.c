/* chat: rooms of people who talk to each other. Messages are JSON:
 *	{"type":"chat","user":"Ada","text":"Hello"}	to the others in room general, or in that
 *							which "room" names
 *	{"type":"join_room","room":"tea"}		leaves general and joins that room
 *	{"type":"typing","user":"Ada"}			to the others, as chat, and not remembered
 *	{"type":"people","user":"Ada","id":3}		says who one is, and asks who is in room general, or in
 *							that which "room" names
 * Who joins a room is sent its last 50 messages, where the host runs with --history 50. People are
 *	{"type":"people","id":3,"users":["Ada"]}	the answer, each once however many tabs he has
 *	{"type":"here","room":"tea","user":"Ada"}	to a room: he has come, or with gone instead of here: he
 *							has left, and has not just loaded his page again
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tova_plugin.h"

#define SHOWN 50 /* of what was said before somebody came */

static json_t *line(const char *type, const char *text)
{
	return json_pack("{s:s, s:s}", "type", type, "text", text);
}

/* Whole, or NULL: what json_dumps of jansson 2.14 returns without memory may lack a part. */
static char *dump(const json_t *value)
{
	size_t n = json_dumpb(value, NULL, 0, JSON_COMPACT);
	char *text = n > 0 ? calloc(1, n + 1) : NULL;
	if (text != NULL && json_dumpb(value, text, n, JSON_COMPACT) == n)
		return text;
	free(text);
	return NULL;
}

/* Both take the value over and turn it into text once. */
static int send_json(tova_mount *m, tova_ws ws, json_t *value)
{
	char *text = dump(value);
	int result = text != NULL ? tova_send(m, ws, text) : tova_fail(m, "out of memory");
	free(text);
	json_decref(value);
	return result;
}

/* keep: whoever joins later is sent it, too. */
static int broadcast_json(tova_mount *m, const char *room, json_t *value, tova_ws exclude,
			  bool keep)
{
	char *text = dump(value);
	tova_payload p = tova_text_n(text, text != NULL ? strlen(text) : 0);
	int result;
	p = keep ? p : tova_unkept(p);
	result = text != NULL ? tova_broadcast_payload_to(m, room, &p, exclude)
			      : tova_fail(m, "out of memory");
	free(text);
	json_decref(value);
	return result;
}

static int on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	(void)request;
	tova_join_last(m, ws, "general", SHOWN);
	broadcast_json(m, "general", line("system", "A new user joined"), ws, false);
	return send_json(m, ws, line("system", "Welcome to the chat!"));
}

static int chat(tova_mount *m, tova_ws ws, json_t *data)
{
	const char *user = json_string_value(json_object_get(data, "user"));
	const char *text = json_string_value(json_object_get(data, "text"));
	json_t *room = json_object_get(data, "room");
	if (user == NULL || text == NULL || (room != NULL && !json_is_string(room)))
		return send_json(
			m, ws,
			line("error",
			     "A chat message needs user and text, both strings; room may be one"));
	/* A connection can be in several rooms: a message that was sent to one says so. s*: left
	 * out where there is none. */
	json_t *message = json_pack("{s:s, s:s, s:s, s:O*}", "type", "chat", "user", user, "text",
				    text, "room", room);
	return broadcast_json(m, room != NULL ? json_string_value(room) : "general", message, ws,
			      true);
}

static int typing(tova_mount *m, tova_ws ws, json_t *data)
{
	const char *user = json_string_value(json_object_get(data, "user"));
	json_t *room = json_object_get(data, "room");
	if (user == NULL || (room != NULL && !json_is_string(room)))
		return send_json(m, ws,
				 line("error",
				      "A typing notice needs user, a string; room may be one"));
	return broadcast_json(m, room != NULL ? json_string_value(room) : "general",
			      json_pack("{s:s, s:s, s:O*}", "type", "typing", "user", user, "room",
					room),
			      ws, false);
}

static int join_room(tova_mount *m, tova_ws ws, json_t *data)
{
	const char *room = json_string_value(json_object_get(data, "room"));
	if (room == NULL)
		return send_json(m, ws, line("error", "To join a room, name it: room, a string"));
	tova_leave(m, ws, "general");
	tova_join_last(m, ws, room, SHOWN);
	return send_json(m, ws,
			 json_pack("{s:s, s:s+}", "type", "system", "text", "Joined room: ", room));
}

static int people(tova_mount *m, tova_ws ws, json_t *data)
{
	const char *user = json_string_value(json_object_get(data, "user"));
	json_t *id = json_object_get(data, "id"), *room = json_object_get(data, "room");
	const char *name = room != NULL ? json_string_value(room) : "general";
	if (user == NULL || name == NULL || (id != NULL && json_integer_value(id) < 0))
		return send_json(m, ws,
				 line("error",
				      "Who asks for people says who asks: user, a string; room may be one"));
	tova_info(m, ws, NULL, user);
	tova_watch(m, name);
	return tova_query_room_for(m, TOVA_QUERY_USERS, name, ws,
				   (uint64_t)json_integer_value(id));
}

static int on_reply(tova_mount *m, const tova_reply *reply)
{
	const tova_room_user *users = tova_users(reply);
	json_t *names = json_array();
	for (size_t i = 0; users != NULL && i < reply->count; i++)
		json_array_append_new(names, json_string(users[i].name));
	return send_json(m, tova_asker(reply),
			 json_pack("{s:s, s:I, s:o}", "type", "people", "id",
				   (json_int_t)reply->id, "users", names));
}

/* Who has not said who he is has come and gone without a name. */
static int tell(tova_mount *m, const char *type, const tova_presence *who)
{
	return who->user_len == 0 ? 0
				  : broadcast_json(m, who->room,
						   json_pack("{s:s, s:s, s:s}", "type", type, "room",
							     who->room, "user", who->user),
						   TOVA_NONE, false);
}

static int on_join(tova_mount *m, const tova_presence *who)
{
	return tell(m, "here", who);
}

static int on_leave(tova_mount *m, const tova_presence *who)
{
	int result = tell(m, "gone", who);
	return result == 0 && who->users == 0 ? tova_unwatch_empty(m, who->room) : result;
}

static int on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	json_t *data = json_loadb(message->data, message->len, 0, NULL);
	if (data == NULL)
		return send_json(m, ws, line("error", "A message is a JSON object"));
	const char *type = json_string_value(json_object_get(data, "type"));
	int result;
	if (type != NULL && strcmp(type, "chat") == 0)
		result = chat(m, ws, data);
	else if (type != NULL && strcmp(type, "join_room") == 0)
		result = join_room(m, ws, data);
	else if (type != NULL && strcmp(type, "typing") == 0)
		result = typing(m, ws, data);
	else if (type != NULL && strcmp(type, "people") == 0)
		result = people(m, ws, data);
	else
		result = send_json(m, ws, line("error", "Unknown message type"));
	json_decref(data);
	return result;
}

static int on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	(void)why;
	return broadcast_json(m, "general", line("system", "A user left the chat"), ws, false);
}

/* Also what became of a command that was wrong, such as joining a room whose name is too long:
 * nothing of that message has happened, and its sender should know. The connection stays. */
static int on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	tova_log(m, TOVA_LOG_WARN, "%s", error->text);
	return error->kind == TOVA_ERROR_HANDLER ? send_json(m, ws, line("error", error->text)) : 0;
}

static const tova_setting_spec no_settings[] = {{NULL, NULL, NULL}};

TOVA_PLUGIN = {
	TOVA_PLUGIN_HEAD("chat", "1.0"), .settings = no_settings, .on_open = on_open,
	.on_message = on_message,	 .on_close = on_close,	  .on_error = on_error,
	.on_reply = on_reply,		 .on_join = on_join,	  .on_leave = on_leave,
};
