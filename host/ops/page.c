#include "ops/page.h"

#include <stdlib.h>

#include "base/embed.h"
#include "common/json.h"
#include "net/listener.h"
#include "ops/api_list.h"
#include "ops/api_params.h"

EMBED(page_html, "host/ops/page/page.html");
EMBED(page_script, "host/ops/page/page.js");
EMBED(page_style, "host/ops/page/page.css");

/* Everything comes from here; its console speaks with the addresses for clients. What it shows was
 * written by strangers: none of that is ever code. */
#define PAGE_HEAD \
	"Cache-Control: no-cache\r\n" \
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; " \
	"img-src data:; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; " \
	"frame-ancestors 'none'; require-trusted-types-for 'script'\r\n" \
	"Referrer-Policy: no-referrer\r\n"

void page_answer(struct api_call *call)
{
	answer_respond(call->conn, 200, SPAN(PAGE_HEAD), "text/html; charset=utf-8",
		       EMBEDDED(page_html));
}

void page_answer_script(struct api_call *call)
{
	answer_respond(call->conn, 200, SPAN(PAGE_HEAD), "text/javascript; charset=utf-8",
		       EMBEDDED(page_script));
}

void page_answer_style(struct api_call *call)
{
	answer_respond(call->conn, 200, SPAN(PAGE_HEAD), "text/css; charset=utf-8",
		       EMBEDDED(page_style));
}

/* --- who looks -------------------------------------------------------------------------------- */

void page_enter(struct api_call *call)
{
	struct span body = call->request->body, key;
	struct json j = {.p = body.p, .end = body.p + body.n};
	struct json_string code = {.p = NULL};
	char secret[VISITORS_SECRET];
	for (bool first = json_enter(&j, '{'); json_next_key(&j, &first, &key);)
		if (span_eq(key, SPAN("code")))
			json_read_string(&j, &code);
		else
			json_skip(&j, NULL);
	if (j.why != NULL || code.p == NULL) {
		api_call_refuse(call, 400, "expected {\"code\":\"…\"}, with that of the URL");
		return;
	}
	if (!visitors_enter(&call->api->visitors, codec_text(&code),
			    loop_now(call->api->hub->loop), secret)) {
		call->api->hub->loop->stats.api_refused++;
		answer_note(call->conn, LOG_NOTICE, LOG_API, call->request, 403,
			    "a code for the admin page is wrong", (struct span){NULL, 0});
		api_call_refuse(call, 403,
				"this code is good no more: it is for one browser and ten minutes; "
				"tova-ctl admin-url shows another");
		return;
	}
	struct codec_out *o = api_call_out(call);
	codec_raw(o, "{\"token\":", 9);
	codec_string(o, span_of(secret));
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
	explicit_bzero(secret, sizeof secret);
}

void page_admin_url(struct api_call *call)
{
	const struct api_manage_actions *manage = &call->api->manage;
	char url[512];
	if (!manage->admin_url(manage->ctx, url, sizeof url)) {
		api_call_refuse(call, 404,
				"there is no admin page: the host runs without --admin at an "
				"ADDR:PORT");
		return;
	}
	struct codec_out *o = api_call_out(call);
	codec_raw(o, "{\"url\":", 7);
	codec_string(o, span_of(url));
	codec_raw(o, "}", 1);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

/* --- what it shows ---------------------------------------------------------------------------- */

void page_host(struct api_call *call)
{
	struct codec_out *o = api_call_out(call);
	char run[API_RUN_TEXT];
	const struct listeners *clients = call->api->clients;
	codec_raw(o, "{\"version\":", 11);
	codec_string(o, SPAN(TOVA_VERSION));
	codec_member_text(o, "run", span_of(api_call_run(call, run)));
	codec_member_raw(o, "draining", call->api->hub->draining ? "true" : "false");
	codec_member_raw(o, "dead_letters",
			 call->api->settings->dead_letter != NULL ? "true" : "false");
	codec_member_raw(o, "listen", "[");
	for (const struct listener *l = clients->list; l != NULL; l = l->next) {
		codec_raw(o, ",", l != clients->list);
		codec_raw(o, "{\"address\":", 11);
		codec_string(o, span_of(l->acceptor.name));
		codec_member_raw(o, "tls", l->kind.tls ? "true" : "false");
		codec_raw(o, "}", 1);
	}
	codec_raw(o, "]}", 2);
	api_call_answer(call, 200, (struct span){NULL, 0});
}

struct page_lines {
	struct log *log;
	enum log_recent which;
	uint64_t next, first; /* the newest first: next is one more than the next one's place */
};

static enum api_list_found page_next_line(void *ctx, struct codec_out *o)
{
	struct page_lines *l = ctx;
	char line[LOG_RECENT_LINE_MAX];
	if (l->next == l->first)
		return API_LIST_END;
	size_t n = log_recent_line(l->log, l->which, --l->next, line);
	codec_raw(o, line, n);
	return n > 0 ? API_LIST_ITEM : API_LIST_NOTHING;
}

void page_log(struct api_call *call)
{
	struct api_params p;
	if (!api_params_read(call, &p))
		return;
	bool refused = span_eq(p.values[0], SPAN("refused"));
	if (p.values[0].p != NULL && !refused && !span_eq(p.values[0], SPAN("trouble"))) {
		api_call_refuse(call, 400, "which is \"%.*s\"; expected trouble or refused",
				p.values[0].n < 64 ? (int)p.values[0].n : 64, p.values[0].p);
		return;
	}
	struct page_lines *l = malloc(sizeof *l);
	const struct api_list list = {.next = page_next_line, .free = free, .ctx = l};
	if (l == NULL) {
		api_call_refuse(call, 503, "no memory for a list");
		return;
	}
	struct log *log = call->api->hub->log;
	enum log_recent which = refused ? LOG_RECENT_REFUSED : LOG_RECENT_TROUBLE;
	uint64_t n = log_recent_count(log, which);
	*l = (struct page_lines){.log = log,
				 .which = which,
				 .next = n,
				 .first = n > LOG_RECENT_LINES ? n - LOG_RECENT_LINES : 0};
	api_list_answer(call, "lines", &list);
}
