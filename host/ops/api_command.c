#include "ops/api_command.h"

#include <stdio.h>

#include "handler/worker/query.h"

/* What is wrong, and with what. */
static void api_command_unread(struct api_call *call, const struct codec_request *q)
{
	char why[API_WHY_MAX];
	const struct codec_batch *b = &call->api->batch;
	if (q->unknown.p != NULL)
		snprintf(why, sizeof why, "\"%.*s\" %s",
			 q->unknown.n < 200 ? (int)q->unknown.n : 200, q->unknown.p, b->why);
	else
		snprintf(why, sizeof why, "%s", b->why);
	if (q->listed)
		api_call_refuse_at(call, 400, q->n, why);
	else
		api_call_refuse(call, 400, "%s", why);
}

static int api_command_status(enum commit_error error)
{
	switch (error) {
	case COMMIT_E_MEMORY:
		return 503;
	case COMMIT_E_STATE:
	case COMMIT_E_HISTORY:
	case COMMIT_E_FULL:
	case COMMIT_E_FIRST:
	case COMMIT_E_USERS:
	case COMMIT_E_ROOM_STATE:
		return 409;
	case COMMIT_E_ROOM_STATE_BYTES:
		return 507;
	case COMMIT_E_EXPIRED:
		return 410;
	default:
		return 400;
	}
}

/* Names that are nobody's are told apart from those that nobody was reached by: --url of tova-ctl.
 */
static void api_command_done(struct api_call *call, const struct mount *m)
{
	char text[128], head[48];
	int n_head =
		m->nobody > 0 ? snprintf(head, sizeof head, "Tova-Nobody: %u\r\n", m->nobody) : 0;
	int n = snprintf(text, sizeof text, "{\"receivers\":%llu",
			 (unsigned long long)m->receivers);
	if (m->kept.epoch != 0)
		n += snprintf(text + n, sizeof text - (size_t)n, ",\"offset\":%llu,\"epoch\":%llu",
			      (unsigned long long)m->kept.offset,
			      (unsigned long long)m->kept.epoch);
	if (m->room_version != 0)
		n += snprintf(text + n, sizeof text - (size_t)n, ",\"version\":%llu",
			      (unsigned long long)m->room_version);
	text[n++] = '}';
	api_call_answer_text(call, 200, (struct span){head, (size_t)n_head},
			     (struct span){text, (size_t)n});
}

static void api_command_commit(struct api_call *call, struct mount *m, struct codec_request *q,
			       bool list)
{
	const char *why = query_commit(m, &call->api->batch, &q->item);
	if (why == NULL)
		api_command_done(call, m);
	else if (list && m->commit.wrong != COMMIT_WHOLE)
		api_call_refuse_at(call, api_command_status(m->commit.error), m->commit.wrong, why);
	else
		api_call_refuse(call, api_command_status(m->commit.error), "%s", why);
}

/* word NULL: a list. */
static void api_command_run(struct api_call *call, const char *word)
{
	struct codec_batch *b = &call->api->batch;
	struct codec_request q;
	struct span body = call->request->body;
	struct mount *m = NULL;
	if (!codec_read_request(b, word, (uint8_t *)body.p, body.n, &q))
		api_command_unread(call, &q);
	else
		m = api_call_mount(call, q.item.mount.p != NULL ? codec_text(&q.item.mount)
								: (struct span){NULL, 0});
	if (m != NULL &&
	    api_call_may(call, q.only_messages ? API_SCOPE_PUBLISH : API_SCOPE_ADMIN, m))
		api_command_commit(call, m, &q, word == NULL);
	codec_batch_done(b);
}

void api_command_one(struct api_call *call)
{
	/* the table has none but those that the grammar has */
	const char *word = strrchr(call->route->path, '/') + 1;
	api_command_run(call, word);
}

void api_command_list(struct api_call *call)
{
	api_command_run(call, NULL);
}
