/* settings_value: what one option is given, checked and put where it belongs. */
#include <string.h>

#include "base/address.h"
#include "base/environment.h"
#include "settings/settings_layer.h"

/* What is wrong with an element of a list, or NULL. */
static const char *settings_value_element_error(const struct settings_layer *layer,
						const struct option_row *row, const char *element)
{
	struct address_network network;

	if (row == &option_table[OPTION_ID_trusted_proxy])
		return address_network_parse(&network, span_of(element));
	if (row == &option_table[OPTION_ID_origin] && layer->source->origin_error != NULL)
		return layer->source->origin_error(element);
	if (row == &option_table[OPTION_ID_passenv])
		return environment_item_error(element);
	if ((row == &option_table[OPTION_ID_host] || row == &option_table[OPTION_ID_api_host]) &&
	    layer->source->host_error != NULL)
		return layer->source->host_error(element);
	return NULL;
}

static const char *settings_value_list_example(const struct option_row *row)
{
	return row == &option_table[OPTION_ID_host]	       ? "example.com,*.example.com"
	       : row == &option_table[OPTION_ID_api_host]      ? "admin.example.com"
	       : row == &option_table[OPTION_ID_origin]	       ? "https://example.com,null"
	       : row == &option_table[OPTION_ID_trusted_proxy] ? "10.0.0.0/8,unix"
							       : "TZ,APP_*";
}

/* An empty text is no list either: it comes of a variable that nobody has set, and to have no list
 * may mean everything (--host). */
static void settings_value_list(struct settings_layer *layer, const struct option_row *row,
				const char *text, const struct settings_place *at)
{
	struct settings_list *list = settings_layer_field(&layer->s, row);
	const char *whole = text;

	for (bool more = true; more;) {
		size_t n = strcspn(text, ","), blank = strspn(text, " \t"), len = n;
		const char *why;

		while (len > blank && strchr(" \t", text[len - 1]) != NULL)
			len--;
		if (len <= blank) {
			settings_layer_error(
				layer, at, row->name,
				"\"%.200s\" has an empty element; expected %s, such as %s", whole,
				row->argument, settings_value_list_example(row));
			return;
		}
		settings_layer_add(layer, list, text + blank, len - blank);
		why = list->n > 0
			      ? settings_value_element_error(layer, row, list->items[list->n - 1])
			      : NULL;
		if (why != NULL)
			settings_layer_error(layer, at, row->name, "\"%.200s\": %s",
					     list->items[list->n - 1], why);
		more = text[n] == ',';
		text += n + more;
	}
}

static void settings_value_path(struct settings_layer *layer, const struct option_row *row,
				const char *text, const struct settings_place *at)
{
	const char *why = settings_api_error(row, text);

	if (*text == '\0')
		settings_layer_error(layer, at, row->name, "is empty; expected %s", row->argument);
	else if (why != NULL)
		settings_layer_error(layer, at, row->name, "\"%.200s\" %s", text, why);
	else
		settings_layer_add(layer, settings_layer_field(&layer->s, row), text, strlen(text));
}

/* May the mount have this handler beside what it has? Where others attach stands beside any. */
static bool settings_value_has_room(struct settings_mount *mount, const struct option_row *row)
{
	const struct option_row *attach = &option_table[OPTION_ID_attach];

	for (const struct option_row *other = option_table; other < option_table + OPTION_COUNT;
	     other++)
		if (other->type == OPTION_HANDLER &&
		    *settings_layer_handler_field(mount, other) != NULL &&
		    (row == other || (row != attach && other != attach)))
			return false;
	return true;
}

void settings_value_handler(struct settings_layer *layer, struct settings_mount *mount,
			    const struct option_row *row, const char *value,
			    const struct settings_place *at)
{
	if (!settings_value_has_room(mount, row))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\": the mount %s already has a handler; expected one handler per "
			"mount",
			value, mount->path);
	else if (row == &option_table[OPTION_ID_attach] && !settings_listen_is_url(value))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\" is no URL for workers; expected ipc:// and an absolute path, "
			"or tcp:// or tls+tcp:// and ADDR:PORT with a numeric address",
			value);
	else
		*settings_layer_handler_field(mount, row) =
			settings_layer_keep(layer, value, strlen(value));
}

