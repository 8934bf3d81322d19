#include "ops/connection.h"

#include "hub/slow_consumer.h"
#include "ws/frame.h"

bool connection_is_slow(const struct session *s)
{
	return s->slow || session_load(s).stalled;
}

void connection_describe(struct session *s, struct codec_out *o)
{
	char id[SESSION_ID_TEXT], remote[ADDRESS_TEXT];
	codec_raw(o, "{\"conn\":", 8);
	codec_string(o, span_of(hub_session_text(s, id)));
	codec_member_text(o, "mount", span_of(s->mount->path));
	codec_member_text(o, "path", span_of(hub_session_path(s)));
	if (identity_user(s) != NULL)
		codec_member_text(o, "user", span_of(identity_user(s)));
	else
		codec_member_raw(o, "user", "null");
	codec_member_text(o, "remote", span_of(session_remote_text(s, remote)));
	codec_member_uint(o, "age_ms", hub_session_age_ms(s));
	codec_member_uint(o, "rooms", room_count(&s->rooms));
	codec_member_uint(o, "events", s->lane.sequence);
	codec_member_uint(o, "waiting", session_load(s).waiting);
	codec_member_uint(o, "dropped", slow_consumer_dropped(s));
	codec_raw(o, "}", 1);
}
