#include "settings/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "settings/settings_layer.h"

/* --- freeing ---------------------------------------------------------------------------------- */

static void settings_free_listens(struct settings_listens *list)
{
	for (size_t i = 0; i < list->n; i++)
		settings_listen_free(&list->items[i]);
	free(list->items);
}

static void settings_free_mount(struct settings_mount *mount)
{
	for (size_t i = 0; i < mount->n_pairs; i++) {
		free(mount->pairs[i].key);
		free(mount->pairs[i].value);
	}
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT; row++)
		if (row->type == OPTION_SCOPED)
			free(*settings_scope_field(mount, row));
	free(mount->pairs);
	free(mount->path);
	free(mount->plugin);
	free(mount->worker);
	free(mount->attach);
	free(mount->script);
	free(mount->script_dir);
}

void settings_free(struct settings *s)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		void *field = settings_layer_field(s, row);

		if (row->type == OPTION_TEXT || row->type == OPTION_PATH)
			free(*(char **)field);
		else if (row->type == OPTION_LIST || row->type == OPTION_PATHS)
			settings_list_free(field);
		else if (row->type == OPTION_LISTEN)
			settings_free_listens(field);
	}
	for (size_t i = 0; i < s->n_mounts; i++)
		settings_free_mount(&s->mounts[i]);
	free(s->mounts);
	memset(s, 0, sizeof(*s));
}

/* --- laying one source over the other --------------------------------------------------------- */

/* What only the file says moves over; what neither says gets its default. */
static void settings_merge(struct settings_layer *over, struct settings_layer *under)
{
	for (const struct option_row *row = option_table; row < option_table + OPTION_COUNT;
	     row++) {
		size_t i = (size_t)(row - option_table);
		void *mine = settings_layer_field(&over->s, row),
		     *theirs = settings_layer_field(&under->s, row);

		if (mine == NULL || over->given[i])
			continue;
		if (under->given[i]) {
			memcpy(mine, theirs, settings_layer_size(row));
			memset(theirs, 0, settings_layer_size(row));
		} else if (row->initial != NULL) {
			settings_value_apply(over, row, row->initial, NULL);
		}
	}
	if (!over->mounts_given) {
		over->s.mounts = under->s.mounts;
		over->s.n_mounts = under->s.n_mounts;
		under->s.mounts = NULL;
		under->s.n_mounts = 0;
	}
}

static void settings_no_such_mount(struct settings_layer *layer,
				   const struct settings_pending *pending)
{
	char known[600] = "";
	size_t n = 0;

	for (size_t i = 0; i < layer->s.n_mounts && n < sizeof(known); i++)
		if (layer->s.mounts[i].plugin != NULL)
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s",
					      n > 0 ? ", " : "; expected one of ",
					      layer->s.mounts[i].path);
	settings_layer_error(layer, NULL, option_table[OPTION_ID_plugin_set].name,
			     "the mount %s has no plugin%s", pending->mount, known);
}

/* Gives the pairs of one layer to their mounts: first those for every mount, so that one for a
 * single mount wins. */
static void settings_settle_pairs(struct settings_layer *target, const struct settings_layer *from)
{
	for (int single = 0; single <= 1 && !*target->no_memory; single++) {
		for (size_t i = 0; i < from->n_pending; i++) {
			const struct settings_pending *pending = &from->pending[i];
			bool found = false;

			if ((pending->mount != NULL) != (single == 1))
				continue;
			for (size_t j = 0; j < target->s.n_mounts; j++) {
				struct settings_mount *mount = &target->s.mounts[j];

				if (mount->plugin != NULL &&
				    (pending->mount == NULL ||
				     strcmp(pending->mount, mount->path) == 0)) {
					settings_layer_set(target, mount, &pending->pair);
					found = true;
				}
			}
			if (!found && pending->mount != NULL)
				settings_no_such_mount(target, pending);
			else if (!found)
				settings_layer_error(
					target, NULL, option_table[OPTION_ID_plugin_set].name,
					"\"%.64s\" is a setting for plugins, and none is given",
					pending->pair.key);
		}
	}
}

/* Whoever reaches a TCP port may dial it; an ipc socket belongs to its user. */
static void settings_check_attach(struct settings_layer *layer)
{
	const char *name = option_table[OPTION_ID_attach].name;

	for (size_t i = 0; i < layer->s.n_mounts; i++) {
		const char *url = layer->s.mounts[i].attach;
		bool tls = url != NULL && settings_listen_is_tls(url);

		if (tls && (layer->s.attach_cert == NULL || layer->s.attach_key == NULL))
			settings_layer_error(layer, NULL, name,
					     "\"%.200s\" needs --attach-cert and --attach-key",
					     url);
		else if (url != NULL && settings_listen_is_open(url) &&
			 layer->s.attach_token.n == 0 &&
			 !(tls && layer->s.attach_client_ca != NULL))
			settings_layer_error(
				layer, NULL, name,
				"\"%.200s\" can be dialled from other machines; expected an "
				"address of this one, --attach-token%s",
				url, tls ? " or --attach-client-ca" : "");
	}
}

