/* resume_token: what a client shows that comes back for its session, and what each is good for. */
#ifndef TOVA_HUB_RESUME_TOKEN_H
#define TOVA_HUB_RESUME_TOKEN_H

#include "base/hash.h"
#include "base/hash_table.h"
#include "ws/tova_v1.h"

struct resume;
struct resume_end;

struct resume_token {
	struct hash_link link;
	union {
		struct resume *resume;
		struct resume_end *end;
	};
	bool over;   /* it was for a session that has ended: it is `end` */
	bool listed; /* in the table */
	char text[TOVA_V1_TOKEN + 1];
};

struct resume_tokens {
	struct hash_table table;
	struct hash_key key;
};

/* A new text, and its place in the table. False without memory or random numbers. The token is the
 * caller's, and in no table. */
bool resume_token_new(struct resume_tokens *all, struct resume_token *t, struct resume *resume);
/* `to` takes the place of `from`, which is in the table no more. */
void resume_token_move(struct resume_tokens *all, struct resume_token *to,
		       struct resume_token *from);
/* Does nothing if it is in no table. */
void resume_token_forget(struct resume_tokens *all, struct resume_token *t);
/* NULL: there is none. How long it takes says nothing about those that there are. */
struct resume_token *resume_token_find(const struct resume_tokens *all, const char *text);

#endif
