/* parser_branch: if, match and try, which are values and statements. */
#include "tova/parser_parts.h"

struct node *parser_if(struct parser *p)
{
	struct node *n = parser_node(p, NODE_IF, p->t->at);
	bool loose = p->loose;
	parser_next(p);
	p->loose = false;
	n->a = parser_part(p, n, parser_value(p));
	n->b = parser_part(p, n, parser_block(p));
	if (parser_is(p, TOKEN_ELIF)) {
		if (parser_enter(p))
			n->c = parser_part(p, n, parser_if(p));
		parser_leave(p);
	} else if (parser_take(p, TOKEN_ELSE)) {
		if (parser_is(p, TOKEN_IF)) /* the language reads that as elif */
			parser_fault(p, p->t->at, "write elif, not else if");
		n->c = parser_part(p, n, parser_block(p));
	}
	p->loose = loose;
	return n;
}

/* --- patterns --------------------------------------------------------------------------------- */

static double parser_pattern_number(struct parser *p)
{
	bool minus = parser_take(p, TOKEN_MINUS);
	double number = p->t->number;
	parser_expect(p, TOKEN_NUMBER, "a number");
	return minus ? -number : number;
}

static struct node *parser_number_pattern(struct parser *p)
{
	struct node *n = parser_node(p, NODE_NUMBER, p->t->at);
	n->number = parser_pattern_number(p);
	if (!parser_is(p, TOKEN_RANGE) && !parser_is(p, TOKEN_RANGE_WITH))
		return n;
	n->kind = NODE_PATTERN_RANGE;
	n->yes = p->t->kind == TOKEN_RANGE_WITH;
	parser_next(p);
	n->other = parser_pattern_number(p);
	return n;
}

static struct node *parser_name_pattern(struct parser *p)
{
	struct node *n = parser_node(p, NODE_PATTERN_NAME, p->t->at);
	n->text = p->t->text;
	if (span_eq(n->text, SPAN("_")))
		n->kind = NODE_PATTERN_ANY;
	else if (n->text.p[0] >= 'A' && n->text.p[0] <= 'Z')
		parser_fault(p, n->at, "types are not supported here (the pattern %.*s)",
			     n->text.n < 60 ? (int)n->text.n : 60, n->text.p);
	parser_next(p);
	return n;
}

static struct node *parser_pattern(struct parser *p)
{
	struct node *n = parser_node(p, NODE_NIL, p->t->at);
	n->text = p->t->text;
	n->yes = p->t->kind == TOKEN_TRUE;
	switch (p->t->kind) {
	case TOKEN_MINUS:
	case TOKEN_NUMBER:
		return parser_number_pattern(p);
	case TOKEN_NAME:
		return parser_name_pattern(p);
	case TOKEN_STRING:
		n->kind = NODE_STRING;
		break;
	case TOKEN_TRUE:
	case TOKEN_FALSE:
		n->kind = NODE_BOOL;
		break;
	case TOKEN_NIL:
		break;
	case TOKEN_STRING_BEGIN:
		parser_fault(p, p->t->at,
			     "a pattern is a text without values in it; write \\{ for a brace");
		break;
	case TOKEN_OPEN:
	case TOKEN_OPEN_SQUARE:
	case TOKEN_OPEN_BRACE:
		parser_fault(
			p, p->t->at,
			"patterns of arrays and objects are not supported here: use a name and an if");
		break;
	default:
		parser_unexpected(p, "a pattern");
	}
	parser_next(p);
	if (parser_is(p, TOKEN_PLUS))
		parser_fault(p, p->t->at,
			     "patterns with ++ are not supported here: see startsWith");
	return n;
}

/* --- match and try ---------------------------------------------------------------------------- */

static struct node *parser_arm(struct parser *p)
{
	struct node *n = parser_node(p, NODE_ARM, p->t->at);
	n->a = parser_part(p, n, parser_pattern(p));
	if (parser_is(p, TOKEN_BAR))
		parser_fault(p, p->t->at, "one pattern for each arm");
	if (parser_take(p, TOKEN_IF)) {
		p->guard = true;
		n->b = parser_part(p, n, parser_value(p));
		p->guard = false;
	}
	parser_expect(p, TOKEN_ARROW, "'=>'");
	n->c = parser_part(p, n, parser_body(p));
	parser_take(p, TOKEN_COMMA);
	return n;
}

struct node *parser_match(struct parser *p)
{
	struct node *n = parser_node(p, NODE_MATCH, p->t->at);
	struct parser_list list = {n, &n->b};
	bool loose = p->loose, guard = p->guard;
	parser_next(p);
	p->loose = false;
	p->guard = false;
	n->a = parser_part(p, n, parser_value(p));
	parser_expect(p, TOKEN_OPEN_BRACE, "'{'");
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_BRACE) && !parser_is(p, TOKEN_END))
		parser_append(p, &list, parser_arm(p));
	p->loose = loose;
	p->guard = guard;
	parser_expect(p, TOKEN_CLOSE_BRACE, "'}'");
	return n;
}

struct node *parser_try(struct parser *p)
{
	struct node *n = parser_node(p, NODE_TRY, p->t->at);
	parser_next(p);
	n->a = parser_part(p, n, parser_block(p));
	parser_expect(p, TOKEN_CATCH, "'catch'");
	if (parser_is(p, TOKEN_NAME)) {
		n->b = parser_node(p, NODE_PARAMETER, p->t->at);
		n->b->text = p->t->text;
		parser_next(p);
	}
	n->c = parser_part(p, n, parser_block(p));
	if (parser_is_name(p, "finally"))
		parser_unexpected(p, "the end of the statement");
	return n;
}
