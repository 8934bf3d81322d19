/* script: the lines of a message, run within one callback. */
#include <stdlib.h>

#include "probe.h"
#include "word.h"

static void script_record(struct probe_run *r, int result)
{
	if (r->n_results < PROBE_RESULTS_MAX)
		r->results[r->n_results++] = result;
}

static const struct probe_command *const script_tables[] = {say_commands,   room_commands,
							    end_commands,   data_commands,
							    timer_commands, ask_commands,
							    quote_commands, wake_commands,
							    look_commands,  upgrade_commands,
							    hook_commands};

static void script_line(struct probe_run *r, char *line)
{
	const char *name = word_next(&line);
	for (size_t i = 0; i < sizeof script_tables / sizeof script_tables[0]; i++) {
		for (const struct probe_command *c = script_tables[i]; c->name != NULL; c++) {
			if (strcmp(c->name, name) == 0) {
				script_record(r, c->run(r, line));
				return;
			}
		}
	}
	r->ended = 1;
	r->status = tova_fail(r->m, "probe knows no command %s", name);
}

/* Results are kept for `results`, which itself leaves them alone. */
int script_run(tova_mount *m, tova_ws me, const char *text, size_t len, const char *separators)
{
	struct probe_run r = {.m = m, .me = me};
	char *copy = strndup(text, len), *state = NULL;
	int asks = strncmp(copy, "results", 7) == 0;
	for (char *line = strtok_r(copy, separators, &state); line != NULL && !r.ended;
	     line = strtok_r(NULL, separators, &state))
		script_line(&r, line);
	free(copy);
	if (!asks) {
		memcpy(probe_of(m)->results, r.results, sizeof r.results);
		probe_of(m)->n_results = r.n_results;
	}
	return r.status;
}

int script_run_parameter(tova_mount *m, tova_ws ws, const tova_request *request, const char *name)
{
	char *text = word_parameter(request->query, name, 0);
	if (text == NULL)
		return 0;
	word_unescape(text);
	int result = script_run(m, ws, text, strlen(text), ";");
	free(text);
	return result;
}
