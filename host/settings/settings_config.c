#include "settings/settings_layer.h"

#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "common/nearest.h"

#define CONFIG_MAX (1024 * 1024)

static const struct option_row *const PLUGIN_SET = &option_table[OPTION_ID_plugin_set];

static struct settings_place settings_config_place_of(const char *path,
						      const config_setting_t *setting)
{
	return (struct settings_place){path, config_setting_source_line(setting)};
}

/* --- values ----------------------------------------------------------------------------------- */

/* A number or truth value as the text it would be on the command line; NULL if it is neither. */
static const char *settings_config_scalar_text(const config_setting_t *setting, char dst[32])
{
	int type = config_setting_type(setting);

	if (type == CONFIG_TYPE_STRING)
		return config_setting_get_string(setting);
	if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64)
		snprintf(dst, 32, "%lld", config_setting_get_int64(setting));
	else if (type == CONFIG_TYPE_BOOL)
		snprintf(dst, 32, "%s", config_setting_get_bool(setting) ? "true" : "false");
	else
		return NULL;
	return dst;
}

#define VALUE_MAX 100

/* Any value, for people. */
static const char *settings_config_value_text(const config_setting_t *setting, char dst[VALUE_MAX])
{
	char number[32];
	const char *text = settings_config_scalar_text(setting, number);

	if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
		snprintf(dst, VALUE_MAX, "%g", config_setting_get_float(setting));
	else if (text == NULL)
		return config_setting_is_group(setting) ? "a group" : "a list";
	else
		snprintf(dst, VALUE_MAX,
			 config_setting_type(setting) == CONFIG_TYPE_STRING ? "\"%.90s\"" : "%.90s",
			 text);
	return dst;
}

static bool settings_config_is_number(const struct option_row *row)
{
	return row->type == OPTION_NUMBER || row->type == OPTION_SIZE || row->type == OPTION_TIME ||
	       row->type == OPTION_RATE || option_is_scoped_number(row);
}

static void settings_config_read_flag(struct settings_layer *layer, const char *path,
				      const struct option_row *row, const config_setting_t *setting)
{
	struct settings_place at = settings_config_place_of(path, setting);

	char value[VALUE_MAX];

	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		settings_layer_error(layer, &at, row->name,
				     "%s is no truth value; expected true or false, without quotes",
				     settings_config_value_text(setting, value));
	else if (config_setting_get_bool(setting))
		settings_value_apply(layer, row, NULL, &at);
}

static void settings_config_read_strings(struct settings_layer *layer, const char *path,
					 const struct option_row *row, const config_setting_t *list)
{
	struct settings_place at = settings_config_place_of(path, list);
	int n = config_setting_length(list);
	char value[VALUE_MAX];

	if (n == 0 && row->type != OPTION_LIST)
		settings_layer_error(layer, &at, row->name, "is empty; expected %s", row->argument);
	layer->given[row - option_table] = true;
	for (int i = 0; i < n; i++) {
		const config_setting_t *element = config_setting_get_elem(list, (unsigned)i);

		at = settings_config_place_of(path, element);
		if (config_setting_type(element) != CONFIG_TYPE_STRING)
			settings_layer_error(layer, &at, row->name,
					     "%s is no string; expected strings in quotes",
					     settings_config_value_text(element, value));
		else
			settings_value_apply(layer, row, config_setting_get_string(element), &at);
	}
}

static void settings_config_read_value(struct settings_layer *layer, const char *path,
				       const struct option_row *row,
				       const config_setting_t *setting)
{
	struct settings_place at = settings_config_place_of(path, setting);
	int type = config_setting_type(setting);
	char number[32], value[VALUE_MAX];

	if (row->type == OPTION_FLAG)
		settings_config_read_flag(layer, path, row, setting);
	else if (option_repeatable(row) && (type == CONFIG_TYPE_LIST || type == CONFIG_TYPE_ARRAY))
		settings_config_read_strings(layer, path, row, setting);
	else if (type == CONFIG_TYPE_STRING ||
		 (settings_config_is_number(row) &&
		  (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64)))
		settings_value_apply(layer, row, settings_config_scalar_text(setting, number), &at);
	else if (settings_config_is_number(row))
		settings_layer_error(
			layer, &at, row->name,
			"%s is no whole number; expected one, or a string in quotes such as \"%s\"",
			settings_config_value_text(setting, value), row->initial);
	else
		settings_layer_error(layer, &at, row->name,
				     "%s is no string; expected %s in quotes%s",
				     settings_config_value_text(setting, value), row->argument,
				     option_repeatable(row) ? ", or a list of such" : "");
}

