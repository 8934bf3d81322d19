#include "tova/checker.h"

#include <stdint.h>
#include <string.h>

#include "tova/foreign.h"
#include "tova/library_names.h"
#include "tova/scope.h"

const char *const checker_handler_names[CHECKER_HANDLERS] = {"on_open",	 "on_message", "on_close",
							     "on_error", "on_away",    "on_back",
							     "on_join",	 "on_leave"};
static const unsigned checker_handler_arguments[CHECKER_HANDLERS] = {1, 2, 3, 2, 2, 1, 1, 1};

#define CHECKER_TEXT(span) ((span).n < 60 ? (int)(span).n : 60), (span).p

/* A function that is being read; the outermost one is the program. */
struct checker_function {
	struct checker_function *outer;
	unsigned locals; /* known now */
	unsigned loops;	 /* around */
	bool sealed;	 /* in an if, match or try that is part of a value */
};

struct checker {
	struct arena *arena;
	struct faults *faults;
	struct checker_found *found;
	struct scope *scope;
	struct checker_function *function;
	unsigned serial;
	size_t cap; /* of found->vars */
};

static void checker_statements(struct checker *c, struct node *first);
static void checker_value(struct checker *c, struct node *n);
static void checker_direct(struct checker *c, struct node *n);

/* --- names ------------------------------------------------------------------------------------ */

static void checker_keep_var(struct checker *c, struct name *name)
{
	struct checker_found *f = c->found;
	if (f->n_vars == c->cap) {
		struct name **wider = arena_get(c->arena, (c->cap + 64) * 2 * sizeof(*wider));
		if (f->n_vars > 0)
			memcpy(wider, f->vars, f->n_vars * sizeof(*wider));
		f->vars = wider;
		c->cap = (c->cap + 64) * 2;
	}
	f->vars[f->n_vars++] = name;
}

static struct name *checker_declare(struct checker *c, struct span text, struct position at)
{
	struct name *name = arena_get(c->arena, sizeof *name);
	bool top = c->function->outer == NULL && c->scope->n_buckets > 1;
	*name = (struct name){.kind = top ? NAME_TOP : NAME_LOCAL,
			      .text = text,
			      .at = at,
			      .ready = true,
			      .owner = c->function,
			      .serial = ++c->serial};
	scope_add(c->arena, c->scope, name);
	if (!top && ++c->function->locals == CHECKER_LOCALS_MAX + 1)
		fault_add(c->faults, at, "more than %d names at once in one function",
			  CHECKER_LOCALS_MAX);
	return name;
}

static struct scope *checker_open(struct checker *c, unsigned *locals_r)
{
	struct scope *outer = c->scope;
	*locals_r = c->function->locals;
	c->scope = scope_new(c->arena, outer, false);
	return outer;
}

static void checker_close(struct checker *c, struct scope *outer, unsigned locals)
{
	c->scope = outer;
	c->function->locals = locals;
}

static void checker_name(struct checker *c, struct node *n)
{
	n->what = scope_find(c->scope, n->text);
	const char *foreign = n->what == NULL ? foreign_name(n->text) : NULL;
	if (foreign != NULL) {
		fault_add(c->faults, n->at, "there is no \"%.*s\": %s", CHECKER_TEXT(n->text),
			  foreign);
		return;
	}
	if (n->what == NULL) {
		const char *near = c->faults->n < FAULTS_MAX
					   ? scope_nearest(c->arena, c->scope, n->text)
					   : NULL;
		fault_add(c->faults, n->at,
			  near != NULL ? "there is no \"%.*s\"; did you mean %s?"
				       : "there is no \"%.*s\"",
			  CHECKER_TEXT(n->text), near);
		return;
	}
	if (n->what->kind == NAME_LIBRARY && span_eq(n->text, SPAN("stats")))
		c->found->stats = true;
	/* A function may name what stands below it: it runs later. */
	if (!n->what->ready && n->what->owner == c->function)
		fault_add(c->faults, n->at, "\"%.*s\" is used here and made in line %u",
			  CHECKER_TEXT(n->text), n->what->at.line);
}

/* --- values ----------------------------------------------------------------------------------- */

static void checker_values(struct checker *c, struct node *first)
{
	for (; first != NULL; first = first->next)
		checker_value(c, first);
}

