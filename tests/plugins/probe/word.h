/* word: what a script is made of. */
#ifndef PROBE_WORD_H
#define PROBE_WORD_H

#include "probe.h"

/* Decodes %XX in place; returns the length. The text still ends in NUL. */
size_t word_unescape(char *s);
/* Cuts the next word off *rest, still escaped; "" when there is none. */
char *word_next(char **rest);
uint64_t word_number(char **rest);
/* The connection that the next word names: its id, me, none or ghost. */
tova_ws word_ws(struct probe_run *r, char **rest);
/* Value of a query parameter, escaped, or NULL; the n-th of that name. To be freed. */
char *word_parameter(const char *query, const char *name, int n);

#endif
