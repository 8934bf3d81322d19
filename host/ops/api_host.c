#include "ops/api_host.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "handler/worker/query.h"
#include "handler/worker/worker.h"
#include "ops/api_list.h"
#include "ops/api_params.h"
#include "ops/cluster_report.h"
#include "ops/named_mount.h"
#include "settings/settings_layer.h"

/* --- mounts ----------------------------------------------------------------------------------- */

/* Those that the token may read; which there are never changes. */
struct api_host_mounts {
	uint16_t magic; /* CHECK_API_MOUNTS */
	const struct mount *next, *only;
	const struct api *api;
	struct api_grant grant;
	bool workers; /* not the mount, but who works for it */
};

static enum api_list_found api_host_next_mount(void *ctx, struct codec_out *o)
{
	struct api_host_mounts *l = ctx;
	CHECK_IS(l, CHECK_API_MOUNTS);
	const struct mount *m = l->next;
	bool any = false;
	if (m == NULL)
		return API_LIST_END;
	l->next = m->next;
	if ((l->only != NULL && m != l->only) || (l->workers && !worker_is(m)) ||
	    !api_token_may(&l->api->tokens, &l->grant, API_SCOPE_READ, m->path))
		return API_LIST_NOTHING;
	if (l->workers)
		worker_describe(m, o, &any);
	else
		named_mount_describe(m, o);
	return any || !l->workers ? API_LIST_ITEM : API_LIST_NOTHING;
}

