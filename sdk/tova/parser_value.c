/* parser_value: operators, in the order in which they bind. */
#include "tova/parser_parts.h"

/* May the next token go on with what stands before it? In a line of its own only some may. */
static bool parser_goes_on(const struct parser *p)
{
	if (p->lost)
		return false;
	if (p->loose || !p->t->first)
		return true;
	switch (p->t->kind) {
	case TOKEN_MINUS:
	case TOKEN_OPEN:
	case TOKEN_OPEN_SQUARE:
	case TOKEN_NOT:
	case TOKEN_BANG:
	case TOKEN_IN:
	case TOKEN_QUESTION:
		return false;
	default:
		return true;
	}
}

static struct node *parser_binary(struct parser *p, enum node_kind kind, struct node *a)
{
	struct node *n = parser_node(p, kind, p->t->at);
	n->op = p->t->kind;
	parser_next(p);
	n->a = parser_part(p, n, a);
	return n;
}

/* --- what follows a value --------------------------------------------------------------------- */

static struct node *parser_member(struct parser *p, struct node *a)
{
	struct node *n = parser_node(p, NODE_MEMBER, p->t->at);
	n->yes = p->t->kind == TOKEN_MAYBE;
	parser_next(p);
	n->at = p->t->at;
	n->text = p->t->text;
	n->a = parser_part(p, n, a);
	if (!p->lost && !token_is_word(p->t))
		parser_unexpected(p, "a member's name");
	parser_next(p);
	return n;
}

static struct node *parser_index(struct parser *p, struct node *a)
{
	struct node *n = parser_node(p, NODE_INDEX, p->t->at);
	bool loose = p->loose;
	p->loose = true;
	parser_next(p);
	n->a = parser_part(p, n, a);
	if (!parser_is(p, TOKEN_COLON))
		n->b = parser_part(p, n, parser_value(p));
	if (parser_is(p, TOKEN_COLON))
		parser_fault(p, p->t->at, "slices ([a:b]) are not supported here: see slice(a, b)");
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE_SQUARE, "']'");
	return n;
}

static struct node *parser_call(struct parser *p, struct node *a)
{
	struct node *n = parser_node(p, NODE_CALL, a->at);
	parser_next(p);
	n->a = parser_part(p, n, a);
	parser_arguments(p, n);
	return n;
}

static struct node *parser_postfix(struct parser *p)
{
	struct node *n = parser_primary(p);
	while (parser_goes_on(p)) {
		if (p->t->kind == TOKEN_DOT || p->t->kind == TOKEN_MAYBE)
			n = parser_member(p, n);
		else if (p->t->kind == TOKEN_OPEN)
			n = parser_call(p, n);
		else if (p->t->kind == TOKEN_OPEN_SQUARE)
			n = parser_index(p, n);
		else
			break;
	}
	if (parser_goes_on(p) && p->t->kind == TOKEN_QUESTION)
		parser_fault(
			p, p->t->at,
			"'?' behind a value is not supported here: write if a { b } else { c }, or try");
	return n;
}

/* --- from what binds most to what binds least ------------------------------------------------- */

static struct node *parser_unary(struct parser *p)
{
	struct node *n;
	if (!parser_is(p, TOKEN_MINUS))
		return parser_postfix(p);
	n = parser_node(p, NODE_NEGATE, p->t->at);
	parser_next(p);
	if (parser_enter(p))
		n->a = parser_part(p, n, parser_unary(p));
	parser_leave(p);
	return n;
}

static struct node *parser_power(struct parser *p)
{
	struct node *a = parser_unary(p), *n;
	if (!parser_goes_on(p) || p->t->kind != TOKEN_POWER)
		return a;
	n = parser_binary(p, NODE_BINARY, a);
	if (parser_enter(p))
		n->b = parser_part(p, n, parser_power(p));
	parser_leave(p);
	return n;
}

static struct node *parser_product(struct parser *p)
{
	struct node *n = parser_power(p);
	while (parser_goes_on(p) && (p->t->kind == TOKEN_STAR || p->t->kind == TOKEN_SLASH ||
				     p->t->kind == TOKEN_PERCENT)) {
		n = parser_binary(p, NODE_BINARY, n);
		n->b = parser_part(p, n, parser_power(p));
	}
	return n;
}

static struct node *parser_sum(struct parser *p)
{
	struct node *n = parser_product(p);
	while (parser_goes_on(p) && (p->t->kind == TOKEN_PLUS || p->t->kind == TOKEN_MINUS)) {
		n = parser_binary(p, NODE_BINARY, n);
		n->b = parser_part(p, n, parser_product(p));
	}
	return n;
}

static struct node *parser_range(struct parser *p)
{
	struct node *n = parser_sum(p);
	if (!parser_goes_on(p) || (p->t->kind != TOKEN_RANGE && p->t->kind != TOKEN_RANGE_WITH))
		return n;
	n = parser_binary(p, NODE_RANGE, n);
	n->yes = n->op == TOKEN_RANGE_WITH;
	n->b = parser_part(p, n, parser_sum(p));
	return n;
}

