#include "auth/token_key.h"

#include <ctype.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/secret_file.h"

#define SECRET_MIN 32 /* RFC 7518 3.2: as long as the hash */
#define RSA_MIN_BITS 2048
#define P256_BYTES 32
#define TOKEN_DER_MAX 72 /* of two numbers of 33 bytes, with three heads of two */

static bool token_key_fail(char why[TOKEN_KEY_WHY_MAX], const char *what)
{
	snprintf(why, TOKEN_KEY_WHY_MAX, "%s", what);
	return false;
}

void token_key_free(struct token_keys *keys)
{
	for (unsigned i = 0; i < keys->n; i++) {
		EVP_PKEY_free(keys->items[i].pkey);
		OPENSSL_clear_free(keys->items[i].secret, keys->items[i].len);
	}
	*keys = (struct token_keys){.n = 0};
}

/* --- what they have signed -------------------------------------------------------------------- */

const char *token_alg_name(enum token_alg alg)
{
	static const char *const names[] = {NULL, "HS256", "RS256", "ES256"};
	return names[alg];
}

/* RFC 7518 3.4: two numbers of 32 bytes, where OpenSSL takes a sequence of two in DER. Returns its
 * length, 0: it is none, or there is no memory. */
static size_t token_key_signature_to_der(const unsigned char *raw, size_t len,
					 unsigned char der[TOKEN_DER_MAX])
{
	ECDSA_SIG *sig = len == 2 * P256_BYTES ? ECDSA_SIG_new() : NULL;
	BIGNUM *r = sig != NULL ? BN_bin2bn(raw, P256_BYTES, NULL) : NULL;
	BIGNUM *s = sig != NULL ? BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL) : NULL;
	int n = 0;
	if (r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1)
		n = i2d_ECDSA_SIG(sig, &der);
	else {
		BN_free(r);
		BN_free(s);
	}
	ECDSA_SIG_free(sig);
	return n > 0 ? (size_t)n : 0;
}

static bool token_key_public_verifies(const struct token_key *key, struct span text,
				      const unsigned char *signature, size_t len)
{
	unsigned char der[TOKEN_DER_MAX];
	if (key->alg == TOKEN_ES256) {
		len = token_key_signature_to_der(signature, len, der);
		signature = der;
	}
	EVP_MD_CTX *ctx = len > 0 ? EVP_MD_CTX_new() : NULL;
	bool ok = ctx != NULL &&
		  EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
		  EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool token_key_verifies(const struct token_key *key, struct span signed_part,
			const unsigned char *signature, size_t len)
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	bool ok;
	if (key->pkey != NULL)
		ok = token_key_public_verifies(key, signed_part, signature, len);
	else
		ok = HMAC(EVP_sha256(), key->secret, (int)key->len,
			  (const unsigned char *)signed_part.p, signed_part.n, mac, &n) != NULL &&
		     n == len && CRYPTO_memcmp(mac, signature, n) == 0;
	/* the queue belongs to the thread: what stays in it would be taken for the next
	 * connection's */
	ERR_clear_error();
	return ok;
}

/* --- a list of them --------------------------------------------------------------------------- */

/* The next one, or NULL with why. */
static struct token_key *token_key_add(struct token_keys *keys, enum token_alg alg,
				       char why[TOKEN_KEY_WHY_MAX])
{
	if (keys->n == TOKEN_KEYS_MAX) {
		token_key_fail(why, "too many keys; expected at most 8");
		return NULL;
	}
	keys->items[keys->n] = (struct token_key){.alg = alg};
	return &keys->items[keys->n++];
}

/* --- public keys ------------------------------------------------------------------------------ */

