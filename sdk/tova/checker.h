/* checker: gives each name its meaning, and says what can not be right. */
#ifndef TOVA_SDK_CHECKER_H
#define TOVA_SDK_CHECKER_H

#include "tova/arena.h"
#include "tova/tree.h"

/* At most these at once in one function: what runs it has 200 for them and its own. */
#define CHECKER_LOCALS_MAX 100
#define CHECKER_ARGUMENTS_MAX 50
#define CHECKER_PIECES_MAX 1000 /* of a string, texts and values */

enum checker_handler {
	CHECKER_OPEN,
	CHECKER_MESSAGE,
	CHECKER_CLOSE,
	CHECKER_ERROR,
	CHECKER_AWAY,
	CHECKER_BACK,
	CHECKER_JOIN,
	CHECKER_LEAVE,
	CHECKER_HANDLERS
};

/* Their names, by enum checker_handler. */
extern const char *const checker_handler_names[CHECKER_HANDLERS];

/* What it found besides. */
struct checker_found {
	struct node *handlers[CHECKER_HANDLERS]; /* NULL: none */
	bool stats;				 /* stats() is used */
	struct name **vars;			 /* of the program, in their order, in the arena */
	size_t n_vars;
};

/* program: what parser_read made without faults. */
void checker_check(struct arena *arena, struct node *program, struct faults *faults,
		   struct checker_found *found_r);

#endif
