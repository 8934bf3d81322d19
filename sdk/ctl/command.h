/* command: what tova-ctl can be asked to do. */
#ifndef TOVA_CTL_COMMAND_H
#define TOVA_CTL_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What stands on the command line. */
struct command_line {
	const char *mount; /* NULL: not named */
	const char *file;  /* where data comes from; NULL: an argument */
	const char *key;   /* conflation key of what is sent; NULL: none */
	const char *user;  /* NULL: not named */
	const char *room;  /* likewise */
	unsigned for_s;	   /* 0: as long as it takes */
	bool binary, wait;
	char **words; /* the command and its arguments */
	int n;
};

enum command_kind {
	COMMAND_ASK,   /* a request and its answer */
	COMMAND_TOP,   /* top.h */
	COMMAND_TRACE, /* watch.h: lines follow the answer */
};
#define COMMAND_TOP_MAX 86400
#define COMMAND_TOP_EVERY_S 2

/* What is said to the host. */
struct command_request {
	enum command_kind kind;
	json_t *object;
	const char *key; /* the member that the answer repeats */
	char *bytes;	 /* binary data; malloc */
	size_t n_bytes;
	/* What is to be said if the host knows nobody of that name: "there is no connection",
	 * "J0cX..."; or NULL. */
	const char *nobody, *name;
	bool tells_receivers;	 /* how many got it is worth a line */
	bool tells_failure;	 /* an answer with an error tells more */
	bool waits;		 /* the answer may take long */
	unsigned every_s, times; /* COMMAND_TOP; times 0: until it is stopped */
	unsigned for_s;		 /* COMMAND_TRACE; 0: likewise */
};

/* Returns 0, or an exit code after the reason was printed. */
int command_build(const struct command_line *line, struct command_request *request_r);
/* What the answer says about the name that was asked for: a sentence's beginning, or NULL: it is
 * known. */
const char *command_unknown(const struct command_request *r, const json_t *answer);
void command_free(struct command_request *r);
/* For --help, a line each. */
void command_help(void);
/* The same for programs: each command's name and its arguments. */
void command_words(void);

#endif
