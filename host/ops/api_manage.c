#include "ops/api_manage.h"

#include "ops/api_late.h"
#include "ops/api_params.h"
#include "ops/named_mount.h"
#include "ops/reload.h"
#include "ops/replay.h"

/* --- what is asked ---------------------------------------------------------------------------- */

struct api_manage {
	struct span path, id; /* p NULL: not given */
	struct mount *mount;  /* NULL: the host */
	bool wait;
};

#define API_MANAGE_WAIT 1 /* which members there are */
#define API_MANAGE_ID 2

static bool api_manage_text(struct json *j, struct span *text_r)
{
	struct json_string s;
	return json_read_string(j, &s) && (*text_r = codec_text(&s), true);
}

static void api_manage_member(struct json *j, struct span key, unsigned has, struct api_manage *a)
{
	if (span_eq(key, SPAN("mount")))
		api_manage_text(j, &a->path);
	else if ((has & API_MANAGE_WAIT) != 0 && span_eq(key, SPAN("wait")))
		json_read_bool(j, &a->wait);
	else if ((has & API_MANAGE_ID) != 0 && span_eq(key, SPAN("id")))
		api_manage_text(j, &a->id);
	else
		json_fail(j,
			  (has & API_MANAGE_WAIT) != 0 ? "an unknown member; expected mount or wait"
			  : (has & API_MANAGE_ID) != 0 ? "an unknown member; expected mount or id"
						       : "an unknown member; expected mount");
}

/* The body is an object, or nothing. False: it was answered. */
static bool api_manage_read(struct api_call *call, unsigned has, struct api_manage *a)
{
	struct span body = call->request->body, key;
	struct json j = {.p = body.p, .end = body.p + body.n};
	struct api_params p;
	*a = (struct api_manage){.mount = NULL};
	if (!api_params_read(call, &p))
		return false;
	if (body.n > 0) {
		for (bool first = json_enter(&j, '{'); json_next_key(&j, &first, &key);)
			api_manage_member(&j, key, has, a);
		json_at_end(&j);
	}
	if (j.why != NULL) {
		api_call_refuse(call, 400, "%s", j.why);
		return false;
	}
	a->mount = a->path.p != NULL ? api_call_mount(call, a->path) : NULL;
	return (a->path.p == NULL || a->mount != NULL) &&
	       api_call_may(call, API_SCOPE_ADMIN, a->mount);
}

/* --- reload and drain ------------------------------------------------------------------------- */

static void api_manage_on_reload(void *ctx, bool ok, struct span members)
{
	api_late_answer(ctx, ok ? 200 : 500, members);
}

static void api_manage_nobody(void *ctx, bool ok, struct span members)
{
	(void)ctx;
	(void)ok;
	(void)members;
}

void api_manage_reload(struct api_call *call)
{
	struct api_manage asked;
	struct reloads *reloads = call->api->manage.reloads;
	if (!api_manage_read(call, API_MANAGE_WAIT, &asked))
		return;
	if (!asked.wait) {
		const char *why = reload_begin(reloads, asked.mount, api_manage_nobody, NULL);
		if (why != NULL)
			api_call_refuse(call, 503, "%s", why);
		else
			api_call_answer_text(call, 202, (struct span){NULL, 0},
					     SPAN("{\"reloading\":true}"));
		return;
	}
	struct api_late *late = api_late_begin(call);
	const char *why = late != NULL
				  ? reload_begin(reloads, asked.mount, api_manage_on_reload, late)
				  : NULL;
	if (why != NULL)
		api_late_refuse(late, 503, why);
}

void api_manage_drain(struct api_call *call)
{
	struct api_manage asked;
	if (!api_manage_read(call, 0, &asked))
		return;
	if (asked.mount != NULL) {
		api_call_refuse(call, 400, "drain is for the whole host: without mount");
		return;
	}
	api_call_answer_text(call, 202, (struct span){NULL, 0}, SPAN("{\"draining\":true}"));
	call->api->manage.drain(call->api->manage.ctx);
}

/* --- dead letters ----------------------------------------------------------------------------- */

static void api_manage_on_letters(void *ctx, struct span members)
{
	static const char error[] = ",\"error\":";
	bool failed = memmem(members.p, members.n < 4096 ? members.n : 4096, error,
			     sizeof error - 1) != NULL &&
		      memcmp(members.p, ",\"dead_letters\"", 15) != 0;
	api_late_answer(ctx, failed ? 503 : 200, members);
}

static struct span api_manage_path(const struct mount *m)
{
	return m != NULL ? span_of(m->path) : (struct span){NULL, 0};
}

void api_manage_letters(struct api_call *call)
{
	struct api_params p;
	struct mount *m;
	if (!api_params_read(call, &p) || !api_params_mount(call, p.values[0], &m) ||
	    (m == NULL && !api_call_may(call, API_SCOPE_READ, NULL)))
		return;
	struct api_late *late = api_late_begin(call);
	if (late != NULL && !replay_list(call->api->manage.letters, api_manage_path(m),
					 api_manage_on_letters, late))
		api_late_refuse(late, 503, "no memory to read the dead letters");
}

void api_manage_replay(struct api_call *call)
{
	struct api_manage asked;
	if (!api_manage_read(call, API_MANAGE_ID, &asked))
		return;
	if (asked.id.p != NULL && asked.id.n == 0) {
		api_call_refuse(call, 400,
				"an empty id; expected a dead letter's, or none for all");
		return;
	}
	struct api_late *late = api_late_begin(call);
	if (late != NULL && !replay_replay(call->api->manage.letters, api_manage_path(asked.mount),
					   asked.id, api_manage_on_letters, late))
		api_late_refuse(late, 503, "no memory to replay dead letters");
}
