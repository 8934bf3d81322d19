/* token_policy: what the operator wrote about tokens, checked once, when a host starts or reads its
 * settings again. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/token.h"

/* Cuts text at its commas into a list that ends in NULL, all of it one piece of memory. */
static char **token_policy_list(const char *text, bool *failed)
{
	size_t n = 1, at = 0;
	if (text == NULL)
		return NULL;
	for (const char *p = text; *p != '\0'; p++)
		n += *p == ',';
	char **items = malloc((n + 1) * sizeof *items + strlen(text) + 1);
	*failed = *failed || items == NULL;
	if (items == NULL)
		return NULL;
	char *rest = strcpy((char *)(items + n + 1), text), *item;
	while ((item = strsep(&rest, ",")) != NULL) {
		item += strspn(item, " \t");
		for (size_t len = strlen(item);
		     len > 0 && (item[len - 1] == ' ' || item[len - 1] == '\t'); len--)
			item[len - 1] = '\0';
		items[at++] = item;
	}
	items[at] = NULL;
	return items;
}

static bool token_policy_has_gap(char *const *items)
{
	for (; items != NULL && *items != NULL; items++)
		if (**items == '\0')
			return true;
	return false;
}

static bool token_policy_source(struct token_source *source, const char *text)
{
	static const char name[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	bool cookie = strncmp(text, "cookie=", 7) == 0, query = strncmp(text, "query=", 6) == 0;
	*source = (struct token_source){.place = TOKEN_IN_HEADER};
	if (strcmp(text, "subprotocol") == 0)
		source->place = TOKEN_IN_SUBPROTOCOL;
	if (cookie || query)
		*source = (struct token_source){.place = cookie ? TOKEN_IN_COOKIE : TOKEN_IN_QUERY,
						.name = text + (cookie ? 7 : 6)};
	if (source->name != NULL)
		return source->name[0] != '\0' && source->name[strspn(source->name, name)] == '\0';
	return source->place == TOKEN_IN_SUBPROTOCOL || strcmp(text, "header") == 0;
}

static bool token_policy_same(const struct token_source *a, const struct token_source *b)
{
	return a->place == b->place &&
	       (a->name == NULL || b->name == NULL || strcmp(a->name, b->name) == 0);
}

/* The names lie in policy->from. */
static bool token_policy_sources(struct token_policy *policy, char why[TOKEN_KEY_WHY_MAX])
{
	for (char *const *item = policy->from; *item != NULL; item++) {
		struct token_source source;
		if (!token_policy_source(&source, *item)) {
			snprintf(
				why, TOKEN_KEY_WHY_MAX,
				"\"%.100s\" is no place of a token; expected header, subprotocol, "
				"cookie=NAME or query=NAME, NAME of letters, digits and . _ -",
				*item);
			return false;
		}
		for (unsigned i = 0; i < policy->n_sources; i++)
			if (token_policy_same(&source, &policy->sources[i])) {
				snprintf(why, TOKEN_KEY_WHY_MAX, "\"%.100s\" is given twice",
					 *item);
				return false;
			}
		if (policy->n_sources == TOKEN_SOURCES_MAX) {
			snprintf(why, TOKEN_KEY_WHY_MAX, "too many places; expected at most %d",
				 TOKEN_SOURCES_MAX);
			return false;
		}
		policy->sources[policy->n_sources++] = source;
	}
	return true;
}

static const char *token_policy_wrong(const struct token_policy *policy)
{
	return token_policy_has_gap(policy->from)	 ? "jwt-from"
	       : token_policy_has_gap(policy->audiences) ? "jwt-audience"
	       : token_policy_has_gap(policy->issuers)	 ? "jwt-issuer"
							 : NULL;
}

struct token_policy *token_policy_new(const struct token_options *options, const char **option_r,
				      char why[TOKEN_KEY_WHY_MAX])
{
	struct token_policy *policy = calloc(1, sizeof *policy);
	bool failed = policy == NULL;
	*option_r = "jwt-key";
	if (!failed) {
		policy->leeway_s = options->leeway_ms / 1000;
		policy->no_expiry = options->no_expiry;
		policy->from = token_policy_list(options->from != NULL ? options->from
								       : "header,subprotocol",
						 &failed);
		policy->audiences = token_policy_list(options->audience, &failed);
		policy->issuers = token_policy_list(options->issuer, &failed);
	}
	const char *wrong = failed ? NULL : token_policy_wrong(policy);
	if (failed)
		snprintf(why, TOKEN_KEY_WHY_MAX, "no memory");
	else if (wrong != NULL)
		snprintf(
			why, TOKEN_KEY_WHY_MAX,
			"an element of the list is empty; expected one or more, with commas "
			"between them");
	if (wrong != NULL)
		*option_r = wrong;
	if (!failed && wrong == NULL && token_key_load(&policy->keys, options->key, why)) {
		if (token_policy_sources(policy, why))
			return policy;
		*option_r = "jwt-from";
	}
	token_policy_free(&policy);
	return NULL;
}

void token_policy_free(struct token_policy **policy_p)
{
	struct token_policy *policy = *policy_p;
	*policy_p = NULL;
	if (policy == NULL)
		return;
	token_key_free(&policy->keys);
	free(policy->from);
	free(policy->audiences);
	free(policy->issuers);
	free(policy);
}
