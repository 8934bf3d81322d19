#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "cluster/cluster.h"
#include "common/crash.h"
#include "handler/plugin/plugin.h"
#include "handler/worker/worker.h"

#define SERVER_FLUSH_MS 1000

/* What the operator has set, before the host takes more. */
static uint64_t server_soft_descriptors(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 1024;
}

static bool server_is_full(void *ctx, uint32_t away)
{
	const struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	return addr_limits_sockets(s->addr_limits) + away > s->conns.limits.max;
}

/* --- signals and requests --------------------------------------------------------------------- */

static void server_on_hup(void *arg, int signal)
{
	(void)signal;
	server_reload(arg, NULL);
}

static void server_on_usr1(void *arg, int signal)
{
	struct server *s = arg;
	CHECK_IS(s, CHECK_SERVER);
	int error = log_reopen(s->log);
	(void)signal;
	if (error != 0)
		LOG(s->log, LOG_ERROR, LOG_HOST, "the log file can not be opened again",
		    LOG_ERRNO(error));
	server_reopen_access(s);
}

static void server_on_flush(void *arg)
{
	struct server *s = arg;
	CHECK_IS(s, CHECK_SERVER);
	log_flush(s->log);
	server_flush_access(s);
	addr_limits_sweep(s->addr_limits, loop_now(s->loop));
	loop_timer_set(&s->flush, SERVER_FLUSH_MS);
}

/* --- what systemd is told --------------------------------------------------------------------- */

/* A mount whose handler can not take events yet, or not any more; NULL: all can. */
static const struct mount *server_unserved(const struct server *s)
{
	for (const struct mount *m = s->hub.mounts; m != NULL; m = m->next)
		if (worker_is(m) && !worker_serves(m))
			return m;
	return NULL;
}

static bool server_serves(const void *ctx)
{
	return server_unserved(ctx) == NULL;
}

static void server_status(const void *ctx, char text_r[NOTIFY_STATUS_MAX])
{
	const struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	const struct stats stats = hub_stats(&s->hub);
	const struct mount *unserved = server_unserved(s);
	int n = snprintf(text_r, NOTIFY_STATUS_MAX, "%s: %llu connections, %llu rooms",
			 s->drain.running ? "stopping" : "serving",
			 (unsigned long long)stats.connections, (unsigned long long)stats.rooms);
	if (unserved != NULL && !s->drain.running)
		snprintf(text_r + n, NOTIFY_STATUS_MAX - (size_t)n, "; no worker is ready at %s",
			 unserved->path);
}

static void server_on_request(void *ctx, struct conn *c, struct request *r)
{
	struct hub *hub = ctx;
	CHECK_IS(hub, CHECK_HUB);
	struct server *s = (struct server *)((char *)hub - offsetof(struct server, hub));
	if (health_is_asked(&s->health, r))
		readiness_look(&s->readiness);
	files_serve(&s->files, c, r);
}

static struct conn_ops server_conn_ops(void)
{
	struct conn_ops ops = hub_conn_ops;
	ops.request = server_on_request;
	return ops;
}

/* --- the last words --------------------------------------------------------------------------- */

/* [signal handler] Which of somebody's plugins was it? */
static void server_on_crash(void *ctx, const char *signal, bool own)
{
	struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	struct plugin_site site;
	bool plugin = own && plugin_running(&s->hub, &site);
	const struct log_field fields[] = {
		LOG_STR("message",
			plugin ? "a plugin crashes, and the host with it" : "the host crashes"),
		LOG_STR("signal", signal),
		LOG_STR("mount", plugin ? site.mount : NULL),
		LOG_STR("plugin", plugin ? site.plugin : NULL),
		LOG_STR("version", plugin ? site.version : NULL),
		LOG_STR("callback", plugin ? site.callback : NULL),
		LOG_STR("conn", plugin && site.conn[0] != '\0' ? site.conn : NULL),
		LOG_U64("seq", plugin ? site.sequence : 0),
	};
	size_t n = sizeof fields / sizeof *fields - (plugin && site.sequence > 0 ? 0 : 1);
	log_last_line(s->log, LOG_ERROR, plugin ? LOG_PLUGIN : LOG_HOST, fields, n);
	plugin_name_for_core(&s->hub);
}