/* --- mounts ----------------------------------------------------------------------------------- */

/* plugin-set = { key = "value"; }, or ( "key=value", ... ) for keys that can not be names in a
 * config file. */
static void settings_config_read_pairs(struct settings_layer *layer, const char *path,
				       const char *mount, const config_setting_t *pairs)
{
	struct settings_place at = settings_config_place_of(path, pairs);
	bool group = config_setting_is_group(pairs);
	int n = config_setting_length(pairs);

	if (!group && !config_setting_is_list(pairs) && !config_setting_is_array(pairs)) {
		settings_layer_error(layer, &at, PLUGIN_SET->name,
				     "expected a group such as { key = \"value\"; }");
		return;
	}
	for (int i = 0; i < n; i++) {
		const config_setting_t *pair = config_setting_get_elem(pairs, (unsigned)i);
		char number[32];
		const char *text = settings_config_scalar_text(pair, number),
			   *key = group ? config_setting_name(pair) : text, *equals;

		at = settings_config_place_of(path, pair);
		equals = !group && config_setting_type(pair) == CONFIG_TYPE_STRING
				 ? strchr(text, '=')
				 : NULL;
		if (group && text == NULL)
			settings_layer_error(
				layer, &at, PLUGIN_SET->name,
				"%s: expected a string in quotes, a whole number, true or false",
				key);
		else if (!group && equals == NULL)
			settings_layer_error(layer, &at, PLUGIN_SET->name,
					     "expected strings such as \"key=value\"");
		else
			settings_layer_pair(layer, PLUGIN_SET->name, mount, key,
					    group ? strlen(key) : (size_t)(equals - key),
					    group ? text : equals + 1, &at);
	}
}

/* May it be a name in a mount's group, or outside of them? */
static bool settings_config_may_stand(const struct option_row *row, bool in_mount)
{
	return row->type == OPTION_SCOPED || (row->group == OPTION_MOUNT) == in_mount;
}

static void settings_config_unknown_name(struct settings_layer *layer, const char *path,
					 const config_setting_t *setting, bool in_mount)
{
	struct settings_place at = settings_config_place_of(path, setting);
	const char *names[OPTION_COUNT + 1], *nearest, *name = config_setting_name(setting);
	char value[VALUE_MAX];
	size_t n = 0;

	names[n++] = in_mount ? "path" : "mount";
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (option_table[i].group < OPTION_COMMAND &&
		    settings_config_may_stand(&option_table[i], in_mount))
			names[n++] = option_table[i].name;
	nearest = nearest_name(name, names, n);
	const struct option_row *row = option_find(name, strlen(name));
	if (in_mount && row != NULL && row->group < OPTION_COMMAND) {
		settings_layer_error(
			layer, &at, name,
			"%s stands in a mount, and is one for all; expected outside of the mounts",
			settings_config_value_text(setting, value));
		return;
	}
	settings_layer_error(layer, &at, name, "unknown name%s%s%s%s",
			     in_mount ? " in a mount" : "",
			     nearest != NULL ? "; did you mean " : "",
			     nearest != NULL ? nearest : "", nearest != NULL ? "?" : "");
}

/* Returns the string of that name in a mount's group; NULL if it is not there or, after an error,
 * no string. */
static const char *settings_config_mount_string(struct settings_layer *layer, const char *path,
						const config_setting_t *group, const char *name)
{
	const config_setting_t *setting = config_setting_get_member(group, name);
	struct settings_place at;
	char value[VALUE_MAX];

	if (setting == NULL)
		return NULL;
	at = settings_config_place_of(path, setting);
	if (config_setting_type(setting) != CONFIG_TYPE_STRING ||
	    *config_setting_get_string(setting) == '\0') {
		settings_layer_error(layer, &at, name,
				     "%s; expected a string in quotes that is not empty",
				     settings_config_value_text(setting, value));
		return NULL;
	}
	return config_setting_get_string(setting);
}

