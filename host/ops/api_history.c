#include "ops/api_history.h"

#include "handler/worker/query.h"
#include "handler/worker/query_history.h"
#include "ops/api_params.h"

#define API_HISTORY_NUMBER ((1ull << 53) - 1) /* offsets and epochs are up to that */

void api_history(struct api_call *call)
{
	struct query_history q = {.limit = 0};
	struct api_params p;
	if (!api_params_read(call, &p) ||
	    !api_params_number(call, "since", p.values[2], 0, API_HISTORY_NUMBER, &q.since) ||
	    !api_params_number(call, "epoch", p.values[3], 0, API_HISTORY_NUMBER, &q.epoch) ||
	    !api_params_number(call, "limit", p.values[4], 0, HISTORY_QUERY_MAX, &q.limit))
		return;
	struct mount *m = api_call_mount(call, p.values[0]);
	if (m == NULL || !api_call_may(call, API_SCOPE_READ, m))
		return;
	q.room = p.values[1];
	q.has_since = p.values[2].p != NULL;
	if (q.room.p == NULL || q.room.n == 0)
		api_call_refuse(call, 400, "room is missing: the name of one");
	else if (m->history == NULL)
		api_call_refuse(call, 409, QUERY_HISTORY_OFF);
	else {
		struct codec_out *o = api_call_out(call);
		query_history(o, m, &q);
		if (!codec_failed(o))
			o->text.p[0] = '{'; /* for a comma, as of a member behind others */
		codec_raw(o, "}", 1);
		api_call_answer(call, 200, (struct span){NULL, 0});
	}
}

/* The mount that is named, where it may be asked about a room, which is named, too. NULL: it was
 * answered. */
static struct mount *api_history_mount(struct api_call *call, const struct api_params *p)
{
	struct mount *m = api_call_mount(call, p->values[0]);
	if (m == NULL || !api_call_may(call, API_SCOPE_READ, m))
		return NULL;
	if (p->values[1].p == NULL || p->values[1].n == 0) {
		api_call_refuse(call, 400, "room is missing: the name of one");
		return NULL;
	}
	return m;
}

/* What was written begins with a comma, as a member behind others does. */
static void api_history_answer(struct api_call *call, struct codec_out *o)
{
	if (!codec_failed(o))
		o->text.p[0] = '{';
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

void api_history_users(struct api_call *call)
{
	struct api_params p;
	uint64_t limit;
	if (!api_params_read(call, &p) ||
	    !api_params_number(call, "limit", p.values[2], API_PAGE, API_PAGE_MAX, &limit))
		return;
	struct mount *m = api_history_mount(call, &p);
	if (m == NULL)
		return;
	struct codec_out *o = api_call_out(call);
	query_users(o, m, p.values[1], p.values[3], limit);
	api_history_answer(call, o);
}

void api_history_room_state(struct api_call *call)
{
	struct api_params p;
	struct mount *m = api_params_read(call, &p) ? api_history_mount(call, &p) : NULL;
	if (m == NULL)
		return;
	struct codec_out *o = api_call_out(call);
	query_room_state(o, m, p.values[1]);
	api_history_answer(call, o);
}