/* --- start ------------------------------------------------------------------------------------ */

static bool server_start_log(struct server *s)
{
	const struct settings *set = &s->settings;
	bool entered = server_enter(s, set->log_file);
	s->log = log_open(set->log_file, (enum log_format)set->log_format,
			  (enum log_level)set->log_level);
	server_leave(entered);
	if (s->log != NULL)
		crash_watch(server_on_crash, s);
	return s->log != NULL ||
	       server_refuse(s, "log-file", set->log_file != NULL ? set->log_file : "stderr",
			     strerror(errno));
}

static void server_say_no_loop(const struct server *s)
{
	fprintf(s->source->err, "tova-host: the event loop can not be made: %s\n", strerror(errno));
}

static struct stats server_stats(const void *io_threads)
{
	return io_threads_stats(io_threads);
}

/* For whoever waits for what becomes of it. */
static void server_on_reload(void *ctx, const struct mount *only, struct reload *r)
{
	struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	struct mount *m = s->hub.mounts;
	while (m != NULL && m != only)
		m = m->next;
	if (m != NULL)
		server_reload_mount(s, m, r);
	else
		server_reload(s, r);
}

static bool server_start_parts(struct server *s)
{
	struct conn_limits limits = server_limits(&s->settings);
	s->ops = server_conn_ops();
	s->loop = loop_new(s->log);
	bool ok = s->loop != NULL && hub_init(&s->hub, s->loop);
	trace_sampler_init(&s->sampler, &s->hub);
	if (s->loop == NULL) {
		server_say_no_loop(s);
		return false;
	}
	s->hub.measures = s->settings.admin.n > 0;
	reloads_init(&s->reloads, &s->hub, server_on_reload, s);
	/* Whatever failed, server_end finds all of this. */
	s->hub.origins = s->settings.origin.items;
	s->hub.n_origins = s->settings.origin.n;
	s->hub.room_limits = server_room_limits(&s->settings);
	s->hub.resumes.limits = server_resume_limits(&s->settings);
	s->hub.histories.max = s->settings.history_bytes;
	room_states_bound(&s->hub, s->settings.room_state_bytes, s->settings.room_state_time);
	s->hub.resumes.full = server_is_full;
	s->hub.resumes.full_ctx = s;
	s->hub.resumes.client_addr = &s->conns.client_addr;
	s->hub.conn_ops = &s->ops;
	ok = conns_init(&s->conns, s->loop, &s->ops, &s->hub, &limits) && ok;
	listeners_init(&s->listeners, &s->conns);
	s->conns.freed = listeners_on_freed;
	s->conns.freed_ctx = &s->listeners;
	ok = io_threads_init(&s->io_threads, server_threads(&s->settings), &s->conns,
			     &s->listeners) &&
	     ok;
	s->hub.all_stats = server_stats;
	s->hub.all_stats_ctx = &s->io_threads;
	s->hub.n_far = s->io_threads.n;
	if (ok) {
		conns_set_budgets(&s->conns, &s->hub.budgets, 0);
		io_threads_set_budgets(&s->io_threads, &s->hub.budgets);
	}
	drain_init(&s->drain, &s->hub, &s->conns, &s->io_threads);
	readiness_init(&s->readiness, &s->hub, &s->listeners, &s->health);
	loop_timer_init(s->loop, &s->flush, server_on_flush, s);
	if (!ok)
		server_say_no_loop(s);
	return ok;
}

