#include "c/pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/abi.h"
#include "common/id.h"

#define PENDING_PAGE 1000 /* members or users that the host lists at a time */

static bool pending_new_source(struct pending *p)
{
	uint64_t bits[2];
	if (getrandom(bits, sizeof bits, 0) != sizeof bits)
		return false;
	p->next_n = 1;
	snprintf(p->source, sizeof p->source, "%016llx%016llx", (unsigned long long)bits[0],
		 (unsigned long long)bits[1]);
	return true;
}

bool pending_init(struct pending *p)
{
	*p = (struct pending){.next_q = 1};
	p->pushes_end = &p->pushes;
	p->queries_end = &p->queries;
	return pending_new_source(p);
}

/* --- pushes ----------------------------------------------------------------------------------- */

struct push *pending_make_push(struct pending *p, const struct buffer *text,
			       const struct buffer *binary)
{
	size_t size = sizeof(struct push) + text->n + binary->n;
	if (atomic_load(&p->bytes) + size > PENDING_BYTES_MAX && atomic_load(&p->bytes) > 0)
		return NULL;
	struct push *push = calloc(1, sizeof *push);
	if (push == NULL)
		return NULL;
	buffer_add(&push->commands.text, text->p, text->n);
	buffer_add(&push->commands.binary, binary->p, binary->n);
	if (push->commands.text.failed || push->commands.binary.failed) {
		batch_clear(&push->commands);
		free(push);
		return NULL;
	}
	atomic_fetch_add(&p->bytes, size);
	return push;
}

static void pending_free_push(struct pending *p, struct push *push)
{
	atomic_fetch_sub(&p->bytes, sizeof *push + batch_size(&push->commands));
	buffer_free(&push->commands.text);
	buffer_free(&push->commands.binary);
	free(push);
}

static void pending_number(struct pending *p, struct push *push)
{
	memcpy(push->source, p->source, sizeof push->source);
	push->n = p->next_n++;
	/* What lasts may meet a host that does not know its source, and has to be that one's
	 * first. */
	if (push->lasting || push->alone)
		pending_new_source(p);
}

static void pending_say_push(const struct push *push, struct batch *out)
{
	struct buffer text = {0};
	buffer_addf(&text, "{\"t\":\"push\",\"source\":\"%s\",\"n\":%llu,\"commands\":[",
		    push->source, (unsigned long long)push->n);
	buffer_add(&text, push->commands.text.p, push->commands.text.n);
	buffer_add(&text, "]}", 2);
	batch_add(out, text.p, text.n, push->commands.binary.p, push->commands.binary.n);
	out->text.failed |= text.failed;
	buffer_free(&text);
}

void pending_push(struct pending *p, struct push *push, struct batch *out)
{
	pending_number(p, push);
	push->next = NULL;
	*p->pushes_end = push;
	p->pushes_end = &push->next;
	p->n_pushes++;
	if (out != NULL)
		pending_say_push(push, out);
}

static struct push *pending_take_push(struct pending *p, struct push **at)
{
	struct push *push = *at;
	*at = push->next;
	if (p->pushes_end == &push->next)
		p->pushes_end = at;
	p->n_pushes--;
	return push;
}

void pending_done(struct pending *p, const json_t *done, struct batch *out, const char **error_r)
{
	const char *source = json_string_value(json_object_get(done, "source"));
	const char *error = json_string_value(json_object_get(done, "error"));
	json_int_t n = json_integer_value(json_object_get(done, "n"));
	struct push **at = &p->pushes;
	while (*at != NULL &&
	       ((*at)->n != (uint64_t)n || source == NULL || strcmp((*at)->source, source) != 0))
		at = &(*at)->next;
	*error_r = error;
	if (*at == NULL || (*at)->lasting)
		return;
	struct push *push = pending_take_push(p, at);
	if (error == NULL || push->n == 1) {
		pending_free_push(p, push);
		return;
	}
	/* Perhaps only its number was refused, by another host than the one that knew the source,
	 * or behind a push that was refused. It has not been done; as the first of a source of its
	 * own it is judged by what it says. */
	*error_r = NULL;
	push->alone = true;
	pending_new_source(p);
	pending_push(p, push, out);
}

/* --- queries ---------------------------------------------------------------------------------- */

