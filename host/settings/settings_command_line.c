#include "settings/settings_layer.h"

#include <stdio.h>
#include <string.h>

#include "common/nearest.h"

/* Written by hand rather than with getopt, which keeps its state in globals and takes any unique
 * beginning of a name, so that a new option could break an old script. What it accepts is otherwise
 * the same: --name value, --name=value, -n value, -nvalue. */

/* Options of websocketd that have another name here. */
static const char *settings_command_line_elsewhere(const char *name)
{
	static const char *const elsewhere[][2] = {
		{"port", "listen PORT"},     {"address", "listen ADDR:PORT"},
		{"dir", "script-dir"},	     {"staticdir", "static"},
		{"cgidir", "script-dir"},    {"ssl", "tls-cert"},
		{"sslcert", "tls-cert"},     {"sslkey", "tls-key"},
		{"sameorigin", "origin"},    {"binary", "script-binary"},
		{"maxforks", "max-scripts"}, {"closems", "close-timeout"},
		{"loglevel", "log-level"},
	};
	for (size_t i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
		if (strcmp(name, elsewhere[i][0]) == 0)
			return elsewhere[i][1];
	return NULL;
}

static void settings_command_line_unknown(struct settings_layer *layer, const char *name)
{
	const char *names[OPTION_COUNT], *nearest = settings_command_line_elsewhere(name);
	size_t n = 0;

	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (option_table[i].group != OPTION_HIDDEN)
			names[n++] = option_table[i].name;
	if (nearest == NULL)
		nearest = nearest_name(name, names, n);
	if (nearest != NULL)
		settings_layer_error(layer, NULL, name, "unknown option; did you mean --%s?",
				     nearest);
	else
		settings_layer_error(layer, NULL, name, "unknown option; see --help");
}

static void settings_command_line_missing(struct settings_layer *layer,
					  const struct option_row *row)
{
	settings_layer_error(layer, NULL, row->name, "needs a value; expected %s", row->argument);
}

/* Each of these takes the argument at i and returns how many arguments it used. */

/* The value is the argument behind the option. Returns how many arguments that was. */
static int settings_command_line_read_next(struct settings_layer *layer,
					   const struct option_row *row, int i)
{
	if (i + 1 >= layer->source->argc) {
		settings_command_line_missing(layer, row);
		return 1;
	}
	settings_value_apply(layer, row, layer->source->argv[i + 1], NULL);
	return 2;
}

static int settings_command_line_read_long(struct settings_layer *layer, int i)
{
	const char *argument = layer->source->argv[i] + 2, *equals = strchr(argument, '=');
	size_t n = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
	const struct option_row *row = option_find(argument, n);
	char name[64];

	if (row == NULL) {
		snprintf(name, sizeof(name), "%.*s",
			 n < sizeof(name) ? (int)n : (int)sizeof(name) - 1, argument);
		settings_command_line_unknown(layer, name);
		return 1;
	}
	if (row->type == OPTION_FLAG && equals != NULL) {
		settings_layer_error(layer, NULL, row->name,
				     "\"%.200s\" is too much; expected --%s without a value",
				     equals + 1, row->name);
		return 1;
	}
	if (row->type == OPTION_FLAG || equals != NULL) {
		settings_value_apply(layer, row, equals != NULL ? equals + 1 : NULL, NULL);
		return 1;
	}
	return settings_command_line_read_next(layer, row, i);
}

static const struct option_row *settings_command_line_find_letter(char letter)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (option_table[i].letter == letter)
			return &option_table[i];
	return NULL;
}

static int settings_command_line_read_short(struct settings_layer *layer, int i)
{
	for (const char *p = layer->source->argv[i] + 1; *p != '\0'; p++) {
		const struct option_row *row = settings_command_line_find_letter(*p);

		if (row == NULL) {
			settings_layer_error(layer, NULL, NULL, "-%c: unknown option; see --help",
					     *p);
			return 1;
		}
		if (row->type == OPTION_FLAG) {
			settings_value_apply(layer, row, NULL, NULL);
			continue;
		}
		if (p[1] != '\0') {
			settings_value_apply(layer, row, p + 1, NULL);
			return 1;
		}
		return settings_command_line_read_next(layer, row, i);
	}
	return 1;
}