/* Which paths are for WebSocket clients does not change while the host runs. */
static bool server_start_files(struct server *s)
{
	size_t n = 0;
	for (const struct mount *m = s->hub.mounts; m != NULL; m = m->next)
		n++;
	s->mount_paths = calloc(n + 1, sizeof *s->mount_paths);
	if (s->mount_paths == NULL)
		return false;
	for (const struct mount *m = s->hub.mounts; m != NULL; m = m->next)
		s->mount_paths[--n] = m->path;
	s->files.mounts = s->mount_paths;
	s->files.health = &s->health;
	s->files.web_library = server_has_web_library(&s->settings);
	s->files.dev_console = s->settings.devconsole;
	return true;
}

/* Who may come in. */
static bool server_start_gate(struct server *s)
{
	struct addr_limits_limits limits = server_addr_limits(&s->settings);
	s->addr_limits = addr_limits_new(&limits);
	if (s->addr_limits == NULL ||
	    !address_set_make(&s->trusted, s->settings.trusted_proxy.items,
			      s->settings.trusted_proxy.n)) {
		fprintf(s->source->err, "tova-host: no memory\n");
		return false;
	}
	if (!server_make_hosts(&s->settings, &s->hosts)) {
		fprintf(s->source->err, "tova-host: no memory\n");
		return false;
	}
	s->conns.client_addr =
		(struct client_addr){.addr_limits = s->addr_limits,
				     .trusted = &s->trusted,
				     .forwarded = (enum forwarded_kind)s->settings.forwarded,
				     .hosts = s->hosts};
	return true;
}

/* What worker processes need beside their pools. */
static bool server_start_workers(struct server *s)
{
	bool entered = server_enter(s, s->settings.dead_letter);
	s->deadletter = deadletter_open(s->loop, s->settings.dead_letter);
	server_leave(entered);
	if (s->deadletter == NULL)
		return server_refuse(s, "dead-letter", s->settings.dead_letter, strerror(errno));
	s->letters = replay_new(&s->hub, s->deadletter);
	push_sources_init(&s->sources, &s->hub.key);
	if (s->letters != NULL && processes_init(&s->processes, s->loop, s->soft_descriptors)) {
		server_set_passenv(s);
		return true;
	}
	fprintf(s->source->err, "tova-host: no memory\n");
	return false;
}

static bool server_start_listeners(struct server *s)
{
	char why[SERVER_WHY_MAX], value[24];
	if (!server_add_listeners(s, SETTINGS_CLIENTS, &s->listeners))
		return false;
	snprintf(value, sizeof value, "%llu", (unsigned long long)s->settings.threads);
	if (!io_threads_listen(&s->io_threads, (int)s->settings.backlog, why, sizeof why))
		return server_refuse(s, "threads", value, why);
	return true;
}

/* Everything is there: the other loops turn from now on, and let people in. */
static bool server_start_threads(struct server *s)
{
	if (!server_start_files(s) || !io_threads_set_files(&s->io_threads, &s->files) ||
	    !io_threads_set_gate(&s->io_threads, &s->conns.client_addr) ||
	    !io_threads_start(&s->io_threads)) {
		fprintf(s->source->err,
			"tova-host: --threads: not so many threads can be started: %s\n",
			strerror(errno));
		return false;
	}
	health_set_path(&s->health, s->settings.health);
	readiness_start(&s->readiness, s->io_threads.n > 0);
	server_check_activation(s);
	server_announce_api(s);
	listeners_announce(&s->listeners, "listening", "address");
	return true;
}

static void server_on_control_reload(void *ctx)
{
	struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	server_reload(s, NULL);
}

/* The control socket, or NULL and why it can not be had. */
static struct control *server_open_control(struct server *s, const char *path,
					   const struct control_actions *actions, char *why)
{
	const char *other = server_listens_at(s, path);
	if (other != NULL) {
		snprintf(why, SERVER_WHY_MAX, "%s", other);
		return NULL;
	}
	bool entered = server_enter(s, path);
	const gid_t *group = s->settings.control_group != NULL ? &s->control_group : NULL;
	struct control *control = control_open(&s->hub, path, group, &s->sources, s->letters,
					       actions, why, SERVER_WHY_MAX);
	server_leave(entered);
	return control;
}

