/* generator_value: values. Operands are in parentheses, so that an element is taken out of a table
 * in the line that says from where. */
#include "tova/generator_parts.h"

#include <math.h>
#include <stdio.h>

static const char *generator_sign(enum token_kind op)
{
	return op == TOKEN_NOT_EQUAL ? "~=" : token_name(op);
}

static void generator_number(struct generator *g, double value)
{
	if (isinf(value))
		generator_text(g, "(1/0)");
	else if (value == floor(value) && value < 1e17)
		generator_printf(g, "%.1f", value);
	else
		generator_printf(g, "%.17g",
				 value); /* with a dot or an exponent: never an integer */
}

void generator_operand(struct generator *g, const struct node *n)
{
	switch (n->kind) {
	case NODE_NIL:
	case NODE_BOOL:
	case NODE_NUMBER:
	case NODE_NAME:
	case NODE_MEMBER:
		generator_value(g, n);
		break;
	default:
		generator_text(g, "(");
		generator_value(g, n);
		generator_text(g, ")");
	}
}

/* So that a dot or a parenthesis may stand behind it: a number would take the dot for its own. */
static void generator_prefix(struct generator *g, const struct node *n)
{
	bool bare = n->kind == NODE_NAME || n->kind == NODE_MEMBER;
	generator_text(g, bare ? "" : "(");
	generator_value(g, n);
	generator_text(g, bare ? "" : ")");
}

/* name(a, b) */
static void generator_helper(struct generator *g, struct position at, const char *name,
			     const struct node *a, const struct node *b)
{
	generator_at(g, at);
	generator_text(g, name);
	generator_text(g, "(");
	generator_value(g, a);
	generator_text(g, ",");
	generator_value(g, b);
	generator_text(g, ")");
}

/* --- operators -------------------------------------------------------------------------------- */

static bool generator_is_sum(enum token_kind op)
{
	return op == TOKEN_PLUS || op == TOKEN_MINUS;
}

void generator_operation(struct generator *g, struct position at, enum token_kind op,
			 const struct node *a, const struct node *b)
{
	if (op == TOKEN_PERCENT || op == TOKEN_POWER) {
		generator_helper(g, at, op == TOKEN_POWER ? "PW" : "MD", a, b);
		return;
	}
	/* a + b + c needs no parentheses: a long sum is not deep. */
	bool chain = a->kind == NODE_BINARY && generator_is_sum(op) && generator_is_sum(a->op);
	if (chain)
		generator_value(g, a);
	else
		generator_operand(g, a);
	generator_at(g, at);
	generator_text(g, generator_sign(op));
	generator_operand(g, b);
}

/* a < b < c: b is looked at once. */
static void generator_comparison(struct generator *g, const struct node *n)
{
	if (n->c == NULL) {
		generator_operand(g, n->a);
		generator_at(g, n->at);
		generator_text(g, generator_sign(n->op));
		generator_operand(g, n->b);
		return;
	}
	generator_text(g, "(function() local a=");
	generator_value(g, n->a);
	generator_text(g, ";local b;");
	for (; n != NULL; n = n->c) {
		generator_text(g, "b=");
		generator_value(g, n->b);
		generator_at(g, n->at);
		generator_printf(g, ";if not(a%sb) then return false end;a=b;",
				 generator_sign(n->op));
	}
	generator_text(g, "return true end)()");
}

/* Is it free of effects, and can it not fail? */
static bool generator_is_simple(const struct node *n)
{
	return n->kind == NODE_NIL || n->kind == NODE_BOOL || n->kind == NODE_NUMBER ||
	       n->kind == NODE_STRING || n->kind == NODE_NAME;
}

static void generator_coalesce(struct generator *g, const struct node *n)
{
	if (generator_is_simple(n->b)) {
		generator_helper(g, n->at, "EQ", n->a, n->b);
		return;
	}
	generator_at(g, n->at);
	generator_text(g, "CL(");
	generator_value(g, n->a);
	generator_text(g, ",function() return (");
	generator_value(g, n->b);
	generator_text(g, ") end)");
}

