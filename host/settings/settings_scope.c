/* settings_scope: options that every mount may have its own value of. */
#include <stdlib.h>
#include <string.h>

#include "common/rules.h"
#include "settings/settings_layer.h"

#define OFFSET_ROW(field, type, ...) \
	[OPTION_ID_##field] = \
		SETTINGS_PLACE_##type(SIZE_MAX, offsetof(struct settings_mount, field), SIZE_MAX),
static const size_t OFFSET[OPTION_COUNT] = {OPTIONS(OFFSET_ROW)};

char **settings_scope_field(struct settings_mount *mount, const struct option_row *row)
{
	return (char **)((char *)mount + OFFSET[row - option_table]);
}

static bool settings_scope_same_mount(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* RFC 6455 4.1: tokens of HTTP. Without the blanks around them, as they go out in a header. */
static const char *settings_scope_subprotocols_error(const char *list)
{
	static const char token[] =
		"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (const char *item = list;; item++) {
		size_t n = strspn(item, token);

		if (n == 0 || (item[n] != ',' && item[n] != '\0'))
			return "is no list of subprotocols; expected names of letters, digits and "
			       "-._, with commas between them, or *";
		if (n >= 5 && memcmp(item, "tova.", 5) == 0)
			return "names one that begins with tova., which is the host's own; "
			       "expected the application's";
		if (n > RULES_SUBPROTOCOL_MAX)
			return "has a name that is too long; expected at most 127 bytes";
		item += n;
		if (*item == '\0')
			return NULL;
	}
}

/* Is the value one that this row may have? False: it was said what is wrong with it. */
static bool settings_scope_check(struct settings_layer *layer, const struct option_row *row,
				 const char *value, bool of_mount, const struct settings_place *at)
{
	struct bucket_rate rate;
	bool closes, said = value[0] != '\0';
	char expected[OPTION_WHY_MAX];
	uint64_t choice, n_kept, ms_kept;
	int32_t parts;
	const char *why = row == &option_table[OPTION_ID_subprotocol] && said
				  ? settings_scope_subprotocols_error(value)
				  : NULL;
	/* An empty one comes of a variable that nobody has set, and would open what a key or a
	 * limit closes. */
	if (!said && !of_mount && row->choices == NULL && !option_is_scoped_number(row))
		settings_layer_error(layer, at, row->name, "\"\" is empty; expected %s",
				     row->argument);
	else if (row == &option_table[OPTION_ID_rate_limit] && said &&
		 !option_limit(value, &rate, &closes))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\" is not a rate; expected a number, 1 to 1000000, and a time "
			"such as 100/1s, and ,drop or ,close behind it or not",
			value);
	else if (row == &option_table[OPTION_ID_history] && said &&
		 !option_history(value, &n_kept, &ms_kept))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\" is no number of messages; expected 1 to 100000, or 0 (none), "
			"and a time of 1s to 720h such as 50/24h behind it or not",
			value);
	else if (row == &option_table[OPTION_ID_trace_sample] && said &&
		 !option_fraction(value, &parts))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\" is no fraction; expected 0 to 1 with up to six decimals, such "
			"as 0.01",
			value);
	else if (why != NULL)
		settings_layer_error(layer, at, row->name, "\"%.200s\" %s", value, why);
	else if ((row->choices != NULL || option_is_scoped_number(row)) && (said || !of_mount) &&
		 !option_parse(row, value, &choice, expected))
		settings_layer_error(layer, at, row->name, "%s", expected);
	else
		return true;
	return false;
}

/* Has this layer said it already, of the same mount, or of all? */
static bool settings_scope_is_given(const struct settings_layer *layer,
				    const struct option_row *row, const char *mount)
{
	for (size_t i = 0; i < layer->n_scoped; i++)
		if (layer->scoped[i].row == row &&
		    settings_scope_same_mount(layer->scoped[i].mount, mount))
			return true;
	return false;
}

void settings_scope_keep(struct settings_layer *layer, const struct option_row *row,
			 const char *mount, const char *text, const struct settings_place *at)
{
	size_t n = mount == NULL ? settings_layer_mount_length(text) : 0;
	const char *value = n > 0 ? text + n + 1 : text;
	char path[SETTINGS_LAYER_MOUNT_MAX + 2];
	const char *why = n > 0 ? settings_layer_normalise(text, n, path) : NULL;
	if (why != NULL) {
		settings_layer_error(layer, at, row->name, "\"%.*s\" %s", n < 300 ? (int)n : 300,
				     text, why);
		return;
	}
	mount = n > 0 ? path : mount;
	if (!settings_scope_check(layer, row, value, mount != NULL, at))
		return;
	if (settings_scope_is_given(layer, row, mount)) {
		settings_layer_error(layer, at, row->name, "is given twice%s%s; expected once%s",
				     mount != NULL ? " for the mount " : "",
				     mount != NULL ? mount : "",
				     mount != NULL ? ""
						   : ", or once for each mount as MOUNT=VALUE");
		return;
	}
	struct settings_scoped *scoped =
		settings_layer_grow(layer, &layer->scoped, layer->n_scoped, sizeof *scoped);
	if (scoped == NULL)
		return;
	layer->n_scoped++;
	scoped->row = row;
	scoped->mount = mount != NULL ? settings_layer_keep(layer, mount, strlen(mount)) : NULL;
	scoped->value = settings_layer_keep(layer, value, strlen(value));
}

static void settings_scope_give(struct settings_layer *target, struct settings_mount *mount,
				const struct settings_scoped *scoped)
{
	char **field = settings_scope_field(mount, scoped->row);

	free(*field);
	*field = scoped->value[0] != '\0'
			 ? settings_layer_keep(target, scoped->value, strlen(scoped->value))
			 : NULL;
}

static void settings_scope_settle_one(struct settings_layer *target,
				      const struct settings_scoped *scoped)
{
	bool found = false;
	char known[SETTINGS_LAYER_KNOWN_MAX];

	for (size_t i = 0; i < target->s.n_mounts; i++) {
		struct settings_mount *mount = &target->s.mounts[i];

		if (scoped->mount != NULL && strcmp(scoped->mount, mount->path) != 0)
			continue;
		settings_scope_give(target, mount, scoped);
		found = true;
	}
	if (!found && scoped->mount != NULL)
		settings_layer_error(target, NULL, scoped->row->name,
				     "\"%.200s\": there is no mount %s%s", scoped->value,
				     scoped->mount, settings_layer_known(target, known));
	else if (!found)
		settings_layer_error(target, NULL, scoped->row->name,
				     "\"%.200s\" is for mounts, and there is none", scoped->value);
}

/* First what is for every mount, so that what is said for a single one wins. */
void settings_scope_settle(struct settings_layer *target, const struct settings_layer *from,
			   bool of_mounts)
{
	for (int single = 0; single <= (of_mounts ? 1 : 0); single++)
		for (size_t i = 0; i < from->n_scoped && !*target->no_memory; i++)
			if ((from->scoped[i].mount != NULL) == (single == 1))
				settings_scope_settle_one(target, &from->scoped[i]);
}