/* What a token must be says nothing where none is asked for: whoever wrote that believes it is. */
static void settings_check_tokens(struct settings_layer *layer, const struct settings_layer *said)
{
	for (size_t i = 0; i < said->n_scoped; i++) {
		const struct settings_scoped *scoped = &said->scoped[i];
		bool guarded = false, any = false;

		if (strncmp(scoped->row->name, "jwt-", 4) != 0)
			continue;

		for (size_t j = 0; j < layer->s.n_mounts; j++) {
			bool its = scoped->mount == NULL ||
				   strcmp(scoped->mount, layer->s.mounts[j].path) == 0;

			any = any || its;
			guarded = guarded || (its && layer->s.mounts[j].jwt_key != NULL);
		}
		if (any && !guarded && scoped->row != &option_table[OPTION_ID_jwt_key] &&
		    scoped->row != &option_table[OPTION_ID_rate_limit])
			settings_layer_error(layer, NULL, scoped->row->name,
					     "\"%.200s\" needs --jwt-key%s%s", scoped->value,
					     scoped->mount != NULL ? " for the mount " : "",
					     scoped->mount != NULL ? scoped->mount : "");
	}
}

/* What a line is says nothing where no script writes any. */
static void settings_check_scripts(struct settings_layer *layer, const struct settings_layer *said)
{
	for (size_t i = 0; i < said->n_scoped; i++) {
		const struct settings_scoped *scoped = &said->scoped[i];
		bool any = false, found = false;

		if (scoped->row != &option_table[OPTION_ID_script_lines] ||
		    scoped->value[0] == '\0')
			continue;
		for (size_t j = 0; j < layer->s.n_mounts; j++) {
			bool its = scoped->mount == NULL ||
				   strcmp(scoped->mount, layer->s.mounts[j].path) == 0;

			found = found || its;
			any = any || (its && settings_mount_has_scripts(&layer->s.mounts[j]));
		}
		if (found && !any)
			settings_layer_error(layer, NULL, scoped->row->name,
					     "\"%.200s\" is for scripts, and there is none%s%s",
					     scoped->value, scoped->mount != NULL ? " at " : "",
					     scoped->mount != NULL ? scoped->mount : "");
		else if (any && layer->s.script_binary)
			settings_layer_error(
				layer, NULL, scoped->row->name,
				"\"%.200s\" says what a line is, and with --script-binary there "
				"are none; expected one of both",
				scoped->value);
	}
}

/* Without a proxy that is trusted nobody could connect there. */
static void settings_check_listen(struct settings_layer *layer, enum settings_door door)
{
	const struct settings_listens *listens = settings_door(&layer->s, door);

	for (size_t i = 0; i < listens->n; i++)
		if (listens->items[i].proxy && layer->s.trusted_proxy.n == 0)
			settings_layer_error(
				layer, NULL, settings_door_option(door),
				"\"%.200s\" needs --trusted-proxy, with the addresses of those "
				"who may send a PROXY header",
				listens->items[i].text);
}

/* Where nobody but this machine comes, TLS is only what was asked for: what watches a host there
 * need not know its names. */
static bool settings_speaks_tls(const struct settings *s, const struct settings_listen *listen,
				enum settings_door door)
{
	return listen->speaks == SETTINGS_SPEAKS_TLS ||
	       (listen->speaks == SETTINGS_SPEAKS_EITHER && s->tls_cert.n > 0 &&
		listen->unix_path == NULL &&
		(door == SETTINGS_CLIENTS || !settings_is_loopback(listen->host)));
}

/* Which addresses speak TLS? Counts them, and those with certificates of their own. */
static void settings_settle_tls(struct settings_layer *layer, enum settings_door door,
				size_t *speaking, size_t *groups)
{
	const struct settings_listens *listens = settings_door(&layer->s, door);

	for (size_t i = 0; i < listens->n; i++) {
		struct settings_listen *listen = &listens->items[i];

		*groups += listen->tls_names.n > 0;
		listen->tls_group = listen->tls_names.n > 0 ? (uint8_t)*groups : 0;
		if (listen->tls_names.n > 0 && *groups == SETTINGS_TLS_GROUPS + 1)
			settings_layer_error(
				layer, NULL, settings_door_option(door),
				"\"%.200s\" is one with ,tls=NAME too many; expected at most %d",
				listen->text, SETTINGS_TLS_GROUPS);
		listen->tls = settings_speaks_tls(&layer->s, listen, door);
		*speaking += listen->tls;
		if (listen->tls && layer->s.tls_cert.n == 0)
			settings_layer_error(layer, NULL, settings_door_option(door),
					     "\"%.200s\" needs --tls-cert", listen->text);
	}
}

