#include "handler/worker/query_history.h"

#include <stdio.h>

#include "ws/frame.h"

static void query_history_message(struct codec_out *o, const struct kept_message *message,
				  uint64_t offset, uint64_t at)
{
	struct span data = frame_payload(slice_bytes(&message->frame), message->frame.len);
	bool binary = frame_is_binary(slice_bytes(&message->frame));
	char text[80];
	int n = snprintf(text, sizeof text, "{\"offset\":%llu,\"at\":%llu",
			 (unsigned long long)offset, (unsigned long long)at);
	codec_raw(o, text, (size_t)n);
	if (binary)
		codec_member_base64(o, "data_base64", data);
	else
		codec_member_text(o, "data", data);
	codec_raw(o, "}", 1);
}

void query_history(struct codec_out *o, struct mount *m, const struct query_history *q)
{
	bool more;
	struct history_found found = history_query(m, q->room, q->has_since ? q->since : UINT64_MAX,
						   q->epoch, q->limit, &more);
	codec_member_uint(o, "epoch", found.epoch);
	codec_member_uint(o, "first", history_first(&found));
	codec_member_uint(o, "last", found.last);
	codec_member_raw(o, "complete", found.complete ? "true" : "false");
	codec_member_raw(o, "messages", "[");
	for (uint64_t offset = found.from; offset <= found.to; offset++) {
		const struct kept_message *message = history_at(&found, offset);
		codec_raw(o, ",", offset > found.from);
		query_history_message(o, message, offset, history_time(m, message));
	}
	codec_raw(o, "]", 1);
	codec_member_raw(o, "more", more ? "true" : "false");
}

void query_kept(struct codec_out *o, const struct mount *m)
{
	if (m->kept.epoch == 0)
		return;
	codec_member_uint(o, "offset", m->kept.offset);
	codec_member_uint(o, "epoch", m->kept.epoch);
}
