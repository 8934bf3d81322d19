/* prolong: a fresh token (JWT) for the one that a connection came with, so that it lives on when
 * that one is over: shown by the client itself (tova.v1), or given by a handler, to which a client
 * of any kind has sent it in a message of its own.
 */
#ifndef TOVA_HUB_PROLONG_H
#define TOVA_HUB_PROLONG_H

#include "auth/token.h"
#include "hub/commit.h"

struct mount;
struct session;

/* of one commit: each is a signature to verify, twice */
#define PROLONG_MAX 16

/* Is it good, and of the user whose token the connection came with? Returns 0 and what it says,
 * which the caller frees; 401 or another status that token_verify knows, and why. `tokens` of the
 * mount are not NULL. */
int prolong_verify(const struct session *s, struct span token, uint64_t now,
		   struct token_claims *claims_r, const char **why_r);
/* The connection has it from now on. False without memory: it may have lost its end. */
bool prolong_take(struct session *s, const struct token_claims *claims);

/* Called before a commit that is judged is applied. A token that is not good spoils it; a
 * connection that is gone needs none. */
void prolong_check(const struct mount *m, struct commit *c);
/* What has been checked is done. */
void prolong_apply(struct mount *m, struct session *s, struct span token);

#endif
