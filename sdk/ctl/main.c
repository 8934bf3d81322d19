/* tova-ctl: tells a running tova-host what to do, and asks it how it is. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/command.h"
#include "ctl/print.h"
#include "ctl/session.h"

#define MAIN_TIMEOUT_MS 10000
#define MAIN_SYSTEM_SOCKET "/run/tova.sock"

struct arguments {
	struct command_line line;
	const char *control; /* NULL: where it is by default */
	bool json;
};

static int main_help(void)
{
	puts("Usage: tova-ctl [OPTION...] COMMAND [ARGUMENT...]\n"
	     "Talks to a running tova-host over its control socket.\n");
	command_help();
	puts("\n"
	     "  -c, --control PATH  the control socket; default: tova.sock in $XDG_RUNTIME_DIR, or " MAIN_SYSTEM_SOCKET
	     "\n"
	     "  -m, --mount PATH    the mount that is meant; may be left out where there is only one\n"
	     "  -f, --file FILE     data from a file instead of TEXT; - is standard input\n"
	     "  -b, --binary        data is sent as binary, not as text\n"
	     "  -k, --key KEY       conflation key of what is sent\n"
	     "  -j, --json          answers as one line of JSON\n"
	     "      --help, --version\n"
	     "\n"
	     "Exit codes: 0 done, 1 the host is not there or refuses, 2 bad usage, 3 what was named is "
	     "not there.");
	return 0;
}

/* Returns an exit code, or -1: go on. */
static int main_option(struct arguments *a, int option)
{
	switch (option) {
	case 'c':
		a->control = optarg;
		return -1;
	case 'm':
		a->line.mount = optarg;
		return -1;
	case 'f':
		a->line.file = optarg;
		return -1;
	case 'b':
		a->line.binary = true;
		return -1;
	case 'k':
		a->line.key = optarg;
		return -1;
	case 'j':
		a->json = true;
		return -1;
	case 'h':
		return main_help();
	case 'v':
		puts("tova-ctl " TOVA_VERSION);
		return 0;
	default:
		fputs("Try tova-ctl --help\n", stderr);
		return 2;
	}
}

static int main_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{"control", required_argument, NULL, 'c'},
		{"mount", required_argument, NULL, 'm'},
		{"file", required_argument, NULL, 'f'},
		{"binary", no_argument, NULL, 'b'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{"key", required_argument, NULL, 'k'},
		{NULL, 0, NULL, 0},
	};
	int option, code = -1;
	while (code < 0 && (option = getopt_long(argc, argv, "c:m:f:k:bj", options, NULL)) != -1)
		code = main_option(a, option);
	a->line.words = argv + optind; /* ends in NULL */
	a->line.n = argc - optind;
	return code;
}

/* A host of the user's own goes before the machine's. */
static const char *main_control_path(const struct arguments *a, char *path, size_t cap)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	if (a->control != NULL)
		return a->control;
	if (runtime == NULL || runtime[0] == '\0' ||
	    (size_t)snprintf(path, cap, "%s/tova.sock", runtime) >= cap)
		return MAIN_SYSTEM_SOCKET;
	return access(path, F_OK) == 0 || access(MAIN_SYSTEM_SOCKET, F_OK) != 0
		       ? path
		       : MAIN_SYSTEM_SOCKET;
}

static int main_complain(const char *what, const char *why)
{
	fprintf(stderr, "tova-ctl: %s", what);
	print_text(stderr, why);
	fputc('\n', stderr);
	return 1;
}

static void main_say_unknown(const char *nobody, const char *name, const char *mount)
{
	fprintf(stderr, "tova-ctl: %s ", nobody);
	print_text(stderr, name);
	if (mount != NULL) {
		fputs(" at ", stderr);
		print_text(stderr, mount);
	}
	fputc('\n', stderr);
}

static int main_converse(const struct arguments *a, struct command_request *r)
{
	static struct session session; /* threads of nng may outlive this function */
	char path[4096];
	json_t *answer = NULL;
	if (session_open(&session, main_control_path(a, path, sizeof path), MAIN_TIMEOUT_MS))
		answer = session_ask(&session, r->object, r->bytes, r->n_bytes, r->key);
	if (answer == NULL)
		return main_complain("", session.why);
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error != NULL)
		main_complain("the host refuses: ", error);
	else
		print_answer(stdout, answer, a->json);
	session_leave(&session);
	const char *unknown = error == NULL ? command_unknown(r, answer) : NULL;
	if (unknown != NULL)
		main_say_unknown(unknown, r->name, a->line.mount);
	return error != NULL ? 1 : unknown != NULL ? 3 : 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.control = NULL};
	struct command_request request;
	int code = main_arguments(&arguments, argc, argv);
	if (code >= 0)
		return code;
	code = command_build(&arguments.line, &request);
	if (code != 0)
		return code;
	code = main_converse(&arguments, &request);
	if (fflush(stdout) != 0 && code == 0) {
		perror("tova-ctl: standard output");
		code = 1;
	}
	_exit(code); /* threads of nng are still about */
}