/* --- members and calls ------------------------------------------------------------------------ */

static void generator_member(struct generator *g, const struct node *n)
{
	if (n->yes || span_eq(n->text, SPAN("length"))) {
		generator_at(g, n->at);
		generator_text(g, n->yes ? "QM(" : "L(");
		generator_value(g, n->a);
		generator_text(g, n->yes ? "," : "");
		if (n->yes)
			generator_string(&g->g->lua, n->text);
		generator_text(g, ")");
		return;
	}
	generator_text(g, "(");
	generator_prefix(g, n->a);
	generator_at(g, n->at);
	generator_text(g, generator_is_word(n->text) ? "." : "[");
	if (generator_is_word(n->text))
		buffer_add(&g->g->lua, n->text.p, n->text.n);
	else
		generator_string(&g->g->lua, n->text);
	generator_text(g, generator_is_word(n->text) ? ")" : "])");
}

static void generator_arguments(struct generator *g, const struct node *first, const char *between)
{
	for (; first != NULL; first = first->next) {
		generator_text(g, between);
		between = ",";
		if (first->kind == NODE_SPREAD) {
			generator_at(g, first->at);
			generator_text(g, "UP(");
			generator_value(g, first->a);
		} else if (first->next == NULL && first->kind == NODE_CALL) {
			generator_text(g, "("); /* one value of it */
			generator_value(g, first);
		} else {
			generator_value(g, first);
			continue;
		}
		generator_text(g, ")");
	}
	generator_text(g, ")");
}

/* a.b(...): a's own function, or a method of what a is. */
static void generator_method(struct generator *g, const struct node *member,
			     const struct node *arguments)
{
	bool word = generator_is_word(member->text);
	generator_text(g, word ? ":" : ",");
	if (word)
		buffer_add(&g->g->lua, member->text.p, member->text.n);
	else
		generator_string(&g->g->lua, member->text);
	generator_text(g, word ? "(" : "");
	generator_arguments(g, arguments, word ? "" : ",");
}

/* a?.b(...) */
static void generator_maybe_call(struct generator *g, const struct node *n)
{
	const struct node *member = n->a;
	bool word = generator_is_word(member->text);
	generator_text(g, "(function() local o=");
	generator_value(g, member->a);
	generator_text(g, ";if o==nil then return nil end;");
	generator_at(g, member->at);
	generator_text(g, word ? "return (o" : "return (IN(o");
	generator_method(g, member, n->b);
	generator_text(g, ") end)()");
}

/* The line of a call is, by the version of Lua, that in which the function's value begins or that
 * of the parenthesis: both are said to come from the function's name. */
static void generator_call(struct generator *g, const struct node *n)
{
	const struct node *f = n->a;
	bool member = f->kind == NODE_MEMBER;
	struct position at = f->at;
	if (member && f->yes) {
		generator_maybe_call(g, n);
		return;
	}
	generator_at(g, at);
	if (member && !generator_is_word(f->text))
		generator_text(g, "IN(");
	generator_prefix(g, member ? f->a : f);
	generator_at(g, at);
	if (member) {
		generator_method(g, f, n->b);
	} else {
		generator_text(g, "(nil");
		generator_arguments(g, n->b, ",");
	}
}

/* --- strings, arrays and objects -------------------------------------------------------------- */

#define GENERATOR_PIECES 40 /* that are put together at once */

static void generator_template(struct generator *g, const struct node *n)
{
	unsigned count = 0;
	const char *between = "";
	for (const struct node *p = n->a; p != NULL; p = p->next)
		count++;
	for (unsigned i = 0; i + 1 < count; i += GENERATOR_PIECES)
		generator_text(g, "TX(");
	unsigned i = 0;
	for (const struct node *p = n->a; p != NULL; p = p->next, i++) {
		if (p->kind != NODE_STRING || p->text.n > 0 || i == 0) {
			generator_text(g, between);
			generator_value(g, p);
			between = ",";
		}
		if (i > 0 && i % GENERATOR_PIECES == 0 && i + 1 < count)
			generator_text(g, ")");
	}
	generator_text(g, ")");
}

