/* reload: HUP. The settings are read anew, and what can change while connections are up changes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "common/library.h"
#include "settings/settings_adopt.h"
#include "handler/plugin/plugin.h"
#include "handler/script/script.h"
#include "handler/worker/worker.h"
#include "server.h"

static struct settings_mount *server_reload_find(const struct settings *settings, const char *path)
{
	for (size_t i = 0; i < settings->n_mounts; i++)
		if (strcmp(settings->mounts[i].path, path) == 0)
			return &settings->mounts[i];
	return NULL;
}

/* What one reload found. */
struct server_reload {
	uint16_t magic; /* CHECK_SERVER_RELOAD */
	struct server *s;
	struct reload *told; /* NULL: to nobody */
	uint64_t changed,
		waiting;     /* options with another value; those of them that wait for a restart */
	bool workers;	     /* what workers are started with is another now */
	struct settings was; /* what ran before */
};

static void server_reload_on_change(void *ctx, const struct settings_change *change)
{
	static const char *const sentences[] = {[OPTION_WHEN_HUP] = "an option changed",
						[OPTION_WHEN_WORKER] =
							"an option changes with the next worker",
						[OPTION_WHEN_RESTART] =
							"an option changes only with a restart"};
	struct server_reload *r = ctx;
	CHECK_IS(r, CHECK_SERVER_RELOAD);
	enum option_when when = change->waits ? OPTION_WHEN_RESTART : change->row->when;
	char option[64];
	snprintf(option, sizeof option, "--%s", change->row->name);
	r->changed++;
	r->waiting += change->waits;
	r->workers = r->workers || when == OPTION_WHEN_WORKER;
	LOG(r->s->log, change->waits ? LOG_WARN : LOG_NOTICE, LOG_RELOAD, sentences[when],
	    LOG_STR("option", option), LOG_STR("mount", change->mount),
	    LOG_STR("runs", change->runs), LOG_STR("asked", change->asked));
}

static void server_reload_plugin(struct server_reload *r, struct mount *m,
				 struct settings_mount *new)
{
	struct server *s = r->s;
	char path[4096], why[1024], was[128];
	snprintf(was, sizeof was, "%s", plugin_version(m));
	plugin_set_slow(m, s->settings.plugin_slow);
	enum reload_outcome outcome = RELOAD_FAILED;
	bool found = library_find(new->plugin, NULL, path, sizeof path, why, sizeof why);
	if (found && plugin_is_current(m, path, new->pairs, new->n_pairs))
		outcome = RELOAD_UNCHANGED;
	else if (found && plugin_reload(m, path, new->pairs, new->n_pairs, why, sizeof why))
		outcome = RELOAD_REPLACED;
	reload_mount(r->told, m, outcome, why, 0);
	if (outcome == RELOAD_UNCHANGED)
		LOG(s->log, LOG_INFO, LOG_RELOAD, "the plugin's file is the same: it is left alone",
		    LOG_STR("mount", m->path), LOG_STR("plugin", plugin_name(m)),
		    LOG_STR("version", was));
	else if (outcome == RELOAD_REPLACED)
		LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the plugin was replaced",
		    LOG_STR("mount", m->path), LOG_STR("plugin", plugin_name(m)),
		    LOG_STR("was", was), LOG_STR("version", plugin_version(m)),
		    LOG_U64("connections", m->n_sessions));
	else {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the plugin was not replaced, the old one goes on", LOG_STR("mount", m->path),
		    LOG_STR("plugin", new->plugin), LOG_STR("error", why));
		settings_adopt_not_handler(&r->was, new);
	}
}

/* What can not be had stays as it is, and the settings say so. */
static void server_reload_keep(struct server_reload *r, enum option_id id, const char *value,
			       int error)
{
	char option[64];
	snprintf(option, sizeof option, "--%s", option_table[id].name);
	LOG(r->s->log, LOG_ERROR, LOG_RELOAD, "it can not be opened, the old one goes on",
	    LOG_STR("option", option), LOG_STR("value", value), LOG_ERRNO(error));
	settings_adopt_not(&r->was, &r->s->settings, id);
}

static void server_reload_files(struct server_reload *r)
{
	struct server *s = r->s;
	struct files files = {.mounts = s->files.mounts,
			      .health = s->files.health,
			      .web_library = server_has_web_library(&s->settings),
			      .dev_console = s->settings.devconsole};
	if (!files_open(&files, s->settings.static_dir)) {
		server_reload_keep(r, OPTION_ID_static_dir, s->settings.static_dir, errno);
		return;
	}
	files_close(&s->files);
	s->files = files;
	if (!io_threads_set_files(&s->io_threads, &files))
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "--static can not be opened for each thread, some serve the old folder");
}

