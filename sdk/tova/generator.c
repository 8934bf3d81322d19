#include "tova/generator.h"

#include <stdarg.h>
#include <stdio.h>

#include "tova/generator_parts.h"

/* --- text ------------------------------------------------------------------------------------- */

void generator_text(struct generator *g, const char *text)
{
	buffer_add_text(&g->g->lua, text);
}

void generator_printf(struct generator *g, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	generator_text(g, text);
}

void generator_at(struct generator *g, struct position at)
{
	struct generated *out = g->g;
	if (out->n_lines > 0 && out->lines[out->n_lines - 1].line == at.line &&
	    out->lines[out->n_lines - 1].column == at.column) {
		generator_text(g, " ");
		return;
	}
	if (out->n_lines == g->cap) {
		size_t cap = g->cap > 0 ? 2 * g->cap : 256;
		struct position *wider = realloc(out->lines, cap * sizeof *wider);
		if (wider == NULL) {
			out->lua.failed = true;
			return;
		}
		out->lines = wider;
		g->cap = cap;
	}
	out->lines[out->n_lines++] = at;
	generator_text(g, "\n");
}

void generator_string(struct buffer *b, struct span text)
{
	buffer_add(b, "\"", 1);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c == '"' || c == '\\' || c < ' ' || c == 127)
			buffer_addf(b, "\\%03u", c);
		else
			buffer_add(b, text.p + i, 1);
	}
	buffer_add(b, "\"", 1);
}

static bool generator_is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

bool generator_is_word(struct span text)
{
	static const char *const lua[] = {"and",   "break", "do",	"else", "elseif", "end",
					  "false", "for",   "function", "goto", "if",	  "in",
					  "local", "nil",   "not",	"or",	"repeat", "return",
					  "then",  "true",  "until",	"while"};
	for (size_t i = 0; i < text.n; i++)
		if (!generator_is_plain(text.p[i]))
			return false;
	for (size_t i = 0; i < sizeof lua / sizeof *lua; i++)
		if (span_eq(text, span_of(lua[i])))
			return false;
	return text.n > 0;
}

/* --- names ------------------------------------------------------------------------------------ */

static void generator_member_of(struct generator *g, const char *table, struct span text)
{
	generator_text(g, table);
	if (generator_is_word(text)) {
		generator_text(g, ".");
		buffer_add(&g->g->lua, text.p, text.n);
	} else {
		generator_text(g, "[");
		generator_string(&g->g->lua, text);
		generator_text(g, "]");
	}
}

#define GENERATOR_NAME_MAX 40 /* letters of a name that are kept, for who reads it */

void generator_name(struct generator *g, const struct name *name)
{
	if (name->kind != NAME_LOCAL) {
		generator_member_of(g, name->kind == NAME_TOP ? "T" : "B", name->text);
		return;
	}
	for (size_t i = 0; i < name->text.n && i < GENERATOR_NAME_MAX; i++)
		generator_printf(g, "%c",
				 generator_is_plain(name->text.p[i]) ? name->text.p[i] : '_');
	generator_printf(g, "_%u", name->serial);
}

unsigned generator_shape(struct generator *g, const struct node *first, const struct node *last)
{
	struct buffer *b = &g->shapes;
	buffer_addf(b, " S[%u]={[0]=true", ++g->n_shapes);
	for (; first != last; first = first->next) {
		buffer_add(b, ",", 1);
		generator_string(b, first->text);
	}
	buffer_add(b, "}", 1);
	return g->n_shapes;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void generator_handlers(struct generator *g, const struct checker_found *found)
{
	for (unsigned i = 0; i < CHECKER_HANDLERS; i++) {
		if (found->handlers[i] == NULL)
			continue;
		generator_printf(g, " H[%u]=", i + 1);
		generator_function(g, found->handlers[i]->a, found->handlers[i]->b);
	}
}

/* The first line: helpers and shapes. */
static void generator_head(struct generator *g, const struct buffer *body)
{
	static const char head[] =
		"local B,T,H,K,S,R=...;"
		"local A,AC,AP,AT,BF,CL,CN,EQ,FL,GT,IN,KV,L,MD,O,OE,OM,OS,PW,QM,RG,ST,TR,TX,UP,WI="
		"R.A,R.AC,R.AP,R.AT,R.BF,R.CL,R.CN,R.EQ,R.FL,R.GT,R.IN,R.KV,R.L,R.MD,R.O,R.OE,R.OM,"
		"R.OS,R.PW,R.QM,R.RG,R.ST,R.TR,R.TX,R.UP,R.WI;";
	struct buffer whole = {0};
	buffer_add(&whole, head, sizeof head - 1);
	buffer_add(&whole, g->shapes.p, g->shapes.n);
	buffer_add(&whole, body->p, body->n);
	buffer_add_text(&whole, "\n");
	whole.failed = whole.failed || body->failed || g->shapes.failed;
	g->g->lua = whole;
}

bool generator_write(const struct node *program, const struct checker_found *found,
		     struct generated *g_r)
{
	struct generator g = {.g = g_r};
	*g_r = (struct generated){.n_lines = 0};
	generator_at(&g, (struct position){0, 0}); /* there is no line 0 */
	g_r->lua.n = 0;
	generator_at(&g, (struct position){1, 1});
	g_r->lua.n = 0;
	generator_program(&g, program->a);
	generator_handlers(&g, found);
	struct buffer body = g_r->lua;
	generator_head(&g, &body);
	buffer_free(&body);
	buffer_free(&g.shapes);
	return !g_r->lua.failed;
}

void generated_free(struct generated *g)
{
	buffer_free(&g->lua);
	free(g->lines);
	g->lines = NULL;
	g->n_lines = 0;
}
