/* history: what rooms remember in a test: everything, each in one epoch. */
#include <stdlib.h>

#include "test/harness.h"

#define HISTORY_EPOCH 1
#define HISTORY_QUERY_LIMIT 100

struct harness_remembered {
	struct harness_remembered *next;
	char room[RULES_NAME_MAX + 1];
	uint64_t offset, at_ms;
	struct harness_message *message;
};

/* How many the room has. */
static uint64_t history_last(const tova_test *t, const char *room)
{
	uint64_t last = 0;
	for (const struct harness_remembered *r = t->history; r != NULL; r = r->next)
		last = strcmp(r->room, room) == 0 ? r->offset : last;
	return last;
}

void history_keep(tova_test *t, const char *room, const struct harness_message *message)
{
	struct harness_remembered **end = &t->history, *r = harness_alloc(sizeof *r);
	strcpy(r->room, room);
	r->offset = history_last(t, room) + 1;
	r->at_ms = t->now;
	r->message = commit_copy(message);
	while (*end != NULL)
		end = &(*end)->next;
	*end = r;
}

/* Behind which offset somebody who joins is sent what there is. False: some of what he asks for was
 * never there. */
static bool history_from(const tova_test *t, const char *room, const tova_history *want,
			 uint64_t *from_r)
{
	uint64_t have = history_last(t, room), last = want->last;
	bool since = want->how != TOVA_HISTORY_LAST,
	     known = want->since == 0 || (want->epoch == HISTORY_EPOCH && want->since <= have);
	if (since && last == 0)
		last = have;
	*from_r = since && known ? want->since : have - (last < have ? last : have);
	return !since || known;
}

bool history_holds(const tova_test *t, const struct harness_command *c)
{
	uint64_t from;
	return c->kind != HARNESS_JOIN || c->want.how != TOVA_HISTORY_SINCE_OR_FAIL ||
	       history_from(t, c->name, &c->want, &from);
}

void history_give(const tova_test *t, struct harness_peer *p, const struct harness_command *c)
{
	uint64_t from;
	history_from(t, c->name, &c->want, &from);
	for (const struct harness_remembered *r = t->history; r != NULL; r = r->next)
		if (strcmp(r->room, c->name) == 0 && r->offset > from)
			commit_give(p, r->message);
}

tova_remembered *history_reply(const tova_test *t, const struct harness_command *c,
			       tova_reply *reply)
{
	const tova_query *q = &c->query;
	uint64_t last = history_last(t, c->name);
	uint64_t limit = q->limit > 0 ? q->limit : HISTORY_QUERY_LIMIT;
	uint64_t newest = last - (limit < last ? limit : last),
		 from = q->since == TOVA_NEWEST || q->since > last ? newest : q->since;
	tova_remembered *list = harness_alloc((last + 1) * sizeof *list);
	for (const struct harness_remembered *r = t->history; r != NULL; r = r->next)
		if (strcmp(r->room, c->name) == 0 && r->offset > from && reply->count < limit)
			list[reply->count++] = (tova_remembered){.offset = r->offset,
								 .at_ms = r->at_ms,
								 .payload = r->message->payload};
	reply->messages = list;
	reply->epoch = last > 0 ? HISTORY_EPOCH : 0;
	reply->first = last > 0;
	reply->last = last;
	reply->complete = q->since == TOVA_NEWEST || q->since <= last;
	reply->more = from + reply->count < last;
	return list;
}

void history_forget(tova_test *t)
{
	for (struct harness_remembered *r; (r = t->history) != NULL;) {
		t->history = r->next;
		commit_free_messages(r->message);
		free(r);
	}
}