static bool server_start_control(struct server *s)
{
	const struct control_actions actions = {.reload = server_on_control_reload,
						.reloads = &s->reloads,
						.drain = server_on_drain,
						.cluster = s->cluster,
						.admin_url = server_admin_url,
						.ctx = s};
	char why[SERVER_WHY_MAX];
	const char *given = s->settings.control, *runtime = getenv("XDG_RUNTIME_DIR"),
		   *path = s->control_path;
	if (given != NULL)
		snprintf(s->control_path, sizeof s->control_path, "%s", given);
	else
		snprintf(s->control_path, sizeof s->control_path, "%s/tova.sock",
			 runtime != NULL && runtime[0] == '/' ? runtime : "/run");
	path = given != NULL ? given : path; /* one that is too long is told as it was given */
	s->control = server_open_control(s, path, &actions, why);
	if (s->control == NULL && given != NULL)
		return server_refuse(s, "control", given, why);
	if (s->control == NULL && s->settings.control_group != NULL)
		return server_refuse(s, "control-group", s->settings.control_group, why);
	/* another host has it, or it is not ours to make: this one can do without */
	if (s->control == NULL)
		LOG(s->log, LOG_NOTICE, LOG_HOST, "no control socket for tova-ctl; see --control",
		    LOG_STR("path", path), LOG_STR("error", why));
	return true;
}

static bool server_start_signals(struct server *s)
{
	signal(SIGPIPE, SIG_IGN);
	/* a file that may not grow is an error of the write, not the end of the host */
	signal(SIGXFSZ, SIG_IGN);
	if (loop_signal_add(s->loop, &s->on_term, SIGTERM, server_on_stop, s) &&
	    loop_signal_add(s->loop, &s->on_int, SIGINT, server_on_stop, s) &&
	    loop_signal_add(s->loop, &s->on_hup, SIGHUP, server_on_hup, s) &&
	    loop_signal_add(s->loop, &s->on_usr1, SIGUSR1, server_on_usr1, s))
		return true;
	fprintf(s->source->err, "tova-host: signals can not be waited for: %s\n", strerror(errno));
	return false;
}

static bool server_check_settings(struct server *s)
{
	const struct settings *set = &s->settings;
	if (set->n_mounts == 0 && set->static_dir == NULL) {
		fprintf(s->source->err,
			"tova-host: nothing to serve: give a handler (--plugin FILE.so, --worker "
			"COMMAND, ...), --static DIR or both; see --help\n");
		return false;
	}
	if (!server_check_user(s) || !server_check_cluster(s))
		return false;
	if (set->control_group != NULL &&
	    !privileges_group_find(set->control_group, &s->control_group))
		return server_refuse(s, "control-group", set->control_group,
				     "there is no such group");
	return files_open(&s->files, set->static_dir) ||
	       server_refuse(s, "static", set->static_dir, strerror(errno));
}

/* --- run and end ------------------------------------------------------------------------------ */

static void server_stop_handlers(struct server *s)
{
	for (struct mount *m = s->hub.mounts; m != NULL; m = m->next) {
		m->handler->ops->stop(m->handler);
		if (m->pushers != NULL)
			m->pushers->ops->stop(m->pushers);
	}
}

static void server_end(struct server *s)
{
	if (s->loop != NULL) {
		listeners_close(&s->listeners);
		server_close_api(s);
		drain_cancel(&s->drain);
		readiness_stop(&s->readiness);
		notify_end(&s->notify);
		loop_timer_cancel(&s->flush);
		control_close(s->control);
		server_stop_handlers(s);
		hub_drop_sessions(&s->hub);
		io_threads_stop(&s->io_threads);
		io_threads_free(&s->io_threads);
		cluster_free(&s->cluster);
		s->conns.freed = NULL;
		conns_free(&s->conns);
		server_end_api(s);
		trace_sampler_free(&s->sampler);
		server_free_made(s);
		hub_free(&s->hub);
		reloads_free(&s->reloads);
		processes_free(&s->processes);
		push_sources_free(&s->sources);
		server_free_attach(s);
		deadletter_close(&s->deadletter);
		control_free(&s->control);
		server_free_api(s);
		replay_free(&s->letters);
		loop_signal_remove(&s->on_term);
		loop_signal_remove(&s->on_int);
		loop_signal_remove(&s->on_hup);
		loop_signal_remove(&s->on_usr1);
		loop_free(&s->loop);
	}
	activation_end(&s->activation);
	addr_limits_free(&s->addr_limits);
	address_set_free(&s->trusted);
	free(s->hosts);
	free(s->mount_paths);
	if (s->directory[0] != '\0')
		rmdir(s->directory);
	files_close(&s->files);
	health_free(&s->health);
	log_close(&s->hub.access_log);
	log_close(&s->sampler.log);
	crash_unwatch();
	log_close(&s->log);
	settings_free(&s->settings);
}

