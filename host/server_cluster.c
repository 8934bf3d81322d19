/* --cluster: what it needs, and what it does not go together with yet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/secret_file.h"
#include "cluster/cluster.h"
#include "cluster/redis_url.h"
#include "server.h"

bool server_has_history(const struct settings *set)
{
	for (size_t i = 0; i < set->n_mounts; i++)
		if (server_history(&set->mounts[i]).messages > 0)
			return true;
	return false;
}

static bool server_cluster_alone(const struct server *s)
{
	const struct settings *set = &s->settings;
	const struct {
		const char *option, *value;
	} needs[] = {{"cluster-id", set->cluster_id},
		     {"cluster-prefix", set->cluster_prefix},
		     {"cluster-password", set->cluster_password},
		     {"cluster-optional", set->cluster_optional ? "" : NULL}};
	bool ok = true;
	for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
		if (needs[i].value != NULL)
			ok = server_refuse(s, needs[i].option, needs[i].value,
					   "there is no --cluster that it could be for");
	return ok;
}

/* *password_r: malloc, or NULL where there is none. */
static bool server_cluster_password(const struct server *s, char **password_r)
{
	const char *path = s->settings.cluster_password;
	struct secret_file f;
	char why[SERVER_WHY_MAX];
	*password_r = NULL;
	if (path == NULL)
		return true;
	if (!secret_file_read(&f, path, why, sizeof why))
		return server_refuse(s, "cluster-password", path, why);
	size_t n = secret_file_text(f.bytes, f.len);
	bool good = n > 0 && memchr(f.bytes, '\0', n) == NULL;
	*password_r = good ? strndup((const char *)f.bytes, n) : NULL;
	secret_file_free(&f);
	return *password_r != NULL ||
	       server_refuse(s, "cluster-password", path,
			     good ? "no memory" : "there is no password in it");
}

static void server_forget_password(char **password_p)
{
	if (*password_p != NULL)
		explicit_bzero(*password_p, strlen(*password_p));
	free(*password_p);
	*password_p = NULL;
}

bool server_check_cluster(const struct server *s)
{
	const struct settings *set = &s->settings;
	struct redis_url url;
	char why[SERVER_WHY_MAX];
	bool ok = true;
	if (set->cluster.n == 0)
		return server_cluster_alone(s);
	if (set->cluster.n > 1)
		ok = server_refuse(s, "cluster", "URL, URL",
				   "rooms are not divided among several servers yet; expected one");
	const char *text = set->cluster.items[0];
	/* it may hold a password, and is not shown then */
	if (!redis_url_read(&url, text, why, sizeof why))
		ok = server_refuse(s, "cluster", strchr(text, '@') != NULL ? "URL" : text, why);
	else if (url.user[0] != '\0' && set->cluster_password == NULL)
		ok = server_refuse(s, "cluster", "URL",
				   "it names a user, who needs --cluster-password");
	if (set->cluster_id != NULL && !cluster_name_ok(set->cluster_id, CLUSTER_ID_MAX))
		ok = server_refuse(s, "cluster-id", set->cluster_id,
				   "expected 1 to 64 visible characters of ASCII");
	if (set->cluster_prefix != NULL &&
	    !cluster_name_ok(set->cluster_prefix, CLUSTER_PREFIX_MAX))
		ok = server_refuse(s, "cluster-prefix", set->cluster_prefix,
				   "expected 1 to 64 visible characters of ASCII");
	char *password;
	ok = server_cluster_password(s, &password) && ok;
	server_forget_password(&password);
	if (server_has_history(set))
		ok = server_refuse(s, "history", "N", SERVER_NO_HISTORY);
	return ok;
}

bool server_start_cluster(struct server *s)
{
	const struct settings *set = &s->settings;
	char why[CLUSTER_WHY_MAX], *password;
	if (set->cluster.n == 0)
		return true;
	if (!server_cluster_password(s, &password))
		return false;
	const struct cluster_settings settings = {
		.url = set->cluster.items[0],
		.id = set->cluster_id,
		.prefix = set->cluster_prefix != NULL ? set->cluster_prefix : "tova:",
		.password = password,
		.optional = set->cluster_optional,
		.local = set->cluster_away == 1,
	};
	s->cluster = cluster_start(&s->hub, s->made, set->n_mounts, &settings, why);
	server_forget_password(&password);
	if (s->cluster == NULL)
		return server_refuse(s, "cluster", settings.url, why);
	LOG(s->log, LOG_NOTICE, LOG_CLUSTER,
	    "rooms are shared with other hosts; counts, members, users and who is watched are "
	    "those of this one, as yet");
	return true;
}
