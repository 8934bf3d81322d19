#include "ops/api_list.h"

#include <stdlib.h>
#include <time.h>

#include "base/check.h"

#define API_LIST_SLICE 16384 /* bytes after which a slice is sent, at the end of an item */
/* What lists may take of a turn, all of them together. */
#define API_LIST_TURN_US 1000

struct api_list_answer {
	uint16_t magic; /* CHECK_API_LIST */
	struct api *api;
	struct api_list list;
	struct codec_out out; /* the slice */
	bool json, begun, some, ended;
};

static uint64_t api_list_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void api_list_add(struct api_list_answer *a)
{
	size_t before = a->out.text.n;
	codec_raw(&a->out, ",", a->json && a->some);
	enum api_list_found found = a->list.next(a->list.ctx, &a->out);
	if (found != API_LIST_ITEM)
		a->out.text.n = before;
	a->some = a->some || found == API_LIST_ITEM;
	a->ended = found == API_LIST_END;
}

static void api_list_fill(struct api_list_answer *a)
{
	struct api_clock began = api_clock_begin();
	uint64_t before = a->api->spent_us;
	while (!a->ended && a->out.text.n < API_LIST_SLICE && a->api->spent_us < API_LIST_TURN_US) {
		api_list_add(a);
		a->api->spent_us = before + api_list_clock() - began.us;
	}
	a->api->spent_us = before;
	api_clock_end(a->api, &began);
}

static enum answer_next api_list_next(void *ctx, struct span *piece_r)
{
	struct api_list_answer *a = ctx;
	CHECK(a->magic == CHECK_API_LIST && !a->ended);
	if (a->api->spent_us >= API_LIST_TURN_US)
		return ANSWER_LATER;
	/* what it began with is in the first slice */
	a->out.text.n = a->begun ? 0 : a->out.text.n;
	a->begun = true;
	api_list_fill(a);
	if (a->ended && a->json) {
		codec_raw(&a->out, "]", 1);
		if (a->list.end != NULL)
			a->list.end(a->list.ctx, &a->out);
		codec_raw(&a->out, "}", 1);
	}
	*piece_r = (struct span){a->out.text.p, a->out.text.n};
	return codec_failed(&a->out) ? ANSWER_BROKEN : a->ended ? ANSWER_END : ANSWER_MORE;
}

static void api_list_free(void *ctx)
{
	struct api_list_answer *a = ctx;
	CHECK_IS(a, CHECK_API_LIST);
	a->list.free(a->list.ctx);
	codec_free(&a->out);
	a->magic = CHECK_GONE;
	free(a);
}

static void api_list_begin(struct api_call *call, const char *name, const char *type,
			   const struct api_list *list)
{
	struct api_list_answer *a = malloc(sizeof *a);
	if (a == NULL) {
		list->free(list->ctx);
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	*a = (struct api_list_answer){.magic = CHECK_API_LIST,
				      .api = call->api,
				      .list = *list,
				      .json = name != NULL};
	if (name != NULL) {
		codec_raw(&a->out, "{", 1);
		codec_string(&a->out, span_of(name));
		codec_raw(&a->out, ":[", 2);
	}
	const struct answer_source source = {.next = api_list_next,
					     .free = api_list_free,
					     .ctx = a};
	answer_source(call->conn, call->request, 200, SPAN(API_HEAD), type, &source);
}

void api_list_answer(struct api_call *call, const char *name, const struct api_list *list)
{
	api_list_begin(call, name, "application/json", list);
}

void api_list_answer_text(struct api_call *call, const char *type, const struct api_list *list)
{
	api_list_begin(call, NULL, type, list);
}
