/* parser_primary: what operators stand between. */
#include "tova/foreign.h"
#include "tova/parser_parts.h"

static struct node *parser_leaf(struct parser *p, enum node_kind kind)
{
	struct node *n = parser_node(p, kind, p->t->at);
	n->text = p->t->text;
	n->number = p->t->number;
	n->yes = p->t->kind == TOKEN_TRUE;
	parser_next(p);
	return n;
}

/* --- strings with values in them -------------------------------------------------------------- */

static struct node *parser_template(struct parser *p)
{
	struct node *n = parser_node(p, NODE_TEMPLATE, p->t->at);
	struct parser_list list = {n, &n->a};
	bool loose = p->loose;
	p->loose = true;
	for (;;) {
		enum token_kind kind = p->t->kind;
		parser_append(p, &list, parser_leaf(p, NODE_STRING));
		if (kind == TOKEN_STRING_FINISH || p->lost)
			break;
		if (parser_is(p, TOKEN_STRING_MIDDLE) || parser_is(p, TOKEN_STRING_FINISH))
			parser_fault(p, p->t->at,
				     "nothing stands between the braces; write \\{ for a brace");
		parser_append(p, &list, parser_value(p));
		if (!parser_is(p, TOKEN_STRING_MIDDLE) && !parser_is(p, TOKEN_STRING_FINISH)) {
			parser_unexpected(p, "'}' and the rest of the string");
			break;
		}
	}
	p->loose = loose;
	return n;
}

/* --- arrays and objects ----------------------------------------------------------------------- */

static struct node *parser_element(struct parser *p)
{
	struct node *n;
	if (!parser_is(p, TOKEN_SPREAD))
		return parser_value(p);
	n = parser_node(p, NODE_SPREAD, p->t->at);
	parser_next(p);
	n->a = parser_part(p, n, parser_value(p));
	return n;
}

void parser_arguments(struct parser *p, struct node *call)
{
	struct parser_list list = {call, &call->b};
	bool loose = p->loose;
	p->loose = true;
	while (!p->lost && !parser_is(p, TOKEN_CLOSE)) {
		if (parser_is(p, TOKEN_NAME) && p->t[1].kind == TOKEN_COLON)
			parser_fault(p, p->t->at,
				     "arguments have no names here: pass an object, f({a: 1})");
		parser_append(p, &list, parser_element(p));
		if (!parser_take(p, TOKEN_COMMA))
			break;
	}
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE, "',' or ')'");
}

/* for x in xs for i, y in ys if ... */
static void parser_clauses(struct parser *p, struct node *collect)
{
	struct parser_list list = {collect, &collect->b};
	while (parser_take(p, TOKEN_FOR)) {
		struct node *n = parser_node(p, NODE_CLAUSE, p->t->at), **name = &n->a;
		do {
			*name = parser_node(p, NODE_PARAMETER, p->t->at);
			(*name)->text = p->t->text;
			parser_expect(p, TOKEN_NAME, "a name");
			name = &n->b;
		} while (n->b == NULL && parser_take(p, TOKEN_COMMA));
		parser_expect(p, TOKEN_IN, "'in'");
		n->c = parser_part(p, n, parser_value(p));
		if (parser_take(p, TOKEN_IF))
			n->d = parser_part(p, n, parser_value(p));
		parser_append(p, &list, n);
	}
}

static struct node *parser_array(struct parser *p)
{
	struct node *n = parser_node(p, NODE_ARRAY, p->t->at);
	struct parser_list list = {n, &n->a};
	bool loose = p->loose;
	p->loose = true;
	parser_next(p);
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_SQUARE)) {
		parser_append(p, &list, parser_element(p));
		if (parser_is(p, TOKEN_FOR) && n->a->next == NULL) {
			n->kind = NODE_COLLECT;
			parser_clauses(p, n);
			break;
		}
		if (!parser_take(p, TOKEN_COMMA))
			break;
	}
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE_SQUARE, "',' or ']'");
	return n;
}

static struct node *parser_entry(struct parser *p)
{
	struct node *n = parser_node(p, NODE_ENTRY, p->t->at);
	n->text = p->t->text;
	if (parser_is(p, TOKEN_SPREAD))
		return parser_element(p);
	if (parser_take(p, TOKEN_OPEN_SQUARE)) {
		n->a = parser_part(p, n, parser_value(p));
		parser_expect(p, TOKEN_CLOSE_SQUARE, "']'");
	} else if (parser_is(p, TOKEN_NAME) && p->t[1].kind != TOKEN_COLON) {
		n->b = parser_leaf(p, NODE_NAME); /* { name } */
		return n;
	} else if (token_is_word(p->t) || parser_is(p, TOKEN_STRING)) {
		parser_next(p);
	} else if (parser_is(p, TOKEN_NUMBER) || parser_is(p, TOKEN_STRING_BEGIN)) {
		n->a = parser_part(p, n, parser_primary(p));
	} else {
		parser_unexpected(p, "a key");
	}
	parser_expect(p, TOKEN_COLON, "':'");
	n->b = parser_part(p, n, parser_value(p));
	return n;
}

