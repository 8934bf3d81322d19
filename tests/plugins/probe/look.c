/* look: what a callback can find out. */
#include "probe.h"
#include "text.h"
#include "word.h"

static int look_event(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	tova_event e = tova_current_event(r->m);
	text_add(&t, "{\"ws\":");
	text_ws(&t, r->m, e.ws);
	text_add(&t, ",\"sequence\":%llu,\"attempt\":%u}", (unsigned long long)e.sequence,
		 e.attempt);
	return text_send(r->m, r->me, &t);
}

static int look_id(struct probe_run *r, char *rest)
{
	(void)rest;
	char id[TOVA_WS_TEXT];
	return tova_send(r->m, r->me, tova_ws_text(r->m, r->me, id));
}

static int look_results(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const struct probe *me = probe_of(r->m);
	text_add(&t, "[");
	for (size_t i = 0; i < me->n_results; i++)
		text_add(&t, "%s%d", i > 0 ? "," : "", me->results[i]);
	text_add(&t, "]");
	return text_send(r->m, r->me, &t);
}

static int look_counters(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const struct probe *me = probe_of(r->m);
	text_add(&t, "{\"opens\":%lu,\"closes\":%lu,\"strange\":%lu}", me->opens, me->closes,
		 me->strange);
	return text_send(r->m, r->me, &t);
}

static int look_about(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const tova_host *h = r->m->host;
	text_add(&t, "{\"plugin\":\"%s\",\"abi\":[%u,%u],\"size\":%zu,\"known\":%zu",
		 probe_kind.version, h->abi_major, h->abi_minor, h->size, sizeof *h);
	text_member(&t, "host", h->version);
	text_add(&t, "}");
	return text_send(r->m, r->me, &t);
}

static int look_trace(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const char *parent = tova_traceparent(r->m), *state = tova_tracestate(r->m);
	text_add(&t, "{\"known\":%s", parent != NULL ? "true" : "false");
	text_member(&t, "traceparent", parent != NULL ? parent : "");
	text_member(&t, "tracestate", state != NULL ? state : "");
	text_add(&t, "}");
	return text_send(r->m, r->me, &t);
}

static int look_setting(struct probe_run *r, char *rest)
{
	word_unescape(rest);
	const char *value = tova_setting(r->m, rest);
	return tova_send(r->m, r->me, value != NULL ? value : "(null)");
}

static int look_log(struct probe_run *r, char *rest)
{
	uint32_t level = (uint32_t)word_number(&rest);
	size_t n = word_unescape(rest);
	r->m->host->log(r->m, level, rest, n);
	return 0;
}

const struct probe_command look_commands[] = {
	{"event", look_event},	     {"myid", look_id},	    {"results", look_results},
	{"counters", look_counters}, {"about", look_about}, {"trace", look_trace},
	{"setting", look_setting},   {"log", look_log},	    {NULL, NULL},
};
