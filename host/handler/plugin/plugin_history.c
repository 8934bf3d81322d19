/* plugin_history: what a room remembers, as the answer to a plugin's query. */
#include <stdlib.h>

#include "handler/plugin/plugin_instance.h"
#include "ws/frame.h"

/* A copy of each, with a NUL behind it that does not count. NULL without memory. */
static tova_remembered *plugin_history_copy(const struct mount *m,
					    const struct history_found *found)
{
	size_t n = found->to + 1 - found->from, size = n * sizeof(tova_remembered);
	for (uint64_t offset = found->from; offset <= found->to; offset++)
		size += history_at(found, offset)->frame.len + 1;
	tova_remembered *list = malloc(size + 1);
	char *bytes = list != NULL ? (char *)(list + n) : NULL;
	for (size_t i = 0; list != NULL && i < n; i++) {
		const struct kept_message *message = history_at(found, found->from + i);
		const uint8_t *frame = slice_bytes(&message->frame);
		struct span data = frame_payload(frame, message->frame.len);
		list[i] = (tova_remembered){
			.offset = found->from + i,
			.at_ms = history_time(m, message),
			.payload = {.size = sizeof(tova_payload),
				    .data = bytes,
				    .len = data.n,
				    .kind = frame_is_binary(frame) ? TOVA_BINARY : TOVA_TEXT}};
		if (data.n > 0)
			memcpy(bytes, data.p, data.n);
		bytes[data.n] = '\0';
		bytes += data.n + 1;
	}
	return list;
}

int plugin_history_reply(struct plugin_instance *i, const struct event_query *q, tova_reply *reply)
{
	static const char no_memory[] = "no memory for the answer to a query";
	struct mount *m = i->plugin->base.mount;
	bool more;
	struct history_found found = history_query(m, q->room, q->since, 0, q->limit, &more);
	tova_remembered *list = plugin_history_copy(m, &found);
	if (list == NULL)
		return plugin_host.fail(&i->api, no_memory, sizeof no_memory - 1);
	reply->count = found.to + 1 - found.from;
	reply->messages = list;
	reply->epoch = found.epoch;
	reply->first = history_first(&found);
	reply->last = found.last;
	reply->complete = found.complete;
	reply->more = more;
	int result = i->lib.plugin.on_reply(&i->api, reply);
	free(list);
	return result;
}
