/* life: of the mount and of its connections, reported to observers. */
#include <stdlib.h>

#include "probe.h"
#include "text.h"
#include "word.h"

struct opened {
	struct opened *next;
	tova_ws ws;
};

int life_start(tova_mount *m)
{
	const char *log_events = tova_setting(m, "log_events"),
		   *delay = tova_setting(m, "start_timer");
	const char *fail = tova_setting(m, "start_fail");
	if (probe_kind.start_fails)
		fail = "no, not this one";
	if (fail != NULL)
		return tova_fail(m, "%s", fail);
	wake_nap(tova_setting(m, "start_stall"));
	struct probe *me = calloc(1, sizeof *me);
	me->log_events = log_events != NULL && strcmp(log_events, "1") == 0;
	m->user = me;
	if (delay != NULL)
		return tova_every(m, "start", 7, strtoull(delay, NULL, 10), 0);
	return 0;
}

void life_stop(tova_mount *m)
{
	struct probe *me = probe_of(m);
	wake_end_thread(me);
	int refused = tova_broadcast(m, "never", TOVA_NONE);
	tova_log(m, TOVA_LOG_NOTICE,
		 "probe %s stops: broadcast returned %d, opens %lu, closes %lu, strange %lu",
		 probe_kind.version, refused, me->opens, me->closes, me->strange);
	hook_free_all(me);
	while (me->opened != NULL) {
		struct opened *o = me->opened;
		me->opened = o->next;
		free(o);
	}
	free(me->later);
	free(me);
}

static void life_count_open(struct probe *me, tova_ws ws)
{
	me->opens++;
	for (struct opened *o = me->opened; o != NULL; o = o->next)
		me->strange += (unsigned long)tova_ws_eq(o->ws, ws);
	struct opened *o = malloc(sizeof *o);
	*o = (struct opened){me->opened, ws};
	me->opened = o;
}

static void life_count_close(struct probe *me, tova_ws ws)
{
	me->closes++;
	for (struct opened **at = &me->opened; *at != NULL; at = &(*at)->next) {
		struct opened *o = *at;
		if (tova_ws_eq(o->ws, ws)) {
			*at = o->next;
			free(o);
			return;
		}
	}
	me->strange++;
}

int life_on_open(tova_mount *m, tova_ws ws, const tova_request *request)
{
	size_t path_len = strlen(request->path);
	char *wanted = word_parameter(request->query, "request", 0);
	life_count_open(probe_of(m), ws);
	struct text t = text_event(m, "open", ws);
	text_report(m, &t);
	if (path_len >= 8 && strcmp(request->path + path_len - 8, "/observe") == 0) {
		tova_join(m, ws, "observers");
		tova_send(m, ws, "observing");
	}
	if (wanted != NULL) {
		struct text r = {NULL, 0, 0};
		upgrade_request_text(&r, request);
		text_send(m, ws, &r);
	}
	free(wanted);
	return script_run_parameter(m, ws, request, "open");
}

int life_on_message(tova_mount *m, tova_ws ws, const tova_payload *message)
{
	const char *text = message->data;
	if (message->kind == TOVA_BINARY)
		return tova_send_payload(m, ws, message);
	if (text[message->len] != '\0')
		return tova_fail(m, "no NUL behind the message");
	return script_run(m, ws, text, message->len, "\n");
}

int life_on_close(tova_mount *m, tova_ws ws, const tova_close *why)
{
	life_count_close(probe_of(m), ws);
	struct text t = text_event(m, "close", ws);
	text_add(&t, ",\"code\":%u,\"reason\":", why->code);
	text_json(&t, why->reason, why->reason_len);
	text_add(&t, ",\"rooms\":[");
	for (size_t i = 0; i < why->n_rooms; i++) {
		text_add(&t, "%s", i > 0 ? "," : "");
		text_string(&t, why->rooms[i]);
	}
	text_add(&t, "]");
	tova_event e = tova_current_event(m);
	text_add(&t, ",\"sequence\":%llu", (unsigned long long)e.sequence);
	text_report(m, &t);
	return hook_run(m, ws, "close");
}

int life_on_error(tova_mount *m, tova_ws ws, const tova_error *error)
{
	struct text t = text_event(m, "error", ws);
	text_add(&t, ",\"kind\":%u,\"text\":", error->kind);
	text_json(&t, error->text, error->text_len);
	text_report(m, &t);
	return hook_run(m, ws, "error");
}

int life_on_timer(tova_mount *m, const tova_timer *timer)
{
	struct text t = text_event(m, "timer", timer->ws);
	text_member(&t, "name", timer->name);
	text_add(&t, ",\"id\":%llu", (unsigned long long)timer->id);
	text_report(m, &t);
	return hook_run(m, timer->ws, "timer");
}

int life_on_away(tova_mount *m, tova_ws ws, uint16_t code)
{
	struct text t = text_event(m, "away", ws);
	text_add(&t, ",\"code\":%u", code);
	text_report(m, &t);
	return hook_run(m, ws, "away");
}

int life_on_back(tova_mount *m, tova_ws ws, const tova_request *request)
{
	struct text t = text_event(m, "back", ws);
	text_member(&t, "query", request->query);
	text_member(&t, "remote", request->remote_addr);
	text_report(m, &t);
	return hook_run(m, ws, "back");
}