static bool server_start_doors(struct server *s)
{
	return server_start_control(s) && server_start_listeners(s) && server_start_api(s);
}

/* With --user the doors are first, for they may need root, which no handler is to have. Nobody is
 * let in before the loop runs. */
static bool server_start(struct server *s)
{
	bool drops = server_drops(&s->settings);
	server_make_files(s);
	return activation_begin(&s->activation) && server_start_log(s) && server_start_parts(s) &&
	       server_start_access(s) && server_start_gate(s) && server_start_tls(s) &&
	       server_start_signals(s) && server_start_workers(s) && server_make_mounts(s) &&
	       server_start_cluster(s) &&
	       (!drops || (server_start_doors(s) && server_drop(s))) && server_start_mounts(s) &&
	       (drops || server_start_doors(s)) && server_start_threads(s);
}

/* One who asks for more connections than the process may have files finds out on the worst day. */
static void server_check_descriptors(const struct server *s)
{
	uint64_t asked = s->settings.max_connections, most = s->conns.limits.max;
	if (asked > most)
		LOG(s->log, LOG_WARN, LOG_LIMIT,
		    "--max-connections asks for more than the limit of open files allows; raise "
		    "that (ulimit -n, LimitNOFILE=)",
		    LOG_U64("max-connections", asked), LOG_U64("allowed", most),
		    LOG_U64("open_files", descriptors_of_process().most));
}

static int server_run(struct server *s)
{
	if (!server_start(s))
		return SERVER_BAD_SETTINGS;
	server_free_made(s);
	LOG(s->log, LOG_NOTICE, LOG_HOST, "started", LOG_STR("version", TOVA_VERSION),
	    LOG_U64("sockets", s->conns.limits.max), LOG_U64("threads", s->io_threads.n + 1));
	server_check_descriptors(s);
	loop_timer_set(&s->flush, SERVER_FLUSH_MS);
	s->notify_source = (struct notify_source){server_serves, server_status, s};
	notify_begin(&s->notify, s->loop, &s->notify_source);
	loop_run(s->loop);
	LOG(s->log, LOG_NOTICE, LOG_HOST, "stopped");
	return s->failed ? SERVER_FAILED : SERVER_DONE;
}

int server_main(const struct settings_source *source)
{
	struct server s = {.magic = CHECK_SERVER,
			   .source = source,
			   .files = {.root = -1},
			   .soft_descriptors = server_soft_descriptors()};
	int code = SERVER_BAD_SETTINGS;
	health_init(&s.health);
	switch (settings_read(&s.settings, source)) {
	case SETTINGS_BAD:
		return SERVER_BAD_SETTINGS;
	case SETTINGS_DONE:
		return SERVER_DONE;
	case SETTINGS_OK:
		break;
	}
	if (s.settings.emit_lua != NULL)
		code = server_emit_lua(source, s.settings.emit_lua);
	else if (!server_check_settings(&s))
		code = SERVER_BAD_SETTINGS;
	else if (!s.settings.check)
		code = server_run(&s);
	else if (server_check(&s)) {
		settings_print(&s.settings, source->out);
		code = SERVER_DONE;
	}
	server_end(&s);
	return code;
}
