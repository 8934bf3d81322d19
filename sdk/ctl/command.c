#include "ctl/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_BYTES_MAX (48u << 20) /* the host takes messages of up to 64 MiB */

__attribute__((format(printf, 2, 3))) static int command_refuse(int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("tova-ctl: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	return code;
}

/* --- data ------------------------------------------------------------------------------------- */

static int command_read_file(const char *path, char **p_r, size_t *n_r)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
	size_t cap = 65536, n = 0, got;
	char *p = f != NULL ? malloc(cap) : NULL;
	while (p != NULL && n <= COMMAND_BYTES_MAX && (got = fread(p + n, 1, cap - n, f)) > 0) {
		n += got;
		char *wider = n < cap ? p : realloc(p, cap *= 2);
		if (wider == NULL)
			free(p);
		p = wider;
	}
	int error = p == NULL || ferror(f) != 0 ? errno : 0;
	if (f != NULL && f != stdin)
		fclose(f);
	*p_r = p;
	*n_r = n;
	if (p == NULL || error != 0)
		return command_refuse(1, "%s: %s", path, strerror(error));
	return n > COMMAND_BYTES_MAX
		       ? command_refuse(1, "%s: more than %u MiB", path, COMMAND_BYTES_MAX >> 20)
		       : 0;
}

/* Puts text or binary data into the command: an argument, or what a file holds. */
static int command_add_data(const struct command_line *line, const char *argument, json_t *command,
			    struct command_request *r)
{
	char *p = NULL;
	size_t n = argument != NULL ? strlen(argument) : 0;
	int refused = 0;
	if (line->file != NULL)
		refused = command_read_file(line->file, &p, &n);
	else if (argument != NULL)
		p = strdup(argument);
	if (refused == 0 && line->binary) {
		json_object_set_new(command, "bin", json_integer((json_int_t)n));
		r->bytes = p; /* command_free's */
		r->n_bytes = n;
		return 0;
	}
	if (refused == 0 && json_object_set_new(command, "data", json_stringn(p, n)) != 0)
		refused = command_refuse(2, "the text is not UTF-8; --binary sends any bytes");
	free(p);
	return refused;
}

/* --- commands --------------------------------------------------------------------------------- */

static int command_is_text(const char *what, const char *word)
{
	json_t *text = json_string(word);
	json_decref(text);
	return text != NULL ? 0 : command_refuse(2, "%s is not UTF-8", what);
}

static int command_push(struct command_request *r, json_t *command)
{
	r->object = json_pack("{s:s, s:i, s:[o]}", "t", "push", "ref", 1, "commands", command);
	r->key = "ref";
	return r->object != NULL ? 0 : command_refuse(1, "no memory");
}

/* Takes the command over. data: the argument that holds it, or NULL with --file. */
static int command_push_data(const struct command_line *line, const char *data, json_t *command,
			     struct command_request *r)
{
	int refused = command != NULL ? command_add_data(line, data, command, r)
				      : command_refuse(2, "an argument is not UTF-8");
	if (refused == 0 && line->key != NULL &&
	    json_object_set_new(command, "key", json_string(line->key)) != 0)
		refused = command_refuse(2, "the key is not UTF-8");
	if (refused == 0)
		return command_push(r, command);
	json_decref(command);
	return refused;
}

static void command_names(struct command_request *r, const char *nobody, const char *name)
{
	r->nobody = nobody;
	r->name = name;
}

#define NO_CONNECTION "there is no connection"
#define NO_ROOM "nobody is in a room"

static int command_send(const struct command_line *line, struct command_request *r)
{
	command_names(r, NO_CONNECTION, line->words[1]);
	return command_push_data(line, line->words[2],
				 json_pack("{s:s, s:s}", "c", "send", "conn", line->words[1]), r);
}

static int command_broadcast(const struct command_line *line, struct command_request *r)
{
	r->tells_receivers = true;
	return command_push_data(line, line->words[1], json_pack("{s:s}", "c", "broadcast"), r);
}

static int command_broadcast_to(const struct command_line *line, struct command_request *r)
{
	command_names(r, NO_ROOM, line->words[1]);
	r->tells_receivers = true;
	return command_push_data(line, line->words[2],
				 json_pack("{s:s, s:s}", "c", "broadcast_to", "room",
					   line->words[1]),
				 r);
}

