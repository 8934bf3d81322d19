/* tokens: gives each mount what its upgrades must carry (--jwt-key and the options beside it). */
#include <stdlib.h>

#include "server.h"

/* NULL with *ok false: it was wrong, and said so in why. NULL with true: the mount asks for
 * none. */
static struct token_policy *server_tokens_read(const struct settings *all,
					       const struct settings_mount *set,
					       const char **option_r, char why[TOKEN_KEY_WHY_MAX],
					       bool *ok_r)
{
	const struct token_options options = {
		.key = set->jwt_key,
		.from = set->jwt_from,
		.audience = set->jwt_audience,
		.issuer = set->jwt_issuer,
		.leeway_ms = all->jwt_leeway,
		.no_expiry = all->jwt_no_expiry,
	};
	struct token_policy *policy =
		set->jwt_key != NULL ? token_policy_new(&options, option_r, why) : NULL;
	*ok_r = policy != NULL || set->jwt_key == NULL;
	return policy;
}

static const char *server_tokens_value(const struct settings_mount *set, const char *option)
{
	return strcmp(option, "jwt-from") == 0	     ? set->jwt_from
	       : strcmp(option, "jwt-audience") == 0 ? set->jwt_audience
	       : strcmp(option, "jwt-issuer") == 0   ? set->jwt_issuer
						     : set->jwt_key;
}

static void server_tokens_use(const struct server *s, struct mount *m,
			      const struct settings_mount *set, struct token_policy *policy)
{
	token_policy_free(&m->tokens);
	m->tokens = policy;
	if (policy != NULL && policy->keys.warning != NULL)
		LOG(s->log, LOG_WARN, LOG_HOST, policy->keys.warning,
		    LOG_STR("jwt-key", set->jwt_key), LOG_STR("mount", m->path));
}

bool server_start_tokens(const struct server *s, struct mount *m, const struct settings_mount *set)
{
	char why[TOKEN_KEY_WHY_MAX];
	const char *option;
	bool ok;
	struct token_policy *policy = server_tokens_read(&s->settings, set, &option, why, &ok);
	if (!ok)
		return server_refuse(s, option, server_tokens_value(set, option), why);
	server_tokens_use(s, m, set, policy);
	return true;
}

bool server_check_tokens(const struct server *s, const struct settings_mount *set)
{
	char why[TOKEN_KEY_WHY_MAX];
	const char *option;
	bool ok;
	struct token_policy *policy = server_tokens_read(&s->settings, set, &option, why, &ok);
	token_policy_free(&policy);
	return ok || server_refuse(s, option, server_tokens_value(set, option), why);
}

/* Who is connected stays, by the old key or not, until the own token is over. */
bool server_reload_tokens(const struct server *s, struct mount *m, const struct settings_mount *set)
{
	char why[TOKEN_KEY_WHY_MAX];
	const char *option;
	bool ok;
	struct token_policy *policy = server_tokens_read(&s->settings, set, &option, why, &ok);
	if (ok && policy != NULL)
		LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the keys of tokens were read again",
		    LOG_STR("mount", m->path), LOG_STR("jwt-key", set->jwt_key));
	else if (ok && m->tokens != NULL)
		LOG(s->log, LOG_WARN, LOG_RELOAD, "a mount asks for no token any more",
		    LOG_STR("mount", m->path));
	if (ok)
		server_tokens_use(s, m, set, policy);
	else
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "what tokens must be is as before, for the new setting is wrong",
		    LOG_STR("mount", m->path), LOG_STR("option", option),
		    LOG_STR("value", server_tokens_value(set, option)), LOG_STR("error", why));
	return ok;
}
