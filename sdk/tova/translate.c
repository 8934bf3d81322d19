#include "tova/translate.h"

#include <stdlib.h>
#include <string.h>

#include "tova/lexer.h"
#include "tova/parser.h"

static bool translate_keep(struct translation *t, const struct checker_found *found)
{
	t->stats = found->stats;
	for (unsigned i = 0; i < CHECKER_HANDLERS; i++)
		t->handlers[i] = found->handlers[i] != NULL;
	t->vars = calloc(found->n_vars + 1, sizeof *t->vars);
	for (size_t i = 0; t->vars != NULL && i < found->n_vars; i++) {
		t->vars[i] = strndup(found->vars[i]->text.p, found->vars[i]->text.n);
		t->n_vars = i + 1;
		if (t->vars[i] == NULL)
			return false;
	}
	return t->vars != NULL;
}

/* False without memory. */
static bool translate_in(struct arena *arena, struct span text, struct translation *t)
{
	struct checker_found found;
	if (setjmp(arena->out_of_memory) != 0)
		return false;
	const struct token *tokens = lexer_read(arena, text, &t->faults);
	struct node *program = parser_read(arena, tokens, &t->faults);
	if (t->faults.n > 0)
		return true;
	checker_check(arena, program, &t->faults, &found);
	if (t->faults.n > 0)
		return true;
	return generator_write(program, &found, &t->generated) && translate_keep(t, &found);
}

bool translate(const char *text, size_t n, struct translation *t_r)
{
	struct arena arena = {.blocks = NULL};
	memset(t_r, 0, sizeof *t_r);
	if (n > TRANSLATE_MAX)
		fault_add(&t_r->faults, (struct position){0, 0},
			  "a program is at most %u bytes long, not %zu", TRANSLATE_MAX, n);
	else if (!translate_in(&arena, (struct span){text, n}, t_r))
		fault_add(&t_r->faults, (struct position){0, 0}, "no memory");
	arena_free(&arena);
	faults_sort(&t_r->faults);
	return t_r->faults.n == 0;
}

void translation_free(struct translation *t)
{
	generated_free(&t->generated);
	for (size_t i = 0; i < t->n_vars; i++)
		free(t->vars[i]);
	free(t->vars);
	memset(t, 0, sizeof *t);
}