/* With CODE and REASON, where they are given: CODE is the word `first`. Takes the command over. */
static int command_closing(const struct command_line *line, int first, json_t *command,
			   struct command_request *r)
{
	if (command == NULL)
		return command_refuse(2, "%s: an argument is not UTF-8", line->words[0]);
	if (line->n > first) {
		char *end;
		unsigned long code = strtoul(line->words[first], &end, 10);
		if (*end != '\0' || end == line->words[first] || code < 1000 || code > 4999) {
			json_decref(command);
			return command_refuse(2, "%s: CODE is a number of 1000 to 4999, not \"%s\"",
					      line->words[0], line->words[first]);
		}
		json_object_set_new(command, "code", json_integer((json_int_t)code));
	}
	if (line->n > first + 1 &&
	    json_object_set_new(command, "reason", json_string(line->words[first + 1])) != 0) {
		json_decref(command);
		return command_refuse(2, "%s: REASON is not UTF-8", line->words[0]);
	}
	return command_push(r, command);
}

/* All in a room; CODE is the word `first`. */
static int command_close_all(const struct command_line *line, const char *room, int first,
			     struct command_request *r)
{
	command_names(r, NO_ROOM, room);
	r->tells_receivers = true;
	return command_closing(line, first,
			       json_pack("{s:s, s:s}", "c", "close_room", "room", room), r);
}

static int command_close(const struct command_line *line, struct command_request *r)
{
	if (line->room == NULL && line->n < 2)
		return command_refuse(2, "close: expected CONN, or --room ROOM");
	if (line->room != NULL && line->n > 3)
		return command_refuse(2, "expected: tova-ctl close --room ROOM [CODE [REASON]]");
	if (line->room != NULL)
		return command_close_all(line, line->room, 1, r);
	command_names(r, NO_CONNECTION, line->words[1]);
	return command_closing(line, 2,
			       json_pack("{s:s, s:s}", "c", "close", "conn", line->words[1]), r);
}

static int command_close_room(const struct command_line *line, struct command_request *r)
{
	return command_close_all(line, line->words[1], 2, r);
}

/* `join CONN ROOM` and `leave CONN ROOM`, `leave_all CONN`. */
static int command_rooms_of(const struct command_line *line, struct command_request *r)
{
	json_t *command = json_pack("{s:s, s:s}", "c", line->words[0], "conn", line->words[1]);
	command_names(r, NO_CONNECTION, line->words[1]);
	if (command != NULL && line->n > 2 &&
	    json_object_set_new(command, "room", json_string(line->words[2])) != 0) {
		json_decref(command);
		command = NULL;
	}
	return command != NULL ? command_push(r, command)
			       : command_refuse(2, "%s: an argument is not UTF-8", line->words[0]);
}

/* What the others may know of a connection, and whose it is (--user). */
static int command_info(const struct command_line *line, struct command_request *r)
{
	json_t *command = json_pack("{s:s, s:s}", "c", "info", "conn", line->words[1]);
	command_names(r, NO_CONNECTION, line->words[1]);
	bool ok = command != NULL;
	if (ok && line->n < 3 && line->user == NULL) {
		json_decref(command);
		return command_refuse(2, "info: expected TEXT, --user USER, or both");
	}
	if (ok && line->n > 2)
		ok = json_object_set_new(command, "info", json_string(line->words[2])) == 0;
	if (ok && line->user != NULL)
		ok = json_object_set_new(command, "user", json_string(line->user)) == 0;
	if (ok)
		return command_push(r, command);
	json_decref(command);
	return command_refuse(2, "info: an argument is not UTF-8");
}

static int command_question(struct command_request *r, const char *type, const char *key,
			    const char *what)
{
	r->object = json_pack("{s:s, s:i, s:s}", "t", type, "q", 1, key, what);
	r->key = "q";
	return r->object != NULL ? 0 : command_refuse(1, "no memory");
}

/* Without a mount: of all mounts. */
static int command_connections(const struct command_line *line, struct command_request *r)
{
	(void)line;
	return command_question(r, "query", "what", "all_connections");
}

static int command_slow(const struct command_line *line, struct command_request *r)
{
	(void)line;
	return command_question(r, "query", "what", "slow_connections");
}