/* Is there what TLS needs, and somebody who needs it? */
static void settings_check_tls(struct settings_layer *layer)
{
	struct settings *s = &layer->s;
	size_t speaking = 0, groups = 0;

	for (enum settings_door door = 0; door < SETTINGS_DOORS; door++)
		settings_settle_tls(layer, door, &speaking, &groups);
	if (s->tls_cert.n > 0 && speaking == 0)
		settings_layer_error(
			layer, NULL, option_table[OPTION_ID_tls_cert].name,
			"nothing speaks TLS; expected --listen with a TCP address, or with "
			"unix:PATH,tls");
	if (s->tls_key.n > 0 && s->tls_key.n != s->tls_cert.n)
		settings_layer_error(layer, NULL, option_table[OPTION_ID_tls_key].name,
				     "given %zu times; expected as often as --tls-cert, %zu times",
				     s->tls_key.n, s->tls_cert.n);
	if (s->tls_client_ca != NULL && s->tls_cert.n == 0)
		settings_layer_error(layer, NULL, option_table[OPTION_ID_tls_client_ca].name,
				     "\"%.200s\" needs --tls-cert", s->tls_client_ca);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Prints what an option asks for instead of running. */
static bool settings_print_instead(const struct settings *s, const struct settings_source *source)
{
	FILE *out = source->out;
	if (s->help)
		option_print_help(out);
	else if (s->version) {
		fputs("tova-host " TOVA_VERSION "\n", out);
		if (source->print_features != NULL)
			source->print_features(out);
	} else if (s->help_man)
		option_print_man(out);
	else if (s->help_markdown)
		option_print_markdown(out);
	else if (s->help_log_kinds)
		log_print_kinds(out);
	else
		return false;
	return true;
}

static void settings_say(const struct settings_source *source, const struct settings_list *errors,
			 bool all, bool no_memory)
{
	if (source->err == NULL)
		return;
	if (no_memory)
		fputs("tova-host: out of memory while reading the settings\n", source->err);
	for (size_t i = 0; i < errors->n && (all || i == 0) && !no_memory; i++)
		fprintf(source->err, "%s\n", errors->items[i]);
}

enum settings_status settings_read(struct settings *s, const struct settings_source *source)
{
	struct settings_list errors = {0};
	bool no_memory = false;
	struct settings_layer over = {.source = source, .errors = &errors, .no_memory = &no_memory},
			      under = over;
	enum settings_status status = SETTINGS_OK;

	settings_command_line_read(&over);
	if (errors.n == 0 && !no_memory && settings_print_instead(&over.s, source))
		status = SETTINGS_DONE;
	if (status == SETTINGS_OK && over.s.config != NULL)
		settings_config_read(&under, over.s.config);
	if (status == SETTINGS_OK && !no_memory) {
		bool sound;

		settings_merge(&over, &under);
		if (!over.mounts_given)
			settings_settle_pairs(&over, &under);
		/* A wrong --plugin may be why a mount is missing, and a wrong --attach-token why
		 * there is none; their own sentences are enough then. */
		sound = errors.n == 0;
		if (sound)
			settings_check_attach(&over);
		for (enum settings_door door = 0; sound && door < SETTINGS_DOORS; door++)
			settings_check_listen(&over, door);
		if (sound)
			settings_check_tls(&over);
		if (sound)
			settings_api_check(&over);
		if (sound)
			settings_settle_pairs(&over, &over);
		if (sound)
			settings_scope_settle(&over, &under, !over.mounts_given);
		if (sound)
			settings_scope_settle(&over, &over, true);
		if (sound)
			settings_check_scripts(&over, &under);
		if (sound)
			settings_check_scripts(&over, &over);
		if (sound)
			settings_check_tokens(&over, &under);
		if (sound)
			settings_check_tokens(&over, &over);
	}
	if (errors.n > 0 || no_memory) {
		settings_say(source, &errors, over.s.check, no_memory);
		status = SETTINGS_BAD;
	}
	*s = over.s;
	if (status != SETTINGS_OK)
		settings_free(s);
	settings_free(&under.s);
	settings_layer_free_pending(&over);
	settings_layer_free_pending(&under);
	settings_list_free(&errors);
	return status;
}
