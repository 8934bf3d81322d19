/* parser_parts: what the parser's files share. */
#ifndef TOVA_SDK_PARSER_PARTS_H
#define TOVA_SDK_PARSER_PARTS_H

#include "tova/parser.h"

struct parser {
	struct arena *arena;
	struct faults *faults;
	const struct token *begin; /* the first */
	const struct token *t;	   /* the next */
	unsigned depth;		   /* of what is being read */
	bool loose;		   /* in parentheses or brackets: an end of a line means nothing */
	bool guard;		   /* in an arm's guard: outside of parentheses '=>' ends it */
	bool lost; /* something was wrong: what follows is skipped up to a statement */
};

/* A list under construction. */
struct parser_list {
	struct node *parent;
	struct node **end;
};

/* In the arena; without memory the parser is lost, and it is one that says nothing. */
struct node *parser_node(struct parser *p, enum node_kind kind, struct position at);
/* Says that child (may be NULL) is part of parent, and returns it. */
struct node *parser_part(struct parser *p, struct node *parent, struct node *child);
/* At the end of the list; child may be NULL. */
void parser_append(struct parser *p, struct parser_list *list, struct node *child);

/* The first fault of a statement is told; then the parser is lost until the next one. */
__attribute__((format(printf, 3, 4))) void parser_fault(struct parser *p, struct position at,
							const char *format, ...);
/* Instead of `what`, in words. */
void parser_unexpected(struct parser *p, const char *what);
static inline bool parser_is(const struct parser *p, enum token_kind kind)
{
	return p->t->kind == kind && !p->lost;
}
/* Takes the next token if it is this one. */
bool parser_take(struct parser *p, enum token_kind kind);
/* Takes it, or is lost. */
void parser_expect(struct parser *p, enum token_kind kind, const char *what);
/* Whatever the next token is. */
void parser_next(struct parser *p);
bool parser_enter(struct parser *p); /* false: too deep, and lost */
/* For each parser_enter that was true. */
void parser_leave(struct parser *p);
/* Is the next one the name `word`? */
bool parser_is_name(const struct parser *p, const char *word);

/* parser.c */
/* { ... }; without the braces it is a fault. */
struct node *parser_block(struct parser *p);
/* { ... } as a block, or a single value, return, break or continue as a block with one
 * statement. */
struct node *parser_body(struct parser *p);
/* (a, b = 1) into parent->a */
void parser_parameters(struct parser *p, struct node *parent);
/* Refuses -> Type. */
void parser_no_type(struct parser *p);

/* parser_value.c */
/* The next expression, whole; a fault if there is none. */
struct node *parser_value(struct parser *p);

/* parser_primary.c */
/* An operand, with what hangs at it: calls, members, indices. */
struct node *parser_primary(struct parser *p);
/* f's arguments, behind the parenthesis, into call->b. */
void parser_arguments(struct parser *p, struct node *call);

/* parser_branch.c: what is a value and a statement. */
struct node *parser_if(struct parser *p);
struct node *parser_match(struct parser *p);
struct node *parser_try(struct parser *p);

#endif
