/* settings_api: --api, --admin and who may do what there. */
#include <ctype.h>
#include <string.h>

#include "settings/settings_layer.h"

const char *settings_token_parse(const char *text, struct settings_token *token_r)
{
	static const char *const scopes[] = {"publish", "read", "admin"};
	const char *equals = strchr(text, '='), *at = strchr(text, '@');
	size_t n = equals == NULL ? 0 : (size_t)(equals - text);

	if (equals == NULL || equals[1] == '\0')
		return "is no token; expected SCOPE[@MOUNT]=FILE, such as publish=/etc/tova/token";
	token_r->file = equals + 1;
	token_r->mount[0] = '\0';
	if (at != NULL && at < equals) {
		const char *why =
			settings_layer_normalise(at + 1, (size_t)(equals - at - 1), token_r->mount);

		if (why != NULL)
			return "names what is no mount; expected SCOPE@/PATH=FILE with letters, "
			       "digits and . _ ~ / - in PATH";
		n = (size_t)(at - text);
	}
	for (token_r->scope = 0; token_r->scope < 3; token_r->scope++)
		if (strlen(scopes[token_r->scope]) == n &&
		    memcmp(scopes[token_r->scope], text, n) == 0)
			return NULL;
	return "has an unknown scope; expected publish, read or admin in front of @MOUNT or =FILE";
}

/* Does a scope stand in front? What does not begin with one is the name of a file. */
static bool settings_api_has_scope(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz");

	return (text[n] == '=' || text[n] == '@') && ((n == 7 && memcmp(text, "publish", n) == 0) ||
						      (n == 4 && memcmp(text, "read", n) == 0) ||
						      (n == 5 && memcmp(text, "admin", n) == 0));
}

const char *settings_attach_token_parse(const char *text, struct settings_token *token_r)
{
	if (settings_api_has_scope(text))
		return settings_token_parse(text, token_r);
	*token_r = (struct settings_token){.scope = 2, .file = text};
	return NULL;
}

/* A path as a request has it, decoded. */
static const char *settings_api_health_error(const char *text)
{
	bool good = text[0] == '/' && strlen(text) <= SETTINGS_LAYER_MOUNT_MAX;

	for (const char *p = text; *p != '\0'; p++)
		good = good && isgraph((unsigned char)*p) && strchr("?#%", *p) == NULL;
	return good ? NULL
		    : "is no path; expected one that begins with /, of at most 255 visible "
		      "characters, such as /health";
}

const char *settings_api_error(const struct option_row *row, const char *text)
{
	struct settings_token token;

	if (*text == '\0')
		return NULL; /* which is said of every option alike */
	if (row == &option_table[OPTION_ID_api_token])
		return settings_token_parse(text, &token);
	if (row == &option_table[OPTION_ID_attach_token])
		return settings_attach_token_parse(text, &token);
	return row == &option_table[OPTION_ID_health] ? settings_api_health_error(text) : NULL;
}

/* Whom does somebody meet there? */
static void settings_api_check_address(struct settings_layer *layer, enum settings_door door,
				       const struct settings_listen *listen)
{
	for (enum settings_door before = 0; before < door; before++) {
		const struct settings_listens *others = settings_door(&layer->s, before);

		for (size_t i = 0; i < others->n; i++)
			if (settings_listen_same(&others->items[i], listen))
				settings_layer_error(layer, NULL, settings_door_option(door),
						     "\"%.200s\" is an address of --%s, too",
						     listen->text, settings_door_option(before));
	}
	if (layer->s.api_token.n == 0 && listen->host != NULL &&
	    !settings_is_loopback(listen->host))
		settings_layer_error(
			layer, NULL, settings_door_option(door),
			"\"%.200s\" can be reached from other machines; expected an address of "
			"this one, such as 127.0.0.1:PORT, or --api-token",
			listen->text);
}

static void settings_api_check_token(struct settings_layer *layer, const struct option_row *row,
				     const char *text)
{
	struct settings_token token = {.mount = ""};
	bool found = false;
	char known[SETTINGS_LAYER_KNOWN_MAX];

	if (row == &option_table[OPTION_ID_attach_token])
		settings_attach_token_parse(text, &token);
	else
		settings_token_parse(text, &token);
	for (size_t i = 0; i < layer->s.n_mounts; i++)
		found = found || strcmp(layer->s.mounts[i].path, token.mount) == 0;
	if (!found && token.mount[0] != '\0')
		settings_layer_error(layer, NULL, row->name, "\"%.200s\": there is no mount %s%s",
				     text, token.mount, settings_layer_known(layer, known));
}

/* Each names a mount that there is, and they are not too many. */
static void settings_api_check_token_list(struct settings_layer *layer,
					  const struct option_row *row,
					  const struct settings_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		settings_api_check_token(layer, row, list->items[i]);
	if (list->n > SETTINGS_TOKENS_MAX)
		settings_layer_error(layer, NULL, row->name, "given %zu times; expected at most %d",
				     list->n, SETTINGS_TOKENS_MAX);
}

void settings_api_check(struct settings_layer *layer)
{
	const struct settings *s = &layer->s;

	for (enum settings_door door = SETTINGS_API; door < SETTINGS_DOORS; door++) {
		const struct settings_listens *listens = settings_door(&layer->s, door);

		for (size_t i = 0; i < listens->n; i++)
			settings_api_check_address(layer, door, &listens->items[i]);
	}
	settings_api_check_token_list(layer, &option_table[OPTION_ID_api_token], &s->api_token);
	settings_api_check_token_list(layer, &option_table[OPTION_ID_attach_token],
				      &s->attach_token);
	if (s->api_token.n > 0 && s->api.n == 0 && s->admin.n == 0)
		settings_layer_error(layer, NULL, option_table[OPTION_ID_api_token].name,
				     "\"%.200s\" needs --api or --admin", s->api_token.items[0]);
}
