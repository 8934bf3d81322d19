/* Tokens: where they stand in a request and whether they are good. The first byte decides what the
 * rest is: a request's headers, a token, what a token holds (signed here, so that the parts behind
 * the signature are reached), or a file of keys. */
#include <jansson.h>
#include <openssl/hmac.h>

#include "base/base64url.h"
#include "fuzz.h"
#include "auth/token.h"

#define NOW 1700000000u
#define SECRET "0123456789abcdef0123456789abcdef"

static const char public_keys[] =
	"-----BEGIN PUBLIC KEY-----\n"
	"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt61L4jrCqIqVfZU/Y5eq\n"
	"JHeNpBOGSRm2YoYG97fbOjWwbVqd0odKTRF9hps9x5M6P8gwRlFEFOUycbSs6KiW\n"
	"zXkrmPKS6bai8kxTMLRm3wR064e9gFvDxDPChytARBuCDRJ7pbZ/E7fPsY+O1iID\n"
	"vGR4u5EEUL4HSJf228ovJq6nIL/RqhwCqrixHjyndy2xrKKwowXcba9cg9aIGC/E\n"
	"CTp1Iy2J04TS9W0Ipo6/IeDYFtTUWNYa4mOif4ztNWdORzm2cctguH8J6Q6kJNoj\n"
	"WWauFr/b25OjC+sB6U9KHRcXpPB2y5jDOAMrqruSUykGGenG+54wtIWDkSZafJJL\n"
	"hwIDAQAB\n"
	"-----END PUBLIC KEY-----\n"
	"-----BEGIN PUBLIC KEY-----\n"
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEP4EAVugdivNx142iq1YPOvG5JGoY\n"
	"SMld802/db9JReuhMY4wa1uMNe5lAlQ1t3yg+R4wcw1nhCUwAsk3yEG++w==\n"
	"-----END PUBLIC KEY-----\n";

static const struct token_source everywhere[] = {{TOKEN_IN_HEADER, NULL},
						 {TOKEN_IN_SUBPROTOCOL, NULL},
						 {TOKEN_IN_COOKIE, "session"},
						 {TOKEN_IN_QUERY, "token"}};

/* Read once, for that takes longer than all the rest. */
static const struct token_policy *policy_of(bool keys)
{
	static char *audiences[] = {(char *)"chat", (char *)"web", NULL};
	static struct token_policy policies[2];
	struct token_policy *policy = &policies[keys];
	const char *text = keys ? public_keys : SECRET;
	char why[TOKEN_KEY_WHY_MAX];
	if (policy->keys.n > 0)
		return policy;
	*policy = (struct token_policy){.n_sources = 4, .audiences = audiences, .leeway_s = 5};
	memcpy(policy->sources, everywhere, sizeof everywhere);
	MUST(token_key_read(&policy->keys, (const unsigned char *)text, strlen(text), why));
	return policy;
}

/* --- requests --------------------------------------------------------------------------------- */

static void check_request(const uint8_t *data, size_t size)
{
	static const char beginning[] = "GET /chat?token=a.b.c&x HTTP/1.1\r\nHost: example.com\r\n";
	static const struct request_limits limits = {.head_max = 65536,
						     .headers_max = REQUEST_HEADERS_MAX};
	static struct token_found found;
	static struct request r;
	const struct token_policy *policy = policy_of(false);
	size_t front = size > 0 && data[0] % 2 == 0 ? sizeof beginning - 1 : 0, used, before;
	char *bytes = malloc(front + size + 3);
	int status;
	const char *why;
	memcpy(bytes, beginning, front);
	if (size > 0)
		memcpy(bytes + front, data + 1, size - 1);
	memcpy(bytes + front + (size > 0 ? size - 1 : 0), "\xFE\xFD\xFC", 3);
	if (request_parse(&r, &limits, bytes, front + (size > 0 ? size - 1 : 0), NULL, &used,
			  &status, &why) == REQUEST_OK) {
		r.head = (struct span){bytes, before = used};
		uint8_t behind = (uint8_t)bytes[used];
		if (token_take(policy, &r, &found) == NULL) {
			MUST(r.head.p == bytes &&
			     (found.len > 0 ? r.head.n < before : r.head.n <= before));
			MUST((uint8_t)bytes[used] == behind);
			MUST(request_parse(&r, &limits, r.head.p, r.head.n, NULL, &used, &status,
					   &why) == REQUEST_OK &&
			     used == r.head.n);
			r.head.n = used;
			/* it is gone */
			MUST(token_take(policy, &r, &found) == NULL && found.len == 0 &&
			     r.head.n == used);
		}
	}
	free(bytes);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static size_t sign(const char *text, size_t len, char *dst)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned char mac[33] = {0};
	unsigned n;
	HMAC(EVP_sha256(), SECRET, 32, (const unsigned char *)text, len, mac, &n);
	for (size_t i = 0; i < 43; i++) {
		size_t bit = i * 6;
		unsigned two = (unsigned)mac[bit / 8] << 8 | mac[bit / 8 + 1];
		dst[i] = letters[two >> (10 - bit % 8) & 63];
	}
	return 43;
}

