/* token_key: the keys that tokens are verified with. The key decides about the algorithm, never the
 * token (RFC 8725 3.1). */
#ifndef TOVA_AUTH_TOKEN_KEY_H
#define TOVA_AUTH_TOKEN_KEY_H

#include <jwt.h>
#include <stdbool.h>
#include <stddef.h>

#define TOKEN_KEYS_MAX 8
#define TOKEN_KEY_WHY_MAX 512

struct token_key {
	jwt_alg_t alg;
	unsigned char *bytes; /* PEM of one public key, or the secret */
	int len;
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

#endif
