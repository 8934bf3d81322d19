/* foreign: what somebody may write who knows the whole language, or JavaScript, and what to say. */
#ifndef TOVA_SDK_FOREIGN_H
#define TOVA_SDK_FOREIGN_H

#include "tova/token.h"

/* The sentence about a word that begins a statement or a value there; NULL: it is none. Static. */
const char *foreign_word(struct span word);
/* That about an operator which ends with or before t, where something else was expected, and where
 * it stands; `begin`: the first token of the program. NULL: none. Static. */
const char *foreign_sign(const struct token *begin, const struct token *t, struct position *at_r);
/* What stands here for something that is called so elsewhere; NULL: it is not known. Static. */
const char *foreign_name(struct span name);

#endif
