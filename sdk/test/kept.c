/* kept: what a plugin keeps with rooms in a test. */
#include <stdlib.h>

#include "test/harness.h"

struct harness_kept {
	struct harness_kept *next;
	char room[RULES_NAME_MAX + 1];
	uint64_t version;
	size_t len;
	unsigned char bytes[]; /* and a NUL */
};

static struct harness_kept **kept_find(tova_test *t, const char *room)
{
	struct harness_kept **at = &t->kept;
	while (*at != NULL && strcmp((*at)->room, room) != 0)
		at = &(*at)->next;
	return at;
}

void kept_state(const tova_test *t, const char *room, tova_room_state *state_r)
{
	const struct harness_kept *kept = *kept_find((tova_test *)t, room);
	*state_r = (tova_room_state){.size = sizeof *state_r,
				     .room = room,
				     .data = kept != NULL ? (const void *)kept->bytes : "",
				     .len = kept != NULL ? kept->len : 0,
				     .version = kept != NULL ? kept->version : 0};
}

void kept_set(tova_test *t, const char *room, const void *data, size_t len)
{
	struct harness_kept **at = kept_find(t, room), *old = *at;
	if (old != NULL)
		*at = old->next;
	free(old);
	if (len == 0)
		return;
	struct harness_kept *kept = harness_alloc(sizeof *kept + len + 1);
	strcpy(kept->room, room);
	kept->version = ++t->version;
	kept->len = len;
	memcpy(kept->bytes, data, len);
	kept->next = t->kept;
	t->kept = kept;
}

bool kept_holds(const tova_test *t, const struct harness_command *c)
{
	tova_room_state state;
	kept_state(t, c->name, &state);
	return c->version == TOVA_ANY_VERSION || c->version == state.version;
}

void kept_forget(tova_test *t)
{
	for (struct harness_kept *kept; (kept = t->kept) != NULL; free(kept))
		t->kept = kept->next;
}
