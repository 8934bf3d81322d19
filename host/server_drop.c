/* drop: --user and --group. What needs root is done before; what starts later, workers and scripts
 * among it, is that user's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

#define DROP_WHY_MAX 256

bool server_drops(const struct settings *settings)
{
	return settings->user != NULL || settings->group != NULL;
}

bool server_check_user(struct server *s)
{
	const struct settings *set = &s->settings;
	char why[DROP_WHY_MAX];
	const char *option;
	if (!server_drops(set) ||
	    privileges_find(&s->privileges, set->user, set->group, &option, why, sizeof why))
		return true;
	return server_refuse(s, option, strcmp(option, "user") == 0 ? set->user : set->group, why);
}

void server_make_files(const struct server *s)
{
	if (!server_drops(&s->settings))
		return;
	if (s->settings.log_file != NULL)
		privileges_make_file(&s->privileges, s->settings.log_file, 0640);
	if (s->settings.access_log != NULL && strcmp(s->settings.access_log, "-") != 0)
		privileges_make_file(&s->privileges, s->settings.access_log, 0640);
	if (s->settings.trace_file != NULL && strcmp(s->settings.trace_file, "-") != 0)
		privileges_make_file(&s->privileges, s->settings.trace_file, 0640);
	if (s->settings.dead_letter != NULL)
		privileges_make_file(&s->privileges, s->settings.dead_letter, 0600);
}

bool server_enter(const struct server *s, const char *path)
{
	bool enters = path != NULL && server_drops(&s->settings) &&
		      !privileges_owns(&s->privileges, path);
	if (enters)
		privileges_enter(&s->privileges);
	return enters;
}

void server_leave(bool entered)
{
	int error = errno; /* of what was done */
	if (entered)
		privileges_leave();
	errno = error;
}

/* A reload, or USR1, will meet what is for root only. */
static void server_drop_warn(const struct server *s, const char *option, const char *path,
			     int flags, const char *what)
{
	int fd = path != NULL ? open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : 0;
	if (path == NULL)
		return;
	if (fd < 0)
		LOG(s->log, LOG_WARN, LOG_HOST, what, LOG_STR("option", option),
		    LOG_STR("file", path), LOG_STR("user", s->settings.user), LOG_ERRNO(errno));
	else
		close(fd);
}

/* Can the user change what is in this file, or which it is? Asked as root, who may look
 * everywhere. */
static bool server_drop_is_theirs(const struct server *s, const char *path)
{
	struct stat st;
	bool theirs = !privileges_owns(&s->privileges, path) ||
		      (stat(path, &st) == 0 && st.st_uid == s->privileges.uid);
	privileges_enter(&s->privileges);
	theirs = theirs || faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
	privileges_leave();
	return theirs;
}

/* theirs: it may change the config file. */
static void server_drop_warn_all(const struct server *s, bool theirs)
{
	static const char reads[] = "a reload will not read this again: the user may not";
	const struct settings *set = &s->settings;
	server_drop_warn(s, "config", set->config, O_RDONLY, reads);
	if (theirs)
		LOG(s->log, LOG_WARN, LOG_HOST,
		    "the user may change this file, and root reads in it who the host becomes",
		    LOG_STR("option", "config"), LOG_STR("file", set->config),
		    LOG_STR("user", set->user));
	server_drop_warn(s, "static", set->static_dir, O_RDONLY | O_DIRECTORY, reads);
	for (size_t i = 0; i < set->attach_token.n; i++) {
		struct settings_token token;
		settings_attach_token_parse(set->attach_token.items[i], &token);
		server_drop_warn(s, "attach-token", token.file, O_RDONLY, reads);
	}
	server_drop_warn(s, "attach-cert", set->attach_cert, O_RDONLY, reads);
	server_drop_warn(s, "attach-key", set->attach_key, O_RDONLY, reads);
	server_drop_warn(s, "attach-client-ca", set->attach_client_ca, O_RDONLY, reads);
	for (size_t i = 0; i < set->tls_cert.n; i++)
		server_drop_warn(s, "tls-cert", set->tls_cert.items[i], O_RDONLY, reads);
	for (size_t i = 0; i < set->tls_key.n; i++)
		server_drop_warn(s, "tls-key", set->tls_key.items[i], O_RDONLY, reads);
	server_drop_warn(s, "tls-client-ca", set->tls_client_ca, O_RDONLY, reads);
	for (size_t i = 0; i < set->api_token.n; i++) {
		struct settings_token token;
		settings_token_parse(set->api_token.items[i], &token);
		server_drop_warn(s, "api-token", token.file, O_RDONLY, reads);
	}
	for (size_t i = 0; i < set->n_mounts; i++)
		server_drop_warn(s, "jwt-key", set->mounts[i].jwt_key, O_RDONLY, reads);
	server_drop_warn(s, "log-file", set->log_file, O_WRONLY | O_APPEND,
			 "the log can not be opened again (USR1): the user may not");
	if (set->access_log != NULL && strcmp(set->access_log, "-") != 0)
		server_drop_warn(s, "access-log", set->access_log, O_WRONLY | O_APPEND,
				 "the access log can not be opened again (HUP): the user may not");
	if (set->trace_file != NULL && strcmp(set->trace_file, "-") != 0)
		server_drop_warn(s, "trace-file", set->trace_file, O_WRONLY | O_APPEND,
				 "the trace file can not be opened again (HUP): the user may not");
}

/* Letters are written whenever there are some, each time with the file opened anew. */
static bool server_drop_dead_letter(const struct server *s)
{
	const char *path = s->settings.dead_letter;
	int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
	char why[DROP_WHY_MAX];
	if (path == NULL)
		return true;
	if (fd < 0) {
		snprintf(why, sizeof why, "the user %.60s can not write it: %s", s->settings.user,
			 strerror(errno));
		return server_refuse(s, "dead-letter", path, why);
	}
	close(fd);
	return true;
}

static void server_drop_give_sockets(const struct server *s, const struct settings_listens *listens)
{
	for (size_t i = 0; i < listens->n; i++)
		if (listens->items[i].unix_path != NULL)
			privileges_give_socket(&s->privileges, listens->items[i].unix_path,
					       (gid_t)-1);
}

bool server_drop(struct server *s)
{
	if (!server_drops(&s->settings))
		return true;
	for (enum settings_door door = 0; door < SETTINGS_DOORS; door++)
		server_drop_give_sockets(s, settings_door(&s->settings, door));
	if (s->control != NULL)
		privileges_give_socket(&s->privileges, s->control_path,
				       s->settings.control_group != NULL ? s->control_group
									 : (gid_t)-1);
	bool theirs = s->settings.config != NULL && server_drop_is_theirs(s, s->settings.config);
	if (!privileges_drop(&s->privileges))
		return server_refuse(s, "user", s->settings.user, strerror(errno));
	LOG(s->log, LOG_NOTICE, LOG_HOST, "this host is no longer root",
	    LOG_STR("user", s->settings.user), LOG_U64("uid", s->privileges.uid),
	    LOG_U64("gid", s->privileges.gid));
	server_drop_warn_all(s, theirs);
	return server_drop_dead_letter(s);
}
