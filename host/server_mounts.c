/* mounts: gives each mount the kind of handler that its settings name. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/command.h"
#include "base/digest.h"
#include "common/dump.h"
#include "common/library.h"
#include "handler/plugin/plugin.h"
#include "handler/script/script.h"
#include "handler/script/script_folder.h"
#include "handler/worker/worker.h"
#include "server.h"

#define MOUNTS_WHY_MAX 1024

static bool server_mounts_no_memory(char *why)
{
	snprintf(why, MOUNTS_WHY_MAX, "no memory");
	return false;
}

/* --- plugins ---------------------------------------------------------------------------------- */

static bool server_mounts_start_plugin(struct server *s, struct mount *m,
				       const struct settings_mount *set, char *why)
{
	char path[4096];
	if (!library_find(set->plugin, NULL, path, sizeof path, why, MOUNTS_WHY_MAX) ||
	    !plugin_attach(m, path, set->pairs, set->n_pairs, s->settings.plugin_slow, why,
			   MOUNTS_WHY_MAX))
		return false;
	LOG(s->log, LOG_NOTICE, LOG_PLUGIN, "plugin started", LOG_STR("mount", m->path),
	    LOG_STR("plugin", plugin_name(m)), LOG_STR("version", plugin_version(m)),
	    LOG_STR("file", path));
	return true;
}

/* --- workers ---------------------------------------------------------------------------------- */

/* A folder that only this user can enter, for the sockets of worker processes. */
static bool server_mounts_make_directory(struct server *s, char *why)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	if (s->directory[0] != '\0')
		return true;
	snprintf(s->directory, sizeof s->directory, "%s/tova-XXXXXX",
		 base != NULL && base[0] == '/' ? base : "/tmp");
	if (mkdtemp(s->directory) != NULL)
		return true;
	snprintf(why, MOUNTS_WHY_MAX, "no folder for its socket can be made at %s: %s",
		 s->directory, strerror(errno));
	s->directory[0] = '\0';
	return false;
}

static char *server_mounts_settings_json(const struct settings_mount *set)
{
	json_t *object = json_object();
	bool ok = object != NULL;
	for (size_t i = 0; ok && i < set->n_pairs; i++)
		ok = json_object_set_new(object, set->pairs[i].key,
					 json_string(set->pairs[i].value)) == 0;
	char *text = ok ? dump_text(object, JSON_COMPACT) : NULL;
	json_decref(object);
	return text;
}

/* The program beside this one. */
static bool server_mounts_find_program(const char *name, char *dst, size_t cap, char *why)
{
	ssize_t n = readlink("/proc/self/exe", dst, cap - 1);
	char *slash = NULL;
	if (n > 0) {
		dst[n] = '\0';
		slash = strrchr(dst, '/');
	}
	if (slash == NULL || (size_t)(slash + 1 - dst) + strlen(name) >= cap) {
		snprintf(why, MOUNTS_WHY_MAX, "%s can not be found beside the host", name);
		return false;
	}
	strcpy(slash + 1, name);
	if (access(dst, X_OK) == 0)
		return true;
	snprintf(why, MOUNTS_WHY_MAX, "%.900s, which --isolate needs, can not be run: %s", dst,
		 strerror(errno));
	return false;
}

/* What the workers of a mount run: the operator's command, or tova-worker with the mount's
 * plugin. */
struct mounts_program {
	struct worker_settings pool;
	const char *argv[3];
	char path[4096], program[4096], digest[2 * DIGEST_TEXT];
	char *settings;
};

/* What a pool keeps to, whoever its workers are. */
static uint64_t server_mounts_scoped(const char *value, enum option_id id)
{
	const struct option_row *row = &option_table[id];
	char why[OPTION_WHY_MAX];
	uint64_t n = 0;
	option_parse(row, value != NULL ? value : row->initial, &n, why); /* as it was when read */
	return n;
}

static void server_mounts_set_limits(struct worker_settings *pool, const struct settings *all,
				     const struct settings_mount *set)
{
	pool->count = (unsigned)server_mounts_scoped(set->workers, OPTION_ID_workers);
	pool->route = (enum worker_route)server_mounts_scoped(set->route, OPTION_ID_route);
	pool->max_events = server_mounts_scoped(set->max_events, OPTION_ID_max_events);
	pool->max_rss = server_mounts_scoped(set->max_rss, OPTION_ID_max_rss);
	pool->handler_ms = all->handler_timeout;
	pool->ready_ms = all->ready_timeout;
	pool->max_attempts = (unsigned)all->max_attempts;
	pool->start_attempts = (unsigned)all->start_attempts;
}

