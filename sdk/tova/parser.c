#include "tova/parser.h"

#include <stdarg.h>
#include <stdio.h>

#include "tova/foreign.h"
#include "tova/parser_parts.h"

#define PARSER_DEPTH_MAX 200 /* of the parser itself; what is taller is no good tree either */

/* --- what all of it uses ---------------------------------------------------------------------- */

struct node *parser_node(struct parser *p, enum node_kind kind, struct position at)
{
	struct node *n = arena_get(p->arena, sizeof *n);
	n->kind = kind;
	n->at = at;
	n->height = 1;
	return n;
}

struct node *parser_part(struct parser *p, struct node *parent, struct node *child)
{
	if (child == NULL || child->height < parent->height)
		return child;
	parent->height = child->height + 1;
	if (parent->height > TREE_HEIGHT_MAX)
		parser_fault(p, parent->at,
			     "this is nested too deeply, or has too many parts in a row");
	return child;
}

void parser_append(struct parser *p, struct parser_list *list, struct node *child)
{
	*list->end = parser_part(p, list->parent, child);
	list->end = &child->next;
}

void parser_fault(struct parser *p, struct position at, const char *format, ...)
{
	char text[FAULT_TEXT_MAX];
	va_list args;
	if (p->lost)
		return;
	p->lost = true;
	if (faults_has_line(p->faults, at.line)) /* this one follows from that, most likely */
		return;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fault_add(p->faults, at, "%s", text);
}

void parser_unexpected(struct parser *p, const char *what)
{
	const struct token *t = p->t;
	struct position at = t->at;
	const char *foreign = NULL;
	if (t->kind == TOKEN_NAME && t[1].kind != TOKEN_COLON)
		foreign = foreign_word(t->text);
	else
		foreign = foreign_sign(p->begin, t, &at);
	if (foreign != NULL)
		parser_fault(p, at, "%s", foreign);
	else if (t->kind == TOKEN_NAME)
		parser_fault(p, t->at, "%s was expected, not \"%.*s\"", what,
			     t->text.n < 60 ? (int)t->text.n : 60, t->text.p);
	else
		parser_fault(p, t->at,
			     t->kind <= TOKEN_STRING_FINISH ? "%s was expected, not %s"
							    : "%s was expected, not '%s'",
			     what, token_name(t->kind));
}

void parser_next(struct parser *p)
{
	if (p->t->kind != TOKEN_END)
		p->t++;
}

bool parser_take(struct parser *p, enum token_kind kind)
{
	if (!parser_is(p, kind))
		return false;
	parser_next(p);
	return true;
}

void parser_expect(struct parser *p, enum token_kind kind, const char *what)
{
	if (!parser_take(p, kind))
		parser_unexpected(p, what);
}

bool parser_enter(struct parser *p)
{
	if (++p->depth > PARSER_DEPTH_MAX)
		parser_fault(p, p->t->at, "this is nested too deeply");
	return !p->lost;
}

void parser_leave(struct parser *p)
{
	p->depth--;
}

bool parser_is_name(const struct parser *p, const char *word)
{
	return parser_is(p, TOKEN_NAME) && span_eq(p->t->text, span_of(word));
}

/* --- what the language has beyond this -------------------------------------------------------- */

/* A word like `type` may be a name as well; it is meant as what it is elsewhere if something
 * follows it in its line that can not follow a name. */
static bool parser_is_foreign(const struct parser *p)
{
	const struct token *next = p->t + (p->t->kind != TOKEN_END);
	return parser_is(p, TOKEN_NAME) && !next->first &&
	       (token_is_word(next) || next->kind == TOKEN_STRING ||
		next->kind == TOKEN_OPEN_BRACE) &&
	       next->kind != TOKEN_IN && next->kind != TOKEN_AND && next->kind != TOKEN_OR &&
	       next->kind != TOKEN_NOT && foreign_word(p->t->text) != NULL;
}

/* --- statements ------------------------------------------------------------------------------- */

void parser_parameters(struct parser *p, struct node *parent)
{
	struct parser_list list = {parent, &parent->a};
	bool loose = p->loose;
	p->loose = true;
	parser_expect(p, TOKEN_OPEN, "'('");
	while (!p->lost && !parser_is(p, TOKEN_CLOSE)) {
		struct node *n = parser_node(p, NODE_PARAMETER, p->t->at);
		n->text = p->t->text;
		if (parser_is(p, TOKEN_OPEN_BRACE) || parser_is(p, TOKEN_OPEN_SQUARE))
			parser_fault(
				p, p->t->at,
				"a parameter is a name: taking values apart is not supported here");
		parser_expect(p, TOKEN_NAME, "a parameter's name");
		if (parser_is(p, TOKEN_COLON))
			parser_fault(p, p->t->at,
				     "types are not supported here (': ...' behind a parameter)");
		if (parser_take(p, TOKEN_ASSIGN))
			n->a = parser_part(p, n, parser_value(p));
		parser_append(p, &list, n);
		if (!parser_take(p, TOKEN_COMMA))
			break;
	}
	p->loose = loose;
	parser_expect(p, TOKEN_CLOSE, "',' or ')'");
}

