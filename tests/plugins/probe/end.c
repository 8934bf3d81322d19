/* end: closes, and callbacks that fail. */
#include <stdlib.h>

#include "probe.h"
#include "word.h"

static int end_close_with(struct probe_run *r, tova_ws ws, char *rest)
{
	uint16_t code = (uint16_t)word_number(&rest);
	size_t n = word_unescape(rest);
	return r->m->host->close(r->m, ws, code, rest, n);
}

static int end_close(struct probe_run *r, char *rest)
{
	return end_close_with(r, r->me, rest);
}

static int end_close_of(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return end_close_with(r, ws, rest);
}

static int end_prolong(struct probe_run *r, char *rest)
{
	return tova_prolong(r->m, r->me, rest);
}

static int end_fail(struct probe_run *r, char *rest)
{
	size_t n = word_unescape(rest);
	r->ended = 1;
	r->status = r->m->host->fail(r->m, rest, n);
	return r->status;
}

static int end_failcode(struct probe_run *r, char *rest)
{
	r->ended = 1;
	r->status = atoi(rest);
	return r->status;
}

const struct probe_command end_commands[] = {
	{"close", end_close}, {"close_of", end_close_of}, {"prolong", end_prolong},
	{"fail", end_fail},   {"failcode", end_failcode}, {NULL, NULL},
};
