/* tova-ctl: tells a running tova-host what to do, and asks it how it is. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/command.h"
#include "ctl/door.h"
#include "ctl/print.h"
#include "ctl/rest.h"
#include "ctl/top.h"
#include "ctl/watch.h"

struct arguments {
	struct command_line line;
	const char *control;   /* NULL: where it is by default */
	struct http_place api; /* url NULL: the control socket */
	unsigned timeout_s;    /* 0: as long as is usual */
	bool json;
};

#define MAIN_TIMEOUT_MS 10000
#define MAIN_WAIT_MS 300000 /* a host waits for a handler at most twice --ready-timeout */
#define MAIN_TIMED_OUT 3    /* the exit code */

static const struct main_option {
	const char *name;
	int letter; /* below 256: there is a short form, too */
	const char *argument, *text;
} main_options[] = {
	{"control", 'c', "PATH",
	 "the control socket; default: tova.sock in $XDG_RUNTIME_DIR, or where services have it"},
	{"url", 'u', "URL", "instead of that the HTTP API: http://, https:// or unix:/PATH"},
	{"token-file", 'T', "FILE", "with the API's token in it"},
	{"ca", 'C', "FILE", "certificates to trust (PEM), instead of those that the system trusts"},
	{"mount", 'm', "PATH", "the mount that is meant; may be left out where there is only one"},
	{"file", 'f', "FILE", "data from a file instead of TEXT; - is standard input"},
	{"binary", 'b', NULL, "data is sent as binary, not as text"},
	{"key", 'k', "KEY", "conflation key of what is sent"},
	{"json", 'j', NULL, "answers as one line of JSON"},
	{"room", 'R', "ROOM", "close: all connections of this room"},
	{"user", 'U', "USER", "trace: the events of this user's connections; info: whose it is"},
	{"for", 'F', "SECONDS", "trace: how long; until it is stopped without"},
	{"wait", 'w', NULL, "reload: until each handler is up, or has failed"},
	{"timeout", 't', "SECONDS", "how long an answer may take: 10, with --wait 300"},
	{"help", 'h', NULL, "this"},
	{"version", 'v', NULL, "which version this is"},
	{"words", 'W', NULL, NULL}, /* for the completion of a shell */
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
	     "Talks to a running tova-host, over its control socket or its HTTP API.\n");
	command_help();
	putchar('\n');
	for (size_t i = 0; i < MAIN_OPTIONS; i++)
		if (main_options[i].text != NULL)
			main_help_option(&main_options[i]);
	puts("\nExit codes: 0 done, 1 the host is not there, refuses or has failed, or what was named is not "
	     "there, 2 bad usage, 3 no answer in time.");
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

static int main_seconds(const char *option, const char *text, unsigned *seconds_r)
{
	char *end;
	unsigned long s = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || s < 1 || s > 86400) {
		fprintf(stderr, "tova-ctl: --%s: \"%s\"; expected seconds, 1 to 86400\n", option,
			text);
		return 2;
	}
	*seconds_r = (unsigned)s;
	return -1;
}

/* Returns an exit code, or -1: go on. */
static int main_option(struct arguments *a, int option)
{
	switch (option) {
	case 'c':
		a->control = optarg;
		return -1;
	case 'u':
		a->api.url = optarg;
		return -1;
	case 'T':
		a->api.token_file = optarg;
		return -1;
	case 'C':
		a->api.ca = optarg;
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
		a->line.wait = true;
		return -1;
	case 'R':
		a->line.room = optarg;
		return -1;
	case 'U':
		a->line.user = optarg;
		return -1;
	case 'F':
		return main_seconds("for", optarg, &a->line.for_s);
	case 't':
		return main_seconds("timeout", optarg, &a->timeout_s);
	case 'W':
		return main_words();
	case 'v':
		puts("tova-ctl " TOVA_VERSION);
		return 0;
	default:
		fputs("Try tova-ctl --help\n", stderr);
		return 2;
	}
}

