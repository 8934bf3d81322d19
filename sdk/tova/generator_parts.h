/* generator_parts: what the generator's files share. */
#ifndef TOVA_SDK_GENERATOR_PARTS_H
#define TOVA_SDK_GENERATOR_PARTS_H

#include "tova/generator.h"

struct generator {
	struct generated *g;
	size_t cap; /* of g->lines */
	struct buffer shapes;
	unsigned n_shapes;
	unsigned serial; /* of labels and of names that the program does not have */
	/* The function at hand. */
	unsigned tries;	     /* whose first half we are in */
	unsigned loop;	     /* label behind the body of the loop at hand; 0: none */
	unsigned loop_tries; /* of them around that loop */
};

/* What becomes of a value. */
enum target_kind { TARGET_NONE, TARGET_RETURN, TARGET_LOCAL };
struct target {
	enum target_kind kind;
	unsigned local; /* t_N */
};

/* generator.c */
/* Adds to the line at hand. */
void generator_text(struct generator *g, const char *text);
__attribute__((format(printf, 2, 3))) void generator_printf(struct generator *g, const char *format,
							    ...);
/* The line that follows comes from here. */
void generator_at(struct generator *g, struct position at);
/* As a string of Lua. */
void generator_string(struct buffer *b, struct span text);
/* Can it stand behind a dot in Lua? */
bool generator_is_word(struct span text);
/* As Lua knows it. */
void generator_name(struct generator *g, const struct name *name);
/* The index in S of an object with these keys: of the ENTRYs from first up to last, without it. */
unsigned generator_shape(struct generator *g, const struct node *first, const struct node *last);

/* generator_value.c */
/* As an expression of Lua. */
void generator_value(struct generator *g, const struct node *n);
/* As an operand of an operator. */
void generator_operand(struct generator *g, const struct node *n);
/* a op b, where op is one of + - * / % ** */
void generator_operation(struct generator *g, struct position at, enum token_kind op,
			 const struct node *a, const struct node *b);
/* function(_, ...) ... end */
void generator_function(struct generator *g, const struct node *parameters,
			const struct node *body);

/* generator_statement.c */
/* Statements; target: what becomes of the value that the block has. generator_direct: of one node.
 */
void generator_block(struct generator *g, const struct node *block, struct target target);
void generator_direct(struct generator *g, const struct node *n, struct target target);
/* Loops of a comprehension. */
void generator_loop_head(struct generator *g, const struct node *name, const struct node *second,
			 const struct node *walked);
/* Functions of the program first, as all of it may call them; then the rest. */
void generator_program(struct generator *g, const struct node *first);

#endif