/* RS256 for RSA, ES256 for P-256, TOKEN_ALG_NONE with a sentence for others. */
static enum token_alg token_key_algorithm(EVP_PKEY *key, char why[TOKEN_KEY_WHY_MAX])
{
	char group[64] = "";
	size_t len = 0;
	if (EVP_PKEY_is_a(key, "RSA")) {
		if (EVP_PKEY_get_bits(key) >= RSA_MIN_BITS)
			return TOKEN_RS256;
		snprintf(why, TOKEN_KEY_WHY_MAX,
			 "an RSA key of %d bits is too short; expected at least %d",
			 EVP_PKEY_get_bits(key), RSA_MIN_BITS);
	} else if (EVP_PKEY_is_a(key, "EC")) {
		EVP_PKEY_get_group_name(key, group, sizeof group, &len);
		if (strcmp(group, "prime256v1") == 0)
			return TOKEN_ES256;
		snprintf(why, TOKEN_KEY_WHY_MAX,
			 "a key on the curve %s; expected P-256 (prime256v1), for ES256", group);
	} else {
		const char *name = EVP_PKEY_get0_type_name(key);
		snprintf(why, TOKEN_KEY_WHY_MAX, "a key of the type %s; expected RSA or EC (P-256)",
			 name != NULL ? name : "unknown");
	}
	return TOKEN_ALG_NONE;
}

static bool token_key_add_public(struct token_keys *keys, EVP_PKEY *key,
				 char why[TOKEN_KEY_WHY_MAX])
{
	enum token_alg alg = token_key_algorithm(key, why);
	struct token_key *at = alg != TOKEN_ALG_NONE ? token_key_add(keys, alg, why) : NULL;
	if (at == NULL)
		return false;
	EVP_PKEY_up_ref(key);
	at->pkey = key;
	return true;
}

static bool token_key_read_pem(struct token_keys *keys, const unsigned char *bytes, size_t len,
			       char why[TOKEN_KEY_WHY_MAX])
{
	BIO *in = BIO_new_mem_buf(bytes, (int)len);
	char *name = NULL, *header = NULL;
	unsigned char *der = NULL;
	long n = 0;
	bool ok = in != NULL || token_key_fail(why, "no memory");
	while (ok && PEM_read_bio(in, &name, &header, &der, &n) == 1) {
		const unsigned char *at = der;
		EVP_PKEY *key = strcmp(name, "PUBLIC KEY") == 0 ? d2i_PUBKEY(NULL, &at, n) : NULL;
		if (key != NULL)
			ok = token_key_add_public(keys, key, why);
		else if (strstr(name, "PRIVATE KEY") != NULL)
			ok = token_key_fail(
				why,
				"a private key, which the host has no use for and should not "
				"have; expected the public one (openssl pkey -in FILE -pubout)");
		else {
			snprintf(
				why, TOKEN_KEY_WHY_MAX,
				"\"%.60s\" in PEM; expected public keys, PUBLIC KEY (openssl pkey "
				"-pubin, openssl x509 -pubkey -noout)",
				name);
			ok = false;
		}
		EVP_PKEY_free(key);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(der, (size_t)n);
		name = header = NULL;
	}
	BIO_free(in);
	ERR_clear_error(); /* the end of the file is an error to the reader */
	return ok &&
	       (keys->n > 0 ||
		token_key_fail(why,
			       "what begins as PEM is none; expected public keys, PUBLIC KEY"));
}

/* --- secrets ---------------------------------------------------------------------------------- */

/* A key or a certificate in DER. As a secret it would be one that everybody knows, or that its
 * owner signs other things with. */
static bool token_key_is_der(const unsigned char *bytes, long len)
{
	const unsigned char *at = bytes;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, len);
	X509 *cert = NULL;
	if (key == NULL && (at = bytes) != NULL)
		key = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, len);
	if (key == NULL && (at = bytes) != NULL)
		key = d2i_AutoPrivateKey(NULL, &at, len);
	if (key == NULL && (at = bytes) != NULL)
		cert = d2i_X509(NULL, &at, len);
	bool is = key != NULL || cert != NULL;
	EVP_PKEY_free(key);
	X509_free(cert);
	ERR_clear_error();
	return is;
}

