/* timer: those of the mount and of connections. */
#include "probe.h"
#include "word.h"

static int timer_set(struct probe_run *r, tova_ws ws, char *rest)
{
	tova_timer t = {.size = sizeof t, .ws = ws, .name = word_next(&rest)};
	word_unescape((char *)t.name);
	t.id = word_number(&rest);
	t.delay_ms = word_number(&rest);
	t.period_ms = word_number(&rest);
	return r->m->host->set_timer(r->m, &t);
}

static int timer_of_mount(struct probe_run *r, char *rest)
{
	return timer_set(r, TOVA_NONE, rest);
}

static int timer_of_ws(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	return timer_set(r, ws, rest);
}

static int timer_cancel(struct probe_run *r, char *rest)
{
	word_unescape(rest);
	return tova_cancel_timer(r->m, TOVA_NONE, rest);
}

static int timer_cancel_of_ws(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	word_unescape(rest);
	return tova_cancel_timer(r->m, ws, rest);
}

static int timer_after(struct probe_run *r, char *rest)
{
	char *name = word_next(&rest);
	word_unescape(name);
	uint64_t id = word_number(&rest);
	return tova_after(r->m, name, id, word_number(&rest));
}

const struct probe_command timer_commands[] = {
	{"timer", timer_of_mount},	  {"wstimer", timer_of_ws}, {"cancel", timer_cancel},
	{"wscancel", timer_cancel_of_ws}, {"after", timer_after},   {NULL, NULL},
};
