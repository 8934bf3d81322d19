#include "hub/resume_token.h"

#include <stdlib.h>

#include "base/check.h"
#include "common/id.h"
#include "common/random.h"

_Static_assert(ID_TEXT == TOVA_V1_TOKEN + 1, "a token is 128 bits");

static struct resume_token **resume_token_slot(const struct resume_tokens *all, const char *text)
{
	return &all->slots[hash_bytes(&all->key, text, TOVA_V1_TOKEN) & (all->cap - 1)];
}

static bool resume_token_grow(struct resume_tokens *all)
{
	struct resume_tokens wider = *all;
	struct resume_token *t;
	wider.cap = all->cap == 0 ? 64 : 2 * all->cap;
	wider.slots = calloc(wider.cap, sizeof *wider.slots);
	if (wider.slots == NULL)
		return false;
	for (uint32_t i = 0; i < all->cap; i++)
		while ((t = all->slots[i]) != NULL) {
			struct resume_token **at = resume_token_slot(&wider, t->text);
			all->slots[i] = t->next;
			t->next = *at;
			*at = t;
		}
	free(all->slots);
	*all = wider;
	return true;
}

static void resume_token_put(struct resume_tokens *all, struct resume_token *t)
{
	struct resume_token **at = resume_token_slot(all, t->text);
	CHECK(!t->listed);
	t->next = *at;
	*at = t;
	t->listed = true;
	all->n++;
}

bool resume_token_new(struct resume_tokens *all, struct resume_token *t, struct resume *resume)
{
	uint64_t bits[2];
	if ((all->n >= all->cap && !resume_token_grow(all)) || !random_bytes(bits, sizeof bits))
		return false;
	id_text(bits[0], bits[1], t->text);
	t->resume = resume;
	resume_token_put(all, t);
	return true;
}

void resume_token_forget(struct resume_tokens *all, struct resume_token *t)
{
	if (!t->listed)
		return;
	struct resume_token **at = resume_token_slot(all, t->text);
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->listed = false;
	CHECK(all->n > 0);
	all->n--;
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
	struct resume_token *t = all->cap > 0 ? *resume_token_slot(all, text) : NULL;
	while (t != NULL && !resume_token_is(t, text))
		t = t->next;
	return t;
}
