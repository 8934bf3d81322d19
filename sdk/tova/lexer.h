/* lexer: the text of a program as words. */
#ifndef TOVA_SDK_LEXER_H
#define TOVA_SDK_LEXER_H

#include "tova/arena.h"
#include "tova/token.h"

#define LEXER_NESTING_MAX 32 /* strings with expressions within strings with expressions */

/* Returns the tokens, in the arena, the last of them TOKEN_END. What is no token is a fault, and
 * left out. The text has to stay as long as they do. */
const struct token *lexer_read(struct arena *arena, struct span text, struct faults *faults);

#endif