static void settings_config_read_names(struct settings_layer *layer, const char *path,
				       const config_setting_t *group)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
		const struct option_row *row = option_find(config_setting_name(setting),
							   strlen(config_setting_name(setting)));

		if ((row == NULL || !settings_config_may_stand(row, true)) &&
		    strcmp(config_setting_name(setting), "path") != 0)
			settings_config_unknown_name(layer, path, setting, true);
	}
}

/* mount is NULL when its path was wrong: then the rest is only checked. */
static void settings_config_read_handlers(struct settings_layer *layer, const char *path,
					  struct settings_mount *mount,
					  const config_setting_t *group)
{
	struct settings_place at = settings_config_place_of(path, group);
	const config_setting_t *setting;
	const char *text;
	bool any = false;

	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		setting = row->type == OPTION_HANDLER ? config_setting_get_member(group, row->name)
						      : NULL;
		if (setting == NULL)
			continue;
		any = true;
		at = settings_config_place_of(path, setting);
		text = settings_config_mount_string(layer, path, group, row->name);
		if (text != NULL && mount != NULL)
			settings_value_handler(layer, mount, row, text, &at);
	}
	if (!any)
		settings_layer_error(layer, &at, "mount",
				     "has no handler; expected plugin, worker, attach, script or "
				     "script-dir");
	setting = config_setting_get_member(group, PLUGIN_SET->name);
	if (setting == NULL || mount == NULL)
		return;
	at = settings_config_place_of(path, setting);
	if (any && config_setting_get_member(group, option_table[OPTION_ID_plugin].name) == NULL)
		settings_layer_error(layer, &at, PLUGIN_SET->name,
				     "is for plugins, and this mount has none");
	else if (any)
		settings_config_read_pairs(layer, path, mount->path, setting);
}

/* Options that a mount has its own value of. An empty string takes back what all mounts have. */
static void settings_config_read_scoped(struct settings_layer *layer, const char *path,
					const struct settings_mount *mount,
					const config_setting_t *group)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		const config_setting_t *setting =
			row->type == OPTION_SCOPED ? config_setting_get_member(group, row->name)
						   : NULL;
		struct settings_place at;

		if (setting == NULL)
			continue;
		at = settings_config_place_of(path, setting);
		char number[32], value[VALUE_MAX];
		int type = config_setting_type(setting);
		bool counts = settings_config_is_number(row) &&
			      (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64);
		if (type != CONFIG_TYPE_STRING && !counts)
			settings_layer_error(layer, &at, row->name,
					     "%s is no string; expected %s in quotes",
					     settings_config_value_text(setting, value),
					     strchr(row->argument, ']') + 1);
		else
			settings_scope_keep(layer, row, mount->path,
					    settings_config_scalar_text(setting, number), &at);
	}
}

static void settings_config_read_mount(struct settings_layer *layer, const char *path,
				       const config_setting_t *group)
{
	struct settings_place at = settings_config_place_of(path, group);
	struct settings_mount *mount = NULL;
	const char *where;

	if (!config_setting_is_group(group)) {
		settings_layer_error(
			layer, &at, "mount",
			"expected a group such as { path = \"/chat\"; plugin = \"chat.so\"; }");
		return;
	}
	settings_config_read_names(layer, path, group);
	where = settings_config_mount_string(layer, path, group, "path");
	if (where == NULL && config_setting_get_member(group, "path") == NULL)
		where = "/";
	if (where != NULL)
		mount = settings_layer_mount(layer, "mount", where, strlen(where), &at);
	settings_config_read_handlers(layer, path, mount, group);
	if (mount != NULL)
		settings_config_read_scoped(layer, path, mount, group);
}

static void settings_config_read_mounts(struct settings_layer *layer, const char *path,
					const config_setting_t *list)
{
	struct settings_place at = settings_config_place_of(path, list);

	if (!config_setting_is_list(list)) {
		settings_layer_error(
			layer, &at, "mount",
			"expected a list such as ( { path = \"/chat\"; plugin = \"chat.so\"; } )");
		return;
	}
	layer->mounts_given = true;
	for (int i = 0; i < config_setting_length(list); i++)
		settings_config_read_mount(layer, path, config_setting_get_elem(list, (unsigned)i));
}