static bool server_mounts_program(struct mounts_program *p, const struct settings *all,
				  const struct settings_mount *set, char *why)
{
	p->pool = (struct worker_settings){.command = set->worker};
	p->settings = server_mounts_settings_json(set);
	p->pool.settings = p->settings;
	server_mounts_set_limits(&p->pool, all, set);
	if (p->settings == NULL)
		return server_mounts_no_memory(why);
	if (set->plugin == NULL)
		return true;
	p->argv[0] = p->program;
	p->argv[1] = p->path;
	p->argv[2] = NULL;
	p->pool.argv = p->argv;
	if (!library_find(set->plugin, NULL, p->path, sizeof p->path, why, MOUNTS_WHY_MAX) ||
	    !server_mounts_find_program("tova-worker", p->program, sizeof p->program, why))
		return false;
	/* of both, one behind the other */
	p->pool.digest =
		digest_file(p->path, p->digest) && plugin_file_digest(set->pairs, set->n_pairs,
								      p->digest + strlen(p->digest))
			? p->digest
			: NULL;
	return true;
}

/* It is ended as it would be for a handler that does not start: the exit code tells who has started
 * it, and what that then does is for it to say. */
static void server_mounts_on_failed(void *ctx, const struct mount *m)
{
	struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	(void)m;
	if (s->drain.running)
		return;
	s->failed = true;
	loop_stop(s->loop);
}

static bool server_mounts_start_pool(struct server *s, struct mount *m,
				     const struct settings_mount *set, bool *attach_r, char *why)
{
	struct mounts_program p;
	bool ok = server_mounts_program(&p, &s->settings, set, why) &&
		  server_mounts_make_directory(s, why);
	p.pool.attach_url = set->attach;
	p.pool.directory = s->directory;
	p.pool.attach_cert = s->settings.attach_cert;
	p.pool.attach_key = s->settings.attach_key;
	p.pool.attach_client_ca = s->settings.attach_client_ca;
	const struct worker_shared shared = {.processes = &s->processes,
					     .deadletter = s->deadletter,
					     .sources = &s->sources,
					     .tokens = &s->attach_tokens,
					     .failed = server_mounts_on_failed,
					     .failed_ctx = s,
					     .reloaded = reload_on_workers,
					     .reloaded_ctx = &s->reloads};
	ok = ok && worker_attach(m, &p.pool, &shared, attach_r, why, MOUNTS_WHY_MAX);
	if (ok)
		server_warn_of_vars(s, m, set, p.pool.count);
	free(p.settings);
	return ok;
}

static void server_mounts_reload_workers(struct mount *m, const struct worker_settings *set,
					 struct reload *r)
{
	uint64_t number = 0;
	switch (worker_reload(m, set, &number)) {
	case WORKER_UNCHANGED:
		reload_mount(r, m, RELOAD_UNCHANGED, NULL, 0);
		break;
	case WORKER_COMING:
		reload_mount(r, m, RELOAD_COMING, NULL, number);
		break;
	case WORKER_NO_MEMORY:
		reload_mount(r, m, RELOAD_FAILED, "no memory for new workers", 0);
		break;
	}
}

void server_reload_workers(struct server *s, struct mount *m, const struct settings_mount *set,
			   bool anew, struct reload *r)
{
	char why[MOUNTS_WHY_MAX];
	struct mounts_program p;
	bool ok = server_mounts_program(&p, &s->settings, set, why);
	worker_set_limits(m, &p.pool);
	if (anew)
		p.pool.digest = NULL;
	if (ok)
		server_warn_of_vars(s, m, set, p.pool.count);
	if (ok)
		server_mounts_reload_workers(m, &p.pool, r);
	else
		reload_mount(r, m, RELOAD_FAILED, why, 0);
	if (!ok)
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the workers were not replaced, the old ones go on", LOG_STR("mount", m->path),
		    LOG_STR("error", why));
	free(p.settings);
}

/* --- scripts ---------------------------------------------------------------------------------- */

/* The word was checked when it was read. */
static enum script_framing server_mounts_framing(const struct settings *all,
						 const struct settings_mount *set)
{
	return all->script_binary						     ? SCRIPT_FRAMES
	       : set->script_lines != NULL && strcmp(set->script_lines, "json") == 0 ? SCRIPT_JSON
										     : SCRIPT_LINES;
}

static struct script_settings server_mounts_script(const struct server *s,
						   const struct settings_mount *set)
{
	const struct settings *all = &s->settings;
	return (struct script_settings){
		.command = set->script,
		.folder = set->script_dir,
		.framing = server_mounts_framing(all, set),
		.max = (unsigned)all->max_scripts,
		.rate = (unsigned)all->script_rate,
		.close_ms = all->close_timeout,
		.unread_max = s->conns.limits.buffered_max / 4,
	};
}