/* Elements up to the next ..., as an array of their own. */
static const struct node *generator_elements(struct generator *g, const struct node *first)
{
	unsigned n = 0;
	generator_text(g, "A({");
	for (; first != NULL && first->kind != NODE_SPREAD; first = first->next, n++) {
		generator_value(g, first);
		generator_text(g, ",");
	}
	generator_printf(g, "},%u.0)", n);
	return first;
}

static void generator_array(struct generator *g, const struct node *n)
{
	const struct node *rest = n->a;
	const char *between = "";
	while (rest != NULL && rest->kind != NODE_SPREAD)
		rest = rest->next;
	if (rest == NULL) {
		generator_elements(g, n->a);
		return;
	}
	generator_at(g, n->at);
	generator_text(g, "AC(");
	for (rest = n->a; rest != NULL; between = ",") {
		generator_text(g, between);
		if (rest->kind != NODE_SPREAD) {
			rest = generator_elements(g, rest);
			continue;
		}
		generator_value(g, rest->a);
		rest = rest->next;
	}
	generator_text(g, ")");
}

static bool generator_is_plain_entry(const struct node *n)
{
	return n != NULL && n->kind == NODE_ENTRY && n->a == NULL;
}

static const struct node *generator_entries(struct generator *g, const struct node *first)
{
	const struct node *last = first;
	while (generator_is_plain_entry(last))
		last = last->next;
	generator_printf(g, "O({[K]=S[%u]", generator_shape(g, first, last));
	for (; first != last; first = first->next) {
		generator_text(g, ",[");
		generator_string(&g->g->lua, first->text);
		generator_text(g, "]=");
		generator_value(g, first->b);
	}
	generator_text(g, "})");
	return last;
}

static void generator_object(struct generator *g, const struct node *n)
{
	const struct node *rest = n->a;
	const char *between = "";
	while (generator_is_plain_entry(rest))
		rest = rest->next;
	if (rest == NULL) {
		generator_entries(g, n->a);
		return;
	}
	generator_at(g, n->at);
	generator_text(g, "OM(");
	for (rest = n->a; rest != NULL; between = ",") {
		generator_text(g, between);
		if (generator_is_plain_entry(rest)) {
			rest = generator_entries(g, rest);
			continue;
		}
		if (rest->kind == NODE_ENTRY)
			generator_helper(g, rest->at, "OE", rest->a, rest->b);
		else
			generator_value(g, rest->a);
		rest = rest->next;
	}
	generator_text(g, ")");
}

/* [x for y in z if w]: loops in a function of their own. */
static void generator_collect(struct generator *g, const struct node *n)
{
	unsigned clauses = 0;
	generator_text(g, n->c != NULL ? "(function() local r=OM();"
				       : "(function() local r=A({},0.0);");
	for (const struct node *c = n->b; c != NULL; c = c->next, clauses++) {
		generator_loop_head(g, c->a, c->b, c->c);
		generator_text(g, "if ");
		if (c->d != NULL)
			generator_value(g, c->d);
		generator_text(g, c->d != NULL ? " then " : "true then ");
	}
	generator_at(g, n->a->at);
	generator_text(g, n->c != NULL ? "OS(r," : "AP(r,");
	generator_value(g, n->a);
	if (n->c != NULL) {
		generator_text(g, ",");
		generator_value(g, n->c);
	}
	generator_text(g, ");");
	while (clauses-- > 0)
		generator_text(g, "end end ");
	generator_text(g, "return r end)()");
}

/* --- functions -------------------------------------------------------------------------------- */