/* It is MOUNT=VALUE only if what stands before the first '=' can be a mount; a path with other
 * characters is a path. */
static void settings_value_mount_handler(struct settings_layer *layer, const struct option_row *row,
					 const char *text, const struct settings_place *at)
{
	size_t mount_len = settings_layer_mount_length(text);
	bool named = mount_len > 0;
	const char *value = named ? text + mount_len + 1 : text;
	struct settings_mount *mount;

	layer->mounts_given = true;
	if (*value == '\0') {
		settings_layer_error(layer, at, row->name,
				     "\"%.200s\" names no handler; expected %s", text,
				     row->argument);
		return;
	}
	mount = settings_layer_mount(layer, row->name, named ? text : "/", named ? mount_len : 1,
				     at);
	if (mount != NULL)
		settings_value_handler(layer, mount, row, value, at);
}

static void settings_value_pair(struct settings_layer *layer, const struct option_row *row,
				const char *text, const struct settings_place *at)
{
	const char *equals = strchr(text, '='), *colon = text[0] == '/' ? strchr(text, ':') : NULL,
		   *key = text, *why;
	char path[SETTINGS_LAYER_MOUNT_MAX + 2];

	if (equals == NULL || (text[0] == '/' && (colon == NULL || colon > equals))) {
		settings_layer_error(layer, at, row->name,
				     "\"%.200s\" is not a setting; expected %s", text,
				     row->argument);
		return;
	}
	if (colon != NULL) {
		why = settings_layer_normalise(text, (size_t)(colon - text), path);
		if (why != NULL) {
			settings_layer_error(layer, at, row->name, "\"%.*s\" %s",
					     (int)(colon - text) < 300 ? (int)(colon - text) : 300,
					     text, why);
			return;
		}
		key = colon + 1;
	}
	settings_layer_pair(layer, row->name, colon != NULL ? path : NULL, key,
			    (size_t)(equals - key), equals + 1, at);
}

static void settings_value_one(struct settings_layer *layer, const struct option_row *row,
			       const char *text, const struct settings_place *at)
{
	void *field = settings_layer_field(&layer->s, row);
	char why[OPTION_WHY_MAX];
	uint64_t value;

	if (row->type == OPTION_FLAG) {
		*(bool *)field = true;
	} else if (row->type == OPTION_TEXT || row->type == OPTION_PATH) {
		const char *error = settings_api_error(row, text);

		if (row->type == OPTION_PATH && *text == '\0')
			settings_layer_error(layer, at, row->name, "is empty; expected %s",
					     row->argument);
		else if (error != NULL)
			settings_layer_error(layer, at, row->name, "\"%.200s\" %s", text, error);
		else
			*(char **)field = settings_layer_keep(layer, text, strlen(text));
	} else if (!option_parse(row, text, &value, why)) {
		settings_layer_error(layer, at, row->name, "%s", why);
	} else if (row->type == OPTION_ENUM) {
		*(unsigned *)field = (unsigned)value;
	} else {
		*(uint64_t *)field = value;
	}
}

void settings_value_apply(struct settings_layer *layer, const struct option_row *row,
			  const char *text, const struct settings_place *at)
{
	bool *given = &layer->given[row - option_table];

	if (*given && !option_repeatable(row)) {
		settings_layer_error(layer, at, row->name, "is given twice; expected once");
		return;
	}
	*given = true;
	switch (row->type) {
	case OPTION_LIST:
		settings_value_list(layer, row, text, at);
		break;
	case OPTION_PATHS:
		settings_value_path(layer, row, text, at);
		break;
	case OPTION_LISTEN:
		settings_listen_apply(layer, row, text, at);
		break;
	case OPTION_HANDLER:
		settings_value_mount_handler(layer, row, text, at);
		break;
	case OPTION_PAIR:
		settings_value_pair(layer, row, text, at);
		break;
	case OPTION_SCOPED:
		settings_scope_keep(layer, row, NULL, text, at);
		break;
	default:
		settings_value_one(layer, row, text, at);
		break;
	}
}
