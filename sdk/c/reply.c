#include "c/reply.h"

#include <stdlib.h>
#include <string.h>

#include "common/id.h"

static int reply_no_memory(struct task *t)
{
	return tova_fail(&t->api, "no memory for the answer to a query");
}

static int reply_connections(struct task *t, const tova_plugin *plugin, tova_reply *reply,
			     const json_t *list)
{
	size_t n = json_array_size(list), taken = 0;
	tova_ws *connections = malloc((n + 1) * sizeof *connections);
	if (connections == NULL)
		return reply_no_memory(t);
	for (size_t i = 0; i < n; i++) {
		const json_t *id = json_array_get(list, i);
		struct span text = {json_string_value(id), json_string_length(id)};
		taken += id_parse(text, &connections[taken].hi, &connections[taken].lo);
	}
	reply->connections = connections;
	reply->count = taken;
	int result = plugin->on_reply(&t->api, reply);
	free(connections);
	return result;
}

/* Those of a room, and who they are. */
static int reply_members(struct task *t, const tova_plugin *plugin, tova_reply *reply,
			 const json_t *list)
{
	size_t n = json_array_size(list), taken = 0;
	tova_member *members = malloc((n + 1) * (sizeof *members + sizeof(tova_ws)));
	if (list == NULL || members == NULL) {
		free(members);
		return reply_no_memory(t);
	}
	tova_ws *connections = (tova_ws *)(members + n + 1);
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_array_get(list, i), *id = json_object_get(one, "conn");
		struct span text = {json_string_value(id), json_string_length(id)};
		if (!id_parse(text, &connections[taken].hi, &connections[taken].lo))
			continue;
		members[taken] =
			(tova_member){.ws = connections[taken],
				      .user = json_string_value(json_object_get(one, "user")),
				      .info = json_string_value(json_object_get(one, "info"))};
		taken++;
	}
	reply->connections = connections;
	reply->members = members;
	reply->count = taken;
	int result = plugin->on_reply(&t->api, reply);
	free(members);
	return result;
}

static int reply_users(struct task *t, const tova_plugin *plugin, tova_reply *reply,
		       const json_t *list)
{
	size_t n = json_array_size(list), taken = 0;
	tova_room_user *users = malloc((n + 1) * sizeof *users);
	if (list == NULL || users == NULL) {
		free(users);
		return reply_no_memory(t);
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *one = json_array_get(list, i);
		const char *name = json_string_value(json_object_get(one, "user"));
		if (name != NULL)
			users[taken++] =
				(tova_room_user){name,
						 (uint64_t)json_integer_value(
							 json_object_get(one, "connections"))};
	}
	reply->users = users;
	reply->count = taken;
	int result = plugin->on_reply(&t->api, reply);
	free(users);
	return result;
}

static int reply_rooms(struct task *t, const tova_plugin *plugin, tova_reply *reply,
		       const json_t *list)
{
	size_t n = json_array_size(list), taken = 0;
	const char **rooms = malloc((n + 1) * sizeof *rooms);
	if (rooms == NULL)
		return reply_no_memory(t);
	for (size_t i = 0; i < n; i++) {
		const char *room = json_string_value(json_array_get(list, i));
		if (room != NULL)
			rooms[taken++] = room;
	}
	reply->rooms = rooms;
	reply->count = taken;
	int result = plugin->on_reply(&t->api, reply);
	free(rooms);
	return result;
}

static uint64_t reply_counter(const json_t *stats, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(stats, key));
}

static int reply_stats(struct task *t, const tova_plugin *plugin, const tova_reply *reply,
		       const json_t *json)
{
	tova_stats stats = {
		.size = sizeof stats,
		.uptime_ms = reply_counter(json, "uptime_ms"),
		.connections = reply_counter(json, "connections"),
		.rooms = reply_counter(json, "rooms"),
		.messages_in = reply_counter(json, "messages_in"),
		.messages_out = reply_counter(json, "messages_out"),
		.bytes_in = reply_counter(json, "bytes_in"),
		.bytes_out = reply_counter(json, "bytes_out"),
		.slow = reply_counter(json, "slow"),
		.dropped = reply_counter(json, "dropped"),
		.rate_dropped = reply_counter(json, "rate_dropped"),
		.refused = reply_counter(json, "refused"),
		.limited = reply_counter(json, "limited"),
	};
	tova_reply whole = *reply;
	whole.stats = &stats;
	return plugin->on_reply(&t->api, &whole);
}

/* --- what a room remembers -------------------------------------------------------------------- */

static int reply_base64_value(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;
	return at != NULL ? (int)(at - digits) : -1;
}

