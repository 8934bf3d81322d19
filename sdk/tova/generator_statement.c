/* generator_statement: statements, and if, match and try where their value has a place. */
#include "tova/generator_parts.h"

#include <math.h>

static void generator_statement(struct generator *g, const struct node *n, struct target target);

/* --- jumps ------------------------------------------------------------------------------------ */

/* The first half of a try is a function: what leaves it says how, to who called it. */
enum signal { SIGNAL_RETURN = 1, SIGNAL_BREAK, SIGNAL_CONTINUE };

static void generator_return_begin(struct generator *g)
{
	if (g->tries > 0)
		generator_printf(g, "return %d,(", SIGNAL_RETURN);
	else
		generator_text(g, "return (");
}

static void generator_break(struct generator *g, bool go_on)
{
	if (g->tries > g->loop_tries)
		generator_printf(g, "do return %d end;", go_on ? SIGNAL_CONTINUE : SIGNAL_BREAK);
	else if (go_on)
		generator_printf(g, "goto c%u;", g->loop);
	else
		generator_text(g, "break;");
}

/* --- values that have a place ----------------------------------------------------------------- */

static void generator_plain(struct generator *g, const struct node *n, struct target target)
{
	switch (target.kind) {
	case TARGET_RETURN:
		generator_return_begin(g);
		generator_value(g, n);
		generator_text(g, ");");
		break;
	case TARGET_LOCAL:
		generator_printf(g, "t_%u=", target.local);
		generator_value(g, n);
		generator_text(g, ";");
		break;
	case TARGET_NONE:
		if (n->kind == NODE_CALL && !(n->a->kind == NODE_MEMBER && n->a->yes)) {
			generator_value(g, n);
			generator_text(g, ";");
		} else {
			generator_text(g, "do local _=");
			generator_value(g, n);
			generator_text(g, " end;");
		}
	}
}

static void generator_if(struct generator *g, const struct node *n, struct target target)
{
	const char *word = "if ";
	for (; n != NULL && n->kind == NODE_IF; n = n->c) {
		generator_text(g, word);
		generator_value(g, n->a);
		generator_text(g, " then ");
		generator_block(g, n->b, target);
		word = " elseif ";
	}
	if (n != NULL) {
		generator_text(g, " else ");
		generator_block(g, n, target);
	}
	generator_text(g, " end;");
}

static void generator_signed(struct generator *g, double number)
{
	generator_printf(g, isinf(number) ? "(%s1/0)" : "(%s", number < 0 ? "-" : "");
	if (!isinf(number))
		generator_printf(g,
				 fabs(number) < 1e17 && floor(number) == number ? "%.1f)"
										: "%.17g)",
				 fabs(number));
}

static void generator_test(struct generator *g, const struct node *p, unsigned subject)
{
	switch (p->kind) {
	case NODE_PATTERN_RANGE:
		generator_printf(g, "WI(t_%u,", subject);
		generator_signed(g, p->number);
		generator_text(g, ",");
		generator_signed(g, p->other);
		generator_text(g, p->yes ? ",true)" : ",false)");
		break;
	case NODE_NUMBER:
		generator_printf(g, "t_%u==", subject);
		generator_signed(g, p->number);
		break;
	case NODE_PATTERN_ANY:
	case NODE_PATTERN_NAME:
		generator_text(g, "true");
		break;
	default:
		generator_printf(g, "t_%u==", subject);
		generator_value(g, p);
	}
}

static void generator_arm(struct generator *g, const struct node *arm, unsigned subject,
			  unsigned end, struct target target)
{
	bool last = arm->b == NULL &&
		    (arm->a->kind == NODE_PATTERN_ANY || arm->a->kind == NODE_PATTERN_NAME);
	generator_text(g, "do ");
	if (arm->a->kind == NODE_PATTERN_NAME) {
		generator_text(g, "local ");
		generator_name(g, arm->a->what);
		generator_printf(g, "=t_%u;", subject);
	}
	if (!last) {
		generator_text(g, "if ");
		generator_test(g, arm->a, subject);
		if (arm->b != NULL) {
			generator_text(g, " and ");
			generator_operand(g, arm->b);
		}
		generator_text(g, " then do ");
	}
	generator_block(g, arm->c, target);
	if (!last)
		generator_printf(g, " end goto e%u end ", end);
	generator_text(g, " end;");
}

static void generator_match(struct generator *g, const struct node *n, struct target target)
{
	unsigned subject = ++g->serial, end = ++g->serial;
	generator_printf(g, "do local t_%u=", subject);
	generator_value(g, n->a);
	generator_text(g, ";");
	for (const struct node *arm = n->b; arm != NULL; arm = arm->next)
		generator_arm(g, arm, subject, end, target);
	generator_printf(g, "::e%u:: end;", end);
}

