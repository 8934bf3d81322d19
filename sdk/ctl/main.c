/* tova-ctl: tells a running tova-host what to do, and asks it how it is. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/command.h"
#include "ctl/door.h"
#include "ctl/print.h"
#include "ctl/top.h"

struct arguments {
	struct command_line line;
	const char *control; /* NULL: where it is by default */
	bool json;
};

static const struct main_option {
	const char *name;
	int letter; /* below 256: there is a short form, too */
	const char *argument, *text;
} main_options[] = {
	{"control", 'c', "PATH",
	 "the control socket; default: tova.sock in $XDG_RUNTIME_DIR, or where services have it"},
	{"mount", 'm', "PATH", "the mount that is meant; may be left out where there is only one"},
	{"file", 'f', "FILE", "data from a file instead of TEXT; - is standard input"},
	{"binary", 'b', NULL, "data is sent as binary, not as text"},
	{"key", 'k', "KEY", "conflation key of what is sent"},
	{"json", 'j', NULL, "answers as one line of JSON"},
	{"help", 'h', NULL, "this"},
	{"version", 'v', NULL, "which version this is"},
	{"words", 'w', NULL, NULL}, /* for the completion of a shell */
};
#define MAIN_OPTIONS (sizeof main_options / sizeof *main_options)

static void main_help_option(const struct main_option *o)
{
	char name[32];
	snprintf(name, sizeof name, "%s%s%s", o->name, o->argument != NULL ? " " : "",
		 o->argument != NULL ? o->argument : "");
	printf("  -%c, --%-14s %s\n", o->letter, name, o->text);
}

static int main_help(void)
{
	puts("Usage: tova-ctl [OPTION...] COMMAND [ARGUMENT...]\n"
	     "Talks to a running tova-host over its control socket.\n");
	command_help();
	putchar('\n');
	for (size_t i = 0; i < MAIN_OPTIONS; i++)
		if (main_options[i].text != NULL)
			main_help_option(&main_options[i]);
	puts("\nExit codes: 0 done, 1 the host is not there, refuses, or what was named is not there, "
	     "2 bad usage.");
	return 0;
}

/* A line for each command and each option. */
static int main_words(void)
{
	command_words();
	for (size_t i = 0; i < MAIN_OPTIONS; i++)
		if (main_options[i].text != NULL)
			printf("--%s %s\n", main_options[i].name,
			       main_options[i].argument != NULL ? main_options[i].argument : "");
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
	case 'w':
		return main_words();
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
	struct option options[MAIN_OPTIONS + 1] = {{.name = NULL}};
	char letters[2 * MAIN_OPTIONS + 1];
	size_t n = 0;
	int option, code = -1;
	for (size_t i = 0; i < MAIN_OPTIONS; i++) {
		bool takes = main_options[i].argument != NULL;
		options[i] = (struct option){main_options[i].name,
					     takes ? required_argument : no_argument, NULL,
					     main_options[i].letter};
		letters[n++] = (char)main_options[i].letter;
		if (takes)
			letters[n++] = ':';
	}
	letters[n] = '\0';
	while (code < 0 && (option = getopt_long(argc, argv, letters, options, NULL)) != -1)
		code = main_option(a, option);
	a->line.words = argv + optind; /* ends in NULL */
	a->line.n = argc - optind;
	return code;
}

static int main_complain(const char *what, const char *why)
{
	fprintf(stderr, "tova-ctl: %s", what);
	print_text(stderr, why);
	fputc('\n', stderr);
	return 1;
}

static int main_say_unknown(const char *nobody, const char *name, const char *mount)
{
	fprintf(stderr, "tova-ctl: %s ", nobody);
	print_text(stderr, name);
	if (mount != NULL) {
		fputs(" at ", stderr);
		print_text(stderr, mount);
	}
	fputc('\n', stderr);
	return 1;
}

static int main_ask(struct door *door, const struct arguments *a, struct command_request *r)
{
	json_t *answer = door_ask(door, r->object, r->bytes, r->n_bytes, r->key);
	if (answer == NULL)
		return main_complain("", door->why);
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error != NULL)
		return main_complain("the host refuses: ", error);
	const char *unknown = command_unknown(r, answer);
	if (a->json || unknown == NULL)
		print_answer(stdout, answer, a->json, r->tells_receivers);
	json_decref(answer);
	return unknown != NULL ? main_say_unknown(unknown, r->name, a->line.mount) : 0;
}

static int main_top(struct door *door, const struct arguments *a, const struct command_request *r)
{
	const struct top top = {.every_s = r->every_s, .times = r->times, .json = a->json};
	return top_show(door, &top, stdout) ? 0 : main_complain("", door->why);
}

static int main_converse(const struct arguments *a, struct command_request *r)
{
	static struct door door; /* threads of nng may outlive this function */
	if (!door_open(&door, a->control))
		return main_complain("", door.why);
	int code = r->kind == COMMAND_TOP ? main_top(&door, a, r) : main_ask(&door, a, r);
	door_leave(&door);
	return code;
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