static void checker_parameters(struct checker *c, struct node *first)
{
	unsigned n = 0;
	for (; first != NULL; first = first->next) {
		if (++n == CHECKER_ARGUMENTS_MAX + 1)
			fault_add(c->faults, first->at, "a function has at most %d parameters",
				  CHECKER_ARGUMENTS_MAX);
		if (first->a != NULL)
			checker_value(c, first->a);
		if (scope_own(c->scope, first->text) != NULL && !span_eq(first->text, SPAN("_")))
			fault_add(c->faults, first->at, "there are two parameters \"%.*s\"",
				  CHECKER_TEXT(first->text));
		first->what = checker_declare(c, first->text, first->at);
		first->what->parameter = true;
	}
}

static void checker_function(struct checker *c, struct node *parameters, struct node *body)
{
	struct checker_function f = {.outer = c->function};
	struct scope *outer = c->scope;
	c->function = &f;
	c->scope = scope_new(c->arena, outer, false);
	checker_parameters(c, parameters);
	checker_statements(c, body->a);
	c->function = f.outer;
	c->scope = outer;
}

static void checker_arity(struct checker *c, const struct node *call, unsigned n)
{
	static const struct {
		const char *name;
		unsigned least, most;
	} arities[] = {
#define CHECKER_ARITY(name, least, most) {#name, least, most},
		LIBRARY_FUNCTIONS(CHECKER_ARITY)
#undef CHECKER_ARITY
	};
	if (call->a->kind != NODE_NAME || call->a->what == NULL ||
	    call->a->what->kind != NAME_LIBRARY)
		return;
	for (size_t i = 0; i < sizeof arities / sizeof *arities; i++) {
		if (!span_eq(call->a->text, span_of(arities[i].name)))
			continue;
		if (n < arities[i].least)
			fault_add(c->faults, call->at, "%s takes at least %u values, not %u",
				  arities[i].name, arities[i].least, n);
		else if (n > arities[i].most)
			fault_add(c->faults, call->at, "%s takes at most %u values, not %u",
				  arities[i].name, arities[i].most, n);
	}
}

static void checker_call(struct checker *c, struct node *n)
{
	unsigned count = 0;
	bool spread = false;
	checker_value(c, n->a);
	for (struct node *v = n->b; v != NULL; v = v->next, count++) {
		if (v->kind == NODE_SPREAD && v->next != NULL)
			fault_add(c->faults, v->at, "'...' is possible for the last argument only");
		spread = spread || v->kind == NODE_SPREAD;
		checker_value(c, v->kind == NODE_SPREAD ? v->a : v);
	}
	if (count > CHECKER_ARGUMENTS_MAX)
		fault_add(c->faults, n->at, "a call has at most %d arguments",
			  CHECKER_ARGUMENTS_MAX);
	if (!spread)
		checker_arity(c, n, count);
}

/* Pieces that are put together at once. */
static void checker_pieces(struct checker *c, const struct node *n)
{
	unsigned count = 0;
	for (const struct node *e = n->a; e != NULL; e = e->next)
		count += e->kind == NODE_SPREAD || (e->kind == NODE_ENTRY && e->a != NULL);
	if (count > CHECKER_ARGUMENTS_MAX / 2)
		fault_add(c->faults, n->at, "at most %d times '...' or [key] here",
			  CHECKER_ARGUMENTS_MAX / 2);
}

static void checker_object(struct checker *c, struct node *n)
{
	struct scope *keys = scope_new(c->arena, NULL, false);
	checker_pieces(c, n);
	for (struct node *e = n->a; e != NULL; e = e->next) {
		checker_value(c, e->kind == NODE_ENTRY ? e->b : e->a);
		if (e->kind != NODE_ENTRY)
			continue;
		if (e->a != NULL) {
			checker_value(c, e->a);
		} else if (scope_own(keys, e->text) != NULL) {
			fault_add(c->faults, e->at, "the key \"%.*s\" is there twice",
				  CHECKER_TEXT(e->text));
		} else {
			struct name *key = arena_get(c->arena, sizeof *key);
			key->text = e->text;
			scope_add(c->arena, keys, key);
		}
	}
}

static void checker_template(struct checker *c, struct node *n)
{
	unsigned count = 0;
	for (const struct node *p = n->a; p != NULL; p = p->next)
		count++;
	if (count > CHECKER_PIECES_MAX)
		fault_add(c->faults, n->at, "a string has at most %d pieces", CHECKER_PIECES_MAX);
	checker_values(c, n->a);
}

