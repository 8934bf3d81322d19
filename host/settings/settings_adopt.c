#include "settings/settings_adopt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "settings/settings_layer.h"

struct adopt {
	struct settings *runs, *asked;
	settings_on_change *on_change;
	void *ctx;
};

/* --- values ----------------------------------------------------------------------------------- */

static bool settings_adopt_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool settings_adopt_same_list(const struct settings_list *a, const struct settings_list *b)
{
	bool same = a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = strcmp(a->items[i], b->items[i]) == 0;
	return same;
}

static bool settings_adopt_same_listens(const struct settings_listens *a,
					const struct settings_listens *b)
{
	bool same = a->n == b->n;

	for (size_t i = 0; same && i < a->n; i++)
		same = strcmp(a->items[i].text, b->items[i].text) == 0;
	return same;
}

static bool settings_adopt_same_value(const struct option_row *row, const void *a, const void *b)
{
	switch (row->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
		return settings_adopt_same_text(*(char *const *)a, *(char *const *)b);
	case OPTION_LIST:
	case OPTION_PATHS:
		return settings_adopt_same_list(a, b);
	case OPTION_LISTEN:
		return settings_adopt_same_listens(a, b);
	default:
		return memcmp(a, b, settings_layer_size(row)) == 0;
	}
}

static void settings_adopt_swap_bytes(void *a, void *b, size_t n)
{
	unsigned char keep[sizeof(struct settings_mount)];

	memcpy(keep, a, n);
	memcpy(a, b, n);
	memcpy(b, keep, n);
}

static void settings_adopt_join(char *dst, const char *text)
{
	size_t n = strlen(dst);

	snprintf(dst + n, SETTINGS_ADOPT_TEXT - n, "%s%s", n > 0 ? "," : "", text);
}

/* The value as it would be typed; NULL: there is none. */
static const char *settings_adopt_value_text(const struct option_row *row, const void *field,
					     char dst[SETTINGS_ADOPT_TEXT])
{
	const struct settings_list *list = field;
	const struct settings_listens *listens = field;

	dst[0] = '\0';
	if (row->type == OPTION_TEXT || row->type == OPTION_PATH)
		return *(char *const *)field;
	if (row->type == OPTION_FLAG)
		return *(const bool *)field ? "true" : "false";
	if (row->type == OPTION_LISTEN)
		for (size_t i = 0; i < listens->n; i++)
			settings_adopt_join(dst, listens->items[i].text);
	else if (row->type == OPTION_LIST || row->type == OPTION_PATHS)
		for (size_t i = 0; i < list->n; i++)
			settings_adopt_join(dst, list->items[i]);
	else
		option_format(row,
			      row->type == OPTION_ENUM ? *(const unsigned *)field
						       : *(const uint64_t *)field,
			      dst, SETTINGS_ADOPT_TEXT);
	return dst[0] != '\0' ? dst : NULL;
}

static void settings_adopt_tell(const struct adopt *a, const struct option_row *row,
				const char *mount, const char *runs, const char *asked, bool waits)
{
	const struct settings_change change = {.row = row,
					       .mount = mount,
					       .runs = runs,
					       .asked = asked,
					       .waits = waits};

	a->on_change(a->ctx, &change);
}

/* --- options that are the host's -------------------------------------------------------------- */

/* Sockets that speak TLS are told from others when they are opened. */
static bool settings_adopt_begins_or_ends_tls(const struct adopt *a, const struct option_row *row)
{
	bool tls = row == &option_table[OPTION_ID_tls_cert] ||
		   row == &option_table[OPTION_ID_tls_key] ||
		   row == &option_table[OPTION_ID_tls_client_ca] ||
		   row == &option_table[OPTION_ID_tls_min];

	return tls && (a->runs->tls_cert.n == 0) != (a->asked->tls_cert.n == 0);
}

static struct settings_mount *settings_adopt_find_mount(const struct settings *s, const char *path)
{
	for (size_t i = 0; i < s->n_mounts; i++)
		if (strcmp(s->mounts[i].path, path) == 0)
			return &s->mounts[i];
	return NULL;
}

/* Where workers attach stays, and with it what they must say there: another address may need
 * less. */
