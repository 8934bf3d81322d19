/* parser: words to a tree. */
#ifndef TOVA_SDK_PARSER_H
#define TOVA_SDK_PARSER_H

#include "tova/arena.h"
#include "tova/tree.h"

/* Returns a BLOCK with the program's statements, in the arena. What is wrong is a fault, and the
 * tree is not to be used then; the rest is read all the same, for its own faults. */
struct node *parser_read(struct arena *arena, const struct token *tokens, struct faults *faults);

#endif
