#include "settings/settings_layer.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MOUNT_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~/-"
#define KEY_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define KEY_MAX 64

#define OFFSET_ROW(field, type, ...) \
	[OPTION_ID_##field] = \
		SETTINGS_PLACE_##type(offsetof(struct settings, field), SIZE_MAX, SIZE_MAX),
static const size_t OFFSET[OPTION_COUNT] = {OPTIONS(OFFSET_ROW)};

void *settings_layer_field(struct settings *s, const struct option_row *row)
{
	size_t offset = OFFSET[row - option_table];

	return offset == SIZE_MAX ? NULL : (char *)s + offset;
}

size_t settings_layer_size(const struct option_row *row)
{
	switch (row->type) {
	case OPTION_FLAG:
		return sizeof(bool);
	case OPTION_ENUM:
		return sizeof(unsigned);
	case OPTION_TEXT:
	case OPTION_PATH:
		return sizeof(char *);
	case OPTION_LIST:
	case OPTION_PATHS:
		return sizeof(struct settings_list);
	case OPTION_LISTEN:
		return sizeof(struct settings_listens);
	default:
		return sizeof(uint64_t);
	}
}

/* --- memory ----------------------------------------------------------------------------------- */

char *settings_layer_keep(struct settings_layer *layer, const char *text, size_t n)
{
	char *copy = strndup(text, n);

	*layer->no_memory = *layer->no_memory || copy == NULL;
	return copy;
}

void *settings_layer_grow(struct settings_layer *layer, void *items_r, size_t n, size_t size)
{
	void *items;

	memcpy(&items, items_r, sizeof(items));
	items = reallocarray(items, n + 1, size);
	if (items == NULL) {
		*layer->no_memory = true;
		return NULL;
	}
	memcpy(items_r, &items, sizeof(items));
	return memset((char *)items + n * size, 0, size);
}

void settings_list_free(struct settings_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
}

void settings_layer_add(struct settings_layer *layer, struct settings_list *list, const char *text,
			size_t n)
{
	char **item = settings_layer_grow(layer, &list->items, list->n, sizeof(*item));

	if (item == NULL)
		return;
	*item = settings_layer_keep(layer, text, n);
	list->n += *item != NULL;
}

void settings_layer_error(struct settings_layer *layer, const struct settings_place *at,
			  const char *name, const char *format, ...)
{
	char what[1200], line[16] = "", sentence[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (at != NULL && at->line > 0)
		snprintf(line, sizeof(line), ":%u", at->line);
	snprintf(sentence, sizeof(sentence), "tova-host: %s%s%s%s%s%s%s",
		 at != NULL ? at->file : "", line, at != NULL ? ": " : "",
		 at == NULL && name != NULL ? "--" : "", name != NULL ? name : "",
		 name != NULL ? ": " : "", what);
	settings_layer_add(layer, layer->errors, sentence, strlen(sentence));
}

/* --- mounts ----------------------------------------------------------------------------------- */

/* No slash at the end, no empty segment. Returns what is wrong, or NULL. */
const char *settings_layer_normalise(const char *raw, size_t n,
				     char dst[SETTINGS_LAYER_MOUNT_MAX + 2])
{
	size_t len = 0, i = 0;

	if (n == 0 || raw[0] != '/')
		return "is not a mount; expected a path that begins with /";
	if (n > SETTINGS_LAYER_MOUNT_MAX)
		return "is too long for a mount; expected at most 255 bytes";
	while (i < n) {
		size_t segment = ++i;

		while (i < n && raw[i] != '/') {
			if (strchr(MOUNT_CHARS, raw[i]) == NULL || raw[i] == '\0')
				return "is not a mount; expected letters, digits and . _ ~ / -";
			i++;
		}
		if (i == segment)
			continue;
		if (i - segment <= 2 && strspn(raw + segment, ".") >= i - segment)
			return "is not a mount; expected no segment . or .., which no request can "
			       "reach";
		dst[len++] = '/';
		memcpy(dst + len, raw + segment, i - segment);
		len += i - segment;
	}
	if (len == 0)
		dst[len++] = '/';
	dst[len] = '\0';
	return NULL;
}

struct settings_mount *settings_layer_mount(struct settings_layer *layer, const char *name,
					    const char *raw, size_t n,
					    const struct settings_place *at)
{
	char path[SETTINGS_LAYER_MOUNT_MAX + 2];
	const char *why = settings_layer_normalise(raw, n, path);
	struct settings_mount *mount;

	if (why != NULL) {
		settings_layer_error(layer, at, name, "\"%.*s\" %s", n < 300 ? (int)n : 300, raw,
				     why);
		return NULL;
	}
	for (size_t i = 0; i < layer->s.n_mounts; i++)
		if (strcmp(layer->s.mounts[i].path, path) == 0)
			return &layer->s.mounts[i];
	mount = settings_layer_grow(layer, &layer->s.mounts, layer->s.n_mounts, sizeof(*mount));
	if (mount == NULL)
		return NULL;
	mount->path = settings_layer_keep(layer, path, strlen(path));
	if (mount->path == NULL)
		return NULL;
	layer->s.n_mounts++;
	return mount;
}

const char *settings_layer_known(const struct settings_layer *layer,
				 char known[SETTINGS_LAYER_KNOWN_MAX])
{
	size_t n = 0;

	known[0] = '\0';
	for (size_t i = 0; i < layer->s.n_mounts && n < SETTINGS_LAYER_KNOWN_MAX; i++)
		n += (size_t)snprintf(known + n, SETTINGS_LAYER_KNOWN_MAX - n, "%s%s",
				      n > 0 ? ", " : "; expected one of ", layer->s.mounts[i].path);
	return known;
}

char **settings_layer_handler_field(struct settings_mount *mount, const struct option_row *row)
{
	switch (row - option_table) {
	case OPTION_ID_plugin:
		return &mount->plugin;
	case OPTION_ID_worker:
		return &mount->worker;
	case OPTION_ID_attach:
		return &mount->attach;
	case OPTION_ID_script_dir:
		return &mount->script_dir;
	default:
		return &mount->script;
	}
}

size_t settings_layer_mount_length(const char *text)
{
	size_t n = text[0] == '/' ? strspn(text, MOUNT_CHARS) : 0;

	return n > 0 && text[n] == '=' ? n : 0;
}

void settings_layer_pair(struct settings_layer *layer, const char *name, const char *mount,
			 const char *key, size_t key_len, const char *value,
			 const struct settings_place *at)
{
	struct settings_pending *pending;

	if (key_len == 0 || key_len > KEY_MAX || strspn(key, KEY_CHARS) < key_len) {
		settings_layer_error(
			layer, at, name,
			"\"%.*s\" is not a key; expected 1 to %d letters, digits and . _ -",
			key_len < 200 ? (int)key_len : 200, key, KEY_MAX);
		return;
	}
	pending = settings_layer_grow(layer, &layer->pending, layer->n_pending, sizeof(*pending));
	if (pending == NULL)
		return;
	layer->n_pending++;
	pending->mount = mount != NULL ? settings_layer_keep(layer, mount, strlen(mount)) : NULL;
	pending->pair.key = settings_layer_keep(layer, key, key_len);
	pending->pair.value = settings_layer_keep(layer, value, strlen(value));
}

void settings_layer_set(struct settings_layer *layer, struct settings_mount *mount,
			const struct settings_pair *pair)
{
	struct settings_pair *mine = NULL;
	char *value = settings_layer_keep(layer, pair->value, strlen(pair->value));

	for (size_t i = 0; i < mount->n_pairs && value != NULL; i++) {
		if (strcmp(mount->pairs[i].key, pair->key) == 0) {
			free(mount->pairs[i].value);
			mount->pairs[i].value = value;
			return;
		}
	}
	if (value != NULL)
		mine = settings_layer_grow(layer, &mount->pairs, mount->n_pairs, sizeof(*mine));
	if (mine != NULL)
		mine->key = settings_layer_keep(layer, pair->key, strlen(pair->key));
	if (mine == NULL || mine->key == NULL) {
		free(value);
		return;
	}
	mine->value = value;
	mount->n_pairs++;
}

/* --- all of it -------------------------------------------------------------------------------- */

void settings_layer_free_pending(struct settings_layer *layer)
{
	for (size_t i = 0; i < layer->n_pending; i++) {
		free(layer->pending[i].mount);
		free(layer->pending[i].pair.key);
		free(layer->pending[i].pair.value);
	}
	for (size_t i = 0; i < layer->n_scoped; i++) {
		free(layer->scoped[i].mount);
		free(layer->scoped[i].value);
	}
	free(layer->pending);
	free(layer->scoped);
	layer->pending = NULL;
	layer->scoped = NULL;
	layer->n_pending = layer->n_scoped = 0;
}
