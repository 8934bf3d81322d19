#include "tls/tickets.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TICKETS_IV 16 /* of AES-CBC */

struct tickets_key {
	unsigned char name[16], cipher[32], mac[32];
	time_t since; /* 0: there is none */
};

struct tickets {
	atomic_uint refs;
	pthread_mutex_t lock;
	struct tickets_key now, before;
};

/* A clock that nobody sets. */
static time_t tickets_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec + 1;
}

static bool tickets_key_new(struct tickets_key *k)
{
	k->since = tickets_clock();
	return RAND_bytes(k->name, sizeof k->name) == 1 &&
	       RAND_priv_bytes(k->cipher, sizeof k->cipher) == 1 &&
	       RAND_priv_bytes(k->mac, sizeof k->mac) == 1;
}

struct tickets *tickets_new(void)
{
	struct tickets *t = calloc(1, sizeof *t);
	if (t == NULL)
		return NULL;
	if (!tickets_key_new(&t->now) || pthread_mutex_init(&t->lock, NULL) != 0) {
		free(t);
		return NULL;
	}
	atomic_init(&t->refs, 1);
	return t;
}

struct tickets *tickets_ref(struct tickets *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void tickets_unref(struct tickets **t_p)
{
	struct tickets *t = *t_p;
	*t_p = NULL;
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof *t);
	free(t);
}

/* Under the lock. Without random numbers the old key goes on. */
static void tickets_age(struct tickets *t)
{
	time_t now = tickets_clock();
	struct tickets_key fresh;
	if (now - t->now.since >= TICKETS_AGE && tickets_key_new(&fresh)) {
		t->before = t->now;
		t->now = fresh;
		OPENSSL_cleanse(&fresh, sizeof fresh);
	}
	if (t->before.since != 0 && now - t->before.since >= 2 * TICKETS_AGE)
		OPENSSL_cleanse(&t->before, sizeof t->before);
}

static bool tickets_set_mac(EVP_MAC_CTX *mac, struct tickets_key *k)
{
	char digest[] = "sha256";
	const OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac,
								       sizeof k->mac),
				     OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest,
								      0),
				     OSSL_PARAM_construct_end()};
	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tickets_seal(struct tickets *t, unsigned char name[16], unsigned char *iv,
		 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	pthread_mutex_lock(&t->lock);
	tickets_age(t);
	struct tickets_key k = t->now;
	pthread_mutex_unlock(&t->lock);
	memcpy(name, k.name, sizeof k.name);
	bool ok = RAND_bytes(iv, TICKETS_IV) == 1 &&
		  EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1 &&
		  tickets_set_mac(mac, &k);
	OPENSSL_cleanse(&k, sizeof k);
	return ok ? 1 : -1;
}

int tickets_open(struct tickets *t, const unsigned char name[16], const unsigned char *iv,
		 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	pthread_mutex_lock(&t->lock);
	tickets_age(t);
	bool newest = memcmp(name, t->now.name, sizeof t->now.name) == 0;
	struct tickets_key k = newest ? t->now : t->before;
	pthread_mutex_unlock(&t->lock);
	bool known = newest || (k.since != 0 && memcmp(name, k.name, sizeof k.name) == 0);
	bool ok = known && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) == 1 &&
		  tickets_set_mac(mac, &k);
	OPENSSL_cleanse(&k, sizeof k);
	return !known ? 0 : !ok ? -1 : newest ? 1 : 2;
}
