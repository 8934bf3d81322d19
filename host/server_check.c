/* check: --check, all that a start would refuse, without starting. An address that is taken is no
 * mistake: by the host that runs, most likely. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

/* May something be made in the folder of this path? Sets errno. */
static bool server_check_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash == NULL ? 0 : (size_t)(slash - path) + 1;
	char *folder = n > 0 ? strndup(path, n) : strdup(".");
	bool ok = folder != NULL && faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
	int error = errno;
	free(folder);
	errno = error;
	return ok;
}

/* One that is appended to, and made if it is not there. */
static bool server_check_file(const struct server *s, const char *option, const char *path,
			      bool as_user)
{
	struct stat st;
	if (path == NULL)
		return true;
	bool there = lstat(path, &st) == 0, enters = there && as_user && server_drops(&s->settings);
	if (enters)
		privileges_enter(&s->privileges);
	bool entered = enters || server_enter(s, path);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	bool ok = fd >= 0 || (errno == ENOENT && server_check_folder(path));
	server_leave(entered);
	int error = errno;
	if (fd >= 0)
		close(fd);
	return ok || server_refuse(s, option, path, strerror(error));
}

static bool server_check_socket(const struct server *s, const char *option, const char *value,
				const char *path)
{
	struct stat st;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return server_refuse(s, option, value,
				     "there is a file of that name that is no socket");
	bool entered = server_enter(s, path), ok = server_check_folder(path);
	server_leave(entered);
	char why[128];
	snprintf(why, sizeof why, "no socket can be made in its folder: %s", strerror(errno));
	return ok || server_refuse(s, option, value, why);
}

static bool server_check_tcp(const struct server *s, const char *option, const char *value,
			     const char *host, uint16_t port)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	const int on = 1;
	bool six = inet_pton(AF_INET6, host, &in6.sin6_addr) == 1;
	if (!six)
		inet_pton(AF_INET, host, &in.sin_addr);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	bool ok = fd >= 0 && (six ? bind(fd, (struct sockaddr *)&in6, sizeof in6)
				  : bind(fd, (struct sockaddr *)&in, sizeof in)) == 0;
	int error = errno;
	char why[128];
	if (fd >= 0)
		close(fd);
	snprintf(why, sizeof why, "it can not be bound: %s", strerror(error));
	return ok || error == EADDRINUSE || server_refuse(s, option, value, why);
}

/* Its form was checked where it was read: SCHEME://ADDR:PORT, or ipc:///PATH. Mounts start as the
 * user. */
static bool check_attach(const struct server *s, const char *url)
{
	char host[64] = "";
	bool drops = server_drops(&s->settings), ok;
	if (drops)
		privileges_enter(&s->privileges);
	if (strncmp(url, "ipc://", 6) == 0) {
		ok = server_check_socket(s, "attach", url, url + 6);
	} else {
		const char *from = strstr(url, "://") + 3, *colon = strrchr(url, ':');
		bool brackets = from[0] == '[';
		snprintf(host, sizeof host, "%.*s", (int)(colon - from) - (brackets ? 2 : 0),
			 from + brackets);
		ok = server_check_tcp(s, "attach", url, host,
				      (uint16_t)strtoul(colon + 1, NULL, 10));
	}
	if (drops)
		privileges_leave();
	return ok;
}

static bool server_check_doors(const struct server *s)
{
	bool ok = true;
	for (enum settings_door door = 0; door < SETTINGS_DOORS; door++) {
		const struct settings_listens *listens = settings_door(&s->settings, door);
		const char *option = settings_door_option(door);
		for (size_t i = 0; i < listens->n; i++) {
			const struct settings_listen *at = &listens->items[i];
			/* whether systemd passes it is seen when it does */
			bool good =
				at->given != NULL ? true
				: at->unix_path != NULL
					? server_check_socket(s, option, at->text, at->unix_path)
					: server_check_tcp(s, option, at->text, at->host, at->port);
			ok = good && ok;
		}
	}
	for (size_t i = 0; i < s->settings.n_mounts; i++)
		if (s->settings.mounts[i].attach != NULL)
			ok = check_attach(s, s->settings.mounts[i].attach) && ok;
	const char *control = s->settings.control,
		   *other = control != NULL ? server_listens_at(s, control) : NULL;
	if (other != NULL)
		ok = server_refuse(s, "control", control, other);
	if (control != NULL)
		ok = server_check_socket(s, "control", control, control) && ok;
	return ok;
}

bool server_check(struct server *s)
{
	bool ok = server_check_tls(s);
	if (server_drops(&s->settings))
		privileges_enter(&s->privileges);
	ok = server_check_attach(s) && ok;
	server_leave(server_drops(&s->settings));
	ok = server_check_mounts(s) && ok;
	ok = server_check_api(s) && ok;
	ok = server_check_file(s, "log-file", s->settings.log_file, false) && ok;
	if (s->settings.access_log != NULL && strcmp(s->settings.access_log, "-") != 0)
		ok = server_check_file(s, "access-log", s->settings.access_log, false) && ok;
	if (s->settings.trace_file != NULL && strcmp(s->settings.trace_file, "-") != 0)
		ok = server_check_file(s, "trace-file", s->settings.trace_file, false) && ok;
	/* it is opened anew for each letter */
	ok = server_check_file(s, "dead-letter", s->settings.dead_letter, true) && ok;
	return server_check_doors(s) && ok;
}
