#include "hub/state.h"

#include "hub/hub.h"

static bool state_is_zero(const char *p, size_t n)
{
	while (n > 0 && p[n - 1] == '\0')
		n--;
	return n == 0;
}

bool state_equal(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	return (n == 0 || memcmp(a.p, b.p, n) == 0) &&
	       state_is_zero(a.p + (a.n > 0 ? n : 0), a.n - n) &&
	       state_is_zero(b.p + (b.n > 0 ? n : 0), b.n - n);
}

/* What the command finds when those before it have been applied. */
static struct span state_found(const struct mount *m, const struct commit *c,
			       const struct session *s, uint32_t index)
{
	for (uint32_t i = index; i > 0; i--)
		if (c->commands[i - 1].kind == COMMAND_SET &&
		    c->commands[i - 1].target == c->commands[index].target)
			return commit_text(c, &c->commands[i - 1]);
	return handler_is_async(m->handler)
		       ? session_state(s)
		       : (struct span){s->data, s->data != NULL ? m->data_size : 0};
}

static bool state_holds(const struct mount *m, const struct commit *c, uint32_t index)
{
	const struct command *command = &c->commands[index];
	const struct session *s = hub_find_session(m->hub, m, command->target);
	const struct span expected = {(const char *)c->arena + command->expected.text,
				      command->expected.len};
	/* it has ended while its event was under way, and keeps what is set */
	if (s == NULL && c->origin != NULL && c->origin->local == command->target)
		s = c->origin;
	return s == NULL || state_equal(state_found(m, c, s, index), expected);
}

void state_check(const struct mount *m, struct commit *c)
{
	for (uint32_t i = 0; i < c->n && c->error == COMMIT_OK; i++)
		if (c->commands[i].kind == COMMAND_SET && c->commands[i].code == 1 &&
		    !state_holds(m, c, i))
			commit_spoil_at(c, COMMIT_E_STATE, i);
}
