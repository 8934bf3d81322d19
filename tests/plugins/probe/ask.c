/* ask: queries, and what was answered, for who asked. */
#include "probe.h"
#include "text.h"
#include "word.h"

static int ask_query(struct probe_run *r, char *rest)
{
	static const char *const kinds[] = {"",	     "count",	    "members",
					    "rooms", "connections", "stats", "history"};
	const char *kind = word_next(&rest);
	tova_query q = {.size = sizeof q, .id = word_number(&rest), .asker = r->me};
	for (uint32_t i = 1; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(kind, kinds[i]) == 0)
			q.kind = i;
	if (q.kind == TOVA_QUERY_HISTORY) {
		q.since = *rest == '*' ? TOVA_NEWEST : strtoull(rest, NULL, 10);
		word_next(&rest);
		q.limit = (uint32_t)word_number(&rest);
	}
	if (q.kind == TOVA_QUERY_ROOMS) {
		q.ws = word_ws(r, &rest);
	} else {
		q.room_len = word_unescape(rest);
		q.room = rest;
	}
	return r->m->host->query(r->m, &q);
}

static void ask_text(tova_mount *m, struct text *t, const tova_reply *r)
{
	text_add(t, "{\"event\":\"reply\",\"kind\":%u,\"id\":%llu,\"count\":%llu", r->kind,
		 (unsigned long long)r->id, (unsigned long long)r->count);
	text_add(t, ",\"connections\":[");
	for (uint64_t i = 0; r->connections != NULL && i < r->count; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_ws(t, m, r->connections[i]);
	}
	text_add(t, "],\"rooms\":[");
	for (uint64_t i = 0; r->rooms != NULL && i < r->count; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_string(t, r->rooms[i]);
	}
	text_add(t, "],\"messages\":[");
	for (uint64_t i = 0; tova_messages(r) != NULL && i < r->count; i++) {
		const tova_remembered *message = &tova_messages(r)[i];
		text_add(t, "%s[%llu,%u,", i > 0 ? "," : "", (unsigned long long)message->offset,
			 message->payload.kind);
		text_string(t, message->payload.data);
		text_add(t, ",%u]", message->at_ms > 1600000000000);
	}
	text_add(t, "],\"epoch\":%llu,\"first\":%llu,\"last\":%llu,\"complete\":%u,\"more\":%u",
		 (unsigned long long)r->epoch, (unsigned long long)r->first,
		 (unsigned long long)r->last, r->complete, r->more);
	if (r->stats != NULL) {
		const tova_stats *s = r->stats;
		const uint64_t values[] = {s->uptime_ms,    s->connections,  s->rooms,
					   s->messages_in,  s->messages_out, s->bytes_in,
					   s->bytes_out,    s->slow,	     s->dropped,
					   s->rate_dropped, s->refused,	     s->limited};
		static const char *const names[] = {"uptime_ms",    "connections",  "rooms",
						    "messages_in",  "messages_out", "bytes_in",
						    "bytes_out",    "slow",	    "dropped",
						    "rate_dropped", "refused",	    "limited"};
		for (size_t i = 0; i < sizeof names / sizeof *names; i++)
			text_add(t, ",\"%s\":%llu", names[i], (unsigned long long)values[i]);
	}
	text_add(t, "}");
}

int ask_on_reply(tova_mount *m, const tova_reply *reply)
{
	struct text t = {NULL, 0, 0};
	tova_ws asker = tova_asker(reply);
	ask_text(m, &t, reply);
	text_send(m, asker, &t);
	return hook_run(m, asker, "reply");
}

const struct probe_command ask_commands[] = {
	{"query", ask_query},
	{NULL, NULL},
};