void generator_function(struct generator *g, const struct node *parameters, const struct node *body)
{
	unsigned tries = g->tries, loop = g->loop, loop_tries = g->loop_tries;
	g->tries = g->loop = g->loop_tries = 0;
	generator_text(g, "function(_");
	for (const struct node *p = parameters; p != NULL; p = p->next) {
		generator_text(g, ",");
		generator_name(g, p->what);
	}
	generator_text(g, ") ");
	for (const struct node *p = parameters; p != NULL; p = p->next) {
		if (p->a == NULL)
			continue;
		generator_text(g, "if ");
		generator_name(g, p->what);
		generator_text(g, "==nil then ");
		generator_name(g, p->what);
		generator_text(g, "=");
		generator_value(g, p->a);
		generator_text(g, " end;");
	}
	generator_block(g, body, (struct target){.kind = TARGET_RETURN});
	generator_text(g, " end");
	g->tries = tries;
	g->loop = loop;
	g->loop_tries = loop_tries;
}

/* An if, match or try in the middle of a value. */
static void generator_sealed(struct generator *g, const struct node *n)
{
	unsigned tries = g->tries, loop = g->loop, loop_tries = g->loop_tries;
	g->tries = g->loop = g->loop_tries = 0;
	generator_text(g, "(function() ");
	generator_direct(g, n, (struct target){.kind = TARGET_RETURN});
	generator_text(g, " end)()");
	g->tries = tries;
	g->loop = loop;
	g->loop_tries = loop_tries;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void generator_range(struct generator *g, const struct node *n)
{
	generator_at(g, n->at);
	generator_text(g, "RG(");
	generator_value(g, n->a);
	generator_text(g, ",");
	generator_value(g, n->b);
	generator_text(g, n->yes ? ",true)" : ",false)");
}

static void generator_pair(struct generator *g, const struct node *n, const char *word)
{
	generator_operand(g, n->a);
	generator_text(g, word);
	generator_operand(g, n->b);
}

static void generator_other(struct generator *g, const struct node *n)
{
	switch (n->kind) {
	case NODE_NEGATE:
		generator_at(g, n->at);
		generator_text(g, "-(");
		generator_value(g, n->a);
		generator_text(g, ")");
		break;
	case NODE_NOT:
		generator_text(g, "not ");
		generator_operand(g, n->a);
		break;
	case NODE_IN:
		generator_text(g, n->yes ? "not " : "");
		generator_helper(g, n->at, "CN", n->a, n->b);
		break;
	case NODE_INDEX:
		generator_helper(g, n->at, "GT", n->a, n->b);
		break;
	case NODE_AND:
		generator_pair(g, n, " and ");
		break;
	case NODE_OR:
		generator_pair(g, n, " or ");
		break;
	case NODE_LAMBDA:
		generator_function(g, n->a, n->b);
		break;
	default:
		generator_sealed(g, n);
	}
}

void generator_value(struct generator *g, const struct node *n)
{
	switch (n->kind) {
	case NODE_NIL:
		generator_text(g, "nil");
		break;
	case NODE_BOOL:
		generator_text(g, n->yes ? "true" : "false");
		break;
	case NODE_NUMBER:
		generator_number(g, n->number);
		break;
	case NODE_STRING:
		generator_string(&g->g->lua, n->text);
		break;
	case NODE_NAME:
		generator_name(g, n->what);
		break;
	case NODE_TEMPLATE:
		generator_template(g, n);
		break;
	case NODE_ARRAY:
		generator_array(g, n);
		break;
	case NODE_OBJECT:
		generator_object(g, n);
		break;
	case NODE_COLLECT:
		generator_collect(g, n);
		break;
	case NODE_MEMBER:
		generator_member(g, n);
		break;
	case NODE_CALL:
		generator_call(g, n);
		break;
	case NODE_BINARY:
		generator_operation(g, n->at, n->op, n->a, n->b);
		break;
	case NODE_COMPARE:
		generator_comparison(g, n);
		break;
	case NODE_COALESCE:
		generator_coalesce(g, n);
		break;
	case NODE_RANGE:
		generator_range(g, n);
		break;
	default:
		generator_other(g, n);
	}
}
