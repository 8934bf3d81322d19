/* token: JSON Web Tokens (RFC 7519) that an upgrade must carry: where they stand in a request, and
 * whether they are good.
 *
 * A token is a secret for as long as it is good. So it is cut out of the request before anybody
 * else sees that: what handlers, scripts and the log are given never held one.
 */
#ifndef TOVA_AUTH_TOKEN_H
#define TOVA_AUTH_TOKEN_H

#include <stdint.h>

#include "auth/token_key.h"
#include "common/rules.h"
#include "ws/request.h"

#define TOKEN_MAX RULES_TOKEN_MAX /* characters of a token */
/* arrays and objects within each other, for workers read claims inside of their own objects */
#define TOKEN_CLAIMS_DEPTH 16
#define TOKEN_SOURCES_MAX 8
/* a browser offers this, and this with a dot and the token behind it */
#define TOKEN_SUBPROTOCOL "tova.jwt"

enum token_place { TOKEN_IN_HEADER, TOKEN_IN_SUBPROTOCOL, TOKEN_IN_COOKIE, TOKEN_IN_QUERY };

struct token_source {
	enum token_place place;
	const char *name; /* of the cookie or the query parameter */
};

/* What a mount asks of tokens. */
struct token_policy {
	struct token_keys keys;
	struct token_source sources[TOKEN_SOURCES_MAX];
	unsigned n_sources;
	/* NULL at the end; NULL: none were named; the sources' names lie in `from` */
	char **from, **audiences, **issuers;
	uint64_t leeway_s;
	bool no_expiry; /* a token may go without */
};

/* As the operator wrote it: comma separated lists, NULL where nothing was said. */
struct token_options {
	const char *key, *from, *audience, *issuer;
	uint64_t leeway_ms;
	bool no_expiry;
};

/* NULL with a sentence in why, and the name of the option that is wrong in *option_r. */
struct token_policy *token_policy_new(const struct token_options *options, const char **option_r,
				      char why[TOKEN_KEY_WHY_MAX]);
/* What upgrades that wait point at is not looked at any more. NULL is allowed. */
void token_policy_free(struct token_policy **policy_p);

/* What a good token says. */
struct token_claims {
	char *text;	  /* JSON, an object, on one line */
	char *subject;	  /* "sub"; NULL without */
	uint64_t ends;	  /* seconds since 1970, leeway included; 0: never */
	bool subprotocol; /* it was offered as one, and a browser wants one to be chosen then */
};

/* Of one that token_verify has filled, or that is all zero; it is all zero then. */
void token_claims_free(struct token_claims *claims);

/* Where a request's token was. */
struct token_found {
	char text[TOKEN_MAX + 1];
	size_t len; /* 0: there is none */
	enum token_place place;
};

/* Finds the token, and cuts it out of the request, whose bytes are rewritten within r->head and
 * parsed again. Returns NULL, or what is wrong: several tokens, of which one might be somebody
 * else's (400). */
const char *token_take(const struct token_policy *policy, struct request *r,
		       struct token_found *found);

/* Is it good at this time (seconds since 1970)? Returns 0 and what it says, or the HTTP status to
 * refuse with, and why. */
int token_verify(const struct token_policy *policy, struct span token, uint64_t now,
		 struct token_claims *claims_r, const char **why_r);

#endif