static struct node *parser_membership(struct parser *p)
{
	struct node *n = parser_range(p);
	if (!parser_goes_on(p))
		return n;
	bool not_in = p->t->kind == TOKEN_NOT && p->t[1].kind == TOKEN_IN;
	if (p->t->kind == TOKEN_IN || not_in) {
		if (not_in)
			parser_next(p);
		n = parser_binary(p, NODE_IN, n);
		n->yes = not_in;
		n->b = parser_part(p, n, parser_range(p));
	} else if (!p->t->first && parser_is_name(p, "is")) {
		parser_unexpected(p, "an operator");
	}
	return n;
}

static bool parser_compares(const struct parser *p)
{
	enum token_kind k = p->t->kind;
	return parser_goes_on(p) &&
	       (k == TOKEN_EQUAL || k == TOKEN_NOT_EQUAL || k == TOKEN_LESS ||
		k == TOKEN_LESS_EQUAL || k == TOKEN_MORE || k == TOKEN_MORE_EQUAL);
}

/* a < b < c: the second comparison hangs at the first one's `next`, without a left side of its
 * own. */
static struct node *parser_comparison(struct parser *p)
{
	struct node *first = parser_membership(p), **more = NULL;
	while (parser_compares(p)) {
		struct node *n = parser_binary(p, NODE_COMPARE, more == NULL ? first : NULL);
		n->b = parser_part(p, n, parser_membership(p));
		if (more == NULL) {
			first = n;
			more = &n->c;
		} else {
			*more = parser_part(p, first, n);
			more = &n->c;
		}
	}
	return first;
}

static struct node *parser_not(struct parser *p)
{
	struct node *n;
	if (!parser_is(p, TOKEN_NOT) && !parser_is(p, TOKEN_BANG))
		return parser_comparison(p);
	n = parser_node(p, NODE_NOT, p->t->at);
	parser_next(p);
	if (parser_enter(p))
		n->a = parser_part(p, n, parser_not(p));
	parser_leave(p);
	return n;
}

static struct node *parser_and(struct parser *p)
{
	struct node *n = parser_not(p);
	while (parser_goes_on(p) && (p->t->kind == TOKEN_AND || p->t->kind == TOKEN_AND_AND)) {
		n = parser_binary(p, NODE_AND, n);
		n->b = parser_part(p, n, parser_not(p));
	}
	return n;
}

static struct node *parser_or(struct parser *p)
{
	struct node *n = parser_and(p);
	while (parser_goes_on(p) && (p->t->kind == TOKEN_OR || p->t->kind == TOKEN_OR_OR)) {
		n = parser_binary(p, NODE_OR, n);
		n->b = parser_part(p, n, parser_and(p));
	}
	return n;
}

static struct node *parser_coalesce(struct parser *p)
{
	struct node *n = parser_or(p);
	while (parser_goes_on(p) && p->t->kind == TOKEN_COALESCE) {
		n = parser_binary(p, NODE_COALESCE, n);
		n->b = parser_part(p, n, parser_or(p));
	}
	return n;
}

/* --- pipes ------------------------------------------------------------------------------------ */

/* Puts `value` in the place of the argument _, or in front of all. */
static void parser_pour(struct parser *p, struct node *call, struct node *value)
{
	struct node **at = &call->b, **place = &call->b;
	bool found = false;
	for (; *at != NULL; at = &(*at)->next) {
		if ((*at)->kind != NODE_NAME || !span_eq((*at)->text, SPAN("_")))
			continue;
		if (found)
			parser_fault(p, (*at)->at, "'_' stands for what is piped once");
		found = true;
		place = at;
	}
	value->next = found ? (*place)->next : *place;
	*place = parser_part(p, call, value);
}

static struct node *parser_pipe_into(struct parser *p, struct node *value)
{
	struct node *target, *call;
	if (parser_is(p, TOKEN_DOT)) {
		target = parser_member(p, value);
		return parser_is(p, TOKEN_OPEN) ? parser_call(p, target) : target;
	}
	target = parser_coalesce(p);
	call = target;
	if (target->kind != NODE_CALL) {
		call = parser_node(p, NODE_CALL, target->at);
		call->a = parser_part(p, call, target);
	}
	parser_pour(p, call, value);
	return call;
}

struct node *parser_value(struct parser *p)
{
	struct node *n = NULL;
	if (parser_enter(p)) {
		n = parser_coalesce(p);
		while (parser_goes_on(p) && p->t->kind == TOKEN_PIPE) {
			parser_next(p);
			n = parser_pipe_into(p, n);
		}
	}
	parser_leave(p);
	return n != NULL ? n : parser_node(p, NODE_NIL, p->t->at);
}
