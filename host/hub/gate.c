#include "hub/gate.h"

#include <stdlib.h>

#include "base/check.h"
#include "hub/hub.h"
#include "hub/selection.h"

#define GATE_OVERHEAD sizeof(struct gate_parked)

/* --- the list --------------------------------------------------------------------------------- */

/* What its event pointed at is gone by the time that it is settled. */
static struct hub_event gate_event(const struct hub_event *e)
{
	struct hub_event kept = {.kind = e->kind,
				 .attempt = e->attempt,
				 .sequence = e->sequence,
				 .session = e->session};
	if (e->kind == EVENT_MESSAGE)
		kept.message.len = e->message.len;
	return kept;
}

static void gate_add(struct mount *m, struct gate_parked *p)
{
	budget_add_event(m->budget, p->bytes);
	if (m->parked.last != NULL)
		m->parked.last->next = p;
	else
		m->parked.first = p;
	m->parked.last = p;
	if (m->parked.unsent == NULL)
		m->parked.unsent = p;
	m->parked.n++;
	m->hub->gate->parked(m->hub->gate->ctx, m);
}

bool gate_later(struct mount *m, void (*run)(void *ctx, bool drop), void *ctx)
{
	if (m->parked.first == NULL) {
		run(ctx, false);
		return true;
	}
	struct gate_parked *p = calloc(1, sizeof *p);
	if (p == NULL)
		return false;
	p->run = run;
	p->ctx = ctx;
	p->bytes = GATE_OVERHEAD;
	gate_add(m, p);
	return true;
}

bool gate_park(struct mount *m, struct commit *c, const struct hub_event *e,
	       struct event_held *held)
{
	struct gate_parked *p = calloc(1, sizeof *p);
	if (p == NULL)
		return false;
	CHECK(c->error == COMMIT_OK);
	p->commit = *c;
	p->commit.checked = (struct span){0};
	p->held = held;
	if (e != NULL)
		p->event = gate_event(e);
	p->bytes = GATE_OVERHEAD + c->bytes + c->arena_len + c->n * sizeof *c->commands;
	c->commands = NULL;
	c->arena = NULL;
	c->n = c->cap = c->arena_len = c->arena_cap = 0;
	c->origin = c->answers = NULL;
	gate_add(m, p);
	return true;
}

/* What a handler that was replaced meanwhile has set may be more than the new one keeps. */
static void gate_check_sizes(struct commit *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->commands[i].kind == COMMAND_SET && c->commands[i].text_len > c->data_size)
			commit_spoil_at(c, COMMIT_E_LIMIT, i);
}

static struct gate_parked *gate_unlink(struct mount *m)
{
	struct gate_parked *p = m->parked.first;
	CHECK(p != NULL && m->parked.n > 0);
	m->parked.first = p->next;
	if (p->next == NULL)
		m->parked.last = NULL;
	if (m->parked.unsent == p)
		m->parked.unsent = p->next;
	m->parked.n--;
	p->next = NULL;
	return p;
}

struct gate_parked *gate_take(struct mount *m)
{
	struct gate_parked *p = gate_unlink(m);
	CHECK(m->commit.n == 0 && !m->running);
	if (p->run != NULL)
		return p;
	p->commit.data_size = m->commit.data_size;
	commit_free(&m->commit);
	m->commit = p->commit;
	p->commit = (struct commit){.n = 0};
	gate_check_sizes(&m->commit);
	return p;
}

void gate_free(struct mount *m, struct gate_parked **p_p)
{
	struct gate_parked *p = *p_p;
	*p_p = NULL;
	if (p->run != NULL)
		p->run(p->ctx, true);
	commit_drop(&p->commit);
	commit_free(&p->commit);
	budget_sub_event(m->budget, p->bytes);
	free(p);
}

void gate_drop_all(struct mount *m)
{
	while (m->parked.first != NULL) {
		struct gate_parked *p = gate_unlink(m);
		gate_free(m, &p);
	}
}

/* --- what a commit is ------------------------------------------------------------------------- */

bool gate_is_exclusive(const struct mount *m, const struct commit *c)
{
	if (c->judged)
		return true;
	if (!room_limits_is_limited(&m->hub->room_limits))
		return false;
	for (uint32_t i = 0; i < c->n; i++)
		if (c->commands[i].kind == COMMAND_JOIN)
			return true;
	return false;
}

static uint64_t gate_count_among(struct mount *m, const uint8_t *text)
{
	struct selection among;
	struct selection_walk walk;
	uint64_t n = 0;
	selection_read(&among, text);
	selection_walk_begin(&walk, &among, m);
	while (selection_walk_next(&walk) != NULL)
		n++;
	m->nobody += walk.unknown;
	selection_walk_end(&walk);
	return n;
}

static uint64_t gate_count_room(struct mount *m, const struct commit *c,
				const struct command *command, const struct session *except)
{
	const struct room *r = room_find(&m->rooms, commit_text(c, command));
	m->nobody += r == NULL;
	return r == NULL ? 0
			 : r->n - (except != NULL &&
				   room_has(&m->rooms, commit_text(c, command), except));
}

static uint64_t gate_count_one(struct mount *m, const struct commit *c,
			       const struct command *command)
{
	const struct session *s;
	switch (command->kind) {
	case COMMAND_BROADCAST:
		s = command->exclude != 0 ? hub_find_session(m->hub, m, command->exclude) : NULL;
		return m->n_sessions - (s != NULL && s->settled);
	case COMMAND_BROADCAST_TO:
		s = command->exclude != 0 ? hub_find_session(m->hub, m, command->exclude) : NULL;
		return gate_count_room(m, c, command, s);
	case COMMAND_BROADCAST_AMONG:
		return gate_count_among(m, (const uint8_t *)commit_text(c, command).p);
	case COMMAND_CLOSE_ROOM:
		return gate_count_among(m, c->arena + command->more.text);
	case COMMAND_QUERY:
	case COMMAND_SET_ROOM:
	case COMMAND_WATCH:
	case COMMAND_UNWATCH:
		return 0;
	default:
		if ((command->kind == COMMAND_TIMER || command->kind == COMMAND_CANCEL) &&
		    !command->code)
			return 0;
		s = hub_find_session(m->hub, m, command->target);
		m->nobody += s == NULL;
		return s != NULL;
	}
}

void gate_count(struct mount *m, const struct commit *c)
{
	m->receivers = 0;
	m->nobody = 0;
	m->kept = (struct history_place){0};
	m->room_version = 0;
	for (uint32_t i = 0; i < c->n; i++)
		m->receivers += gate_count_one(m, c, &c->commands[i]);
}

bool gate_is_elsewhere(const struct hub *hub, uint64_t host)
{
	return hub->gate != NULL && host != hub->host_id &&
	       hub->gate->knows(hub->gate->ctx, host);
}

void gate_name(const struct hub *hub, struct commit *c, uint64_t host)
{
	if (c != NULL && gate_is_elsewhere(hub, host))
		commit_spoil(c, COMMIT_E_ELSEWHERE);
}
