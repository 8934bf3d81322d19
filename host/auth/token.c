#include "auth/token.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/base64url.h"
#include "common/dump.h"

/* 2^53: whole seconds up to here are exact in every number of JSON */
#define TOKEN_TIME_MAX 9007199254740992.0

/* --- what is wrong ---------------------------------------------------------------------------- */

static int token_bad(const char **why_r, const char *why)
{
	*why_r = why;
	return 401;
}

/* A good token of somebody else: another one of the same kind would not help. */
static int token_foreign(const char **why_r, const char *why)
{
	*why_r = why;
	return 403;
}

/* --- its form --------------------------------------------------------------------------------- */

struct token_parts {
	struct span header, claims, signature;
};

static bool token_split(struct span token, struct token_parts *parts)
{
	const char *first = memchr(token.p, '.', token.n);
	const char *second =
		first != NULL ? memchr(first + 1, '.', token.n - (size_t)(first + 1 - token.p))
			      : NULL;
	if (second == NULL)
		return false;
	parts->header = (struct span){token.p, (size_t)(first - token.p)};
	parts->claims = (struct span){first + 1, (size_t)(second - first - 1)};
	parts->signature = (struct span){second + 1, token.n - (size_t)(second + 1 - token.p)};
	return parts->header.n > 0 && parts->claims.n > 0 && parts->signature.n > 0;
}

/* Parsers go down as deep as their input does, so its depth is looked at first. */
static bool token_is_flat(const uint8_t *bytes, long n)
{
	int depth = 0;
	bool text = false;
	for (long i = 0; i < n; i++) {
		if (text && bytes[i] == '\\')
			i++;
		else if (bytes[i] == '"')
			text = !text;
		else if (!text && (bytes[i] == '{' || bytes[i] == '[') &&
			 ++depth > TOKEN_CLAIMS_DEPTH)
			return false;
		else if (!text && (bytes[i] == '}' || bytes[i] == ']'))
			depth--;
	}
	return true;
}

/* An object, or NULL. Of two members of one name each reader takes another: that is refused. */
static json_t *token_decode(struct span part)
{
	uint8_t bytes[BASE64URL_DECODED_MAX(TOKEN_MAX)];
	long n = base64url_decode(part, bytes);
	json_t *json = n > 0 && token_is_flat(bytes, n) ? json_loadb((const char *)bytes, (size_t)n,
								     JSON_REJECT_DUPLICATES, NULL)
							: NULL;
	if (json_is_object(json))
		return json;
	json_decref(json);
	return NULL;
}

/* --- its signature ---------------------------------------------------------------------------- */

static bool token_is_of_key(const struct token_policy *policy, const char *alg)
{
	for (unsigned i = 0; i < policy->keys.n && alg != NULL; i++)
		if (strcmp(alg, token_alg_name(policy->keys.items[i].alg)) == 0)
			return true;
	return false;
}

static bool token_header_ok(const struct token_policy *policy, const json_t *header,
			    const char **why_r)
{
	const char *alg = json_string_value(json_object_get(header, "alg"));
	const json_t *typ = json_object_get(header, "typ");
	*why_r = "the token is signed with another algorithm than its key's";
	if (!token_is_of_key(policy, alg))
		return false;
	/* RFC 7515 4.1.11 */
	*why_r = "the token names extensions that are critical (crit), and none is known";
	if (json_object_get(header, "crit") != NULL)
		return false;
	*why_r = "the token is of another type (typ) than JWT";
	return typ == NULL ||
	       (json_is_string(typ) && strcasecmp(json_string_value(typ), "JWT") == 0);
}

/* Any key whose algorithm the header names may have signed it. */
static bool token_signature_ok(const struct token_policy *policy, const json_t *header,
			       struct span signed_part, const uint8_t *signature, size_t n)
{
	const char *alg = json_string_value(json_object_get(header, "alg"));
	bool ok = false;
	for (unsigned i = 0; i < policy->keys.n && !ok; i++)
		ok = strcmp(alg, token_alg_name(policy->keys.items[i].alg)) == 0 &&
		     token_key_verifies(&policy->keys.items[i], signed_part, signature, n);
	return ok;
}

/* --- its claims ------------------------------------------------------------------------------- */

/* A NumericDate (RFC 7519 2): a number, not necessarily whole. False: something else. */
static bool token_time(const json_t *value, double *time_r)
{
	if (!json_is_number(value))
		return false;
	*time_r = json_number_value(value);
	return *time_r > -TOKEN_TIME_MAX && *time_r < TOKEN_TIME_MAX;
}

static uint64_t token_up(double time)
{
	uint64_t whole = (uint64_t)time;
	return whole + ((double)whole < time);
}