static bool server_reload_text_equal(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void server_reload_log(struct server_reload *r)
{
	const char *asked = r->s->settings.log_file;
	if (server_reload_text_equal(r->was.log_file, asked))
		return;
	int error = log_move(r->s->log, asked);
	if (error != 0)
		server_reload_keep(r, OPTION_ID_log_file, asked, error);
}

static void server_reload_reload_access(struct server_reload *r)
{
	struct server *s = r->s;
	if (!server_reload_access(s, r->was.access_log))
		server_reload_keep(r, OPTION_ID_access_log, s->settings.access_log, errno);
}

static void server_reload_reload_trace(struct server_reload *r)
{
	struct server *s = r->s;
	if (!server_reload_trace(s, r->was.trace_file))
		server_reload_keep(r, OPTION_ID_trace_file, s->settings.trace_file, errno);
}

static void server_reload_dead_letter(struct server_reload *r)
{
	const char *asked = r->s->settings.dead_letter;
	if (!server_reload_text_equal(r->was.dead_letter, asked) &&
	    !deadletter_move(r->s->deadletter, asked))
		server_reload_keep(r, OPTION_ID_dead_letter, asked, errno);
}

/* Its mount has the same kind of handler still: settings_adopt sees to that. */
static void server_reload_handler(struct server_reload *r, struct mount *m,
				  struct settings_mount *new)
{
	if (worker_is(m))
		server_reload_workers(r->s, m, new, r->workers, r->told);
	else if (plugin_is(m))
		server_reload_plugin(r, m, new);
	else if (script_is(m))
		server_reload_script(r->s, m, new, r->told);
	server_reload_attached(r->s, m, new);
}

/* The old lists stay if there is no memory for others. */
static void server_reload_gate(struct server *s)
{
	struct addr_limits_limits limits = server_addr_limits(&s->settings);
	struct address_set trusted = {.n = 0};
	char *hosts = NULL;
	addr_limits_set_limits(s->addr_limits, &limits);
	s->conns.client_addr.forwarded = (enum forwarded_kind)s->settings.forwarded;
	if (!address_set_make(&trusted, s->settings.trusted_proxy.items,
			      s->settings.trusted_proxy.n) ||
	    !server_make_hosts(&s->settings, &hosts)) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "no memory for --trusted-proxy and --host, the old lists go on");
		address_set_free(&trusted);
		return;
	}
	address_set_free(&s->trusted);
	free(s->hosts);
	s->trusted = trusted;
	s->conns.client_addr.hosts = s->hosts = hosts;
	if (!io_threads_set_gate(&s->io_threads, &s->conns.client_addr))
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "no memory for --trusted-proxy and --host on each thread, the old lists go on "
		    "there");
}

/* Together, as one that is wrong keeps all of them. */
static void reload_tls(struct server_reload *r)
{
	static const enum option_id ids[] = {OPTION_ID_tls_cert, OPTION_ID_tls_key,
					     OPTION_ID_tls_client_ca, OPTION_ID_tls_min};
	if (server_reload_tls(r->s))
		return;
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		settings_adopt_not(&r->was, &r->s->settings, ids[i]);
}

static void reload_tokens(struct server_reload *r, struct mount *m, struct settings_mount *setting)
{
	static const enum option_id ids[] = {OPTION_ID_jwt_key, OPTION_ID_jwt_from,
					     OPTION_ID_jwt_audience, OPTION_ID_jwt_issuer};
	if (server_reload_tokens(r->s, m, setting))
		return;
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		settings_adopt_not_scoped(&r->was, setting, ids[i]);
}