static void generator_try(struct generator *g, const struct node *n, struct target target)
{
	unsigned id = ++g->serial;
	generator_printf(g, "do local ok_%u,s_%u,v_%u=TR(function() ", id, id, id);
	g->tries++;
	generator_block(g, n->a, target);
	g->tries--;
	generator_printf(g, " end);if not ok_%u then ", id);
	if (n->b != NULL) {
		generator_text(g, "local ");
		generator_name(g, n->b->what);
		generator_printf(g, "=s_%u;", id);
	}
	generator_block(g, n->c, target);
	generator_printf(g, " elseif s_%u==%d then ", id, SIGNAL_RETURN);
	generator_return_begin(g);
	generator_printf(g, "v_%u);", id);
	if (g->loop != 0) {
		generator_printf(g, " elseif s_%u==%d then ", id, SIGNAL_BREAK);
		generator_break(g, false);
		generator_printf(g, " elseif s_%u==%d then ", id, SIGNAL_CONTINUE);
		generator_break(g, true);
	}
	generator_text(g, " end end;");
}

void generator_direct(struct generator *g, const struct node *n, struct target target)
{
	if (n->kind == NODE_IF)
		generator_if(g, n, target);
	else if (n->kind == NODE_MATCH)
		generator_match(g, n, target);
	else if (n->kind == NODE_TRY)
		generator_try(g, n, target);
	else
		generator_plain(g, n, target);
}

static bool generator_is_branch(const struct node *n)
{
	return n->kind == NODE_IF || n->kind == NODE_MATCH || n->kind == NODE_TRY;
}

/* --- names and assignments -------------------------------------------------------------------- */

static void generator_store_begin(struct generator *g, const struct node *n)
{
	const struct name *name = n->what;
	if (name->kind == NAME_TOP && name->var && n->kind == NODE_BIND && n->bound) {
		generator_name(g, name);
		generator_text(g, "=KV(");
	} else if (name->kind == NAME_TOP && name->var) {
		generator_text(g, "ST(T,");
	} else {
		generator_name(g, name);
		generator_text(g, "=(");
		return;
	}
	generator_string(&g->g->lua, name->text);
	generator_text(g, ",");
}

static void generator_bind(struct generator *g, const struct node *n)
{
	bool declares = n->bound && n->what->kind == NAME_LOCAL;
	unsigned id = 0;
	if (generator_is_branch(n->a)) {
		id = ++g->serial;
		if (!declares)
			generator_printf(g, "do local t_%u;", id);
	}
	if (declares) {
		generator_text(g, "local ");
		generator_name(g, n->what);
		generator_text(g, ";");
		if (id != 0)
			generator_printf(g, "do local t_%u;", id);
	}
	if (id != 0)
		generator_direct(g, n->a, (struct target){TARGET_LOCAL, id});
	generator_store_begin(g, n);
	if (id != 0)
		generator_printf(g, "t_%u", id);
	else
		generator_value(g, n->a);
	generator_text(g, id != 0 ? ") end;" : ");");
}

static enum token_kind generator_op_of(enum token_kind assign)
{
	return assign == TOKEN_ADD_TO	       ? TOKEN_PLUS
	       : assign == TOKEN_SUBTRACT_FROM ? TOKEN_MINUS
	       : assign == TOKEN_MULTIPLY_BY   ? TOKEN_STAR
					       : TOKEN_SLASH;
}

/* a.b += c and a[b] += c, with a and b looked at once. */
static void generator_change_in(struct generator *g, const struct node *n)
{
	const struct node *at = n->a;
	generator_text(g, "do local o=");
	generator_value(g, at->a);
	generator_text(g, ";local k=");
	if (at->kind == NODE_MEMBER)
		generator_string(&g->g->lua, at->text);
	else
		generator_value(g, at->b);
	generator_text(g, ";");
	generator_at(g, at->at);
	generator_text(g, "ST(o,k,");
	if (n->op == TOKEN_ASSIGN) {
		generator_value(g, n->b);
	} else {
		generator_text(g, "(GT(o,k))");
		generator_at(g, n->at);
		generator_text(g, token_name(generator_op_of(n->op)));
		generator_operand(g, n->b);
	}
	generator_text(g, ") end;");
}

static void generator_assign(struct generator *g, const struct node *n)
{
	if (n->a->kind != NODE_NAME) {
		generator_change_in(g, n);
		return;
	}
	struct node name = *n->a;
	generator_store_begin(g, &name);
	if (n->op == TOKEN_ASSIGN)
		generator_value(g, n->b);
	else
		generator_operation(g, n->at, generator_op_of(n->op), n->a, n->b);
	generator_text(g, ");");
}

