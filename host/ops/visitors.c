#include "ops/visitors.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/random.h"

static bool visitors_digest(struct span secret, uint8_t digest[VISITORS_DIGEST])
{
	return EVP_Digest(secret.p, secret.n, digest, NULL, EVP_sha256(), NULL) == 1;
}

/* In the place of one that is over, or of the one that will be first. */
static bool visitors_add(struct visitors_pass *passes, uint64_t until,
			 char secret_r[VISITORS_SECRET])
{
	uint8_t bytes[(VISITORS_SECRET - 1) / 2];
	struct visitors_pass *at = passes;
	if (!random_bytes(bytes, sizeof bytes))
		return false;
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(secret_r + 2 * i, 3, "%02x", bytes[i]);
	for (size_t i = 1; i < VISITORS_MAX; i++)
		if (passes[i].until < at->until)
			at = &passes[i];
	at->until = until;
	return visitors_digest(span_of(secret_r), at->digest);
}

/* NULL: nobody's. */
static struct visitors_pass *visitors_find(struct visitors_pass *passes,
					   const uint8_t digest[VISITORS_DIGEST], uint64_t now)
{
	struct visitors_pass *found = NULL;
	for (size_t i = 0; i < VISITORS_MAX; i++)
		if (CRYPTO_memcmp(passes[i].digest, digest, VISITORS_DIGEST) == 0 &&
		    now < passes[i].until)
			found = &passes[i];
	return found;
}

bool visitors_invite(struct visitors *v, uint64_t now, char code_r[VISITORS_SECRET])
{
	return visitors_add(v->codes, now + VISITORS_CODE_MS, code_r);
}

bool visitors_enter(struct visitors *v, struct span code, uint64_t now,
		    char secret_r[VISITORS_SECRET])
{
	uint8_t digest[VISITORS_DIGEST];
	struct visitors_pass *pass =
		visitors_digest(code, digest) ? visitors_find(v->codes, digest, now) : NULL;
	if (pass == NULL)
		return false;
	*pass = (struct visitors_pass){.until = 0};
	return visitors_add(v->stays, now + VISITORS_STAY_MS, secret_r);
}

bool visitors_know(const struct visitors *v, struct span secret, uint64_t now,
		   uint8_t id_r[VISITORS_DIGEST])
{
	return visitors_digest(secret, id_r) &&
	       visitors_find((struct visitors_pass *)v->stays, id_r, now) != NULL;
}