void parser_no_type(struct parser *p)
{
	if (parser_is(p, TOKEN_THIN_ARROW))
		parser_fault(p, p->t->at, "types are not supported here ('-> ...')");
}

static struct node *parser_fn(struct parser *p)
{
	struct node *n = parser_node(p, NODE_FN, p->t->at);
	parser_next(p);
	n->at = p->t->at;
	n->text = p->t->text;
	parser_expect(p, TOKEN_NAME, "the function's name");
	if (parser_is(p, TOKEN_LESS))
		parser_fault(p, p->t->at, "types are not supported here ('<...>')");
	parser_parameters(p, n);
	parser_no_type(p);
	n->b = parser_part(p, n, parser_block(p));
	return n;
}

static struct node *parser_for(struct parser *p)
{
	struct node *n = parser_node(p, NODE_FOR, p->t->at), **name = &n->a;
	parser_next(p);
	do {
		if (parser_is(p, TOKEN_OPEN_BRACE) || parser_is(p, TOKEN_OPEN_SQUARE))
			parser_fault(p, p->t->at, "taking values apart is not supported here");
		*name = parser_node(p, NODE_PARAMETER, p->t->at);
		(*name)->text = p->t->text;
		parser_expect(p, TOKEN_NAME, "a name");
		name = &n->d;
	} while (n->d == NULL && parser_take(p, TOKEN_COMMA));
	parser_expect(p, TOKEN_IN, "'in'");
	n->b = parser_part(p, n, parser_value(p));
	n->c = parser_part(p, n, parser_block(p));
	if (parser_is(p, TOKEN_ELSE))
		parser_fault(p, p->t->at, "'else' behind a loop is not supported here");
	return n;
}

static struct node *parser_while(struct parser *p)
{
	struct node *n = parser_node(p, NODE_WHILE, p->t->at);
	parser_next(p);
	n->a = parser_part(p, n, parser_value(p));
	n->b = parser_part(p, n, parser_block(p));
	return n;
}

static struct node *parser_bind(struct parser *p, bool var)
{
	struct node *n = parser_node(p, NODE_BIND, p->t->at);
	n->yes = var;
	n->text = p->t->text;
	if (parser_is(p, TOKEN_OPEN_BRACE) || parser_is(p, TOKEN_OPEN_SQUARE))
		parser_fault(p, p->t->at, "taking values apart is not supported here");
	parser_expect(p, TOKEN_NAME, "a name");
	if (parser_is(p, TOKEN_COLON))
		parser_fault(p, p->t->at, "types are not supported here (': ...' behind a name)");
	if (parser_is(p, TOKEN_COMMA))
		parser_fault(p, p->t->at, "several names in one statement are not supported here");
	parser_expect(p, TOKEN_ASSIGN, "'='");
	n->a = parser_part(p, n, parser_value(p));
	return n;
}

/* What may stand on the left of an assignment, or a value. */
static struct node *parser_assign_or_value(struct parser *p)
{
	struct node *value = parser_value(p), *n;
	enum token_kind op = p->t->kind;
	bool assigns = op == TOKEN_ASSIGN || (op >= TOKEN_ADD_TO && op <= TOKEN_DIVIDE_BY);
	n = parser_node(p, assigns ? NODE_ASSIGN : NODE_VALUE, p->t->at);
	if (!assigns || p->lost) {
		n->at = value->at;
		n->kind = NODE_VALUE;
		n->a = parser_part(p, n, value);
		return n;
	}
	n->op = op;
	if (value->kind == NODE_OBJECT || value->kind == NODE_ARRAY)
		parser_fault(p, value->at, "taking values apart is not supported here");
	else if ((value->kind != NODE_MEMBER || value->yes) && value->kind != NODE_INDEX &&
		 value->kind != NODE_NAME)
		parser_fault(p, p->t->at, "only names, members and elements can be assigned to");
	parser_next(p);
	n->a = parser_part(p, n, value);
	n->b = parser_part(p, n, parser_value(p));
	return n;
}

