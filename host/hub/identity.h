/* identity: who is at the other end of a connection: the user, as a token or the handler says, and
 * what the handler tells the others of him. Most connections have none of it. */
#ifndef TOVA_HUB_IDENTITY_H
#define TOVA_HUB_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/span.h"

struct session;
struct token_claims;

/* Belongs to a session_more. Texts are malloc'd and end in NUL; NULL: there is none. */
struct identity {
	char *subject; /* whose token it came with */
	char *claims;  /* what that token says, JSON */
	char *user;    /* whose it is, as its handler says; NULL: the subject's */
	char *info;    /* public within the mount; see RULES_INFO_MAX */
	uint16_t info_len;
	/* user_limit's: where it is counted, and for whom; NULL: it is not */
	struct user_limit *counted;
	struct session *session;
	LIST_ENTRY(identity) counted_link;
};

/* What its token says is kept. False without memory: the session has what it had. */
bool identity_take_token(struct session *s, const struct token_claims *token);

/* What the handler says. p NULL: as it was; n 0: no info; the token's subject again. False without
 * memory: nothing has changed. */
bool identity_set(struct session *s, struct span info, struct span user);

/* Each is borrowed until the identity changes; NULL, or p NULL: there is none. */
const char *identity_subject(const struct session *s);
/* Is that, NULL: none, whose token it came with? */
bool identity_is_of(const struct session *s, const char *subject);
const char *identity_claims(const struct session *s);
const char *identity_user(const struct session *s);
struct span identity_info(const struct session *s);

/* With its session. */
void identity_free(struct identity *identity);

#endif
