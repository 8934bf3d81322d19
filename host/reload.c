/* reload: HUP. The settings are read anew, and what can change while connections are up changes. */
#include <stdio.h>
#include <stdlib.h>

#include "handler/plugin.h"
#include "handler/worker.h"
#include "server.h"

static const struct settings_mount *reload_find(const struct settings *settings, const char *path)
{
	for (size_t i = 0; i < settings->n_mounts; i++)
		if (strcmp(settings->mounts[i].path, path) == 0)
			return &settings->mounts[i];
	return NULL;
}

static void reload_plugin(struct server *s, struct mount *m, const struct settings_mount *new)
{
	char path[4096], why[1024], was[128];
	snprintf(was, sizeof was, "%s", plugin_version(m));
	if (settings_find_plugin(new->plugin, NULL, path, sizeof path, why, sizeof why) &&
	    plugin_reload(m, path, new->pairs, new->n_pairs, s->settings.plugin_slow, why, sizeof why))
		LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the plugin was replaced", LOG_STR("mount", m->path),
		    LOG_STR("plugin", plugin_name(m)), LOG_STR("was", was), LOG_STR("version", plugin_version(m)),
		    LOG_U64("connections", m->n_sessions));
	else
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "the plugin was not replaced, the old one goes on", LOG_STR("mount", m->path),
		    LOG_STR("plugin", new->plugin), LOG_STR("error", why));
}

static bool reload_listens_equal(const struct settings_listens *a, const struct settings_listens *b)
{
	bool equal = a->n == b->n;
	for (size_t i = 0; equal && i < a->n; i++)
		equal = strcmp(a->items[i].text, b->items[i].text) == 0 && a->items[i].tls == b->items[i].tls;
	return equal;
}

static bool reload_text_equal(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool reload_mounts_equal(const struct settings *a, const struct settings *b)
{
	bool equal = a->n_mounts == b->n_mounts;
	for (size_t i = 0; equal && i < a->n_mounts; i++)
		equal = reload_find(b, a->mounts[i].path) != NULL;
	return equal;
}

static void reload_files(struct server *s, const struct settings *new)
{
	struct files files;
	if (!files_open(&files, new->static_dir)) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "--static can not be opened, the old folder is served",
		    LOG_STR("static", new->static_dir));
		return;
	}
	files_close(&s->files);
	s->files = files;
	if (!sides_set_files(&s->sides, &files))
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "--static can not be opened for each thread, some serve the old folder");
}

/* The handler that serves a mount can be replaced by another of its kind only. */
static void reload_handler(struct server *s, struct mount *m, const struct settings_mount *new)
{
	bool is_pool = worker_is(m), is_plugin = plugin_is(m);
	bool to_pool = new->script == NULL && (new->plugin == NULL || s->settings.isolate);
	bool to_plugin = new->plugin != NULL && !s->settings.isolate;
	if (is_pool != to_pool || is_plugin != to_plugin)
		LOG(s->log, LOG_WARN, LOG_RELOAD, "a mount gets another kind of handler only with a restart",
		    LOG_STR("mount", m->path));
	else if (is_pool)
		server_reload_workers(s, m, new);
	else if (is_plugin)
		reload_plugin(s, m, new);
}

/* The old list stays if there is no memory for another. */
static void reload_gate(struct server *s)
{
	struct tally_limits limits = server_tally_limits(&s->settings);
	struct address_set trusted;
	tally_set_limits(s->tally, &limits);
	s->conns.gate.forwarded = (enum forwarded_kind)s->settings.forwarded;
	if (!address_set_make(&trusted, s->settings.trusted_proxy.items, s->settings.trusted_proxy.n)) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "no memory for --trusted-proxy, the old list goes on");
		return;
	}
	address_set_free(&s->trusted);
	s->trusted = trusted;
	if (!sides_set_gate(&s->sides, &s->conns.gate))
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "no memory for --trusted-proxy on each thread, the old list goes on there");
}

static void reload_apply(struct server *s, struct settings *new)
{
	struct conn_limits limits = server_limits(new);
	if (!reload_listens_equal(&s->settings.listen, &new->listen) || !reload_mounts_equal(&s->settings, new))
		LOG(s->log, LOG_WARN, LOG_RELOAD,
		    "--listen, whether it speaks TLS, and the set of mounts change only with a restart");
	if (!reload_text_equal(s->settings.user, new->user) || !reload_text_equal(s->settings.group, new->group))
		LOG(s->log, LOG_WARN, LOG_RELOAD, "--user and --group change only with a restart");
	if (s->settings.address_prefix != new->address_prefix)
		LOG(s->log, LOG_WARN, LOG_RELOAD, "--address-prefix changes only with a restart");
	if (s->settings.threads != new->threads)
		LOG(s->log, LOG_WARN, LOG_RELOAD, "--threads changes only with a restart");
	reload_files(s, new);
	settings_free(&s->settings);
	s->settings = *new;
	s->hub.origins = s->settings.origin.items;
	s->hub.n_origins = s->settings.origin.n;
	server_set_passenv(s);
	s->hub.hold_max = s->settings.hold_bytes;
	s->hub.quota = server_quota(&s->settings);
	conns_set_limits(&s->conns, &limits);
	sides_set_limits(&s->sides, &limits);
	reload_gate(s);
	server_reload_tls(s);
	log_configure(s->log, (enum log_format)s->settings.log_format, (enum log_level)s->settings.log_level);
	for (struct mount *m = s->hub.mounts; m != NULL; m = m->next) {
		const struct settings_mount *setting = reload_find(&s->settings, m->path);
		if (setting == NULL)
			continue;
		server_set_rule(m, setting);
		sides_set_rule(&s->sides, &m->rule);
		server_reload_tokens(s, m, setting);
		m->slow = server_slow_policy(setting);
		reload_handler(s, m, setting);
	}
}

void server_reload(struct server *s)
{
	char *said = NULL;
	size_t n = 0;
	struct settings new;
	struct settings_source source = *s->source;
	source.err = open_memstream(&said, &n);
	enum settings_status status = settings_read(&new, &source);
	if (source.err != NULL)
		fclose(source.err);
	if (status == SETTINGS_OK)
		reload_apply(s, &new);
	else
		LOG(s->log, LOG_ERROR, LOG_RELOAD, "the settings are wrong, the old ones go on",
		    LOG_SPAN("error", ((struct span){said, n > 0 ? n - 1 : 0})));
	free(said);
}
