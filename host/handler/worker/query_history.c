#include "handler/worker/query_history.h"

#include <stdio.h>
#include <time.h>

static uint64_t query_history_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Which of what is remembered is told; sets *more_r if some follow. */
static struct history_found query_history_find(struct mount *m, const struct query_history *q,
					       bool *more_r)
{
	uint64_t limit = q->limit == 0			 ? QUERY_HISTORY_LIMIT
			 : q->limit < QUERY_HISTORY_MAX ? q->limit
							 : QUERY_HISTORY_MAX;
	const struct history_want want = {
		.how = q->has_since ? HISTORY_WANT_SINCE_OR_LAST : HISTORY_WANT_LAST,
		.last = q->has_since ? UINT32_MAX : (uint32_t)limit,
		.since = q->since,
		.epoch = q->epoch,
	};
	struct history_found found = history_find(m, q->room, &want);
	*more_r = found.to + 1 - found.from > limit;
	if (*more_r)
		found.to = found.from + limit - 1;
	return found;
}

static void query_history_message(struct codec_out *o, const struct kept_message *message,
				  uint64_t offset, uint64_t at, bool plain)
{
	struct span data = frame_payload(slice_bytes(&message->frame), message->frame.len);
	bool binary = frame_is_binary(slice_bytes(&message->frame));
	char text[80];
	int n = snprintf(text, sizeof text, "{\"offset\":%llu,\"at\":%llu",
			 (unsigned long long)offset, (unsigned long long)at);
	codec_raw(o, text, (size_t)n);
	if (plain && binary)
		codec_member_base64(o, "data_base64", data);
	else
		codec_member_message(o, data, binary);
	codec_raw(o, "}", 1);
}

void query_history(struct codec_out *o, struct mount *m, const struct query_history *q, bool plain)
{
	bool more;
	struct history_found found = query_history_find(m, q, &more);
	uint64_t now = query_history_clock(), oldest = history_first(&found);
	size_t bytes = 0;
	codec_member_uint(o, "epoch", found.epoch);
	codec_member_uint(o, "first", oldest);
	codec_member_uint(o, "last", found.last);
	codec_member_raw(o, "complete", found.complete ? "true" : "false");
	codec_member_raw(o, "messages", "[");
	for (uint64_t offset = found.from; offset <= found.to; offset++) {
		const struct kept_message *message = history_at(&found, offset);
		bytes += message->frame.len;
		if (bytes > QUERY_HISTORY_BYTES && offset > found.from) {
			more = true;
			break;
		}
		codec_raw(o, ",", offset > found.from);
		query_history_message(o, message, offset, now - history_age(m, message), plain);
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
