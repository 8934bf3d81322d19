#include "auth/api_token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "auth/secret_file.h"

static bool api_token_fail(char why[API_TOKEN_WHY_MAX], const char *what)
{
	snprintf(why, API_TOKEN_WHY_MAX, "%s", what);
	return false;
}

static bool api_token_digest(struct span secret, uint8_t digest[API_TOKEN_DIGEST])
{
	return EVP_Digest(secret.p, secret.n, digest, NULL, EVP_sha256(), NULL) == 1;
}

/* What a client can say in a header (RFC 6750 2.1), and nobody guesses. */
static bool api_token_check(const unsigned char *bytes, size_t n, char why[API_TOKEN_WHY_MAX])
{
	if (n == 0)
		return api_token_fail(
			why, "it is empty; expected a token, such as of openssl rand -hex 32");
	for (size_t i = 0; i < n; i++)
		if (bytes[i] <= ' ' || bytes[i] >= 0x7F)
			return api_token_fail(
				why,
				"it has a character that is none of a token; expected one line of "
				"visible characters without blanks");
	if (n >= API_TOKEN_MIN && n <= API_TOKEN_MAX)
		return true;
	snprintf(
		why, API_TOKEN_WHY_MAX,
		"a token of %zu characters is too %s; expected %d to %d, such as of openssl rand "
		"-hex 32",
		n, n < API_TOKEN_MIN ? "short" : "long", API_TOKEN_MIN, API_TOKEN_MAX);
	return false;
}

bool api_token_add_secret(struct api_tokens *tokens, enum api_scope scope, const char *mount,
			  struct span secret)
{
	bool of_mount = mount != NULL && mount[0] != '\0';
	if (tokens->n == API_TOKENS_MAX)
		return false;
	struct api_token *token = &tokens->items[tokens->n];
	*token = (struct api_token){.scope = scope, .mount = of_mount ? strdup(mount) : NULL};
	if ((of_mount && token->mount == NULL) || !api_token_digest(secret, token->digest)) {
		free(token->mount);
		return false;
	}
	tokens->n++;
	return true;
}

bool api_token_add(struct api_tokens *tokens, enum api_scope scope, const char *mount,
		   const char *path, const char **warning_r, char why[API_TOKEN_WHY_MAX])
{
	struct secret_file file;
	if (tokens->n == API_TOKENS_MAX)
		return api_token_fail(why, "too many tokens; expected at most 64");
	if (!secret_file_read(&file, path, why, API_TOKEN_WHY_MAX))
		return false;
	size_t n = secret_file_text(file.bytes, file.len);
	bool ok = api_token_check(file.bytes, n, why);
	if (ok && !api_token_add_secret(tokens, scope, mount,
					(struct span){(const char *)file.bytes, n}))
		ok = api_token_fail(why, "no memory");
	*warning_r = ok && (file.mode & S_IRWXO) != 0
			     ? "other users of this machine can read a token of the API"
			     : NULL;
	secret_file_free(&file);
	return ok;
}

void api_token_free(struct api_tokens *tokens)
{
	for (unsigned i = 0; i < tokens->n; i++)
		free(tokens->items[i].mount);
	OPENSSL_cleanse(tokens, sizeof *tokens);
}

bool api_token_find(const struct api_tokens *tokens, struct span secret, struct api_grant *grant_r)
{
	*grant_r = (struct api_grant){.all = tokens->n == 0};
	if (grant_r->all)
		return true;
	if (!api_token_digest(secret, grant_r->id))
		return false;
	for (unsigned i = 0; i < tokens->n; i++)
		grant_r->which |= (uint64_t)(CRYPTO_memcmp(tokens->items[i].digest, grant_r->id,
							   API_TOKEN_DIGEST) == 0)
				  << i;
	return grant_r->which != 0;
}

/* anywhere: at whichever mount. */
static bool api_token_is_enough(const struct api_tokens *tokens, const struct api_grant *grant,
				enum api_scope scope, const char *mount, bool anywhere)
{
	bool may = grant->all || grant->visitor;
	for (unsigned i = 0; i < tokens->n; i++) {
		const struct api_token *token = &tokens->items[i];
		bool there = token->mount == NULL || anywhere ||
			     (mount != NULL && strcmp(mount, token->mount) == 0);
		may = may || ((grant->which >> i & 1) != 0 && there &&
			      (token->scope == scope || token->scope == API_SCOPE_ADMIN));
	}
	return may;
}

bool api_token_may(const struct api_tokens *tokens, const struct api_grant *grant,
		   enum api_scope scope, const char *mount)
{
	return api_token_is_enough(tokens, grant, scope, mount, false);
}

bool api_token_may_somewhere(const struct api_tokens *tokens, const struct api_grant *grant,
			     enum api_scope scope)
{
	return api_token_is_enough(tokens, grant, scope, NULL, true);
}
