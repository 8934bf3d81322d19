/* tree: a program as the parser understands it and the checker completes it. All of it lies in one
 * arena. */
#ifndef TOVA_SDK_TREE_H
#define TOVA_SDK_TREE_H

#include <stdbool.h>

#include "tova/token.h"

/* Which fields a node has: a, b, c are nodes or the first of a list (`next`). */
enum node_kind {
	/* values */
	NODE_NIL,
	NODE_BOOL,     /* yes */
	NODE_NUMBER,   /* number */
	NODE_STRING,   /* text */
	NODE_TEMPLATE, /* a: pieces, strings and others */
	NODE_NAME,     /* text; what */
	NODE_ARRAY,    /* a: elements */
	NODE_OBJECT,   /* a: ENTRY, SPREAD */
	NODE_ENTRY,    /* text, or a: the key that is computed; b: its value */
	NODE_SPREAD,   /* a */
	NODE_COLLECT,  /* a for b: CLAUSE...; c: the value, then a is the key */
	NODE_CLAUSE,   /* a: NAME, b: NAME or NULL, c: what is walked, d: condition or NULL */
	NODE_MEMBER,   /* a.text; yes: a?.text */
	NODE_INDEX,    /* a[b] */
	NODE_CALL,     /* a(b...) */
	NODE_NEGATE,   /* -a */
	NODE_NOT,      /* not a */
	NODE_BINARY,   /* a op b */
	NODE_COMPARE,  /* a op b; c: a COMPARE without a, or NULL: a < b < c */
	NODE_AND,
	NODE_OR,
	NODE_COALESCE,
	NODE_IN,     /* a in b; yes: not in */
	NODE_RANGE,  /* a..b; yes: a..=b */
	NODE_LAMBDA, /* a: PARAMETER..., b: BLOCK */
	/* both */
	NODE_IF,    /* a: condition, b: BLOCK, c: BLOCK, IF or NULL */
	NODE_MATCH, /* a: subject, b: ARM... */
	NODE_ARM,   /* a: pattern, b: guard or NULL, c: BLOCK */
	NODE_TRY,   /* a: BLOCK, b: NAME or NULL, c: BLOCK */
	/* statements */
	NODE_BLOCK,  /* a: statements */
	NODE_BIND,   /* text = a; yes: var; bound: a new name, else an assignment; what */
	NODE_ASSIGN, /* a: MEMBER, INDEX or NAME; op: ASSIGN or += ...; b */
	NODE_VALUE,  /* a, as a statement */
	NODE_RETURN, /* a or NULL */
	NODE_BREAK,
	NODE_CONTINUE,
	NODE_FOR,	/* a: NAME, d: second NAME or NULL, b: what is walked, c: BLOCK */
	NODE_WHILE,	/* a, b: BLOCK */
	NODE_FN,	/* text; a: PARAMETER..., b: BLOCK; what */
	NODE_PARAMETER, /* text; a: value by default or NULL; what */
	NODE_SERVER,	/* a: statements and WS */
	NODE_WS,	/* a: HANDLER... */
	NODE_HANDLER,	/* text; a: PARAMETER..., b: BLOCK */
	/* patterns, besides NIL, BOOL, NUMBER, STRING */
	NODE_PATTERN_ANY,
	NODE_PATTERN_RANGE, /* number to other; yes: with it */
	NODE_PATTERN_NAME,  /* text; what */
};

struct node;

/* What a name stands for. */
enum name_kind {
	NAME_LOCAL, /* of a function */
	NAME_TOP,   /* of the program */
	NAME_LIBRARY,
};

struct name {
	enum name_kind kind;
	struct span text;
	struct position at;
	bool var;      /* may be changed */
	bool function; /* by fn */
	bool parameter;
	bool ready;	   /* its statement has been passed */
	const void *owner; /* the function that has it, while that is checked */
	unsigned serial;   /* of a local: tells those of one text apart */
};

/* Of a tree: what walks it recurses, and so does what compiles what is made of it. */
#define TREE_HEIGHT_MAX 80

struct node {
	enum node_kind kind;
	unsigned height;
	enum token_kind op;
	bool yes, bound;
	struct position at;
	struct span text;
	double number, other;
	struct node *a, *b, *c, *d, *next;
	struct name *what;
};

#endif