static void check_claims(const struct token_claims *claims)
{
	json_error_t error;
	json_t *json = json_loads(claims->text, JSON_REJECT_DUPLICATES, &error);
	const char *subject = json_string_value(json_object_get(json, "sub"));
	MUST(json_is_object(json) && json_is_number(json_object_get(json, "exp")) &&
	     claims->ends > NOW);
	MUST(json_number_value(json_object_get(json, "exp")) + 5 > NOW);
	MUST((subject == NULL) == (claims->subject == NULL) &&
	     (subject == NULL || strcmp(subject, claims->subject) == 0));
	MUST(strpbrk(claims->text, "\r\n") == NULL);
	json_decref(json);
}

static void check_token(struct span token, bool keys)
{
	const struct token_policy *policy = policy_of(keys);
	struct token_claims claims;
	const char *why = NULL;
	int status = token_verify(policy, token, NOW, &claims, &why);
	if (status == 0) {
		char mac[64];
		const char *dot = memrchr(token.p, '.', token.n);
		MUST(!keys); /* nobody has their private ones */
		MUST(token.n - (size_t)(dot + 1 - token.p) == 43 &&
		     sign(token.p, (size_t)(dot - token.p), mac) == 43);
		MUST(memcmp(mac, dot + 1, 43) == 0);
		check_claims(&claims);
	} else {
		MUST(claims.text == NULL && why != NULL && (status == 401 || status == 403));
	}
	token_claims_free(&claims);
}

static size_t encode(char *dst, const uint8_t *bytes, size_t n)
{
	int len = EVP_EncodeBlock((unsigned char *)dst, bytes, (int)n);
	while (len > 0 && dst[len - 1] == '=')
		len--;
	for (int i = 0; i < len; i++)
		dst[i] = dst[i] == '+' ? '-' : dst[i] == '/' ? '_' : dst[i];
	return (size_t)len;
}

/* The header ends at the first NUL. */
static void check_content(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0, size);
	size_t head = end != NULL ? (size_t)(end - data) : 0,
	       rest = end != NULL ? size - head - 1 : size;
	static const uint8_t usual[] = "{\"alg\":\"HS256\"}";
	char *text = malloc(2 * size + 200);
	size_t n = head > 0 ? encode(text, data, head) : encode(text, usual, sizeof usual - 1);
	text[n++] = '.';
	n += encode(text + n, data + size - rest, rest);
	size_t signature = sign(text, n, text + n + 1);
	text[n] = '.';
	check_token((struct span){text, n + 1 + signature}, false);
	check_token((struct span){text, n + 1 + signature}, true);
	free(text);
}

static void check_keys(const uint8_t *data, size_t size)
{
	struct token_keys keys;
	char why[TOKEN_KEY_WHY_MAX] = "";
	if (!token_key_read(&keys, data, size, why)) {
		MUST(why[0] != '\0' && keys.n == 0);
		return;
	}
	MUST(keys.n > 0 && keys.n <= TOKEN_KEYS_MAX);
	for (unsigned i = 0; i < keys.n; i++)
		MUST(keys.items[i].alg == TOKEN_HS256 ? keys.n == 1 && keys.items[i].len >= 32
						      : keys.items[i].alg == TOKEN_RS256 ||
								keys.items[i].alg == TOKEN_ES256);
	token_key_free(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > 65536)
		return 0;
	switch (data[0] % 5) {
	case 0:
		check_request(data + 1, size - 1);
		break;
	case 1:
	case 2:
		check_token((struct span){(const char *)data + 1, size - 1}, data[0] % 5 == 2);
		break;
	case 3:
		check_content(data + 1, size - 1);
		break;
	default:
		check_keys(data + 1, size - 1);
		break;
	}
	return 0;
}