static int token_check_times(const struct token_policy *policy, const json_t *claims, uint64_t now,
			     uint64_t *ends_r, const char **why_r)
{
	const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
	double leeway = (double)policy->leeway_s, at = 0;
	*ends_r = 0;
	if (exp == NULL && !policy->no_expiry)
		return token_bad(why_r, "the token has no expiry (exp); see --jwt-no-expiry");
	if (exp != NULL && !token_time(exp, &at))
		return token_bad(why_r, "the token's expiry (exp) is no time");
	if (exp != NULL && (double)now >= at + leeway)
		return token_bad(why_r, "the token has expired");
	/* above now, so above 0 */
	if (exp != NULL)
		*ends_r = token_up(at + leeway);
	if (nbf != NULL && !token_time(nbf, &at))
		return token_bad(why_r, "the token's beginning (nbf) is no time");
	if (nbf != NULL && (double)now + leeway < at)
		return token_bad(why_r, "the token is not good yet (nbf)");
	return 0;
}

static bool token_is_one_of(const json_t *value, char *const *names)
{
	const char *text = json_string_value(value);
	for (; text != NULL && names != NULL && *names != NULL; names++)
		if (strlen(*names) == json_string_length(value) &&
		    memcmp(*names, text, json_string_length(value)) == 0)
			return true;
	return false;
}

/* RFC 7519 4.1.3: who does not find itself in an audience that is there must refuse the token. */
static bool token_audience_ok(const struct token_policy *policy, const json_t *aud)
{
	bool ok = aud == NULL ? policy->audiences == NULL : token_is_one_of(aud, policy->audiences);
	for (size_t i = 0; i < json_array_size(aud) && !ok; i++)
		ok = token_is_one_of(json_array_get(aud, i), policy->audiences);
	return ok;
}

static bool token_audience_is_one(const json_t *aud)
{
	bool ok = aud == NULL || json_is_string(aud) || json_is_array(aud);
	for (size_t i = 0; i < json_array_size(aud) && ok; i++)
		ok = json_is_string(json_array_get(aud, i));
	return ok;
}

static int token_check_names(const struct token_policy *policy, const json_t *claims,
			     const char **why_r)
{
	const json_t *aud = json_object_get(claims, "aud"), *iss = json_object_get(claims, "iss"),
		     *sub = json_object_get(claims, "sub");
	if (!token_audience_is_one(aud))
		return token_bad(why_r,
				 "the token's audience (aud) is neither text nor a list of texts");
	if (iss != NULL && !json_is_string(iss))
		return token_bad(why_r, "the token's issuer (iss) is no text");
	if (sub != NULL && !json_is_string(sub))
		return token_bad(why_r, "the token's subject (sub) is no text");
	if (!token_audience_ok(policy, aud))
		return token_foreign(
			why_r,
			policy->audiences == NULL
				? "the token is for an audience (aud), and --jwt-audience names "
				  "none"
				: "the token is for another audience (aud)");
	if (policy->issuers != NULL && !token_is_one_of(iss, policy->issuers))
		return token_foreign(why_r, "the token is of another issuer (iss)");
	return 0;
}

static int token_keep(const json_t *claims, struct token_claims *claims_r, const char **why_r)
{
	const char *subject = json_string_value(json_object_get(claims, "sub"));
	claims_r->text = dump_text(claims, JSON_COMPACT);
	claims_r->subject = subject != NULL ? strdup(subject) : NULL;
	if (claims_r->text != NULL && (subject == NULL || claims_r->subject != NULL))
		return 0;
	token_claims_free(claims_r);
	*why_r = "no memory for a token";
	return 503;
}

void token_claims_free(struct token_claims *claims)
{
	free(claims->text);
	free(claims->subject);
	*claims = (struct token_claims){.text = NULL};
}

int token_verify(const struct token_policy *policy, struct span token, uint64_t now,
		 struct token_claims *claims_r, const char **why_r)
{
	struct token_parts parts;
	uint8_t signature[BASE64URL_DECODED_MAX(TOKEN_MAX)];
	*claims_r = (struct token_claims){.text = NULL};
	if (token.n > TOKEN_MAX)
		return token_bad(why_r, "the token is too long");
	long n = token_split(token, &parts) ? base64url_decode(parts.signature, signature) : -1;
	if (n <= 0)
		return token_bad(why_r, "the token is no JSON Web Token: three parts in base64url");
	struct span signed_part = {token.p, (size_t)(parts.signature.p - 1 - token.p)};
	json_t *header = token_decode(parts.header),
	       *claims = header != NULL ? token_decode(parts.claims) : NULL;
	int status = 0;
	if (claims == NULL)
		status = token_bad(
			why_r,
			"the token does not hold JSON objects of a moderate depth without doubles");
	else if (!token_header_ok(policy, header, why_r))
		status = 401;
	else if (!token_signature_ok(policy, header, signed_part, signature, (size_t)n))
		status = token_bad(why_r, "the token's signature is wrong");
	if (status == 0)
		status = token_check_times(policy, claims, now, &claims_r->ends, why_r);
	if (status == 0)
		status = token_check_names(policy, claims, why_r);
	if (status == 0)
		status = token_keep(claims, claims_r, why_r);
	json_decref(header);
	json_decref(claims);
	return status;
}
