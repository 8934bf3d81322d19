#include "ops/trace_line.h"

#include <stdio.h>
#include <time.h>

/* With microseconds. */
static void trace_line_time(struct codec_out *o, int64_t us)
{
	char text[48];
	struct tm tm;
	time_t t = (time_t)(us / 1000000);
	size_t n = gmtime_r(&t, &tm) != NULL ? strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm)
					     : 0;
	n += (size_t)snprintf(text + n, sizeof text - n, ".%06dZ", (int)(us % 1000000));
	codec_raw(o, "\"time\":", 7);
	codec_string(o, (struct span){text, n});
}

static void trace_line_whose(struct codec_out *o, const struct trace_told *told)
{
	char id[SESSION_ID_TEXT];
	codec_member_text(o, "mount", span_of(told->mount->path));
	if (told->session == NULL)
		return;
	codec_member_text(o, "conn", span_of(hub_session_text(told->session, id)));
	if (identity_user(told->session) != NULL)
		codec_member_text(o, "user", span_of(identity_user(told->session)));
}

void trace_line(struct codec_out *o, const struct trace_told *told)
{
	trace_line_time(o, told->us);
	codec_member_text(o, "point", span_of(trace_point_name(told->point)));
	codec_member_text(o, "event", span_of(event_name(told->kind)));
	if (told->sequence > 0)
		codec_member_uint(o, "seq", told->sequence);
	if (told->attempt > 0)
		codec_member_uint(o, "attempt", told->attempt);
	if (told->kind == EVENT_MESSAGE && told->point <= TRACE_GIVEN)
		codec_member_uint(o, "bytes", told->bytes);
	if (told->point == TRACE_ACKNOWLEDGED || told->point == TRACE_COMMITTED)
		codec_member_uint(o, "commands", told->commands);
	if (told->who.p != NULL)
		codec_member_text(o, "to", told->who);
	if (told->why.p != NULL)
		codec_member_text(o, "error", told->why);
	trace_line_whose(o, told);
	if (told->traceparent != NULL)
		codec_member_text(o, "traceparent", span_of(told->traceparent));
}