static void checker_collect(struct checker *c, struct node *n)
{
	/* It becomes a function of its own, in which each clause is a loop. */
	struct checker_function f = {.outer = c->function, .sealed = true};
	struct scope *outer = c->scope;
	c->function = &f;
	for (struct node *clause = n->b; clause != NULL; clause = clause->next) {
		checker_value(c, clause->c);
		c->scope = scope_new(c->arena, c->scope, false);
		clause->a->what = checker_declare(c, clause->a->text, clause->a->at);
		if (clause->b != NULL)
			clause->b->what = checker_declare(c, clause->b->text, clause->b->at);
		if (clause->d != NULL)
			checker_value(c, clause->d);
	}
	checker_value(c, n->a);
	if (n->c != NULL)
		checker_value(c, n->c);
	c->scope = outer;
	c->function = f.outer;
}

/* An if, match or try in the middle of a value becomes a function of its own. */
static void checker_sealed(struct checker *c, struct node *n)
{
	struct checker_function f = {.outer = c->function, .sealed = true};
	c->function = &f;
	checker_direct(c, n);
	c->function = f.outer;
}

/* A chain of comparisons hangs at its last child, and may be as long as the program. */
static void checker_value(struct checker *c, struct node *n)
{
	for (;;) {
		switch (n->kind) {
		case NODE_NAME:
			checker_name(c, n);
			break;
		case NODE_LAMBDA:
			checker_function(c, n->a, n->b);
			break;
		case NODE_CALL:
			checker_call(c, n);
			break;
		case NODE_OBJECT:
			checker_object(c, n);
			break;
		case NODE_COLLECT:
			checker_collect(c, n);
			break;
		case NODE_IF:
		case NODE_MATCH:
		case NODE_TRY:
			checker_sealed(c, n);
			break;
		case NODE_ARRAY:
			checker_pieces(c, n);
			checker_values(c, n->a);
			break;
		case NODE_TEMPLATE:
			checker_template(c, n);
			break;
		default:
			if (n->a != NULL)
				checker_value(c, n->a);
			if (n->b != NULL)
				checker_value(c, n->b);
			if (n->c == NULL)
				break;
			n = n->c;
			continue;
		}
		return;
	}
}

/* --- what is a value and a statement ---------------------------------------------------------- */

static void checker_block(struct checker *c, struct node *block)
{
	unsigned locals;
	struct scope *outer = checker_open(c, &locals);
	checker_statements(c, block->a);
	checker_close(c, outer, locals);
}

static void checker_arm(struct checker *c, struct node *arm)
{
	unsigned locals;
	struct scope *outer = checker_open(c, &locals);
	struct node *p = arm->a;
	if (p->kind == NODE_PATTERN_NAME)
		p->what = checker_declare(c, p->text, p->at);
	if (p->kind == NODE_PATTERN_RANGE &&
	    (p->yes ? p->number > p->other : p->number >= p->other))
		fault_add(c->faults, p->at, "no number lies in this range");
	if (arm->b != NULL)
		checker_value(c, arm->b);
	checker_statements(c, arm->c->a);
	checker_close(c, outer, locals);
}

static void checker_match(struct checker *c, struct node *n)
{
	const struct node *all = NULL;
	checker_value(c, n->a);
	for (struct node *arm = n->b; arm != NULL; arm = arm->next) {
		if (all != NULL)
			fault_add(c->faults, arm->at,
				  "this arm is never reached: the one in line %u takes all",
				  all->at.line);
		checker_arm(c, arm);
		if (arm->b == NULL &&
		    (arm->a->kind == NODE_PATTERN_ANY || arm->a->kind == NODE_PATTERN_NAME))
			all = arm;
	}
}

static void checker_try(struct checker *c, struct node *n)
{
	unsigned locals;
	checker_block(c, n->a);
	struct scope *outer = checker_open(c, &locals);
	if (n->b != NULL)
		n->b->what = checker_declare(c, n->b->text, n->b->at);
	checker_statements(c, n->c->a);
	checker_close(c, outer, locals);
}

