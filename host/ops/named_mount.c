#include "ops/named_mount.h"

#include <stdio.h>
#include <time.h>

#include "handler/plugin/plugin.h"
#include "handler/script/script.h"
#include "handler/worker/codec.h"
#include "handler/worker/worker.h"

struct mount *named_mount_find(const struct hub *hub, struct span path)
{
	struct mount *m = hub->mounts;
	if (path.p == NULL)
		return m != NULL && m->next == NULL ? m : NULL;
	while (m != NULL && !span_eq(span_of(m->path), path))
		m = m->next;
	return m;
}

struct span named_mount_why(const struct hub *hub, struct span path, const char *how,
			    char why[NAMED_MOUNT_WHY_MAX])
{
	int n = 0;
	if (path.p != NULL)
		n = snprintf(why, NAMED_MOUNT_WHY_MAX, "there is no such mount as %.*s",
			     path.n < 255 ? (int)path.n : 255, path.p);
	else if (hub->mounts != NULL)
		n = snprintf(why, NAMED_MOUNT_WHY_MAX, "there are several mounts: name one, %s",
			     how);
	else
		n = snprintf(why, NAMED_MOUNT_WHY_MAX, "this host has no mount");
	for (const struct mount *m = hub->mounts; m != NULL && n < NAMED_MOUNT_WHY_MAX - 300;
	     m = m->next)
		n += snprintf(why + n, NAMED_MOUNT_WHY_MAX - (size_t)n, "%s%s",
			      m == hub->mounts	? "; expected "
			      : m->next != NULL ? ", "
						: " or ",
			      m->path);
	return (struct span){why, (size_t)n};
}

/* "handler", "what" that is, and how many "processes" of it are ready where there are some. */
static void named_mount_handler(const struct mount *m, struct codec_out *o)
{
	char text[256];
	if (plugin_is(m)) {
		snprintf(text, sizeof text, "%s %s", plugin_name(m), plugin_version(m));
		codec_member_text(o, "handler", SPAN("plugin"));
		codec_member_text(o, "what", span_of(text));
	} else if (script_is(m)) {
		codec_member_text(o, "handler", SPAN("script"));
		codec_member_text(o, "what", span_of(script_runs(m)));
		codec_member_uint(o, "processes", script_count(m));
	} else {
		codec_member_text(o, "handler", span_of(worker_kind(m)));
		codec_member_text(o, "what", span_of(worker_what(m)));
		codec_member_uint(o, "processes", worker_count(m));
	}
}

/* As the log writes it; 0: nothing. */
static void named_mount_time(struct codec_out *o, const char *name, int64_t at)
{
	char text[32];
	struct tm tm;
	time_t t = (time_t)at;
	if (at == 0 || gmtime_r(&t, &tm) == NULL)
		return;
	size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	codec_member_text(o, name, (struct span){text, n});
}

/* Since when it serves, and whether what was to take its place did not. */
static void named_mount_deploy(const struct mount *m, struct codec_out *o)
{
	named_mount_time(o, "deployed", m->deploy.at);
	if (m->deploy.failed == 0)
		return;
	named_mount_time(o, "deploy_failed", m->deploy.failed);
	codec_member_text(o, "deploy_error", span_of(m->deploy.why));
}

void named_mount_describe(const struct mount *m, struct codec_out *o)
{
	codec_raw(o, "{\"path\":", 8);
	codec_string(o, span_of(m->path));
	named_mount_handler(m, o);
	named_mount_deploy(m, o);
	codec_member_uint(o, "connections", m->n_sessions);
	codec_member_uint(o, "rooms", m->rooms.table.n);
	codec_raw(o, "}", 1);
}
