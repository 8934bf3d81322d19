#include "hub/identity.h"

#include <stdlib.h>

#include "auth/token.h"
#include "hub/session.h"

static struct identity *identity_of(const struct session *s)
{
	return s->more != NULL ? s->more->identity : NULL;
}

/* Made if need be; NULL without memory. */
static struct identity *identity_need(struct session *s)
{
	struct session_more *more = session_more(s);
	if (more != NULL && more->identity == NULL)
		more->identity = calloc(1, sizeof *more->identity);
	return more != NULL ? more->identity : NULL;
}

/* A copy with a NUL behind it; of what is empty NULL. False without memory. */
static bool identity_copy(struct span text, char **copy_r)
{
	*copy_r = text.n > 0 ? malloc(text.n + 1) : NULL;
	if (*copy_r == NULL)
		return text.n == 0;
	memcpy(*copy_r, text.p, text.n);
	(*copy_r)[text.n] = '\0';
	return true;
}

bool identity_take_token(struct session *s, const struct token_claims *token)
{
	struct identity *own = identity_need(s);
	char *subject = token->subject != NULL ? strdup(token->subject) : NULL;
	char *claims = strdup(token->text);
	if (own == NULL || claims == NULL || (token->subject != NULL && subject == NULL)) {
		free(subject);
		free(claims);
		return false;
	}
	free(own->subject);
	free(own->claims);
	own->subject = subject;
	own->claims = claims;
	return true;
}

bool identity_set(struct session *s, struct span info, struct span user)
{
	struct identity *own = identity_need(s);
	char *new_info = NULL, *new_user = NULL;
	if (own == NULL || !identity_copy(info, &new_info) || !identity_copy(user, &new_user)) {
		free(new_info);
		return false;
	}
	if (info.p != NULL) {
		free(own->info);
		own->info = new_info;
		own->info_len = (uint16_t)info.n;
	}
	if (user.p != NULL) {
		free(own->user);
		own->user = new_user;
	}
	return true;
}

const char *identity_subject(const struct session *s)
{
	const struct identity *own = identity_of(s);
	return own != NULL ? own->subject : NULL;
}

bool identity_is_of(const struct session *s, const char *subject)
{
	const char *own = identity_subject(s);
	return (own == NULL) == (subject == NULL) && (own == NULL || strcmp(own, subject) == 0);
}

const char *identity_claims(const struct session *s)
{
	const struct identity *own = identity_of(s);
	return own != NULL ? own->claims : NULL;
}

const char *identity_user(const struct session *s)
{
	const struct identity *own = identity_of(s);
	const char *user = own == NULL ? NULL : own->user != NULL ? own->user : own->subject;
	return user != NULL && user[0] != '\0' ? user : NULL;
}

struct span identity_info(const struct session *s)
{
	const struct identity *own = identity_of(s);
	return own != NULL ? (struct span){own->info, own->info_len} : (struct span){NULL, 0};
}

void identity_free(struct identity *identity)
{
	if (identity == NULL)
		return;
	free(identity->subject);
	free(identity->claims);
	free(identity->user);
	free(identity->info);
	free(identity);
}
