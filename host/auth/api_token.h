/* api_token: who may do what through the HTTP API: the secrets of --api-token, of which only
 * digests are kept. */
#ifndef TOVA_AUTH_API_TOKEN_H
#define TOVA_AUTH_API_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

#define API_TOKEN_MIN 16 /* characters */
#define API_TOKEN_MAX 512
#define API_TOKENS_MAX 64
#define API_TOKEN_DIGEST 32
#define API_TOKEN_WHY_MAX 256

/* What is asked for, and what a token is for. */
enum api_scope {
	API_SCOPE_PUBLISH, /* messages */
	API_SCOPE_READ,	   /* what there is */
	API_SCOPE_ADMIN,   /* everything, the two above among it */
};

struct api_token {
	enum api_scope scope;
	char *mount; /* NULL: every one, and the host */
	uint8_t digest[API_TOKEN_DIGEST];
};

struct api_tokens {
	struct api_token items[API_TOKENS_MAX];
	unsigned n; /* 0: nobody needs one */
};

/* Adds the secret in a file; mount NULL or empty: it is for every one. *warning_r is what the
 * operator should know about the file, NULL: nothing. False with a sentence in why. */
bool api_token_add(struct api_tokens *tokens, enum api_scope scope, const char *mount,
		   const char *path, const char **warning_r, char why[API_TOKEN_WHY_MAX]);
/* The same for a secret that was read elsewhere, and may be as short as it is. False without
 * memory, or for one token too many. */
bool api_token_add_secret(struct api_tokens *tokens, enum api_scope scope, const char *mount,
			  struct span secret);
void api_token_free(struct api_tokens *tokens);

/* What somebody may. */
struct api_grant {
	uint64_t which;		      /* a bit for each of the tokens that is the one he said */
	bool all;		      /* nobody needs one */
	bool visitor;		      /* he has come with a code, as admin: see ops/visitors.h */
	uint8_t id[API_TOKEN_DIGEST]; /* who he is: the digest of his secret, zeros without */
};

/* Whose secret is it? False: nobody's. Takes a time that does not depend on how much of it is
 * right. */
bool api_token_find(const struct api_tokens *tokens, struct span secret, struct api_grant *grant_r);
/* May he? mount: of what is asked for; NULL: it is the host's, or all mounts'. */
bool api_token_may(const struct api_tokens *tokens, const struct api_grant *grant,
		   enum api_scope scope, const char *mount);
/* May he at any mount? */
bool api_token_may_somewhere(const struct api_tokens *tokens, const struct api_grant *grant,
			     enum api_scope scope);

#endif
