/* quote: texts that the header's functions make. */
#include "probe.h"
#include "word.h"

static int quote_whose(struct probe_run *r, char *rest)
{
	const char *subject = tova_subject(r->m);
	(void)rest;
	return tova_sendf(r->m, r->me, "%s", subject != NULL ? tova_quote(r->m, subject) : "null");
}

static int quote_text(struct probe_run *r, char *rest)
{
	size_t n = word_unescape(rest);
	return tova_sendf(r->m, r->me, "{\"said\":%s}", tova_quote_n(r->m, rest, n));
}

/* All of them are there until the callback returns. */
static int quote_many(struct probe_run *r, char *rest)
{
	char text[1001];
	const char *first = tova_quote(r->m, "first");
	memset(text, 'x', 1000);
	text[1000] = '\0';
	for (uint64_t n = word_number(&rest); n > 0; n--)
		tova_quote(r->m, text);
	return tova_send(r->m, r->me, first);
}

static int quote_sendf(struct probe_run *r, char *rest)
{
	uint64_t more = word_number(&rest);
	word_unescape(rest);
	return tova_sendf(r->m, r->me, "%s%*s", rest, (int)more, "");
}

static int quote_sendf_to(struct probe_run *r, char *rest)
{
	char *room = word_next(&rest);
	word_unescape(room);
	word_unescape(rest);
	return tova_broadcastf_to(r->m, room, r->me, "%s to %s", rest, room);
}

static int quote_sendf_all(struct probe_run *r, char *rest)
{
	word_unescape(rest);
	return tova_broadcastf(r->m, r->me, "%s to all", rest);
}

static int quote_with_key(struct probe_run *r, char *rest)
{
	char *key = word_next(&rest);
	word_unescape(key);
	size_t n = word_unescape(rest);
	tova_payload p = tova_with_key(tova_binary(rest, n), key);
	return tova_send_payload(r->m, r->me, &p);
}

const struct probe_command quote_commands[] = {
	{"whose", quote_whose},	      {"quote", quote_text},
	{"quotes", quote_many},	      {"sendf", quote_sendf},
	{"sendf_to", quote_sendf_to}, {"sendf_all", quote_sendf_all},
	{"with_key", quote_with_key}, {NULL, NULL},
};