static int command_rooms(const struct command_line *line, struct command_request *r)
{
	if (line->n == 1)
		return command_question(r, "query", "what", "all_rooms");
	command_names(r, NO_CONNECTION, line->words[1]);
	int refused = command_is_text("CONN", line->words[1]);
	if (refused == 0)
		refused = command_question(r, "query", "what", "rooms");
	if (refused == 0)
		json_object_set_new(r->object, "conn", json_string(line->words[1]));
	return refused;
}

/* members and users */
static int command_members(const struct command_line *line, struct command_request *r)
{
	command_names(r, NO_ROOM, line->words[1]);
	int refused = command_is_text("ROOM", line->words[1]);
	if (refused == 0)
		refused = command_question(r, "query", "what", line->words[0]);
	if (refused == 0)
		json_object_set_new(r->object, "room", json_string(line->words[1]));
	return refused;
}

static int command_history(const struct command_line *line, struct command_request *r)
{
	char *end = NULL;
	unsigned long n = line->n > 2 ? strtoul(line->words[2], &end, 10) : 0;
	int refused = command_is_text("ROOM", line->words[1]);
	if (refused == 0 && line->n > 2 &&
	    (line->words[2][0] < '0' || line->words[2][0] > '9' || *end != '\0' || n < 1 ||
	     n > 1000)) {
		fprintf(stderr, "tova-ctl: \"%s\" is no number of messages; expected 1 to 1000\n",
			line->words[2]);
		return 2;
	}
	if (refused == 0)
		refused = command_question(r, "query", "what", "history");
	if (refused == 0) {
		json_object_set_new(r->object, "room", json_string(line->words[1]));
		if (n > 0)
			json_object_set_new(r->object, "limit", json_integer((json_int_t)n));
	}
	return refused;
}

static int command_room_state(const struct command_line *line, struct command_request *r)
{
	int refused = command_is_text("ROOM", line->words[1]);
	if (refused == 0)
		refused = command_question(r, "query", "what", "room_state");
	if (refused == 0)
		json_object_set_new(r->object, "room", json_string(line->words[1]));
	return refused;
}

/* `set_room ROOM STATE VERSION`; without a version whatever there is is replaced. */
static int command_set_room(const struct command_line *line, struct command_request *r)
{
	json_t *command = json_pack("{s:s, s:s, s:s}", "c", "set_room", "room", line->words[1],
				    "state", line->words[2]);
	char *end = NULL;
	const char *version = line->n > 3 ? line->words[3] : NULL;
	unsigned long long n = version != NULL ? strtoull(version, &end, 10) : 0;
	if (command == NULL)
		return command_refuse(2, "set_room: an argument is not UTF-8");
	if (version != NULL &&
	    (version[0] < '0' || version[0] > '9' || *end != '\0' || n >= 1ull << 53)) {
		json_decref(command);
		return command_refuse(2, "set_room: VERSION is a number from 0, not \"%s\"",
				      version);
	}
	if (version != NULL)
		json_object_set_new(command, "version", json_integer((json_int_t)n));
	return command_push(r, command);
}

static int command_query(const struct command_line *line, struct command_request *r)
{
	return command_question(r, "query", "what", line->words[0]);
}

static int command_control(const struct command_line *line, struct command_request *r)
{
	return command_question(r, "control", "do", line->words[0]);
}

static int command_admin_url(const struct command_line *line, struct command_request *r)
{
	(void)line;
	return command_question(r, "control", "do", "admin_url");
}

/* Of one mount, or of all there is. */
static int command_reload(const struct command_line *line, struct command_request *r)
{
	if (line->n > 1 && line->mount != NULL)
		return command_refuse(2, "reload: the mount is named twice");
	int refused = line->n > 1 ? command_is_text("MOUNT", line->words[1]) : 0;
	if (refused == 0)
		refused = command_question(r, "control", "do", "reload");
	if (refused == 0 && line->n > 1)
		json_object_set_new(r->object, "mount", json_string(line->words[1]));
	if (refused == 0 && line->wait)
		json_object_set_new(r->object, "wait", json_true());
	r->tells_failure = r->waits = line->wait;
	return refused;
}