/* Up to what is no digit. Returns how many bytes it is. */
static size_t reply_base64(const char *text, unsigned char *dst)
{
	size_t n = 0;
	unsigned bits = 0, value = 0;
	for (int digit; (digit = reply_base64_value(*text)) >= 0; text++) {
		value = value << 6 | (unsigned)digit;
		bits += 6;
		if (bits < 8)
			continue;
		bits -= 8;
		dst[n++] = (unsigned char)(value >> bits);
	}
	return n;
}

/* Returns where the next one's bytes go. */
static unsigned char *reply_message(const json_t *json, tova_remembered *message,
				    unsigned char *bytes)
{
	const json_t *text = json_object_get(json, "data");
	const char *binary = json_string_value(json_object_get(json, "data_base64"));
	size_t n = json_string_length(text);
	if (binary != NULL)
		n = reply_base64(binary, bytes);
	else if (n > 0)
		memcpy(bytes, json_string_value(text), n);
	bytes[n] = '\0';
	*message = (tova_remembered){.offset = reply_counter(json, "offset"),
				     .at_ms = reply_counter(json, "at"),
				     .payload = {.size = sizeof(tova_payload),
						 .data = bytes,
						 .len = n,
						 .kind = binary != NULL ? TOVA_BINARY : TOVA_TEXT}};
	return bytes + n + 1;
}

static int reply_history(struct task *t, const tova_plugin *plugin, tova_reply *reply,
			 const json_t *json)
{
	const json_t *list = json_object_get(json, "messages");
	size_t n = json_array_size(list), size = n * sizeof(tova_remembered);
	for (size_t i = 0; i < n; i++)
		size += json_string_length(json_object_get(json_array_get(list, i), "data")) +
			json_string_length(
				json_object_get(json_array_get(list, i), "data_base64")) +
			1;
	tova_remembered *messages = malloc(size + 1);
	if (messages == NULL)
		return reply_no_memory(t);
	unsigned char *bytes = (unsigned char *)(messages + n);
	for (size_t i = 0; i < n; i++)
		bytes = reply_message(json_array_get(list, i), &messages[i], bytes);
	reply->messages = messages;
	reply->count = n;
	reply->epoch = reply_counter(json, "epoch");
	reply->first = reply_counter(json, "first");
	reply->last = reply_counter(json, "last");
	reply->complete = json_is_true(json_object_get(json, "complete"));
	reply->more = json_is_true(json_object_get(json, "more"));
	int result = plugin->on_reply(&t->api, reply);
	free(messages);
	return result;
}

static int reply_room_state(struct task *t, const tova_plugin *plugin, const struct query *query,
			    tova_reply *reply, const json_t *json)
{
	const json_t *text = json_object_get(json, "state");
	const char *binary = json_string_value(json_object_get(json, "state_base64"));
	size_t n = binary != NULL ? strlen(binary) : json_string_length(text);
	unsigned char *bytes = malloc(n + 1);
	if (bytes == NULL)
		return reply_no_memory(t);
	if (binary != NULL)
		n = reply_base64(binary, bytes);
	else if (n > 0)
		memcpy(bytes, json_string_value(text), n);
	bytes[n] = '\0';
	const tova_room_state state = {.size = sizeof state,
				       .room = query->room,
				       .data = bytes,
				       .len = n,
				       .version = reply_counter(json, "version")};
	reply->room_state = &state;
	int result = plugin->on_reply(&t->api, reply);
	free(bytes);
	return result;
}

int reply_deliver(struct task *t, const tova_plugin *plugin, const struct query *query,
		  const json_t *json)
{
	tova_reply reply = {.size = sizeof reply,
			    .kind = query->kind,
			    .id = query->id,
			    .asker = query->asker};
	reply.count = reply_counter(json, "count");
	switch (query->kind) {
	case TOVA_QUERY_MEMBERS:
		/* a host that knows no pages tells who is there, but not who they are */
		if (query->found == NULL && json_object_get(json, "connections") != NULL)
			return reply_connections(t, plugin, &reply,
						 json_object_get(json, "connections"));
		return reply_members(t, plugin, &reply, query->found);
	case TOVA_QUERY_USERS:
		return reply_users(t, plugin, &reply, query->found);
	case TOVA_QUERY_CONNECTIONS:
		return reply_connections(t, plugin, &reply, json_object_get(json, "connections"));
	case TOVA_QUERY_ROOMS:
		return reply_rooms(t, plugin, &reply, json_object_get(json, "rooms"));
	case TOVA_QUERY_ROOM_STATE:
		return reply_room_state(t, plugin, query, &reply, json);
	case TOVA_QUERY_HISTORY:
		return reply_history(t, plugin, &reply, json);
	case TOVA_QUERY_STATS:
		return reply_stats(t, plugin, &reply, json_object_get(json, "stats"));
	default:
		return plugin->on_reply(&t->api, &reply);
	}
}