static bool settings_adopt_guards_an_address(const struct adopt *a, const struct option_row *row)
{
	if (strncmp(row->name, "attach-", 7) != 0)
		return false;
	for (size_t i = 0; i < a->runs->n_mounts; i++) {
		const struct settings_mount *mine = &a->runs->mounts[i],
					    *other =
						    settings_adopt_find_mount(a->asked, mine->path);

		if (mine->attach != NULL &&
		    (other == NULL || !settings_adopt_same_text(mine->attach, other->attach)))
			return true;
	}
	return false;
}

/* So does where the API is. */
static bool settings_adopt_guards_the_api(const struct adopt *a, const struct option_row *row)
{
	return row == &option_table[OPTION_ID_api_token] &&
	       !(settings_adopt_same_listens(&a->runs->api, &a->asked->api) &&
		 settings_adopt_same_listens(&a->runs->admin, &a->asked->admin));
}

static bool settings_adopt_waits_for_restart(const struct adopt *a, const struct option_row *row)
{
	return row->when == OPTION_WHEN_RESTART || settings_adopt_begins_or_ends_tls(a, row) ||
	       settings_adopt_guards_an_address(a, row) || settings_adopt_guards_the_api(a, row);
}

static bool settings_adopt_value(const struct adopt *a, const struct option_row *row, bool waits)
{
	void *runs = settings_layer_field(a->runs, row),
	     *asked = settings_layer_field(a->asked, row);
	char was[SETTINGS_ADOPT_TEXT], is[SETTINGS_ADOPT_TEXT];

	if (!settings_adopt_same_value(row, runs, asked))
		settings_adopt_tell(a, row, NULL, settings_adopt_value_text(row, runs, was),
				    settings_adopt_value_text(row, asked, is), waits);
	return waits;
}

static void settings_adopt_values(const struct adopt *a)
{
	bool keeps[OPTION_COUNT] = {false};

	/* First all are compared: whether TLS begins is seen from the certificates. */
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT; row++)
		if (settings_layer_field(a->runs, row) != NULL && row->when != OPTION_WHEN_START)
			keeps[row - option_table] =
				settings_adopt_value(a, row,
						     settings_adopt_waits_for_restart(a, row));
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (keeps[i])
			settings_adopt_not(a->runs, a->asked, (enum option_id)i);
}

void settings_adopt_not(struct settings *runs, struct settings *asked, enum option_id id)
{
	const struct option_row *row = &option_table[id];

	settings_adopt_swap_bytes(settings_layer_field(runs, row), settings_layer_field(asked, row),
				  settings_layer_size(row));
}

/* --- mounts ----------------------------------------------------------------------------------- */

/* The option that gives a mount its handler. */
static const struct option_row *settings_adopt_handler_row(struct settings_mount *mount)
{
	const struct option_row *row = option_table;

	while (row < option_table + OPTION_COUNT - 1 &&
	       (row->type != OPTION_HANDLER || *settings_layer_handler_field(mount, row) == NULL))
		row++;
	return row;
}

/* A handler can be replaced by another of its kind. Processes of the host's own are one kind, a
 * plugin's with --isolate among them. */
static bool settings_adopt_same_kind(const struct settings *s, const struct settings_mount *a,
				     const struct settings_mount *b)
{
	bool processes = a->worker != NULL || (a->plugin != NULL && s->isolate),
	     others = b->worker != NULL || (b->plugin != NULL && s->isolate);

	return processes == others && (processes || (a->plugin != NULL) == (b->plugin != NULL)) &&
	       settings_mount_has_scripts(a) == settings_mount_has_scripts(b);
}

static bool settings_adopt_same_pairs(const struct settings_mount *a,
				      const struct settings_mount *b)
{
	bool same = a->n_pairs == b->n_pairs;

	for (size_t i = 0; same && i < a->n_pairs; i++) {
		same = false;
		for (size_t j = 0; !same && j < b->n_pairs; j++)
			same = strcmp(a->pairs[i].key, b->pairs[j].key) == 0 &&
			       strcmp(a->pairs[i].value, b->pairs[j].value) == 0;
	}
	return same;
}

static void settings_adopt_keep_handler(struct settings_mount *runs, struct settings_mount *asked)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT; row++)
		if (row->type == OPTION_HANDLER)
			settings_adopt_swap_bytes(settings_layer_handler_field(runs, row),
						  settings_layer_handler_field(asked, row),
						  sizeof(char *));
	settings_adopt_swap_bytes(&runs->pairs, &asked->pairs, sizeof(runs->pairs));
	settings_adopt_swap_bytes(&runs->n_pairs, &asked->n_pairs, sizeof(runs->n_pairs));
}

