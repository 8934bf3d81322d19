#include "hub/resume_token.h"

#include "base/check.h"
#include "common/id.h"
#include "common/random.h"

_Static_assert(ID_TEXT == TOVA_V1_TOKEN + 1, "a token is 128 bits");

static uint64_t resume_token_hash(const struct resume_tokens *all, const char *text)
{
	return hash_bytes(&all->key, text, TOVA_V1_TOKEN);
}

static void resume_token_put(struct resume_tokens *all, struct resume_token *t)
{
	CHECK(!t->listed);
	hash_table_add(&all->table, &t->link, resume_token_hash(all, t->text));
	t->listed = true;
}

bool resume_token_new(struct resume_tokens *all, struct resume_token *t, struct resume *resume)
{
	uint64_t bits[2];
	if (!hash_table_reserve(&all->table) || !random_bytes(bits, sizeof bits))
		return false;
	id_text(bits[0], bits[1], t->text);
	t->resume = resume;
	t->over = false;
	resume_token_put(all, t);
	return true;
}

void resume_token_forget(struct resume_tokens *all, struct resume_token *t)
{
	if (!t->listed)
		return;
	hash_table_remove(&all->table, &t->link);
	t->listed = false;
}

void resume_token_move(struct resume_tokens *all, struct resume_token *to,
		       struct resume_token *from)
{
	bool listed = from->listed;
	resume_token_forget(all, to);
	resume_token_forget(all, from);
	*to = *from;
	if (listed)
		resume_token_put(all, to);
}

/* Which chain it is in depends on a key that nobody else knows. */
static bool resume_token_is(const struct resume_token *t, const char *text)
{
	unsigned char differ = 0;
	for (size_t i = 0; i < TOVA_V1_TOKEN; i++)
		differ |= (unsigned char)(t->text[i] ^ text[i]);
	return differ == 0;
}

struct resume_token *resume_token_find(const struct resume_tokens *all, const char *text)
{
	struct hash_link *at = hash_table_first(&all->table, resume_token_hash(all, text));
	for (; at != NULL; at = hash_link_next(at))
		if (resume_token_is(HASH_ENTRY(at, struct resume_token, link), text))
			return HASH_ENTRY(at, struct resume_token, link);
	return NULL;
}