/* DER as it is, or in base64 without its PEM lines, as some consoles show it. */
static const char *token_key_no_der(const unsigned char *bytes, size_t len)
{
	static const char is[] =
		"a key without its PEM lines; expected a public key with them (-----BEGIN PUBLIC "
		"KEY-----), or a secret";
	unsigned char *der = malloc(len + 3);
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	const char *why = der == NULL || ctx == NULL	       ? "no memory"
			  : token_key_is_der(bytes, (long)len) ? is
							       : NULL;
	int n = 0, more = 0;
	if (why == NULL) {
		EVP_DecodeInit(ctx);
		if (EVP_DecodeUpdate(ctx, der, &n, bytes, (int)len) >= 0 &&
		    EVP_DecodeFinal(ctx, der + n, &more) == 1 && token_key_is_der(der, n + more))
			why = is;
	}
	EVP_ENCODE_CTX_free(ctx);
	free(der);
	ERR_clear_error();
	return why;
}

/* Files that hold something else than a secret, which would be taken for one. */
static const char *token_key_no_secret(const unsigned char *bytes, size_t len)
{
	size_t blank = 0;
	while (blank < len && isspace(bytes[blank]))
		blank++;
	if (blank < len && bytes[blank] == '{')
		return "JSON (a JWK?), which is no secret; expected public keys in PEM, or a "
		       "secret";
	if (len >= 4 && (memcmp(bytes, "ssh-", 4) == 0 || memcmp(bytes, "----", 4) == 0))
		return "a key in another form; expected public keys in PEM, or a secret";
	return token_key_no_der(bytes, len);
}

/* The line end behind a text is the editor's; binary secrets are taken as they are. */
static size_t token_key_secret_length(const unsigned char *bytes, size_t len)
{
	size_t n = secret_file_text(bytes, len);
	for (size_t i = 0; i < n; i++)
		if (bytes[i] < ' ' || bytes[i] >= 0x7F)
			return len;
	return n;
}

static bool token_key_add_secret(struct token_keys *keys, const unsigned char *bytes, size_t len,
				 char why[TOKEN_KEY_WHY_MAX])
{
	struct token_key *at = token_key_add(keys, TOKEN_HS256, why);
	if (at == NULL)
		return false;
	at->secret = OPENSSL_memdup(bytes, len);
	at->len = at->secret != NULL ? len : 0;
	return at->secret != NULL || token_key_fail(why, "no memory");
}

static bool token_key_read_secret(struct token_keys *keys, const unsigned char *bytes, size_t len,
				  char why[TOKEN_KEY_WHY_MAX])
{
	const char *other = token_key_no_secret(bytes, len);
	size_t n = token_key_secret_length(bytes, len);
	if (other != NULL)
		return token_key_fail(why, other);
	if (n >= SECRET_MIN)
		return token_key_add_secret(keys, bytes, n, why);
	snprintf(why, TOKEN_KEY_WHY_MAX,
		 "a secret of %zu bytes is too short; expected at least %d, better random ones "
		 "(openssl rand -base64 48)",
		 n, SECRET_MIN);
	return false;
}

bool token_key_read(struct token_keys *keys, const unsigned char *bytes, size_t len,
		    char why[TOKEN_KEY_WHY_MAX])
{
	*keys = (struct token_keys){.n = 0};
	bool pem = memmem(bytes, len, "-----BEGIN ", 11) != NULL;
	if (pem ? token_key_read_pem(keys, bytes, len, why)
		: token_key_read_secret(keys, bytes, len, why))
		return true;
	token_key_free(keys);
	return false;
}

/* --- files ------------------------------------------------------------------------------------ */

bool token_key_load(struct token_keys *keys, const char *path, char why[TOKEN_KEY_WHY_MAX])
{
	struct secret_file file;
	*keys = (struct token_keys){.n = 0};
	if (!secret_file_read(&file, path, why, TOKEN_KEY_WHY_MAX))
		return false;
	bool ok = token_key_read(keys, file.bytes, file.len, why);
	if (ok && keys->items[0].alg == TOKEN_HS256 && (file.mode & S_IRWXO) != 0)
		keys->warning = "other users of this machine can read a secret, and so make tokens";
	else if (ok && (file.mode & (S_IWGRP | S_IWOTH)) != 0)
		keys->warning = "other users of this machine can replace a key, and so make tokens";
	secret_file_free(&file);
	return ok;
}