static bool server_mounts_start_script(struct server *s, struct mount *m,
				       const struct settings_mount *set, char *why)
{
	const struct script_settings script = server_mounts_script(s, set);
	return script_attach(m, &script, &s->processes, why, MOUNTS_WHY_MAX);
}

void server_reload_script(struct server *s, struct mount *m, const struct settings_mount *set,
			  struct reload *r)
{
	const struct script_settings script = server_mounts_script(s, set);
	if (script_set(m, &script)) {
		reload_mount(r, m, RELOAD_NEXT, NULL, 0);
		return;
	}
	LOG(s->log, LOG_ERROR, LOG_RELOAD,
	    "no memory for the script's settings, the old ones go on", LOG_STR("mount", m->path));
	reload_mount(r, m, RELOAD_FAILED, "no memory for the script's settings", 0);
}

/* --- all -------------------------------------------------------------------------------------- */

static const char *server_mounts_option(const struct settings_mount *set)
{
	return set->plugin != NULL   ? "plugin"
	       : set->worker != NULL ? "worker"
	       : set->attach != NULL ? "attach"
	       : set->script != NULL ? "script"
				     : "script-dir";
}

static const char *server_mounts_value(const struct settings_mount *set)
{
	return set->plugin != NULL   ? set->plugin
	       : set->worker != NULL ? set->worker
	       : set->attach != NULL ? set->attach
	       : set->script != NULL ? set->script
				     : set->script_dir;
}

/* What the shell runs; NULL: nothing. */
static const char *server_mounts_command(const struct settings_mount *set)
{
	return set->script != NULL ? set->script : set->worker;
}

/* Of what a mount runs: is it there? */
static bool server_mounts_check_program(const struct settings_mount *set, char *why)
{
	const char *command = server_mounts_command(set);
	return (command == NULL || command_check(command, why, MOUNTS_WHY_MAX)) &&
	       (set->script_dir == NULL ||
		script_folder_check(set->script_dir, why, MOUNTS_WHY_MAX));
}

/* *attach_r: it is the address where workers attach that is wrong. */
static bool server_mounts_start_one(struct server *s, struct mount *m,
				    const struct settings_mount *set, bool *attach_r, char *why)
{
	if (!server_mounts_check_program(set, why))
		return false;
	if (settings_mount_has_scripts(set))
		return server_mounts_start_script(s, m, set, why);
	if (set->plugin != NULL && !s->settings.isolate)
		return server_mounts_start_plugin(s, m, set, why);
	return server_mounts_start_pool(s, m, set, attach_r, why);
}

/* One that is not started yet, with its keys: they may be for root's eyes only, and handlers start
 * as another user (--user). */
/* The word was checked when it was read. */
uint8_t server_slow_policy(const struct settings_mount *set)
{
	const struct option_row *row = &option_table[OPTION_ID_slow_policy];
	char why[OPTION_WHY_MAX];
	uint64_t policy = SLOW_POLICY_CLOSE;
	option_parse(row, set->slow_policy != NULL ? set->slow_policy : row->initial, &policy, why);
	return (uint8_t)policy;
}

uint32_t server_resume(const struct settings_mount *set)
{
	const struct option_row *row = &option_table[OPTION_ID_resume];
	char why[OPTION_WHY_MAX];
	uint64_t ms = 0;
	option_parse(row, set->resume != NULL ? set->resume : row->initial, &ms, why);
	return (uint32_t)ms;
}

uint32_t server_limit_user(const struct settings_mount *set)
{
	return (uint32_t)server_mounts_scoped(set->limit_user, OPTION_ID_limit_user);
}

struct history_limits server_history(const struct settings_mount *set)
{
	uint64_t n = 0, ms = 0;
	if (set->history != NULL)
		option_history(set->history, &n, &ms); /* it was checked where it was read */
	return (struct history_limits){.messages = (uint32_t)n, .ms = ms};
}

int32_t server_trace_sample(const struct settings_mount *set)
{
	int32_t parts = -1;
	if (set->trace_sample != NULL)
		option_fraction(set->trace_sample, &parts); /* it was checked where it was read */
	return parts;
}

/* So was the size. Followed by budgets_set. */
void server_set_hold(struct mount *m, const struct settings_mount *set)
{
	const struct option_row *row = &option_table[OPTION_ID_hold_bytes];
	char why[OPTION_WHY_MAX];
	uint64_t max = UINT64_MAX;
	option_parse(row, set->hold_bytes != NULL ? set->hold_bytes : row->initial, &max, why);
	atomic_store(&m->budget->max, max);
}

void server_set_rule(const struct server *s, struct mount *m, const struct settings_mount *set)
{
	m->rule = (struct rate_limit_rule){.lines = settings_mount_has_scripts(set) &&
						    server_mounts_framing(&s->settings, set) ==
							    SCRIPT_LINES};
	if (set->rate_limit != NULL)
		option_limit(set->rate_limit, &m->rule.rate,
			     &m->rule.close); /* it was checked where it was read */
}