static bool settings_command_line_ends_in(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

/* The file for a shell, as one word: what is a quote in it ends the quotes, stands by itself, and
 * begins them again. Room for four bytes for each. */
static void settings_command_line_add_quoted(char *command, const char *file)
{
	char *at = command + strlen(command);

	*at++ = '\'';
	if (*file == '-') /* no option of the program's */
		at = stpcpy(at, "./");
	for (; *file != '\0'; file++) {
		if (*file == '\'')
			at = stpcpy(at, "'\\''");
		else
			*at++ = *file;
	}
	memcpy(at, "'", 2);
}

/* What runs a file of this name, in front of it; NULL: nothing does. */
static const char *settings_command_line_runner(const char *file)
{
	return settings_command_line_ends_in(file, ".py") ? "exec python3 "
	       : settings_command_line_ends_in(file, ".mjs") ||
			       settings_command_line_ends_in(file, ".js")
		       ? "exec node "
		       : NULL;
}

/* --worker for a program in one of the languages whose files it knows. */
static void settings_command_line_apply_program(struct settings_layer *layer, const char *mount,
						size_t mount_len, const char *file)
{
	char command[2048];

	if (strlen(file) > 400) {
		settings_layer_error(layer, NULL, NULL, "\"%.200s\": too long a name; see --worker",
				     file);
		return;
	}
	snprintf(command, sizeof(command), "%.*s%s%s", (int)mount_len, mount,
		 mount_len > 0 ? "=" : "", settings_command_line_runner(file));
	settings_command_line_add_quoted(command, file);
	settings_value_apply(layer, &option_table[OPTION_ID_worker], command, NULL);
}

/* The plugin that runs .tova programs, with this one. */
static void settings_command_line_apply_tova(struct settings_layer *layer, const char *mount,
					     size_t mount_len, const char *file)
{
	char text[SETTINGS_LAYER_MOUNT_MAX + 32], path[SETTINGS_LAYER_MOUNT_MAX + 2];

	if (mount_len > SETTINGS_LAYER_MOUNT_MAX) {
		settings_layer_error(layer, NULL, NULL, "\"%.200s\": too long a path", mount);
		return;
	}
	snprintf(text, sizeof(text), "%.*s=tova.so", mount_len > 0 ? (int)mount_len : 1,
		 mount_len > 0 ? mount : "/");
	settings_value_apply(layer, &option_table[OPTION_ID_plugin], text, NULL);
	if (settings_layer_normalise(text, strlen(text) - strlen("=tova.so"), path) == NULL)
		settings_layer_pair(layer, option_table[OPTION_ID_plugin_set].name, path, "file", 4,
				    file, NULL);
}

/* [MOUNT=]FILE: short for the option that fits the file. */
static int settings_command_line_read_other(struct settings_layer *layer, int i)
{
	const char *argument = layer->source->argv[i];
	size_t mount = settings_layer_mount_length(argument);
	const char *file = argument + (mount > 0 ? mount + 1 : 0);

	if (settings_command_line_ends_in(file, ".tova"))
		settings_command_line_apply_tova(layer, argument, mount, file);
	else if (settings_command_line_ends_in(file, ".so"))
		settings_value_apply(layer, &option_table[OPTION_ID_plugin], argument, NULL);
	else if (settings_command_line_runner(file) != NULL)
		settings_command_line_apply_program(layer, argument, mount, file);
	else
		settings_layer_error(
			layer, NULL, NULL,
			"\"%.200s\": unexpected argument; expected [MOUNT=]FILE with a file "
			"that ends in .tova, .so, .py, .mjs or .js, or an option (a command "
			"for each connection: --script COMMAND); see --help",
			argument);
	return 1;
}

void settings_command_line_read(struct settings_layer *layer)
{
	bool options = true;

	for (int i = 1; i < layer->source->argc;) {
		const char *argument = layer->source->argv[i];

		if (options && strcmp(argument, "--") == 0) {
			options = false;
			i++;
		} else if (options && argument[0] == '-' && argument[1] == '-') {
			i += settings_command_line_read_long(layer, i);
		} else if (options && argument[0] == '-' && argument[1] != '\0') {
			i += settings_command_line_read_short(layer, i);
		} else {
			i += settings_command_line_read_other(layer, i);
		}
	}
}