static struct node *parser_return(struct parser *p)
{
	struct node *n = parser_node(p, NODE_RETURN, p->t->at);
	parser_next(p);
	if (!p->t->first && p->t->kind != TOKEN_CLOSE_BRACE && p->t->kind != TOKEN_SEMICOLON &&
	    p->t->kind != TOKEN_END)
		n->a = parser_part(p, n, parser_value(p));
	return n;
}

static struct node *parser_word(struct parser *p, enum node_kind kind)
{
	struct node *n = parser_node(p, kind, p->t->at);
	parser_next(p);
	if (parser_is(p, TOKEN_NAME) && !p->t->first)
		parser_fault(p, p->t->at, "loops have no names here");
	return n;
}

/* return, break or continue; NULL: it is none. */
static struct node *parser_jump(struct parser *p)
{
	switch (p->t->kind) {
	case TOKEN_RETURN:
		return parser_return(p);
	case TOKEN_BREAK:
		return parser_word(p, NODE_BREAK);
	case TOKEN_CONTINUE:
		return parser_word(p, NODE_CONTINUE);
	default:
		return NULL;
	}
}

/* --- server ----------------------------------------------------------------------------------- */

static struct node *parser_handler(struct parser *p)
{
	struct node *n = parser_node(p, NODE_HANDLER, p->t->at);
	n->text = p->t->text;
	parser_expect(p, TOKEN_NAME,
		      "on_open, on_message, on_close, on_error, on_away, on_back, on_join, on_leave or '}'");
	parser_expect(p, TOKEN_FN, "'fn'");
	parser_parameters(p, n);
	n->b = parser_part(p, n, parser_block(p));
	return n;
}

/* After something was wrong: on to the next line that stands no deeper, or to the brace that ends
 * the block. */
static void parser_recover(struct parser *p, const struct token *from)
{
	unsigned braces = 0;
	if (!p->lost)
		return;
	for (const struct token *t = from; t < p->t; t++) {
		braces += t->kind == TOKEN_OPEN_BRACE;
		braces -= t->kind == TOKEN_CLOSE_BRACE && braces > 0;
	}
	if (p->t == from)
		braces += p->t->kind == TOKEN_OPEN_BRACE, parser_next(p);
	for (; p->t->kind != TOKEN_END; p->t++) {
		if (braces == 0 && (p->t->first || p->t->kind == TOKEN_CLOSE_BRACE))
			break;
		braces += p->t->kind == TOKEN_OPEN_BRACE;
		braces -= p->t->kind == TOKEN_CLOSE_BRACE && braces > 0;
	}
	p->lost = false;
	p->loose = false;
	p->guard = false;
}

static struct node *parser_ws(struct parser *p)
{
	struct node *n = parser_node(p, NODE_WS, p->t->at);
	struct parser_list list = {n, &n->a};
	parser_next(p);
	parser_expect(p, TOKEN_OPEN_BRACE, "'{'");
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_BRACE) && !parser_is(p, TOKEN_END)) {
		const struct token *from = p->t;
		parser_append(p, &list, parser_handler(p));
		parser_recover(p, from);
	}
	parser_expect(p, TOKEN_CLOSE_BRACE, "'}'");
	return n;
}

static struct node *parser_statement(struct parser *p, bool top, bool server);

static struct node *parser_server(struct parser *p)
{
	struct node *n = parser_node(p, NODE_SERVER, p->t->at);
	struct parser_list list = {n, &n->a};
	parser_next(p);
	parser_take(p, TOKEN_STRING); /* its name */
	parser_expect(p, TOKEN_OPEN_BRACE, "'{'");
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_BRACE) && !parser_is(p, TOKEN_END)) {
		const struct token *from = p->t;
		parser_append(p, &list, parser_statement(p, true, true));
		parser_recover(p, from);
	}
	parser_expect(p, TOKEN_CLOSE_BRACE, "'}'");
	return n;
}

/* --- all of it -------------------------------------------------------------------------------- */

static struct node *parser_plain_statement(struct parser *p)
{
	if (parser_is_foreign(p)) {
		parser_fault(p, p->t->at, "%s", foreign_word(p->t->text));
		return parser_node(p, NODE_NIL, p->t->at);
	}
	if (parser_is_name(p, "ws") && p->t[1].kind == TOKEN_OPEN_BRACE)
		parser_fault(p, p->t->at, "ws { } stands in server { }");
	if (parser_is(p, TOKEN_NAME) && p->t[1].kind == TOKEN_FN && !p->t[1].first)
		parser_fault(p, p->t->at, "a handler of events stands in server { ws { } }");
	if (parser_is(p, TOKEN_NAME) && p->t[1].kind == TOKEN_COMMA && !p->t[1].first) {
		parser_fault(p, p->t[1].at,
			     "several names in one statement are not supported here");
		return parser_node(p, NODE_NIL, p->t->at);
	}
	if (parser_is(p, TOKEN_NAME) &&
	    (p->t[1].kind == TOKEN_ASSIGN || p->t[1].kind == TOKEN_COLON))
		return parser_bind(p, false);
	return parser_assign_or_value(p);
}