static void server_reload_mounts(struct server_reload *r)
{
	struct server *s = r->s;
	for (struct mount *m = s->hub.mounts; m != NULL; m = m->next) {
		struct settings_mount *setting = server_reload_find(&s->settings, m->path);
		if (setting == NULL) {
			reload_mount(r->told, m, RELOAD_UNCHANGED, NULL, 0);
			continue;
		}
		server_set_rule(s, m, setting);
		server_set_hold(m, setting);
		io_threads_set_rule(&s->io_threads, &m->rule);
		reload_tokens(r, m, setting);
		m->slow = server_slow_policy(setting);
		m->resume_ms = server_resume(setting);
		m->trace_sample = server_trace_sample(setting);
		if (!user_limits_set(m, server_limit_user(setting)))
			LOG(s->log, LOG_ERROR, LOG_RELOAD,
			    "no memory to count users: their limit is as before",
			    LOG_STR("mount", m->path));
		if (!history_limit(m, server_history(setting)))
			LOG(s->log, LOG_ERROR, LOG_RELOAD,
			    "no memory: rooms remember nothing, as before",
			    LOG_STR("mount", m->path));
		if (!mount_set_subprotocols(m, setting->subprotocol))
			LOG(s->log, LOG_ERROR, LOG_RELOAD,
			    "no memory: the old --subprotocol goes on", LOG_STR("mount", m->path));
		server_reload_handler(r, m, setting);
	}
	if (!server_reload_attach(s))
		settings_adopt_not(&r->was, &s->settings, OPTION_ID_attach_token);
	trace_sampler_set(&s->sampler);
	budgets_set(&s->hub.budgets, s->settings.hold_total);
}

static void server_reload_apply(struct server *s, struct settings *new, struct reload *told)
{
	struct server_reload r = {.magic = CHECK_SERVER_RELOAD, .s = s, .told = told};
	settings_adopt(&s->settings, new, server_reload_on_change, &r);
	r.was = s->settings;
	s->settings = *new;
	server_reload_log(&r);
	server_reload_files(&r);
	server_reload_dead_letter(&r);
	server_reload_reload_access(&r);
	server_reload_reload_trace(&r);
	struct conn_limits limits = server_limits(&s->settings);
	s->hub.origins = s->settings.origin.items;
	s->hub.n_origins = s->settings.origin.n;
	server_set_passenv(s);
	s->hub.room_limits = server_room_limits(&s->settings);
	s->hub.resumes.limits = server_resume_limits(&s->settings);
	histories_bound(&s->hub, s->settings.history_bytes);
	room_states_bound(&s->hub, s->settings.room_state_bytes, s->settings.room_state_time);
	conns_set_limits(&s->conns, &limits);
	io_threads_set_limits(&s->io_threads, &limits);
	server_reload_gate(s);
	reload_tls(&r);
	health_set_path(&s->health, s->settings.health);
	if (!server_reload_api(s))
		settings_adopt_not(&r.was, &s->settings, OPTION_ID_api_token);
	log_configure(s->log, (enum log_format)s->settings.log_format,
		      (enum log_level)s->settings.log_level);
	server_reload_mounts(&r);
	settings_free(&r.was);
	reload_read(told, r.changed, r.waiting);
	LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the settings were read again",
	    LOG_U64("changed", r.changed), LOG_U64("waiting_for_a_restart", r.waiting));
}

static void server_reload_refuse(const struct server *s, struct reload *told, struct span error)
{
	char why[1024];
	LOG(s->log, LOG_ERROR, LOG_RELOAD, "the settings are wrong, the old ones go on",
	    LOG_SPAN("error", error));
	snprintf(why, sizeof why, "the settings are wrong, the old ones go on: %.*s",
		 error.n < 900 ? (int)error.n : 900, error.n > 0 ? error.p : "no memory");
	reload_wrong(told, why);
}

void server_reload_mount(struct server *s, struct mount *m, struct reload *told)
{
	struct server_reload r = {.magic = CHECK_SERVER_RELOAD, .s = s, .told = told};
	struct settings_mount *setting = server_reload_find(&s->settings, m->path);
	if (setting == NULL) {
		reload_wrong(told,
			     "the settings have no such mount any more: it goes with a restart");
		return;
	}
	notify_reloading(&s->notify);
	LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the handler of one mount is read again",
	    LOG_STR("mount", m->path));
	server_reload_handler(&r, m, setting);
	notify_reloaded(&s->notify);
}

void server_reload(struct server *s, struct reload *told)
{
	char *said = NULL;
	size_t n = 0;
	struct settings new;
	struct settings_source source = *s->source;
	source.err = open_memstream(&said, &n);
	notify_reloading(&s->notify);
	enum settings_status status = settings_read(&new, &source);
	if (source.err != NULL)
		fclose(source.err);
	if (status == SETTINGS_OK && s->cluster != NULL && server_has_history(&new)) {
		settings_free(&new);
		server_reload_refuse(s, told, SPAN("--history: " SERVER_NO_HISTORY));
	} else if (status == SETTINGS_OK)
		server_reload_apply(s, &new, told);
	else
		server_reload_refuse(s, told, (struct span){said, n > 0 ? n - 1 : 0});
	free(said);
	notify_reloaded(&s->notify);
}