/* One of them, and nothing that is for the other. */
static int main_doors(const struct arguments *a)
{
	const char *wrong = a->api.url != NULL && a->control != NULL
				    ? "--control and --url are two ways to the host: one of them"
			    : a->api.url == NULL && (a->api.token_file != NULL || a->api.ca != NULL)
				    ? "--token-file and --ca are for --url"
				    : NULL;
	if (wrong == NULL)
		return -1;
	fprintf(stderr, "tova-ctl: %s\n", wrong);
	return 2;
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
	return code >= 0 ? code : main_doors(a);
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

/* All that became of it, and in a sentence what did not. */
static int main_tell_failure(const struct arguments *a, json_t *answer)
{
	json_t *error = json_incref(json_object_get(answer, "error"));
	if (!a->json)
		json_object_del(answer, "error");
	print_answer(stdout, answer, a->json, false);
	fflush(stdout);
	main_complain("", json_string_value(error));
	json_decref(error);
	return 1;
}

static int main_ask(struct door *door, const struct arguments *a, struct command_request *r)
{
	json_t *answer = door_ask(door, r->object, r->bytes, r->n_bytes, r->key);
	if (answer == NULL) {
		main_complain("", door->why);
		return door_timed_out(door) ? MAIN_TIMED_OUT : 1;
	}
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error != NULL && r->tells_failure && json_object_get(answer, "mounts") != NULL)
		return main_tell_failure(a, answer);
	if (error != NULL)
		return main_complain("the host refuses: ", error);
	const char *unknown = command_unknown(r, answer);
	if (a->json || unknown == NULL)
		print_answer(stdout, answer, a->json, r->tells_receivers);
	json_decref(answer);
	return unknown != NULL ? main_say_unknown(unknown, r->name, a->line.mount) : 0;
}

static bool main_on_line(void *ctx, json_t *line)
{
	return watch_line(ctx, line, stdout);
}

static int main_trace_remote(struct door *door, const struct arguments *a,
			     const struct command_request *r, struct watch *watch)
{
	long status = 0;
	json_t *said = rest_trace(&door->http, r->object, r->for_s, main_on_line, watch, &status);
	const char *error = json_string_value(json_object_get(said, "error"));
	if (said == NULL && door->http.why[0] == '\0')
		return 0;
	if (status == 404 && r->name != NULL)
		return main_say_unknown(r->nobody, r->name, a->line.mount);
	return error != NULL ? main_complain("the host refuses: ", error)
			     : main_complain("", door->http.why);
}

static int main_trace(struct door *door, const struct arguments *a, struct command_request *r)
{
	struct watch watch = {.for_s = r->for_s, .conn = r->name, .json = a->json};
	if (door->remote)
		return main_trace_remote(door, a, r, &watch);
	json_t *answer = door_ask(door, r->object, NULL, 0, r->key);
	if (answer == NULL)
		return main_complain("", door->why);
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error != NULL)
		return main_complain("the host refuses: ", error);
	if (command_unknown(r, answer) != NULL)
		return main_say_unknown(r->nobody, r->name, a->line.mount);
	json_decref(answer);
	return watch_show(door, &watch, stdout) ? 0 : main_complain("", door->why);
}

static int main_top(struct door *door, const struct arguments *a, const struct command_request *r)
{
	const struct top top = {.every_s = r->every_s, .times = r->times, .json = a->json};
	return top_show(door, &top, stdout) ? 0 : main_complain("", door->why);
}

static int main_converse(const struct arguments *a, struct command_request *r)
{
	static struct door door; /* threads of nng may outlive this function */
	int usual_ms = r->waits ? MAIN_WAIT_MS : MAIN_TIMEOUT_MS;
	int timeout_ms = a->timeout_s > 0 ? (int)a->timeout_s * 1000 : usual_ms;
	bool open = a->api.url != NULL ? door_open_api(&door, &a->api, timeout_ms)
				       : door_open(&door, a->control, timeout_ms);
	if (!open)
		return main_complain("", door.why) +
		       (a->api.url != NULL); /* 2: nothing is connected yet */
	int code = r->kind == COMMAND_TOP     ? main_top(&door, a, r)
		   : r->kind == COMMAND_TRACE ? main_trace(&door, a, r)
					      : main_ask(&door, a, r);
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
