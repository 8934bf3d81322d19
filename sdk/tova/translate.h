/* translate: the text of a .tova program to Lua, or to all that is wrong with it. Pure: text in,
 * text out. */
#ifndef TOVA_SDK_TRANSLATE_H
#define TOVA_SDK_TRANSLATE_H

#include "tova/generator.h"

#define TRANSLATE_MAX (1u << 20) /* bytes of a program */

struct translation {
	struct faults faults;	    /* none: the rest is there */
	struct generated generated; /* see generator.h */
	bool handlers[CHECKER_HANDLERS];
	bool stats;  /* it asks for stats() */
	char **vars; /* names of the program's own, NUL-terminated, n_vars of them */
	size_t n_vars;
};

/* False: there are faults. Without memory that is one, too. *t_r is the caller's to free either
 * way. */
bool translate(const char *text, size_t n, struct translation *t_r);
void translation_free(struct translation *t);

#endif
