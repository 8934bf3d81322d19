/* pool_program: what worker processes are. */
#include <stdlib.h>
#include <string.h>

#include "handler/worker/pool.h"

void pool_program_free(struct pool_program *program)
{
	for (char **a = program->argv; a != NULL && *a != NULL; a++)
		free(*a);
	free(program->argv);
	free(program->command);
	free(program->settings);
	free(program->digest);
	*program = (struct pool_program){.command = NULL};
}

bool pool_program_copy(struct pool_program *program, const struct worker_settings *set)
{
	size_t n = 0;
	while (set->argv != NULL && set->argv[n] != NULL)
		n++;
	*program = (struct pool_program){.argv = calloc(n + 1, sizeof(char *))};
	bool ok = program->argv != NULL;
	for (size_t i = 0; ok && i < n; i++)
		ok = (program->argv[i] = strdup(set->argv[i])) != NULL;
	program->command = set->command != NULL ? strdup(set->command) : NULL;
	program->settings = set->settings != NULL ? strdup(set->settings) : NULL;
	/* without memory for it: not known */
	program->digest = set->digest != NULL ? strdup(set->digest) : NULL;
	program->count = set->command != NULL || n > 0 ? set->count : 0;
	return ok && (set->command == NULL || program->command != NULL) &&
	       (set->settings == NULL || program->settings != NULL);
}

bool pool_program_is_coming(const struct pool *p)
{
	for (const struct child *c = p->children; c != NULL; c = c->next)
		if (c->generation == p->generation && !c->stopping && c->relieves == NULL &&
		    !child_is_up(c) && c->failures == 0)
			return true;
	return false;
}
