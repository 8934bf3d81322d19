#include "cluster/resp.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

struct resp {
	redisReader *reader;
	const char *why; /* static; NULL: the reader's own words */
};

/* --- values, for hiredis ---------------------------------------------------------------------- */

/* Into the list that it is part of. */
static struct resp_value *resp_place(const redisReadTask *task, struct resp_value *v)
{
	if (v != NULL && task->parent != NULL) {
		struct resp_value *list = task->parent->obj;
		list->items[task->idx] = v;
	}
	return v;
}

static void *resp_on_string(const redisReadTask *task, char *bytes, size_t n)
{
	struct resp_value *v = malloc(sizeof *v + n + 1);
	if (v == NULL)
		return NULL;
	char *text = (char *)(v + 1);
	*v = (struct resp_value){.kind = task->type == REDIS_REPLY_ERROR    ? RESP_ERROR
					 : task->type == REDIS_REPLY_STATUS ? RESP_STATUS
									    : RESP_TEXT,
				 .text = {text, n}};
	if (n > 0)
		memcpy(text, bytes, n);
	text[n] = '\0';
	return resp_place(task, v);
}

static void *resp_on_array(const redisReadTask *task, int n)
{
	struct resp_value *v = n >= 0 && n <= RESP_ITEMS_MAX ? malloc(sizeof *v) : NULL;
	struct resp_value **items =
		v != NULL && n > 0 ? calloc((size_t)n, sizeof(struct resp_value *)) : NULL;
	if (v == NULL || (n > 0 && items == NULL)) {
		free(v);
		return NULL;
	}
	*v = (struct resp_value){.kind = RESP_LIST, .items = items, .n = (size_t)n};
	return resp_place(task, v);
}

static void *resp_on_integer(const redisReadTask *task, long long number)
{
	struct resp_value *v = malloc(sizeof *v);
	if (v != NULL)
		*v = (struct resp_value){.kind = RESP_NUMBER, .number = number};
	return resp_place(task, v);
}

static void *resp_on_nil(const redisReadTask *task)
{
	struct resp_value *v = malloc(sizeof *v);
	if (v != NULL)
		*v = (struct resp_value){.kind = RESP_NIL};
	return resp_place(task, v);
}

/* hiredis' reader nests 7 deep at most, and so does this. */
void resp_value_free(struct resp_value *v)
{
	if (v == NULL)
		return;
	for (size_t i = 0; v->kind == RESP_LIST && i < v->n; i++)
		resp_value_free(v->items[i]);
	if (v->kind == RESP_LIST)
		free(v->items);
	free(v);
}

static void resp_on_free(void *v)
{
	resp_value_free(v);
}

static redisReplyObjectFunctions resp_functions = {
	.createString = resp_on_string,
	.createArray = resp_on_array,
	.createInteger = resp_on_integer,
	.createNil = resp_on_nil,
	.freeObject = resp_on_free,
};

/* --- reading ---------------------------------------------------------------------------------- */

struct resp *resp_new(void)
{
	struct resp *r = calloc(1, sizeof *r);
	if (r != NULL && (r->reader = redisReaderCreateWithFunctions(&resp_functions)) == NULL)
		resp_free(&r);
	return r;
}

void resp_free(struct resp **r_p)
{
	struct resp *r = *r_p;
	*r_p = NULL;
	if (r == NULL)
		return;
	if (r->reader != NULL)
		redisReaderFree(r->reader);
	free(r);
}

bool resp_feed(struct resp *r, const void *bytes, size_t n)
{
	return redisReaderFeed(r->reader, bytes, n) == REDIS_OK;
}

bool resp_next(struct resp *r, struct resp_value **value_r)
{
	void *value = NULL;
	*value_r = NULL;
	if (redisReaderGetReply(r->reader, &value) != REDIS_OK)
		return false;
	*value_r = value;
	if (value == NULL && r->reader->len - r->reader->pos > RESP_REPLY_MAX) {
		r->why = "a reply is longer than any that was asked for";
		return false;
	}
	return true;
}

const char *resp_why(const struct resp *r)
{
	return r->why != NULL ? r->why : r->reader->errstr;
}

struct span resp_text_at(const struct resp_value *v, size_t i)
{
	return v->kind == RESP_LIST && i < v->n && v->items[i]->kind == RESP_TEXT
		       ? v->items[i]->text
		       : (struct span){NULL, 0};
}

/* --- writing ---------------------------------------------------------------------------------- */

bool resp_add(struct buffer *to, size_t n, const struct span *words)
{
	char *text = NULL;
	const char **argv = calloc(n, sizeof *argv);
	size_t *lengths = calloc(n, sizeof *lengths);
	int len = -1;
	if (argv != NULL && lengths != NULL) {
		for (size_t i = 0; i < n; i++) {
			argv[i] = words[i].n > 0 ? words[i].p : "";
			lengths[i] = words[i].n;
		}
		len = redisFormatCommandArgv(&text, (int)n, argv, lengths);
	}
	bool ok = len > 0 && buffer_append(to, text, (size_t)len);
	if (len > 0)
		redisFreeCommand(text);
	free(argv);
	free(lengths);
	return ok;
}
