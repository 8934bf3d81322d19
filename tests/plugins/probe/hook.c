/* hook: scripts for what happens to a connection later. */
#include <stdio.h>
#include <stdlib.h>

#include "probe.h"
#include "word.h"

/* What has to happen later for a connection: on ... SCRIPT. */
struct hook {
	struct hook *next;
	tova_ws ws;
	char event[16];
	char *script;
};

static int hook_add(struct probe_run *r, char *rest)
{
	struct hook *h = calloc(1, sizeof *h);
	h->ws = r->me;
	snprintf(h->event, sizeof h->event, "%s", word_next(&rest));
	h->script = strdup(rest);
	h->next = probe_of(r->m)->hooks;
	probe_of(r->m)->hooks = h;
	return 0;
}

int hook_run(tova_mount *m, tova_ws ws, const char *event)
{
	for (struct hook **at = &probe_of(m)->hooks; *at != NULL; at = &(*at)->next) {
		struct hook *h = *at;
		if (tova_ws_eq(h->ws, ws) && strcmp(h->event, event) == 0) {
			*at = h->next;
			int result = script_run(m, ws, h->script, strlen(h->script), ";");
			free(h->script);
			free(h);
			return result;
		}
	}
	return 0;
}

void hook_free_all(struct probe *me)
{
	while (me->hooks != NULL) {
		struct hook *h = me->hooks;
		me->hooks = h->next;
		free(h->script);
		free(h);
	}
}

const struct probe_command hook_commands[] = {
	{"on", hook_add},
	{NULL, NULL},
};
