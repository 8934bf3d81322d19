#include "ops/api_rooms.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "ops/api_list.h"
#include "ops/api_params.h"

/* A cursor is the number of a mount among all, and the place in its table. */
struct api_rooms {
	uint16_t magic; /* CHECK_API_ROOMS */
	const struct api *api;
	struct api_grant grant;
	const struct mount *only; /* NULL: every one that the token may read */
	const struct mount *at;	  /* NULL: there are no more */
	unsigned number;	  /* of that */
	uint64_t cursor, left, least;
	bool full;
	struct codec_out *out; /* while a place is looked at */
	bool any;
};

static void api_rooms_visit(void *ctx, const struct room *r)
{
	struct api_rooms *l = ctx;
	CHECK_IS(l, CHECK_API_ROOMS);
	if (r->n < l->least)
		return;
	codec_raw(l->out, ",", l->any);
	codec_raw(l->out, "{\"room\":", 8);
	codec_string(l->out, (struct span){r->name, r->len});
	codec_member_text(l->out, "mount", span_of(l->at->path));
	codec_member_uint(l->out, "members", r->n);
	codec_raw(l->out, "}", 1);
	l->any = true;
	l->left -= l->left > 0;
}

static void api_rooms_next_mount(struct api_rooms *l)
{
	l->at = l->at->next;
	l->number++;
	l->cursor = 0;
}

static enum api_list_found api_rooms_next(void *ctx, struct codec_out *o)
{
	struct api_rooms *l = ctx;
	CHECK_IS(l, CHECK_API_ROOMS);
	if (l->at == NULL)
		return API_LIST_END;
	if (l->left == 0) {
		l->full = true;
		return API_LIST_END;
	}
	if ((l->only != NULL && l->at != l->only) ||
	    !api_token_may(&l->api->tokens, &l->grant, API_SCOPE_READ, l->at->path)) {
		api_rooms_next_mount(l);
		return API_LIST_NOTHING;
	}
	l->out = o;
	l->any = false;
	l->cursor = room_table_scan(&l->at->rooms, (uint32_t)l->cursor, api_rooms_visit, l);
	if (l->cursor == 0)
		api_rooms_next_mount(l);
	return l->any ? API_LIST_ITEM : API_LIST_NOTHING;
}

static void api_rooms_end(void *ctx, struct codec_out *o)
{
	const struct api_rooms *l = ctx;
	CHECK_IS(l, CHECK_API_ROOMS);
	char text[48];
	int n = snprintf(text, sizeof text, "%u.%llu", l->number, (unsigned long long)l->cursor);
	if (l->full)
		codec_member_text(o, "next", (struct span){text, (size_t)n});
}

static bool api_rooms_cursor(struct api_call *call, struct api_rooms *l, struct span text)
{
	const char *dot = text.p != NULL ? memchr(text.p, '.', text.n) : NULL;
	uint64_t number = 0;
	if (text.p == NULL)
		return true;
	if (dot == NULL) {
		api_call_refuse(call, 400, "cursor is none that a page has given");
		return false;
	}
	struct span mount = {text.p, (size_t)(dot - text.p)},
		    place = {dot + 1, text.n - mount.n - 1};
	if (!api_params_number(call, "cursor", mount, 0, UINT32_MAX, &number) ||
	    !api_params_number(call, "cursor", place, 0, UINT32_MAX, &l->cursor))
		return false;
	for (l->number = (unsigned)number; number > 0 && l->at != NULL; number--)
		l->at = l->at->next;
	return true;
}

/* False: it was answered. */
static bool api_rooms_read(struct api_call *call, struct api_rooms *l)
{
	struct api_params p;
	struct mount *m;
	*l = (struct api_rooms){.magic = CHECK_API_ROOMS,
				.api = call->api,
				.grant = call->grant,
				.at = call->api->hub->mounts};
	if (!api_params_read(call, &p) || !api_params_mount(call, p.values[0], &m) ||
	    !api_params_number(call, "limit", p.values[1], API_PAGE, API_PAGE_MAX, &l->left) ||
	    !api_rooms_cursor(call, l, p.values[2]) ||
	    !api_params_number(call, "min_members", p.values[3], 0, UINT32_MAX, &l->least))
		return false;
	l->only = m;
	return true;
}

void api_rooms_list(struct api_call *call)
{
	struct api_rooms *l = malloc(sizeof *l);
	const struct api_list list = {.next = api_rooms_next,
				      .end = api_rooms_end,
				      .free = free,
				      .ctx = l};
	if (l == NULL)
		api_call_refuse(call, 503, "no memory for a list");
	else if (!api_rooms_read(call, l))
		free(l);
	else
		api_list_answer(call, "rooms", &list);
}