/* A value that is all of a statement, or all of what a statement keeps or returns. */
static void checker_direct(struct checker *c, struct node *n)
{
	switch (n->kind) {
	case NODE_IF:
		checker_value(c, n->a);
		checker_block(c, n->b);
		if (n->c != NULL && n->c->kind == NODE_IF)
			checker_direct(c, n->c);
		else if (n->c != NULL)
			checker_block(c, n->c);
		break;
	case NODE_MATCH:
		checker_match(c, n);
		break;
	case NODE_TRY:
		checker_try(c, n);
		break;
	default:
		checker_value(c, n);
	}
}

/* --- statements ------------------------------------------------------------------------------- */

static void checker_twice(struct checker *c, const struct node *n, const struct name *first)
{
	if (first->function)
		fault_add(c->faults, n->at,
			  "\"%.*s\" is a function, made in line %u: take another name",
			  CHECKER_TEXT(n->text), first->at.line);
	else if (first->parameter)
		fault_add(
			c->faults, n->at,
			"\"%.*s\" is a parameter and can not be changed: write var, with another name",
			CHECKER_TEXT(n->text));
	else
		fault_add(c->faults, n->at,
			  "\"%.*s\" is made in line %u and can not be changed: write var there",
			  CHECKER_TEXT(n->text), first->at.line);
}

/* x = 1 makes a name, or changes one that was made with var. */
static void checker_bind(struct checker *c, struct node *n)
{
	struct name *own = scope_own(c->scope, n->text), *seen = scope_find(c->scope, n->text);
	bool mine =
		own != NULL && own->kind == NAME_TOP && !own->ready; /* made here, known before */
	if (n->a->kind == NODE_LAMBDA && seen == NULL)
		n->what = checker_declare(c, n->text, n->at); /* it may call itself */
	checker_direct(c, n->a);
	n->bound = true;
	if (n->what != NULL) {
		n->what->var = n->yes;
	} else if (mine) {
		n->what = own;
		own->ready = true;
	} else if (!n->yes && seen != NULL && seen->var) {
		n->what = seen;
		n->bound = false;
		return;
	} else if (own != NULL ||
		   (!n->yes && seen != NULL && seen->kind != NAME_LIBRARY && !seen->function)) {
		checker_twice(c, n, own != NULL ? own : seen);
		return;
	} else {
		n->what = checker_declare(c, n->text, n->at);
		n->what->var = n->yes;
	}
	if (n->what->var && n->what->kind == NAME_TOP)
		checker_keep_var(c, n->what);
}

static void checker_assign(struct checker *c, struct node *n)
{
	checker_value(c, n->a);
	checker_value(c, n->b);
	if (n->a->kind != NODE_NAME || n->a->what == NULL)
		return;
	if (n->a->what->kind == NAME_LIBRARY || n->a->what->function)
		fault_add(c->faults, n->a->at, "\"%.*s\" is a function and can not be changed",
			  CHECKER_TEXT(n->a->text));
	else if (!n->a->what->var)
		checker_twice(c, n->a, n->a->what);
}

static void checker_fn(struct checker *c, struct node *n)
{
	if (n->what != NULL) {
		n->what->ready = true;
		checker_function(c, n->a, n->b);
	}
}

static void checker_for(struct checker *c, struct node *n)
{
	unsigned locals;
	checker_value(c, n->b);
	struct scope *outer = checker_open(c, &locals);
	n->a->what = checker_declare(c, n->a->text, n->a->at);
	if (n->d != NULL)
		n->d->what = checker_declare(c, n->d->text, n->d->at);
	c->function->loops++;
	checker_block(c, n->c);
	c->function->loops--;
	checker_close(c, outer, locals);
}

static void checker_jump(struct checker *c, const struct node *n)
{
	const char *word = n->kind == NODE_BREAK ? "break" : "continue";
	if (n->kind == NODE_RETURN && c->function->sealed)
		fault_add(c->faults, n->at,
			  "return can not stand in the middle of a value: make it a statement");
	else if (n->kind == NODE_RETURN && c->function->outer == NULL)
		fault_add(c->faults, n->at, "return stands in no function");
	else if (n->kind != NODE_RETURN && c->function->loops == 0)
		fault_add(c->faults, n->at, "%s stands in no loop", word);
}