static void api_host_list(struct api_call *call, const char *name, bool workers)
{
	struct api_params p;
	struct mount *only;
	if (!api_params_read(call, &p) || !api_params_mount(call, p.values[0], &only))
		return;
	struct api_host_mounts *l = malloc(sizeof *l);
	const struct api_list list = {.next = api_host_next_mount, .free = free, .ctx = l};
	if (l == NULL) {
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	*l = (struct api_host_mounts){.magic = CHECK_API_MOUNTS,
				      .next = call->api->hub->mounts,
				      .only = only,
				      .api = call->api,
				      .grant = call->grant,
				      .workers = workers};
	api_list_answer(call, name, &list);
}

void api_host_mounts(struct api_call *call)
{
	api_host_list(call, "mounts", false);
}

void api_host_workers(struct api_call *call)
{
	api_host_list(call, "workers", true);
}

/* --- counters --------------------------------------------------------------------------------- */

void api_host_stats(struct api_call *call)
{
	struct api_params p;
	if (!api_params_read(call, &p))
		return;
	struct codec_out *o = api_call_out(call);
	query_stats(o, call->api->hub);
	if (!codec_failed(o))
		o->text.p[0] = '{'; /* for a comma, as of a member behind others */
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

/* --- the cluster ------------------------------------------------------------------------------ */

void api_host_cluster(struct api_call *call)
{
	struct api_params p;
	if (!api_params_read(call, &p))
		return;
	struct codec_out *o = api_call_out(call);
	cluster_report(call->api->cluster, o);
	if (!codec_failed(o))
		o->text.p[0] = '{'; /* for a comma, as of a member behind others */
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

/* --- settings --------------------------------------------------------------------------------- */

/* First the host's, then each mount's: handler, values of its own, names of plugin-set. Settings
 * may be others between two items; which mounts there are they only tell at a restart. */
struct api_host_settings {
	uint16_t magic; /* CHECK_API_SETTINGS */
	const struct api *api;
	size_t row, mount; /* mount 0: the host's */
};

/* The text of a value as it is typed; an array where it can be given several times. */
static void api_host_value(struct codec_out *o, const struct option_row *row, const void *field)
{
	char text[64];
	const struct settings_list *list = field;
	const struct settings_listens *listens = field;
	bool listen = row->type == OPTION_LISTEN;
	switch (row->type) {
	case OPTION_FLAG:
		codec_member_raw(o, "value", *(const bool *)field ? "true" : "false");
		break;
	case OPTION_NUMBER:
		codec_member_uint(o, "value", *(const uint64_t *)field);
		break;
	case OPTION_TEXT:
	case OPTION_PATH:
		if (*(char *const *)field != NULL)
			codec_member_text(o, "value", span_of(*(char *const *)field));
		else
			codec_member_raw(o, "value", "null");
		break;
	case OPTION_LIST:
	case OPTION_LISTEN:
	case OPTION_PATHS:
		codec_member_raw(o, "value", "[");
		for (size_t i = 0; i < (listen ? listens->n : list->n); i++) {
			codec_raw(o, ",", i > 0);
			codec_string(o, span_of(listen ? listens->items[i].text : list->items[i]));
		}
		codec_raw(o, "]", 1);
		break;
	default:
		option_format(row,
			      row->type == OPTION_ENUM ? *(const unsigned *)field
						       : *(const uint64_t *)field,
			      text, sizeof text);
		codec_member_text(o, "value", span_of(text));
	}
}

static void api_host_option(struct codec_out *o, const struct option_row *row, const char *mount)
{
	codec_raw(o, "{\"option\":", 10);
	codec_string(o, span_of(row->name));
	if (mount != NULL)
		codec_member_text(o, "mount", span_of(mount));
	codec_member_text(o, "changes", span_of(option_when_text(row)));
}

static bool api_host_setting(struct codec_out *o, const struct settings *s,
			     const struct option_row *row)
{
	const void *field = settings_layer_field((struct settings *)s, row);
	if (row->group >= OPTION_COMMAND || field == NULL)
		return false;
	api_host_option(o, row, NULL);
	api_host_value(o, row, field);
	codec_raw(o, "}", 1);
	return true;
}

/* The values of plugin-set may be secrets. */
static void api_host_pairs(struct codec_out *o, const struct settings_mount *m)
{
	api_host_option(o, &option_table[OPTION_ID_plugin_set], m->path);
	codec_member_raw(o, "names", "[");
	for (size_t i = 0; i < m->n_pairs; i++) {
		codec_raw(o, ",", i > 0);
		codec_string(o, span_of(m->pairs[i].key));
	}
	codec_raw(o, "]}", 2);
}

static bool api_host_setting_of(struct codec_out *o, struct settings_mount *m,
				const struct option_row *row)
{
	char **field = row->type == OPTION_HANDLER  ? settings_layer_handler_field(m, row)
		       : row->type == OPTION_SCOPED ? settings_scope_field(m, row)
						    : NULL;
	if (row == &option_table[OPTION_ID_plugin_set] && m->n_pairs > 0) {
		api_host_pairs(o, m);
		return true;
	}
	if (field == NULL || *field == NULL)
		return false;
	api_host_option(o, row, m->path);
	codec_member_text(o, "value", span_of(*field));
	codec_raw(o, "}", 1);
	return true;
}

static enum api_list_found api_host_next_setting(void *ctx, struct codec_out *o)
{
	struct api_host_settings *l = ctx;
	CHECK_IS(l, CHECK_API_SETTINGS);
	struct settings *s = (struct settings *)l->api->settings;
	if (l->mount > s->n_mounts)
		return API_LIST_END;
	const struct option_row *row = &option_table[l->row];
	size_t mount = l->mount;
	if (++l->row == OPTION_COUNT) {
		l->row = 0;
		l->mount++;
	}
	bool any = mount == 0 ? api_host_setting(o, s, row)
			      : api_host_setting_of(o, &s->mounts[mount - 1], row);
	return any ? API_LIST_ITEM : API_LIST_NOTHING;
}

void api_host_settings(struct api_call *call)
{
	struct api_params p;
	if (!api_params_read(call, &p))
		return;
	struct api_host_settings *l = malloc(sizeof *l);
	const struct api_list list = {.next = api_host_next_setting, .free = free, .ctx = l};
	if (l == NULL) {
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	*l = (struct api_host_settings){.magic = CHECK_API_SETTINGS, .api = call->api};
	api_list_answer(call, "settings", &list);
}