/* --- loops ------------------------------------------------------------------------------------ */

void generator_loop_head(struct generator *g, const struct node *name, const struct node *second,
			 const struct node *walked)
{
	generator_text(g, "for ");
	if (walked->kind == NODE_RANGE && second == NULL) {
		generator_name(g, name->what);
		generator_text(g, "=");
		generator_at(g, walked->a->at);
		generator_text(g, "FL(");
		generator_value(g, walked->a);
		generator_text(g, "),");
		generator_at(g, walked->b->at);
		generator_text(g, walked->yes ? "FL(" : "BF(");
		generator_value(g, walked->b);
		generator_text(g, "),1.0 do ");
		return;
	}
	if (second != NULL) {
		generator_name(g, name->what);
		generator_text(g, ",");
	} else {
		generator_text(g, "_,");
	}
	generator_name(g, second != NULL ? second->what : name->what);
	generator_text(g, " in ");
	generator_at(g, walked->at);
	generator_text(g, "AT(");
	generator_value(g, walked);
	generator_text(g, second != NULL ? ",true) do " : ",false) do ");
}

static void generator_loop(struct generator *g, const struct node *body)
{
	unsigned loop = g->loop, loop_tries = g->loop_tries;
	g->loop = ++g->serial;
	g->loop_tries = g->tries;
	generator_text(g, "do ");
	generator_block(g, body, (struct target){.kind = TARGET_NONE});
	generator_printf(g, " end ::c%u:: end;", g->loop);
	g->loop = loop;
	g->loop_tries = loop_tries;
}

/* --- statements ------------------------------------------------------------------------------- */

static void generator_return(struct generator *g, const struct node *n)
{
	generator_text(g, "do ");
	if (n->a != NULL)
		generator_direct(g, n->a, (struct target){.kind = TARGET_RETURN});
	/* A branch without a value comes here. */
	if (n->a == NULL || generator_is_branch(n->a)) {
		generator_text(g, "do ");
		generator_return_begin(g);
		generator_text(g, "nil) end;");
	}
	generator_text(g, " end;");
}

static void generator_fn(struct generator *g, const struct node *n)
{
	generator_name(g, n->what);
	generator_text(g, "=");
	generator_function(g, n->a, n->b);
	generator_text(g, ";");
}

static void generator_statement(struct generator *g, const struct node *n, struct target target)
{
	generator_at(g, n->at);
	switch (n->kind) {
	case NODE_BIND:
		generator_bind(g, n);
		break;
	case NODE_ASSIGN:
		generator_assign(g, n);
		break;
	case NODE_VALUE:
		generator_direct(g, n->a, target);
		break;
	case NODE_RETURN:
		generator_return(g, n);
		break;
	case NODE_BREAK:
	case NODE_CONTINUE:
		generator_break(g, n->kind == NODE_CONTINUE);
		break;
	case NODE_FOR:
		generator_loop_head(g, n->a, n->d, n->b);
		generator_loop(g, n->c);
		break;
	case NODE_WHILE:
		generator_text(g, "while ");
		generator_value(g, n->a);
		generator_text(g, " do ");
		generator_loop(g, n->b);
		break;
	case NODE_FN:
		generator_fn(g, n);
		break;
	default:
		break;
	}
}

void generator_block(struct generator *g, const struct node *block, struct target target)
{
	const struct target none = {.kind = TARGET_NONE};
	for (const struct node *n = block->a; n != NULL; n = n->next) {
		if (n->kind != NODE_FN)
			continue;
		generator_text(g, "local ");
		generator_name(g, n->what);
		generator_text(g, ";");
	}
	for (const struct node *n = block->a; n != NULL; n = n->next)
		generator_statement(g, n, n->next == NULL ? target : none);
}

static void generator_functions(struct generator *g, const struct node *first)
{
	for (const struct node *n = first; n != NULL; n = n->next) {
		if (n->kind == NODE_SERVER)
			generator_functions(g, n->a);
		else if (n->kind == NODE_FN)
			generator_fn(g, n);
	}
}

static void generator_rest(struct generator *g, const struct node *first)
{
	for (const struct node *n = first; n != NULL; n = n->next) {
		if (n->kind == NODE_SERVER)
			generator_rest(g, n->a);
		else if (n->kind != NODE_FN)
			generator_statement(g, n, (struct target){.kind = TARGET_NONE});
	}
}

void generator_program(struct generator *g, const struct node *first)
{
	generator_functions(g, first);
	generator_rest(g, first);
}