/* What happens to the events of one connection, of a user or of a mount. */
static int command_trace(const struct command_line *line, struct command_request *r)
{
	const char *conn = line->n > 1 ? line->words[1] : NULL;
	if (conn == NULL && line->user == NULL && line->mount == NULL)
		return command_refuse(2, "trace: whose events? CONN, --user USER or --mount PATH");
	int refused = conn != NULL ? command_is_text("CONN", conn) : 0;
	if (refused == 0 && line->user != NULL)
		refused = command_is_text("USER", line->user);
	if (refused == 0)
		refused = command_question(r, "control", "do", "trace");
	if (refused == 0 && conn != NULL)
		json_object_set_new(r->object, "conn", json_string(conn));
	if (refused == 0 && line->user != NULL)
		json_object_set_new(r->object, "user", json_string(line->user));
	command_names(r, NO_CONNECTION, conn);
	r->kind = COMMAND_TRACE;
	r->for_s = line->for_s;
	return refused;
}

/* `top SECONDS TIMES` asks again and again: top.c. */
static int command_top(const struct command_line *line, struct command_request *r)
{
	static const char *const names[] = {"SECONDS", "TIMES"};
	for (int i = 1; i < line->n; i++) {
		char *end;
		unsigned long n = strtoul(line->words[i], &end, 10);
		if (*end != '\0' || end == line->words[i] || n < 1 || n > COMMAND_TOP_MAX)
			return command_refuse(2, "top: %s is a number of 1 to %d, not \"%s\"",
					      names[i - 1], COMMAND_TOP_MAX, line->words[i]);
		*(i == 1 ? &r->every_s : &r->times) = (unsigned)n;
	}
	if (line->mount != NULL)
		return command_refuse(2, "top is of the whole host: without -m");
	r->every_s = r->every_s == 0 ? COMMAND_TOP_EVERY_S : r->every_s;
	r->kind = COMMAND_TOP;
	return 0;
}

static int command_dead_letter(const struct command_line *line, struct command_request *r)
{
	if (strcmp(line->words[1], "list") == 0 && line->n == 2)
		return command_question(r, "query", "what", "dead_letters");
	if (strcmp(line->words[1], "replay") != 0)
		return command_refuse(2, "dead-letter: expected list, or replay [ID]");
	int refused = line->n > 2 ? command_is_text("ID", line->words[2]) : 0;
	if (refused == 0)
		refused = command_question(r, "control", "do", "replay");
	if (refused == 0 && line->n > 2)
		json_object_set_new(r->object, "id", json_string(line->words[2]));
	if (line->n > 2)
		command_names(r, "there is no dead letter that can be delivered,", line->words[2]);
	return refused;
}

const char *command_unknown(const struct command_request *r, const json_t *answer)
{
	const json_t *replayed = json_object_get(answer, "replayed");
	bool unknown = json_integer_value(json_object_get(answer, "nobody")) > 0 ||
		       json_is_true(json_object_get(answer, "unknown")) ||
		       (json_is_integer(replayed) && json_integer_value(replayed) == 0);
	return unknown ? r->nobody : NULL;
}

/* --- all of them ------------------------------------------------------------------------------ */

