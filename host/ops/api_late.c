#include "ops/api_late.h"

#include <stdlib.h>

struct api_late {
	LIST_ENTRY(api_late) others;
	struct api *api;
	struct conn *conn; /* NULL: its client has gone */
	struct idempotency_done *once;
};

struct api_late *api_late_begin(struct api_call *call)
{
	struct api_late *late = malloc(sizeof *late);
	if (late == NULL) {
		api_call_refuse(call, 503, "no memory to answer this later");
		return NULL;
	}
	*late = (struct api_late){.api = call->api, .conn = call->conn, .once = call->once};
	idempotency_hold(&late->once);
	call->once = NULL;
	LIST_INSERT_HEAD(&call->api->lates, late, others);
	conn_set_user(call->conn, late);
	conn_answer_later(call->conn);
	return late;
}

static void api_late_end(struct api_late *late, int status, struct span json)
{
	api_call_remember(&late->once, status, json);
	LIST_REMOVE(late, others);
	if (late->conn != NULL) {
		conn_set_user(late->conn, NULL);
		answer_respond(late->conn, status, SPAN(API_HEAD), "application/json", json);
	}
	free(late);
}

void api_late_answer(struct api_late *late, int status, struct span members)
{
	struct codec_out o = {.n = 0};
	codec_raw(&o, "{", 1);
	codec_raw(&o, members.p + 1, members.n - 1);
	codec_raw(&o, "}", 1);
	if (codec_failed(&o))
		api_late_end(late, 503, SPAN("{\"error\":\"no memory for an answer\"}"));
	else
		api_late_end(late, status, (struct span){o.text.p, o.text.n});
	codec_free(&o);
}

void api_late_refuse(struct api_late *late, int status, const char *why)
{
	struct codec_out o = {.n = 0};
	codec_member_text(&o, "error", span_of(why));
	if (codec_failed(&o))
		api_late_end(late, 503, SPAN("{\"error\":\"no memory for an answer\"}"));
	else
		api_late_answer(late, status, (struct span){o.text.p, o.text.n});
	codec_free(&o);
}

void api_late_withdrawn(struct conn *c)
{
	struct api_late *late = conn_user(c);
	conn_set_user(c, NULL);
	conn_release(c);
	if (late != NULL)
		late->conn = NULL;
}

void api_late_free_all(struct api *api)
{
	struct api_late *late;
	while ((late = LIST_FIRST(&api->lates)) != NULL) {
		LIST_REMOVE(late, others);
		free(late);
	}
}