void settings_adopt_not_scoped(struct settings *runs, struct settings_mount *asked,
			       enum option_id id)
{
	struct settings_mount *mine = settings_adopt_find_mount(runs, asked->path);
	const struct option_row *row = &option_table[id];

	if (mine != NULL)
		settings_adopt_swap_bytes(settings_scope_field(mine, row),
					  settings_scope_field(asked, row), sizeof(char *));
}

void settings_adopt_not_handler(struct settings *runs, struct settings_mount *asked)
{
	struct settings_mount *mine = settings_adopt_find_mount(runs, asked->path);

	if (mine != NULL)
		settings_adopt_keep_handler(mine, asked);
}

static void settings_adopt_handler(const struct adopt *a, struct settings_mount *runs,
				   struct settings_mount *asked)
{
	const struct option_row *was = settings_adopt_handler_row(runs),
				*is = settings_adopt_handler_row(asked);

	if (!settings_adopt_same_kind(a->asked, runs, asked)) {
		settings_adopt_tell(a, is, runs->path, *settings_layer_handler_field(runs, was),
				    *settings_layer_handler_field(asked, is), true);
		settings_adopt_keep_handler(runs, asked);
		return;
	}
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		char **mine = row->type == OPTION_HANDLER ? settings_layer_handler_field(runs, row)
							  : NULL,
		     **other = row->type == OPTION_HANDLER
				       ? settings_layer_handler_field(asked, row)
				       : NULL;

		if (mine == NULL || settings_adopt_same_text(*mine, *other))
			continue;
		settings_adopt_tell(a, row, runs->path, *mine, *other,
				    row->when == OPTION_WHEN_RESTART);
		if (row->when == OPTION_WHEN_RESTART)
			settings_adopt_swap_bytes(mine, other, sizeof(char *));
	}
	/* Their values may be secrets. */
	if (!settings_adopt_same_pairs(runs, asked))
		settings_adopt_tell(a, &option_table[OPTION_ID_plugin_set], runs->path, NULL, NULL,
				    false);
}

static void settings_adopt_scoped(const struct adopt *a, struct settings_mount *runs,
				  struct settings_mount *asked)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		char **mine = row->type == OPTION_SCOPED ? settings_scope_field(runs, row) : NULL;
		char **other = row->type == OPTION_SCOPED ? settings_scope_field(asked, row) : NULL;
		bool waits = row->when == OPTION_WHEN_RESTART;

		if (mine == NULL || settings_adopt_same_text(*mine, *other))
			continue;
		settings_adopt_tell(a, row, runs->path, *mine, *other, waits);
		if (waits)
			settings_adopt_swap_bytes(mine, other, sizeof(char *));
	}
}

/* Which mounts there are stays: those that were not asked for any more go on as they were, new ones
 * are not there yet. */
static void settings_adopt_mounts(const struct adopt *a)
{
	struct settings *runs = a->runs, *asked = a->asked;

	for (size_t i = 0; i < runs->n_mounts; i++) {
		struct settings_mount *mine = &runs->mounts[i],
				      *other = settings_adopt_find_mount(asked, mine->path);
		const struct option_row *row = settings_adopt_handler_row(mine);

		if (other == NULL) {
			settings_adopt_tell(a, row, mine->path,
					    *settings_layer_handler_field(mine, row), NULL, true);
			continue;
		}
		settings_adopt_handler(a, mine, other);
		settings_adopt_scoped(a, mine, other);
		settings_adopt_swap_bytes(mine, other, sizeof(*mine));
	}
	for (size_t i = 0; i < asked->n_mounts; i++) {
		struct settings_mount *new = &asked->mounts[i];
		const struct option_row *row = settings_adopt_handler_row(new);

		if (settings_adopt_find_mount(runs, new->path) == NULL)
			settings_adopt_tell(a, row, new->path, NULL,
					    *settings_layer_handler_field(new, row), true);
	}
	/* What goes on stands in the places of what runs now. */
	settings_adopt_swap_bytes(&runs->mounts, &asked->mounts, sizeof(runs->mounts));
	settings_adopt_swap_bytes(&runs->n_mounts, &asked->n_mounts, sizeof(runs->n_mounts));
}

void settings_adopt(struct settings *runs, struct settings *asked, settings_on_change *on_change,
		    void *ctx)
{
	const struct adopt a = {.runs = runs, .asked = asked, .on_change = on_change, .ctx = ctx};

	settings_adopt_values(&a);
	settings_adopt_mounts(&a);
}