static const struct command {
	const char *name, *arguments, *text;
	int least, most; /* arguments; the last one is left out with --file where there is data */
	bool data;
	int (*build)(const struct command_line *line, struct command_request *r);
} commands[] = {
	{"send", "CONN TEXT", "send to one connection", 2, 2, true, command_send},
	{"broadcast", "TEXT", "send to all connections of a mount", 1, 1, true, command_broadcast},
	{"broadcast_to", "ROOM TEXT", "send to the members of a room", 2, 2, true,
	 command_broadcast_to},
	{"close", "CONN [CODE [REASON]]", "close a connection; --room ROOM: all in a room", 0, 3,
	 false, command_close},
	{"close_room", "ROOM [CODE [REASON]]", "close all connections in a room", 1, 3, false,
	 command_close_room},
	{"join", "CONN ROOM", "a connection joins a room", 2, 2, false, command_rooms_of},
	{"leave", "CONN ROOM", "a connection leaves a room", 2, 2, false, command_rooms_of},
	{"leave_all", "CONN", "a connection leaves all of its rooms", 1, 1, false,
	 command_rooms_of},
	{"info", "CONN [TEXT]", "what others may know of a connection; whose it is: --user", 1, 2,
	 false, command_info},
	{"connections", "", "which connections there are; of all mounts without --mount", 0, 0,
	 false, command_connections},
	{"slow", "", "which of them read too slowly, those for which most waits first", 0, 0, false,
	 command_slow},
	{"rooms", "[CONN]", "which rooms there are, or which a connection is in", 0, 1, false,
	 command_rooms},
	{"members", "ROOM", "which connections are in a room", 1, 1, false, command_members},
	{"users", "ROOM", "which users are in a room, each once; the first 1,000", 1, 1, false,
	 command_members},
	{"history", "ROOM [N]", "the last messages that a room remembers, N of them (100)", 1, 2,
	 false, command_history},
	{"room_state", "ROOM", "what handlers keep with a room, and its version", 1, 1, false,
	 command_room_state},
	{"set_room", "ROOM STATE [VERSION]",
	 "keep a state with a room, if it has that version; \"\": none", 2, 3, false,
	 command_set_room},
	{"workers", "", "the worker processes and what they are at", 0, 0, false, command_query},
	{"mounts", "", "the mounts and their handlers", 0, 0, false, command_query},
	{"stats", "", "counters of the host", 0, 0, false, command_query},
	{"cluster", "", "the other hosts, and the engine between them", 0, 0, false, command_query},
	{"top", "[SECONDS [TIMES]]", "what the host does each second, shown again and again", 0, 2,
	 false, command_top},
	{"trace", "[CONN]", "what happens to the events of a connection, a --user or a --mount", 0,
	 1, false, command_trace},
	{"reload", "[MOUNT]", "read settings and handlers anew, or one mount's handler; see --wait",
	 0, 1, false, command_reload},
	{"drain", "", "let connections end, then stop", 0, 0, false, command_control},
	{"admin-url", "", "a URL of the admin page, for one browser and ten minutes", 0, 0, false,
	 command_admin_url},
	{"dead-letter", "list | replay [ID]",
	 "events that killed their workers; deliver them again", 1, 2, false, command_dead_letter},
};
#define COMMANDS (sizeof commands / sizeof *commands)

void command_help(void)
{
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-12s %-21s %s\n", commands[i].name, commands[i].arguments,
		       commands[i].text);
}

void command_words(void)
{
	for (size_t i = 0; i < COMMANDS; i++)
		printf("%s %s\n", commands[i].name, commands[i].arguments);
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

void command_free(struct command_request *r)
{
	json_decref(r->object);
	free(r->bytes);
	*r = (struct command_request){0};
}

int command_build(const struct command_line *line, struct command_request *request_r)
{
	*request_r = (struct command_request){0};
	if (line->n == 0)
		return command_refuse(2, "a command is missing; try tova-ctl --help");
	const struct command *c = command_find(line->words[0]);
	if (c == NULL)
		return command_refuse(2, "there is no command \"%s\"; try tova-ctl --help",
				      line->words[0]);
	if (!c->data && (line->file != NULL || line->binary || line->key != NULL))
		return command_refuse(
			2, "%s takes no data: --file, --binary and --key mean nothing here",
			c->name);
	if (line->wait && c->build != command_reload)
		return command_refuse(2, "%s waits for nothing: --wait is for reload", c->name);
	if (c->build != command_close && line->room != NULL)
		return command_refuse(2, "%s: --room is for close", c->name);
	if (c->build != command_trace && line->for_s > 0)
		return command_refuse(2, "%s: --for is for trace", c->name);
	if (c->build != command_trace && c->build != command_info && line->user != NULL)
		return command_refuse(2, "%s: --user is for trace and info", c->name);
	int less = c->data && line->file != NULL ? 1 : 0, n = line->n - 1;
	if (n < c->least - less || n > c->most - less)
		return command_refuse(2, "expected: tova-ctl %s %s%s", c->name, c->arguments,
				      less > 0 ? ", TEXT being left out" : "");
	int refused = c->build(line, request_r);
	if (refused == 0 && request_r->object != NULL && line->mount != NULL &&
	    json_object_set_new(request_r->object, "mount", json_string(line->mount)) != 0)
		refused = command_refuse(2, "--mount is not UTF-8");
	if (refused != 0)
		command_free(request_r);
	return refused;
}
