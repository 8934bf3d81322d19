#include "ops/api_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "ops/named_mount.h"

static uint64_t api_call_clock_micros(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct api_clock api_clock_begin(void)
{
	return (struct api_clock){.us = api_call_clock_micros(CLOCK_MONOTONIC),
				  .cpu_us = api_call_clock_micros(CLOCK_THREAD_CPUTIME_ID)};
}

void api_clock_end(struct api *api, const struct api_clock *began)
{
	struct api_clock now = api_clock_begin();
	api->spent_us += now.us - began->us;
	api->cpu_us += now.cpu_us - began->cpu_us;
}

struct codec_out *api_call_out(struct api_call *call)
{
	codec_reset(&call->api->out);
	return &call->api->out;
}

const char *api_call_run(const struct api_call *call, char run[API_RUN_TEXT])
{
	snprintf(run, API_RUN_TEXT, "%016llx", (unsigned long long)call->api->hub->host_id);
	return run;
}

/* Who repeats it gets the same, but for what may go better then. */
void api_call_remember(struct idempotency_done **once, int status, struct span json)
{
	if (*once != NULL && status < 500)
		idempotency_end(*once, status, json);
	else if (*once != NULL)
		idempotency_cancel(*once);
	*once = NULL;
}

void api_call_answer_text(struct api_call *call, int status, struct span head, struct span json)
{
	char lines[512];
	char run[API_RUN_TEXT];
	int n = snprintf(lines, sizeof lines, API_HEAD "Tova-Instance: %s\r\n%.*s",
			 api_call_run(call, run), (int)head.n, head.n > 0 ? head.p : "");
	api_call_remember(&call->once, status, json);
	answer_respond(call->conn, status, (struct span){lines, (size_t)n}, "application/json",
		       json);
}

void api_call_answer(struct api_call *call, int status, struct span head)
{
	struct codec_out *o = &call->api->out;
	if (codec_failed(o))
		api_call_answer_text(call, 503, (struct span){NULL, 0},
				     SPAN("{\"error\":\"no memory for an answer\"}"));
	else
		api_call_answer_text(call, status, head, (struct span){o->text.p, o->text.n});
	codec_reset(o);
}

/* {"error":"why" without its end. */
static struct codec_out *api_call_say(struct api_call *call, const char *why)
{
	struct codec_out *o = api_call_out(call);
	codec_raw(o, "{\"error\":", 9);
	codec_string(o, span_of(why));
	return o;
}

void api_call_refuse(struct api_call *call, int status, const char *format, ...)
{
	char why[API_WHY_MAX];
	va_list args;
	va_start(args, format);
	vsnprintf(why, sizeof why, format, args);
	va_end(args);
	codec_raw(api_call_say(call, why), "}", 1);
	api_call_answer(call, status, (struct span){NULL, 0});
}

void api_call_refuse_at(struct api_call *call, int status, size_t index, const char *why)
{
	struct codec_out *o = api_call_say(call, why);
	codec_member_uint(o, "index", index);
	codec_raw(o, "}", 1);
	api_call_answer(call, status, (struct span){NULL, 0});
}

void api_call_error(struct conn *c, int status, struct span head, const char *why)
{
	char body[JSON_ESCAPED_MAX(256) + 16] = "{\"error\":", lines[1024];
	size_t n = 9, len = strnlen(why, 256);
	int n_lines = snprintf(lines, sizeof lines, API_HEAD "%.*s", (int)head.n,
			       head.n > 0 ? head.p : "");
	n += json_escape(body + n, why, len);
	body[n++] = '}';
	answer_respond(c, status, (struct span){lines, (size_t)n_lines}, "application/json",
		       (struct span){body, n});
}

bool api_call_may(struct api_call *call, enum api_scope scope, const struct mount *mount)
{
	static const char *const needs[] = {[API_SCOPE_PUBLISH] = "publish",
					    [API_SCOPE_READ] = "read",
					    [API_SCOPE_ADMIN] = "admin"};
	if (api_token_may(&call->api->tokens, &call->grant, scope,
			  mount != NULL ? mount->path : NULL))
		return true;
	/* RFC 6750 3.1 */
	char why[API_WHY_MAX];
	snprintf(why, sizeof why, "this token is not enough; expected one with the scope %s for %s",
		 needs[scope], mount != NULL ? mount->path : "the whole host");
	call->api->hub->loop->stats.api_refused++;
	answer_note(call->conn, LOG_NOTICE, LOG_API, call->request, 403, "a token is not enough",
		    span_of(why));
	codec_raw(api_call_say(call, why), "}", 1);
	api_call_answer(
		call, 403,
		SPAN("WWW-Authenticate: Bearer realm=\"tova\", error=\"insufficient_scope\"\r\n"));
	return false;
}

struct mount *api_call_mount(struct api_call *call, struct span path)
{
	char why[NAMED_MOUNT_WHY_MAX];
	struct mount *m = named_mount_find(call->api->hub, path);
	if (m == NULL) {
		named_mount_why(call->api->hub, path, "with \"mount\"", why);
		api_call_refuse(call, 400, "%s", why);
	}
	return m;
}