/* {k: v for k, v in xs}: the key is a value then. */
static void parser_collect_object(struct parser *p, struct node *n)
{
	struct node *entry = n->a, *key = entry->a;
	if (entry->kind != NODE_ENTRY || p->lost)
		return;
	if (key == NULL) {
		key = parser_node(p, NODE_NAME, entry->at);
		key->text = entry->text;
	}
	n->kind = NODE_COLLECT;
	n->a = key;
	n->c = entry->b;
	parser_clauses(p, n);
}

static struct node *parser_object(struct parser *p)
{
	struct node *n = parser_node(p, NODE_OBJECT, p->t->at);
	struct parser_list list = {n, &n->a};
	bool loose = p->loose;
	p->loose = true;
	parser_next(p);
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_BRACE)) {
		parser_append(p, &list, parser_entry(p));
		if (parser_is(p, TOKEN_FOR) && n->a->next == NULL) {
			parser_collect_object(p, n);
			break;
		}
		if (!parser_take(p, TOKEN_COMMA))
			break;
	}
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE_BRACE, "',' or '}'");
	return n;
}

/* --- functions -------------------------------------------------------------------------------- */

static struct node *parser_lambda_body(struct parser *p, struct node *n)
{
	n->b = parser_part(p, n, parser_body(p));
	return n;
}

static struct node *parser_lambda(struct parser *p)
{
	struct node *n = parser_node(p, NODE_LAMBDA, p->t->at);
	parser_next(p);
	if (parser_is(p, TOKEN_NAME))
		parser_fault(p, p->t->at, "a function inside a value has no name: fn(x) ...");
	parser_parameters(p, n);
	parser_no_type(p);
	return parser_lambda_body(p, n);
}

/* x => ... */
static struct node *parser_short_lambda(struct parser *p)
{
	struct node *n = parser_node(p, NODE_LAMBDA, p->t->at);
	n->a = parser_leaf(p, NODE_PARAMETER);
	n->a->kind = NODE_PARAMETER;
	parser_next(p);
	return parser_lambda_body(p, n);
}

/* Does (a, b) => begin here? What is longer than that is no list of parameters. */
#define PARSER_LOOK_MAX 200
static bool parser_is_arrow(const struct token *t)
{
	unsigned open = 0;
	if (t[1].kind != TOKEN_CLOSE && t[1].kind != TOKEN_NAME)
		return false;
	for (int i = 0; i < PARSER_LOOK_MAX && t->kind != TOKEN_END; i++, t++) {
		open += t->kind == TOKEN_OPEN;
		if (t->kind == TOKEN_CLOSE && --open == 0)
			return t[1].kind == TOKEN_ARROW || t[1].kind == TOKEN_THIN_ARROW;
	}
	return false;
}

/* In a guard the arrow is the arm's, as long as nothing stands around it. */
static bool parser_may_arrow(const struct parser *p)
{
	return p->loose || !p->guard;
}

static struct node *parser_parenthesis(struct parser *p)
{
	struct node *n;
	bool loose = p->loose;
	if (parser_may_arrow(p) && parser_is_arrow(p->t)) {
		n = parser_node(p, NODE_LAMBDA, p->t->at);
		parser_parameters(p, n);
		parser_next(p);
		return parser_lambda_body(p, n);
	}
	p->loose = true;
	parser_next(p);
	n = parser_value(p);
	if (parser_is(p, TOKEN_COMMA))
		parser_fault(p, p->t->at, "tuples are not supported here: write an array, [a, b]");
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE, "')'");
	return n;
}

static struct node *parser_name(struct parser *p)
{
	const struct token *next = p->t + 1;
	if ((next->kind == TOKEN_ARROW || next->kind == TOKEN_THIN_ARROW) && !next->first &&
	    parser_may_arrow(p))
		return parser_short_lambda(p);
	if (!next->first && next->kind == TOKEN_NAME && foreign_word(p->t->text) != NULL)
		parser_unexpected(p, "a value");
	return parser_leaf(p, NODE_NAME);
}

struct node *parser_primary(struct parser *p)
{
	if (p->lost)
		return parser_node(p, NODE_NIL, p->t->at);
	switch (p->t->kind) {
	case TOKEN_NIL:
		return parser_leaf(p, NODE_NIL);
	case TOKEN_TRUE:
	case TOKEN_FALSE:
		return parser_leaf(p, NODE_BOOL);
	case TOKEN_NUMBER:
		return parser_leaf(p, NODE_NUMBER);
	case TOKEN_STRING:
		return parser_leaf(p, NODE_STRING);
	case TOKEN_STRING_BEGIN:
		return parser_template(p);
	case TOKEN_NAME:
		return parser_name(p);
	case TOKEN_OPEN:
		return parser_parenthesis(p);
	case TOKEN_OPEN_SQUARE:
		return parser_array(p);
	case TOKEN_OPEN_BRACE:
		return parser_object(p);
	case TOKEN_FN:
		return parser_lambda(p);
	case TOKEN_IF:
		return parser_if(p);
	case TOKEN_MATCH:
		return parser_match(p);
	case TOKEN_TRY:
		return parser_try(p);
	default:
		parser_unexpected(p, "a value");
		return parser_node(p, NODE_NIL, p->t->at);
	}
}
