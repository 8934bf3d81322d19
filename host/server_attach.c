/* server_attach: who may attach, and where others than workers do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "handler/worker/worker.h"
#include "server.h"

#define ATTACH_TOKEN_MAX API_TOKEN_MAX
#define ATTACH_WHY_MAX 2048

/* --- tokens ----------------------------------------------------------------------------------- */

/* The first line of a file. */
static bool server_attach_read_token(const struct server *s, const char *path,
			      char token[ATTACH_TOKEN_MAX + 2], bool log, char *why)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	bool ok = f != NULL && fgets(token, ATTACH_TOKEN_MAX + 2, f) != NULL;
	if (ok && log && fstat(fileno(f), &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) != 0)
		LOG(s->log, LOG_WARN, LOG_HOST,
		    "other users of this machine can read the token of attached workers",
		    LOG_STR("attach-token", path));
	if (!ok)
		token[0] = '\0';
	token[strcspn(token, "\r\n")] = '\0';
	if (!ok || token[0] == '\0')
		snprintf(why, ATTACH_WHY_MAX, "%s",
			 ok || f != NULL ? "its first line is empty" : strerror(errno));
	if (f != NULL)
		fclose(f);
	return token[0] != '\0';
}

/* Reads all of them. False: *wrong_r is the value that is wrong. log: what the operator should know
 * is said. */
static bool server_attach_read_tokens(const struct server *s, struct api_tokens *tokens, bool log,
			       const char **wrong_r, char why[ATTACH_WHY_MAX])
{
	char text[ATTACH_TOKEN_MAX + 2];
	bool ok = true;
	*tokens = (struct api_tokens){.n = 0};
	for (size_t i = 0; ok && i < s->settings.attach_token.n; i++) {
		struct settings_token token;
		*wrong_r = s->settings.attach_token.items[i];
		settings_attach_token_parse(*wrong_r,
					    &token); /* it was checked where it was read */
		ok = server_attach_read_token(s, token.file, text, log, why);
		if (ok && !api_token_add_secret(tokens, (enum api_scope)token.scope, token.mount,
						span_of(text))) {
			snprintf(why, ATTACH_WHY_MAX, "no memory");
			ok = false;
		}
	}
	explicit_bzero(text, sizeof text);
	if (!ok)
		api_token_free(tokens);
	return ok;
}

bool server_check_attach(struct server *s)
{
	struct api_tokens tokens;
	const char *wrong;
	char why[ATTACH_WHY_MAX];
	bool ok = server_attach_read_tokens(s, &tokens, true, &wrong, why);
	if (ok)
		api_token_free(&tokens);
	else
		server_refuse(s, "attach-token", wrong, why);
	return server_check_attach_tls(s, s->settings.check) && ok;
}

bool server_start_attach(struct server *s)
{
	const char *wrong;
	char why[ATTACH_WHY_MAX];
	if (server_attach_read_tokens(s, &s->attach_tokens, true, &wrong, why))
		return server_check_attach_tls(s, false);
	return server_refuse(s, "attach-token", wrong, why);
}

bool server_reload_attach(struct server *s)
{
	struct api_tokens tokens;
	const char *wrong;
	char why[ATTACH_WHY_MAX];
	if (!server_attach_read_tokens(s, &tokens, true, &wrong, why)) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the token of attached workers was not replaced, the old one goes on",
		    LOG_STR("attach-token", wrong), LOG_STR("error", why));
		return false;
	}
	api_token_free(&s->attach_tokens);
	s->attach_tokens = tokens;
	return true;
}

void server_free_attach(struct server *s)
{
	api_token_free(&s->attach_tokens);
}

/* --- those who only push ---------------------------------------------------------------------- */

static struct worker_settings server_attach_settings(const struct server *s,
					      const struct settings_mount *set)
{
	const struct settings *all = &s->settings;
	return (struct worker_settings){.attach_url = set->attach,
					.attach_cert = all->attach_cert,
					.attach_key = all->attach_key,
					.attach_client_ca = all->attach_client_ca,
					.handler_ms = all->handler_timeout,
					.ready_ms = all->ready_timeout};
}

bool server_start_pushers(struct server *s, struct mount *m, const struct settings_mount *set)
{
	char why[ATTACH_WHY_MAX];
	const struct worker_settings pushers = server_attach_settings(s, set);
	const struct worker_shared shared = {.processes = &s->processes,
					     .sources = &s->sources,
					     .tokens = &s->attach_tokens};
	if (set->attach == NULL || worker_is(m))
		return true;
	return worker_attach_pushers(m, &pushers, &shared, why, sizeof why) ||
	       server_refuse(s, "attach", set->attach, why);
}

void server_reload_attached(struct server *s, struct mount *m, const struct settings_mount *set)
{
	char why[ATTACH_WHY_MAX];
	const struct worker_settings attached = server_attach_settings(s, set);
	if (set->attach != NULL && (worker_is(m) || m->pushers != NULL) &&
	    !worker_reload_certificates(m, &attached, why, sizeof why))
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the certificates for attached workers were not replaced, the old ones go on",
		    LOG_STR("mount", m->path), LOG_STR("error", why));
}