static void checker_handler(struct checker *c, struct node *n)
{
	unsigned kind = 0, count = 0;
	while (kind < CHECKER_HANDLERS && !span_eq(n->text, span_of(checker_handler_names[kind])))
		kind++;
	for (struct node *p = n->a; p != NULL; p = p->next)
		count++;
	if (kind == CHECKER_HANDLERS) {
		fault_add(
			c->faults, n->at,
			"there is no event \"%.*s\": on_open, on_message, on_close, on_error, on_away, on_back, on_join, on_leave",
			CHECKER_TEXT(n->text));
	} else {
		if (c->found->handlers[kind] != NULL)
			fault_add(c->faults, n->at, "%s is there already, in line %u",
				  checker_handler_names[kind], c->found->handlers[kind]->at.line);
		if (count > checker_handler_arguments[kind])
			fault_add(c->faults, n->at, "%s is given %u values, not %u",
				  checker_handler_names[kind], checker_handler_arguments[kind],
				  count);
		c->found->handlers[kind] = n;
	}
	checker_function(c, n->a, n->b);
}

static void checker_statement(struct checker *c, struct node *n)
{
	switch (n->kind) {
	case NODE_BIND:
		checker_bind(c, n);
		break;
	case NODE_ASSIGN:
		checker_assign(c, n);
		break;
	case NODE_VALUE:
		checker_direct(c, n->a);
		break;
	case NODE_RETURN:
		checker_jump(c, n);
		if (n->a != NULL)
			checker_direct(c, n->a);
		break;
	case NODE_BREAK:
	case NODE_CONTINUE:
		checker_jump(c, n);
		break;
	case NODE_FOR:
		checker_for(c, n);
		break;
	case NODE_WHILE:
		checker_value(c, n->a);
		c->function->loops++;
		checker_block(c, n->b);
		c->function->loops--;
		break;
	case NODE_FN:
		checker_fn(c, n);
		break;
	case NODE_SERVER:
		for (struct node *s = n->a; s != NULL; s = s->next)
			checker_statement(c, s);
		break;
	case NODE_WS:
		for (struct node *h = n->a; h != NULL; h = h->next)
			checker_handler(c, h);
		break;
	default:
		break;
	}
}

/* Functions of a block know each other; those of the program, all of its names. */
static void checker_announce(struct checker *c, struct node *first)
{
	bool top = c->scope->n_buckets > 1;
	for (struct node *n = first; n != NULL; n = n->next) {
		if (top && n->kind == NODE_SERVER)
			checker_announce(c, n->a);
		if (n->kind != NODE_FN && !(top && n->kind == NODE_BIND))
			continue;
		struct name *own = scope_own(c->scope, n->text);
		if (own != NULL && n->kind == NODE_FN)
			fault_add(c->faults, n->at, "\"%.*s\" is there already, in line %u",
				  CHECKER_TEXT(n->text), own->at.line);
		if (own != NULL)
			continue;
		struct name *name = checker_declare(c, n->text, n->at);
		name->ready = top && n->kind == NODE_FN;
		name->function = n->kind == NODE_FN;
		name->var = n->kind == NODE_BIND && n->yes;
		if (n->kind == NODE_FN)
			n->what = name;
	}
}

static void checker_statements(struct checker *c, struct node *first)
{
	checker_announce(c, first);
	for (struct node *n = first; n != NULL; n = n->next)
		checker_statement(c, n);
}

/* --- all of it -------------------------------------------------------------------------------- */

static struct scope *checker_library(struct arena *arena)
{
	static const char *const names[] = {
#define CHECKER_FUNCTION(name, least, most) #name,
#define CHECKER_VALUE(name) #name,
		LIBRARY_FUNCTIONS(CHECKER_FUNCTION) LIBRARY_VALUES(CHECKER_VALUE)
#undef CHECKER_FUNCTION
#undef CHECKER_VALUE
	};
	struct scope *s = scope_new(arena, NULL, true);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct name *name = arena_get(arena, sizeof *name);
		*name = (struct name){.kind = NAME_LIBRARY,
				      .text = span_of(names[i]),
				      .ready = true};
		scope_add(arena, s, name);
	}
	return s;
}

void checker_check(struct arena *arena, struct node *program, struct faults *faults,
		   struct checker_found *found_r)
{
	struct checker_function top = {.outer = NULL};
	struct checker c = {.arena = arena,
			    .faults = faults,
			    .found = found_r,
			    .function = &top,
			    .scope = checker_library(arena)};
	*found_r = (struct checker_found){.stats = false};
	c.scope = scope_new(arena, c.scope, true);
	checker_statements(&c, program->a);
}
