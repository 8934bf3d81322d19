#include "handler/script/script_option.h"

#define SCRIPT_OPTION_MOST "max=N and users_max=N have a number from 1"

static bool script_option_begins(const struct span *rest, struct span name)
{
	return rest->n >= name.n && memcmp(rest->p, name.p, name.n) == 0;
}

/* Takes NAME=VALUE off. False: it is another word. */
static bool script_option_take(struct span *rest, struct span name, struct span *value_r,
			       const char **why_r)
{
	if (!script_option_begins(rest, name))
		return false;
	*rest = (struct span){rest->p + name.n, rest->n - name.n};
	*why_r = script_word(rest, value_r);
	if (*why_r == NULL && value_r->p == NULL)
		*why_r = "a word is missing";
	return true;
}

static const char *script_option_most(struct span value, uint32_t *most_r)
{
	uint64_t n = 0;
	for (size_t i = 0; i < value.n && n <= UINT32_MAX; i++)
		n = value.p[i] >= '0' && value.p[i] <= '9' ? 10 * n + (uint64_t)(value.p[i] - '0')
							   : UINT64_MAX;
	*most_r = (uint32_t)n;
	return n > 0 && n <= UINT32_MAX ? NULL : SCRIPT_OPTION_MOST;
}

static const char *script_option_yes(struct span value, bool *is_r)
{
	*is_r = span_eq(value, SPAN("yes"));
	return *is_r || span_eq(value, SPAN("no")) ? NULL : "first and replace are yes or no";
}

static const char *script_option_except(const struct script *x, struct span value,
					struct selection *s)
{
	struct session_id id;
	if (!session_id_parse(value, &id))
		return "exclude=CONN names no connection; exclude_room=ROOM is for a room's "
		       "members";
	if (gate_is_elsewhere(script_mount(x)->hub, id.host))
		return commit_error_text(COMMIT_E_ELSEWHERE);
	return selection_add_except(s, id.host == script_mount(x)->hub->host_id ? id.local : 0)
		       ? NULL
		       : "more than 256 connections are left out";
}

static const char *script_option_name(struct span value, struct selection_names *names)
{
	return selection_add_name(names, value) ? NULL : "more than 256 rooms or users";
}

/* One of them. False: there is none. */
static bool script_option_next(const struct script *x, struct span *rest, struct script_options *o,
			       const char **why_r)
{
	struct span value = {NULL, 0};
	const char *why = NULL, *bad = NULL;
	bool judged = true, selects = false;
	if (script_option_take(rest, SPAN("max="), &value, &bad))
		why = script_option_most(value, &o->conditions.max);
	else if (script_option_take(rest, SPAN("users_max="), &value, &bad))
		why = script_option_most(value, &o->conditions.users_max);
	else if (script_option_take(rest, SPAN("first="), &value, &bad))
		why = script_option_yes(value, &o->conditions.first);
	else if (script_option_take(rest, SPAN("replace="), &value, &bad))
		why = script_option_yes(value, &o->conditions.replace);
	else
		judged = false, selects = true;
	if (judged)
		;
	else if (script_option_take(rest, SPAN("exclude="), &value, &bad))
		why = script_option_except(x, value, &o->others);
	else if (script_option_take(rest, SPAN("exclude_user="), &value, &bad))
		why = script_option_name(value, &o->others.except_users);
	else if (script_option_take(rest, SPAN("exclude_room="), &value, &bad))
		why = script_option_name(value, &o->others.except_rooms);
	else if (script_option_take(rest, SPAN("also="), &value, &bad))
		why = script_option_name(value, &o->others.rooms);
	else
		selects = false;
	o->judged = o->judged || judged;
	o->selects = o->selects || selects;
	*why_r = bad != NULL ? bad : why;
	return judged || selects;
}

void script_option_init(struct script_options *options)
{
	options->judged = options->selects = false;
	options->conditions = (struct commit_conditions){0};
	selection_init(&options->others);
}

const char *script_option_read(const struct script *x, struct span *rest,
			       struct script_options *options)
{
	const char *why = NULL;
	while (script_option_next(x, rest, options, &why) && why == NULL)
		;
	return why;
}

const char *script_option_apply(struct commit *c, const struct script_options *options)
{
	if (options->judged && commit_condition(c, &options->conditions) == COMMIT_E_ARG)
		return "max, users_max, first and replace are of a join";
	if (options->selects && commit_among(c, &options->others) == COMMIT_E_ARG)
		return "exclude, exclude_user, exclude_room and also are of a broadcast, a "
		       "broadcast_to or a close_room";
	return NULL;
}
