/* token: the words of a program. */
#ifndef TOVA_SDK_TOKEN_H
#define TOVA_SDK_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"
#include "tova/fault.h"

/* id, as it is written */
#define TOKEN_KEYWORDS(X) \
	X(AND, "and") \
	X(BREAK, "break") \
	X(CATCH, "catch") \
	X(CONTINUE, "continue") \
	X(ELIF, "elif") \
	X(ELSE, "else") \
	X(FALSE, "false") \
	X(FN, "fn") \
	X(FOR, "for") \
	X(IF, "if") \
	X(IN, "in") \
	X(MATCH, "match") \
	X(NIL, "nil") \
	X(NOT, "not") \
	X(OR, "or") \
	X(RETURN, "return") \
	X(SERVER, "server") \
	X(TRUE, "true") \
	X(TRY, "try") \
	X(VAR, "var") \
	X(WHILE, "while")

/* Longer ones first, as the first that fits is taken. */
#define TOKEN_SIGNS(X) \
	X(SPREAD, "...") \
	X(RANGE_WITH, "..=") \
	X(RANGE, "..") \
	X(POWER, "**") \
	X(EQUAL, "==") \
	X(NOT_EQUAL, "!=") \
	X(LESS_EQUAL, "<=") \
	X(MORE_EQUAL, ">=") \
	X(ARROW, "=>") \
	X(THIN_ARROW, "->") \
	X(PIPE, "|>") \
	X(COALESCE, "?" \
		    "?") \
	X(MAYBE, "?.") \
	X(AND_AND, "&&") \
	X(OR_OR, "||") \
	X(ADD_TO, "+=") \
	X(SUBTRACT_FROM, "-=") \
	X(MULTIPLY_BY, "*=") \
	X(DIVIDE_BY, "/=") \
	X(ASSIGN, "=") \
	X(LESS, "<") \
	X(MORE, ">") \
	X(PLUS, "+") \
	X(MINUS, "-") \
	X(STAR, "*") \
	X(SLASH, "/") \
	X(PERCENT, "%") \
	X(BANG, "!") \
	X(QUESTION, "?") \
	X(BAR, "|") \
	X(AT, "@") \
	X(DOT, ".") \
	X(COMMA, ",") \
	X(COLON, ":") \
	X(SEMICOLON, ";") \
	X(OPEN, "(") \
	X(CLOSE, ")") \
	X(OPEN_SQUARE, "[") \
	X(CLOSE_SQUARE, "]") \
	X(OPEN_BRACE, "{") \
	X(CLOSE_BRACE, "}")

#define TOKEN_ID(id, text) TOKEN_##id,
enum token_kind {
	TOKEN_END, /* of the program */
	TOKEN_NAME,
	TOKEN_NUMBER,
	TOKEN_STRING, /* one without expressions in it */
	/* "a{x}b{y}c": BEGIN "a", x, MIDDLE "b", y, FINISH "c" */
	TOKEN_STRING_BEGIN,
	TOKEN_STRING_MIDDLE,
	TOKEN_STRING_FINISH,
	TOKEN_KEYWORDS(TOKEN_ID) TOKEN_SIGNS(TOKEN_ID) TOKEN_KINDS
};
#undef TOKEN_ID

struct token {
	enum token_kind kind;
	bool first; /* of its line */
	struct position at;
	struct span text; /* a name's or keyword's letters; a string's value */
	double number;
};

/* As it is written, or what it is: "a name", "the end of the file". Static. */
const char *token_name(enum token_kind kind);
/* May it be the key of an object, or stand behind a dot? Names may, and keywords. */
static inline bool token_is_word(const struct token *t)
{
	return t->kind == TOKEN_NAME || (t->kind >= TOKEN_AND && t->kind <= TOKEN_WHILE);
}

#endif