static struct mount *server_mounts_make(struct server *s, const struct settings_mount *set)
{
	struct mount *m = mount_new(&s->hub, set->path);
	if (m == NULL) {
		server_refuse(s, server_mounts_option(set), server_mounts_value(set), "no memory");
		return NULL;
	}
	server_set_rule(s, m, set);
	server_set_hold(m, set);
	m->slow = server_slow_policy(set);
	m->resume_ms = server_resume(set);
	m->trace_sample = server_trace_sample(set);
	if (!user_limits_set(m, server_limit_user(set)))
		server_refuse(s, "limit-user", set->limit_user, "no memory");
	else if (!history_limit(m, server_history(set)))
		server_refuse(s, "history", set->history, "no memory");
	else if (!mount_set_subprotocols(m, set->subprotocol))
		server_refuse(s, "subprotocol", set->subprotocol, "no memory");
	else if (server_start_tokens(s, m, set))
		return m;
	mount_free(&m);
	return NULL;
}

bool server_make_mounts(struct server *s)
{
	s->made = calloc(s->settings.n_mounts + 1, sizeof(*s->made));
	bool ok = s->made != NULL;
	for (size_t i = 0; ok && i < s->settings.n_mounts; i++)
		ok = (s->made[i] = server_mounts_make(s, &s->settings.mounts[i])) != NULL;
	budgets_set(&s->hub.budgets, s->settings.hold_total);
	return ok;
}

/* By the name of what is wrong: a plugin, or a setting of its. */
static bool server_mounts_refuse(const struct server *s, const struct settings_mount *set,
				 const char *why)
{
	char path[4096], again[MOUNTS_WHY_MAX];
	const char *key = NULL;
	if (set->plugin != NULL &&
	    library_find(set->plugin, NULL, path, sizeof path, again, sizeof again))
		plugin_check(path, set->pairs, set->n_pairs, &key, again, sizeof again);
	return key != NULL
		       ? server_refuse(s, "plugin-set", key, why)
		       : server_refuse(s, server_mounts_option(set), server_mounts_value(set), why);
}

bool server_start_mounts(struct server *s)
{
	char why[MOUNTS_WHY_MAX] = "";
	if (!server_start_attach(s)) /* here, so that each is refused by its own name */
		return false;
	for (size_t i = 0; i < s->settings.n_mounts; i++) {
		const struct settings_mount *set = &s->settings.mounts[i];
		bool attach = false;
		if (!server_mounts_start_one(s, s->made[i], set, &attach, why))
			return attach ? server_refuse(s, "attach", set->attach, why)
				      : server_mounts_refuse(s, set, why);
		if (!server_start_pushers(s, s->made[i], set))
			return false;
		if (!worker_is(s->made[i])) /* those say when they are ready */
			reload_mount(NULL, s->made[i], RELOAD_REPLACED, NULL, 0);
		hub_add_mount(&s->hub, s->made[i]);
		s->made[i] = NULL;
	}
	trace_sampler_set(&s->sampler);
	return true;
}

void server_free_made(struct server *s)
{
	for (size_t i = 0; s->made != NULL && i < s->settings.n_mounts; i++)
		if (s->made[i] != NULL)
			mount_free(&s->made[i]);
	free(s->made);
	s->made = NULL;
}

/* What a start would refuse of them. */
bool server_check_mounts(const struct server *s)
{
	char path[4096], why[MOUNTS_WHY_MAX];
	bool ok = true;
	for (size_t i = 0; i < s->settings.n_mounts; i++) {
		const struct settings_mount *set = &s->settings.mounts[i];
		const char *name = set->plugin;
		ok = server_check_tokens(s, set) && ok;
		if (server_mounts_command(set) == NULL && set->script_dir == NULL && name == NULL)
			continue;
		if (server_drops(&s->settings)) /* they are started, and loaded, as that user */
			privileges_enter(&s->privileges);
		if (!server_mounts_check_program(set, why))
			ok = server_refuse(s, server_mounts_option(set), server_mounts_value(set),
					   why);
		const char *key = NULL;
		if (name != NULL &&
		    (!library_find(name, NULL, path, sizeof path, why, sizeof why) ||
		     !plugin_check(path, set->pairs, set->n_pairs, &key, why, sizeof why) ||
		     (s->settings.isolate &&
		      !server_mounts_find_program("tova-worker", path, sizeof path, why))))
			ok = server_refuse(s, key != NULL ? "plugin-set" : "plugin",
					   key != NULL ? key : name, why);
		ok = server_check_tova(s, set) && ok;
		server_leave(server_drops(&s->settings));
	}
	return ok;
}
