#include "c/reply.h"

#include <stdlib.h>

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
	case TOVA_QUERY_CONNECTIONS:
		return reply_connections(t, plugin, &reply, json_object_get(json, "connections"));
	case TOVA_QUERY_ROOMS:
		return reply_rooms(t, plugin, &reply, json_object_get(json, "rooms"));
	case TOVA_QUERY_STATS:
		return reply_stats(t, plugin, &reply, json_object_get(json, "stats"));
	default:
		return plugin->on_reply(&t->api, &reply);
	}
}
