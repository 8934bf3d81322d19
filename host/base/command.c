#include "base/command.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wordexp.h>

static bool command_is_one_of(const char *word, const char *const *list)
{
	while (*list != NULL && strcmp(word, *list) != 0)
		list++;
	return *list != NULL;
}

/* What the shell does itself, or begins a statement of its with. */
static bool command_is_shells(const char *word)
{
	static const char *const words[] = {
		".",	 ":",	    "!",	"[",	  "alias", "break", "builtin", "case",
		"cd",	 "command", "continue", "echo",	  "eval",  "exit",  "export",  "false",
		"for",	 "if",	    "local",	"printf", "pwd",   "read",  "return",  "set",
		"shift", "source",  "test",	"times",  "trap",  "true",  "type",    "ulimit",
		"umask", "unset",   "until",	"wait",	  "while", NULL,
	};
	return command_is_one_of(word, words);
}

/* NAME=value in front of a command. */
static bool command_is_assignment(const char *word)
{
	const char *at = word;
	while (isalnum((unsigned char)*at) || *at == '_')
		at++;
	return at > word && *at == '=' && !isdigit((unsigned char)*word);
}

static bool command_is_program(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return false;
	errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
	return S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As the shell looks for a name without a slash. */
static bool command_is_in_path(const char *name)
{
	const char *set = getenv("PATH"), *at = set != NULL ? set : "/usr/local/bin:/usr/bin:/bin";
	char path[4096];
	for (size_t n; at != NULL; at = at[n] == ':' ? at + n + 1 : NULL) {
		n = strcspn(at, ":");
		if (snprintf(path, sizeof path, "%.*s%s%s", (int)n, at, n > 0 ? "/" : "", name) <
			    (int)sizeof path &&
		    command_is_program(path))
			return true;
	}
	return false;
}

/* Programs whose first argument that is no option is a file that they run. */
static bool command_is_interpreter(const char *program)
{
	static const char *const names[] = {"sh",     "bash", "dash",  "ksh",  "zsh", "node",
					    "nodejs", "bun",  "perl",  "ruby", "php", "tclsh",
					    "lua",    "pypy", "pypy3", NULL};
	const char *slash = strrchr(program, '/'), *name = slash != NULL ? slash + 1 : program;
	return command_is_one_of(name, names) || strncmp(name, "python", 6) == 0 ||
	       strncmp(name, "lua5", 4) == 0;
}

/* The file among the words behind an interpreter; NULL: which one it is can not be told. */
static const char *command_file(char *const *words)
{
	static const char *const alone[] = {"-u", "-B", "-E", "-s", "-I", "-e", "-x", NULL};
	const char *interpreter =
		strrchr(words[0], '/') != NULL ? strrchr(words[0], '/') + 1 : words[0];
	bool python = strncmp(interpreter, "py", 2) == 0, shell = strstr(interpreter, "sh") != NULL;
	char *const *at = words + 1;
	/* -u is an option of Python without a value, -e one of a shell; elsewhere it may have
	 * one. */
	while (*at != NULL && (*at)[0] == '-' && (python || shell) && command_is_one_of(*at, alone))
		at++;
	return *at != NULL && (*at)[0] != '-' && strcmp(*at, "/dev/stdin") != 0 ? *at : NULL;
}

static bool command_check_words(char *const *words, char *why, size_t cap)
{
	while (*words != NULL && (command_is_assignment(*words) || strcmp(*words, "exec") == 0))
		words++;
	if (*words == NULL || command_is_shells(*words))
		return true;
	bool slash = strchr(*words, '/') != NULL;
	if (slash ? !command_is_program(*words) : !command_is_in_path(*words)) {
		snprintf(why, cap, "its program %.200s can not be run: %s", *words,
			 slash ? strerror(errno) : "there is none in PATH");
		return false;
	}
	const char *file = command_is_interpreter(*words) ? command_file(words) : NULL;
	if (file == NULL || access(file, R_OK) == 0)
		return true;
	snprintf(why, cap, "its file %.200s can not be read: %s", file, strerror(errno));
	return false;
}

bool command_check(const char *command, char *why, size_t cap)
{
	wordexp_t words;
	/* Whatever needs a shell (a pipe, another command within, a variable that is not set) is
	 * left to it. */
	int result = wordexp(command, &words, WRDE_NOCMD | WRDE_UNDEF);
	if (result != 0) {
		if (result == WRDE_NOSPACE)
			wordfree(&words);
		return true;
	}
	bool ok = words.we_wordc == 0 || command_check_words(words.we_wordv, why, cap);
	wordfree(&words);
	return ok;
}
