/* token_key: the keys that tokens are verified with. The key decides about the algorithm, never the
 * token (RFC 8725 3.1). */
#ifndef TOVA_AUTH_TOKEN_KEY_H
#define TOVA_AUTH_TOKEN_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"

struct evp_pkey_st; /* openssl/evp.h */

#define TOKEN_KEYS_MAX 8
#define TOKEN_KEY_WHY_MAX 512

/* RFC 7518 3.1. A key has one, and tokens are to name it. */
enum token_alg { TOKEN_ALG_NONE, TOKEN_HS256, TOKEN_RS256, TOKEN_ES256 };

struct token_key {
	enum token_alg alg;
	struct evp_pkey_st *pkey; /* a public key, or NULL: the secret */
	unsigned char *secret;
	size_t len;
};

struct token_keys {
	struct token_key items[TOKEN_KEYS_MAX];
	unsigned n;
	const char *warning; /* what the operator should know about the file; NULL: nothing */
};

/* Reads a file: one secret, or public keys in PEM, of which any may have signed a token, so that
 * keys can be changed while tokens of the old one are about. False with a sentence in why; nothing
 * is left to free then. */
bool token_key_load(struct token_keys *keys, const char *path, char why[TOKEN_KEY_WHY_MAX]);
/* The same for what a file holds. */
bool token_key_read(struct token_keys *keys, const unsigned char *bytes, size_t len,
		    char why[TOKEN_KEY_WHY_MAX]);
void token_key_free(struct token_keys *keys);

/* As it stands in a token: "RS256". NULL for none of them. */
const char *token_alg_name(enum token_alg alg);
/* Has this key signed that? The signature is as it stands in a token, decoded (RFC 7518 3.2
 * to 3.4). Takes a time that does not depend on what is wrong with it. */
bool token_key_verifies(const struct token_key *key, struct span signed_part,
			const unsigned char *signature, size_t len);

#endif