static struct node *parser_any_statement(struct parser *p, bool top, bool server)
{
	const struct token *next = p->t + (p->t->kind != TOKEN_END);
	if (top && !server && parser_is(p, TOKEN_SERVER))
		return parser_server(p);
	if (server && parser_is_name(p, "ws") && next->kind == TOKEN_OPEN_BRACE)
		return parser_ws(p);
	switch (p->t->kind) {
	case TOKEN_FN:
		return next->kind == TOKEN_NAME ? parser_fn(p) : parser_assign_or_value(p);
	case TOKEN_VAR:
		parser_next(p);
		return parser_bind(p, true);
	case TOKEN_FOR:
		return parser_for(p);
	case TOKEN_WHILE:
		return parser_while(p);
	case TOKEN_RETURN:
	case TOKEN_BREAK:
	case TOKEN_CONTINUE:
		return parser_jump(p);
	default:
		return parser_plain_statement(p);
	}
}

static struct node *parser_statement(struct parser *p, bool top, bool server)
{
	struct node *n = NULL;
	if (parser_enter(p))
		n = parser_any_statement(p, top, server);
	parser_leave(p);
	if (!p->lost && !p->t->first && p->t->kind != TOKEN_CLOSE_BRACE &&
	    p->t->kind != TOKEN_END && !parser_take(p, TOKEN_SEMICOLON))
		parser_unexpected(p, "the end of the statement");
	while (parser_take(p, TOKEN_SEMICOLON))
		;
	return n != NULL ? n : parser_node(p, NODE_NIL, p->t->at);
}

struct node *parser_block(struct parser *p)
{
	struct node *n = parser_node(p, NODE_BLOCK, p->t->at);
	struct parser_list list = {n, &n->a};
	bool loose = p->loose, guard = p->guard;
	p->loose = false;
	p->guard = false;
	parser_expect(p, TOKEN_OPEN_BRACE, "'{'");
	while (!p->lost && !parser_is(p, TOKEN_CLOSE_BRACE) && !parser_is(p, TOKEN_END)) {
		const struct token *from = p->t;
		parser_append(p, &list, parser_statement(p, false, false));
		parser_recover(p, from);
	}
	parser_expect(p, TOKEN_CLOSE_BRACE, "'}'");
	p->loose = loose;
	p->guard = guard;
	return n;
}

/* { a: 1 } and { a, b } are objects, { } and all others blocks. */
static bool parser_is_object(const struct parser *p)
{
	const struct token *t = p->t;
	if (t[0].kind != TOKEN_OPEN_BRACE || t[1].kind == TOKEN_END)
		return false;
	return t[1].kind == TOKEN_SPREAD ||
	       ((token_is_word(&t[1]) || t[1].kind == TOKEN_STRING) && t[2].kind == TOKEN_COLON) ||
	       (t[1].kind == TOKEN_NAME && t[2].kind == TOKEN_COMMA);
}

struct node *parser_body(struct parser *p)
{
	if (parser_is(p, TOKEN_OPEN_BRACE) && !parser_is_object(p))
		return parser_block(p);
	struct node *block = parser_node(p, NODE_BLOCK, p->t->at), *value = parser_jump(p);
	if (value == NULL) {
		value = parser_node(p, NODE_VALUE, p->t->at);
		value->a = parser_part(p, value, parser_value(p));
	}
	block->a = parser_part(p, block, value);
	return block;
}

struct node *parser_read(struct arena *arena, const struct token *tokens, struct faults *faults)
{
	struct parser p = {.arena = arena, .faults = faults, .begin = tokens, .t = tokens};
	struct node *n = parser_node(&p, NODE_BLOCK, tokens->at);
	struct parser_list list = {n, &n->a};
	while (!parser_is(&p, TOKEN_END)) {
		const struct token *from = p.t;
		parser_append(&p, &list, parser_statement(&p, true, false));
		if (!p.lost && p.t == from)
			parser_unexpected(&p, "a statement");
		parser_recover(&p, from);
	}
	return n;
}