struct query *pending_make_query(const tova_query *q)
{
	bool history = q->kind == TOVA_QUERY_HISTORY;
	size_t room_len = abi_query_has_room(q->kind) ? q->room_len : 0;
	struct query *query = malloc(sizeof *query + room_len + 1);
	if (query == NULL)
		return NULL;
	*query = (struct query){.id = q->id, .kind = q->kind, .ws = q->ws, .room_len = room_len};
	if (q->size >= offsetof(tova_query, asker) + sizeof q->asker)
		query->asker = q->asker;
	if (history) {
		query->since = q->since;
		query->limit = q->limit;
	}
	if (room_len > 0)
		memcpy(query->room, q->room, room_len);
	query->room[room_len] = '\0';
	return query;
}

static void pending_say_query(const struct query *query, struct batch *out)
{
	static const char *const kinds[] = {
		[TOVA_QUERY_COUNT] = "count",
		[TOVA_QUERY_MEMBERS] = "members",
		[TOVA_QUERY_ROOMS] = "rooms",
		[TOVA_QUERY_CONNECTIONS] = "connections",
		[TOVA_QUERY_STATS] = "stats",
		[TOVA_QUERY_HISTORY] = "history",
		[TOVA_QUERY_USERS] = "users",
		[TOVA_QUERY_ROOM_STATE] = "room_state",
	};
	struct buffer text = {0};
	char id[TOVA_WS_TEXT];
	buffer_addf(&text, "{\"t\":\"query\",\"q\":%llu,\"what\":\"%s\"",
		    (unsigned long long)query->q, kinds[query->kind]);
	if (query->room_len > 0) {
		buffer_addf(&text, ",\"room\":");
		buffer_add_json(&text, query->room, query->room_len);
	}
	if (query->kind == TOVA_QUERY_ROOMS) {
		id_text(query->ws.hi, query->ws.lo, id);
		buffer_addf(&text, ",\"conn\":\"%s\"", id);
	}
	if (query->kind == TOVA_QUERY_HISTORY && query->since != TOVA_NEWEST)
		buffer_addf(&text, ",\"since\":%llu", (unsigned long long)query->since);
	if (query->kind == TOVA_QUERY_HISTORY)
		buffer_addf(&text, ",\"limit\":%u", query->limit);
	if (query->kind == TOVA_QUERY_MEMBERS || query->kind == TOVA_QUERY_USERS)
		buffer_addf(&text, ",\"limit\":%d", PENDING_PAGE);
	if (query->after != NULL) {
		buffer_addf(&text, ",\"after\":");
		buffer_add_json(&text, query->after, strlen(query->after));
	}
	buffer_add(&text, "}", 1);
	batch_add(out, text.p, text.n, NULL, 0);
	out->text.failed |= text.failed;
	buffer_free(&text);
}

bool pending_add_page(struct query *query, const json_t *reply)
{
	const char *next = json_string_value(json_object_get(reply, "next"));
	const json_t *page = json_object_get(
		reply, query->kind == TOVA_QUERY_MEMBERS ? "members" : "users");
	if (query->found == NULL)
		query->found = json_array();
	free(query->after);
	query->after = next != NULL ? strdup(next) : NULL;
	if (query->found != NULL && json_array_extend(query->found, (json_t *)page) == 0 &&
	    (next == NULL || query->after != NULL))
		return next == NULL;
	json_decref(query->found);
	query->found = NULL;
	return true;
}

void pending_free_query(struct query *query)
{
	if (query == NULL)
		return;
	json_decref(query->found);
	free(query->after);
	free(query);
}

void pending_query(struct pending *p, struct query *query, struct batch *out)
{
	query->q = p->next_q++;
	query->next = NULL;
	*p->queries_end = query;
	p->queries_end = &query->next;
	if (out != NULL)
		pending_say_query(query, out);
}

struct query *pending_reply(struct pending *p, const json_t *reply)
{
	uint64_t q = (uint64_t)json_integer_value(json_object_get(reply, "q"));
	struct query **at = &p->queries;
	while (*at != NULL && (*at)->q != q)
		at = &(*at)->next;
	struct query *query = *at;
	if (query != NULL) {
		*at = query->next;
		if (p->queries_end == &query->next)
			p->queries_end = at;
	}
	return query;
}

/* --- both ------------------------------------------------------------------------------------- */

void pending_repeat(struct pending *p, struct batch *out)
{
	for (const struct push *push = p->pushes; push != NULL; push = push->next)
		pending_say_push(push, out);
	for (const struct query *query = p->queries; query != NULL; query = query->next)
		pending_say_query(query, out);
	/* This host may be another one, which would refuse a source that does not start at 1. */
	pending_new_source(p);
}