/* --- the file --------------------------------------------------------------------------------- */

static void settings_config_read_root(struct settings_layer *layer, const char *path,
				      const config_setting_t *root)
{
	for (int i = 0; i < config_setting_length(root); i++) {
		const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
		const char *name = config_setting_name(setting);
		const struct option_row *row = option_find(name, strlen(name));
		struct settings_place at = settings_config_place_of(path, setting);

		if (strcmp(name, "mount") == 0)
			settings_config_read_mounts(layer, path, setting);
		else if (row == NULL || row->group == OPTION_HIDDEN)
			settings_config_unknown_name(layer, path, setting, false);
		else if (row->group == OPTION_COMMAND)
			settings_layer_error(layer, &at, name,
					     "can only be given on the command line");
		else if (row->group == OPTION_MOUNT)
			settings_layer_error(
				layer, &at, name,
				"belongs in a mount, such as mount = ( { path = \"/chat\"; plugin "
				"= \"chat.so\"; } )");
		else
			settings_config_read_value(layer, path, row, setting);
	}
}

/* libconfig's scanner ends the process when a file can not be read (a folder, an I/O error), which
 * a reload must survive. So it gets the text from memory, and the files that @include would open
 * are refused. Returns NULL after an error. */
static char *settings_config_read_text(struct settings_layer *layer, const char *path)
{
	char *text = malloc(CONFIG_MAX + 1);
	FILE *file = fopen(path, "re");
	size_t n;

	*layer->no_memory = *layer->no_memory || text == NULL;
	errno = file != NULL ? 0 : errno;
	n = file != NULL && text != NULL ? fread(text, 1, CONFIG_MAX + 1, file) : 0;
	if (file == NULL || ferror(file))
		settings_layer_error(layer, NULL, option_table[OPTION_ID_config].name,
				     "%.200s: can not be read: %s", path, strerror(errno));
	else if (n > CONFIG_MAX)
		settings_layer_error(layer, NULL, option_table[OPTION_ID_config].name,
				     "%.200s: is too large; expected at most 1m", path);
	else if (n > 0 && memchr(text, '\0', n) != NULL)
		settings_layer_error(layer, NULL, option_table[OPTION_ID_config].name,
				     "%.200s: has a NUL byte in it; expected text", path);
	else if (text != NULL) {
		text[n] = '\0';
		fclose(file);
		return text;
	}
	if (file != NULL)
		fclose(file);
	free(text);
	return NULL;
}

static bool settings_config_has_include(struct settings_layer *layer, const char *path,
					const char *text)
{
	struct settings_place at = {path, 1};

	for (const char *line = text; line != NULL; at.line++) {
		line += strspn(line, " \t");
		if (strncmp(line, "@include", 8) == 0) {
			settings_layer_error(layer, &at, NULL,
					     "@include is not supported; expected one file");
			return true;
		}
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return false;
}

/* wide is what libconfig gets of the text. */
static void settings_config_read_parsed(struct settings_layer *layer, const char *path,
					const char *text, const char *wide)
{
	config_t config;

	config_init(&config);
	if (config_read_string(&config, wide) != CONFIG_TRUE) {
		struct settings_place at = {path, (unsigned)config_error_line(&config)};
		bool doubles = strstr(config_error_text(&config), "duplicate") != NULL;

		if (!settings_explain(layer, path, text, at.line, doubles))
			settings_layer_error(
				layer, &at, NULL,
				"%s; expected NAME = VALUE and groups in brackets that are closed",
				config_error_text(&config));
	} else if (settings_numbers_fit(layer, path, text)) {
		settings_config_read_root(layer, path, config_root_setting(&config));
	}
	config_destroy(&config);
}

void settings_config_read(struct settings_layer *layer, const char *path)
{
	char *text = settings_config_read_text(layer, path), *wide = NULL;

	if (text != NULL && !settings_config_has_include(layer, path, text))
		wide = settings_numbers_widen(layer, text);
	if (wide != NULL)
		settings_config_read_parsed(layer, path, text, wide);
	free(wide);
	free(text);
}
