#include "settings/settings_layer.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/address.h"
#include "base/environment.h"

#define MOUNT_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~/-"
#define KEY_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define KEY_MAX 64

#define OFFSET_FLAG(field) offsetof(struct settings, field)
#define OFFSET_NUMBER(field) offsetof(struct settings, field)
#define OFFSET_SIZE(field) offsetof(struct settings, field)
#define OFFSET_TIME(field) offsetof(struct settings, field)
#define OFFSET_RATE(field) offsetof(struct settings, field)
#define OFFSET_ENUM(field) offsetof(struct settings, field)
#define OFFSET_TEXT(field) offsetof(struct settings, field)
#define OFFSET_PATH(field) offsetof(struct settings, field)
#define OFFSET_LIST(field) offsetof(struct settings, field)
#define OFFSET_PATHS(field) offsetof(struct settings, field)
#define OFFSET_LISTEN(field) offsetof(struct settings, field)
#define OFFSET_HANDLER(field) SIZE_MAX
#define OFFSET_PAIR(field) SIZE_MAX
#define OFFSET_SCOPED(field) SIZE_MAX
#define OFFSET_ROW(field, type, ...) [OPTION_ID_##field] = OFFSET_##type(field),
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
	if (at->line > 0)
		snprintf(line, sizeof(line), ":%u", at->line);
	snprintf(sentence, sizeof(sentence), "tova-host: %s%s%s%s%s%s%s",
		 at->file != NULL ? at->file : "", line, at->file != NULL ? ": " : "",
		 at->file == NULL && name != NULL ? "--" : "", name != NULL ? name : "",
		 name != NULL ? ": " : "", what);
	settings_layer_add(layer, layer->errors, sentence, strlen(sentence));
}

/* --- values ----------------------------------------------------------------------------------- */

/* What is wrong with an element of a list, or NULL. */
static const char *settings_layer_element_error(const struct settings_layer *layer,
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

static const char *settings_layer_list_example(const struct option_row *row)
{
	return row == &option_table[OPTION_ID_host]	       ? "example.com,*.example.com"
	       : row == &option_table[OPTION_ID_api_host]      ? "admin.example.com"
	       : row == &option_table[OPTION_ID_origin]	       ? "https://example.com,null"
	       : row == &option_table[OPTION_ID_trusted_proxy] ? "10.0.0.0/8,unix"
							       : "TZ,APP_*";
}

/* An empty text is no list either: it comes of a variable that nobody has set, and to have no list
 * may mean everything (--host). */
static void settings_layer_apply_list(struct settings_layer *layer, const struct option_row *row,
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
				row->argument, settings_layer_list_example(row));
			return;
		}
		settings_layer_add(layer, list, text + blank, len - blank);
		why = list->n > 0
			      ? settings_layer_element_error(layer, row, list->items[list->n - 1])
			      : NULL;
		if (why != NULL)
			settings_layer_error(layer, at, row->name, "\"%.200s\": %s",
					     list->items[list->n - 1], why);
		more = text[n] == ',';
		text += n + more;
	}
}

static void settings_layer_apply_path(struct settings_layer *layer, const struct option_row *row,
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

static bool settings_layer_split_port(const char *text, uint16_t *port_r)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	*port_r = (uint16_t)port;
	return digits > 0 && digits <= 5 && text[digits] == '\0' && port <= UINT16_MAX;
}

/* ADDR:PORT or [ADDR6]:PORT; *host_r gets the address. PORT and :PORT mean all addresses, as people
 * have it from other servers. */
static bool settings_layer_split_address(const char *text, char host_r[INET6_ADDRSTRLEN],
					 uint16_t *port_r)
{
	const char *colon = strrchr(text, ':');
	unsigned char address[sizeof(struct in6_addr)];
	bool v6 = text[0] == '[';
	size_t n;

	if (settings_layer_split_port(colon == text ? text + 1 : text, port_r)) {
		memcpy(host_r, "::", sizeof("::"));
		return true;
	}
	if (colon == NULL || colon == text || (v6 && colon[-1] != ']'))
		return false;
	n = (size_t)(colon - text) - (v6 ? 2 : 0);
	if (n >= INET6_ADDRSTRLEN || !settings_layer_split_port(colon + 1, port_r))
		return false;
	memcpy(host_r, text + v6, n);
	host_r[n] = '\0';
	if (strcmp(host_r, "localhost") == 0 && !v6)
		memcpy(host_r, "127.0.0.1", sizeof("127.0.0.1"));
	return inet_pton(v6 ? AF_INET6 : AF_INET, host_r, address) == 1;
}

bool settings_layer_same_listen(const struct settings_listen *a, const struct settings_listen *b)
{
	if (a->given != NULL || b->given != NULL)
		return a->given != NULL && b->given != NULL && strcmp(a->given, b->given) == 0;
	if (a->unix_path != NULL || b->unix_path != NULL)
		return a->unix_path != NULL && b->unix_path != NULL &&
		       strcmp(a->unix_path, b->unix_path) == 0;
	return a->port != 0 && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Takes the word off the end of *n_r bytes. */
static bool settings_layer_take_word(const char *text, size_t *n_r, const char *word)
{
	size_t len = strlen(word);
	bool has = *n_r > len && memcmp(text + *n_r - len, word, len) == 0;

	*n_r -= has ? len : 0;
	return has;
}

/* Takes ",tls=NAME" off the end, however often. They stand before those that were taken before. */
static void settings_layer_take_tls_names(struct settings_layer *layer, const char *text,
					  size_t *n_r, struct settings_listen *said_r)
{
	const char *comma;

	while ((comma = memrchr(text, ',', *n_r)) != NULL && comma > text &&
	       text + *n_r > comma + 5 && memcmp(comma, ",tls=", 5) == 0) {
		struct settings_list *names = &said_r->tls_names;
		size_t before = names->n;

		settings_layer_add(layer, names, comma + 5, (size_t)(text + *n_r - comma) - 5);
		if (names->n == before)
			return;
		char *name = names->items[before];
		memmove(names->items + 1, names->items, before * sizeof(*names->items));
		names->items[0] = name;
		*n_r = (size_t)(comma - text);
		said_r->speaks = SETTINGS_SPEAKS_TLS;
	}
}

/* How much of it is the address: what follows says what is spoken there, in any order, each thing
 * once. */
static size_t settings_layer_listen_length(struct settings_layer *layer, const char *text,
					   struct settings_listen *said_r)
{
	size_t n = strlen(text), before;

	do {
		before = n;
		if (said_r->speaks == SETTINGS_SPEAKS_EITHER)
			settings_layer_take_tls_names(layer, text, &n, said_r);
		if (!said_r->proxy)
			said_r->proxy = settings_layer_take_word(text, &n, ",proxy");
		if (said_r->speaks == SETTINGS_SPEAKS_EITHER &&
		    settings_layer_take_word(text, &n, ",tls"))
			said_r->speaks = SETTINGS_SPEAKS_TLS;
		else if (said_r->speaks == SETTINGS_SPEAKS_EITHER &&
			 settings_layer_take_word(text, &n, ",plain"))
			said_r->speaks = SETTINGS_SPEAKS_PLAIN;
	} while (n < before);
	return n;
}

/* What is wrong with the address, or NULL; what it names is the caller's to free, too, if something
 * is. */
static const char *settings_layer_listen_address(struct settings_layer *layer, const char *address,
						 struct settings_listen *said_r)
{
	char host[INET6_ADDRSTRLEN];
	size_t n = strlen(address);

	if (strncmp(address, "unix:", 5) == 0) {
		if (n == 5 || n - 5 >= sizeof(((struct sockaddr_un *)0)->sun_path))
			return "is no path for a Unix socket; expected 1 to 107 bytes behind unix:";
		said_r->unix_path = settings_layer_keep(layer, address + 5, n - 5);
	} else if (strncmp(address, "systemd:", 8) == 0) {
		if (n == 8 || n - 8 > SETTINGS_GIVEN_MAX)
			return "names no socket; expected what FileDescriptorName= says in the .socket unit behind systemd:";
		said_r->given = settings_layer_keep(layer, address + 8, n - 8);
	} else {
		if (!settings_layer_split_address(address, host, &said_r->port))
			return "is not an address; expected ADDR:PORT with a numeric address, [ADDR6]:PORT, PORT, unix:PATH or "
			       "systemd:NAME, and ,tls, ,tls=NAME, ,plain or ,proxy behind it or not";
		said_r->host = settings_layer_keep(layer, host, strlen(host));
	}
	return NULL;
}

static void settings_layer_apply_listen(struct settings_layer *layer, const struct option_row *row,
					const char *text, const struct settings_place *at)
{
	struct settings_listens *list = settings_layer_field(&layer->s, row);
	struct settings_listen said = {.speaks = SETTINGS_SPEAKS_EITHER}, *item = NULL;
	size_t len = settings_layer_listen_length(layer, text, &said);
	char *address = settings_layer_keep(layer, text, len);
	const char *why =
		address != NULL ? settings_layer_listen_address(layer, address, &said) : NULL;

	free(address);
	if (why != NULL)
		settings_layer_error(layer, at, row->name, "\"%.200s\" %s", text, why);
	else if (address != NULL)
		item = settings_layer_grow(layer, &list->items, list->n, sizeof(*item));
	if (item == NULL) {
		settings_free_listen(&said);
		return;
	}
	list->n++;
	said.text = settings_layer_keep(layer, text, strlen(text));
	*item = said;
	for (size_t i = 0; i + 1 < list->n && !*layer->no_memory; i++)
		if (settings_layer_same_listen(item, &list->items[i]))
			settings_layer_error(layer, at, row->name, "\"%.200s\" is given twice",
					     text);
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
			return "is not a mount; expected no segment . or .., which no request can reach";
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

bool settings_layer_is_tls(const char *url)
{
	return strncmp(url, "tls+tcp://", 10) == 0;
}

/* An ipc:// URL has an absolute path, a tcp:// or tls+tcp:// URL a numeric address and a port:
 * names are not looked up. */
static bool settings_layer_split_url(const char *url, char host_r[INET6_ADDRSTRLEN],
				     uint16_t *port_r)
{
	if (strncmp(url, "ipc:///", 7) == 0)
		return strlen(url + 6) < sizeof(((struct sockaddr_un *)0)->sun_path);
	url += settings_layer_is_tls(url) ? 4 : 0;
	return strncmp(url, "tcp://", 6) == 0 && strncmp(url + 6, "localhost:", 10) != 0 &&
	       settings_layer_split_address(url + 6, host_r, port_r);
}

bool settings_layer_is_open(const char *url)
{
	char host[INET6_ADDRSTRLEN] = "";
	uint16_t port;

	return settings_layer_split_url(url, host, &port) && host[0] != '\0' &&
	       !settings_is_loopback(host);
}

/* May the mount have this handler beside what it has? Where others attach stands beside any. */
static bool settings_layer_has_room(struct settings_mount *mount, const struct option_row *row)
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

void settings_layer_handler(struct settings_layer *layer, struct settings_mount *mount,
			    const struct option_row *row, const char *value,
			    const struct settings_place *at)
{
	char host[INET6_ADDRSTRLEN];
	uint16_t port;

	if (!settings_layer_has_room(mount, row))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\": the mount %s already has a handler; expected one handler per mount",
			value, mount->path);
	else if (row == &option_table[OPTION_ID_attach] &&
		 !settings_layer_split_url(value, host, &port))
		settings_layer_error(
			layer, at, row->name,
			"\"%.200s\" is no URL for workers; expected ipc:// and an absolute path, or tcp:// or tls+tcp:// and ADDR:PORT "
			"with a numeric address",
			value);
	else
		*settings_layer_handler_field(mount, row) =
			settings_layer_keep(layer, value, strlen(value));
}

size_t settings_layer_mount_length(const char *text)
{
	size_t n = text[0] == '/' ? strspn(text, MOUNT_CHARS) : 0;

	return n > 0 && text[n] == '=' ? n : 0;
}

/* It is MOUNT=VALUE only if what stands before the first '=' can be a mount; a path with other
 * characters is a path. */
static void settings_layer_apply_handler(struct settings_layer *layer, const struct option_row *row,
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
		settings_layer_handler(layer, mount, row, value, at);
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

static void settings_layer_apply_pair(struct settings_layer *layer, const struct option_row *row,
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

static void settings_layer_apply_one(struct settings_layer *layer, const struct option_row *row,
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

void settings_layer_apply(struct settings_layer *layer, const struct option_row *row,
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
		settings_layer_apply_list(layer, row, text, at);
		break;
	case OPTION_PATHS:
		settings_layer_apply_path(layer, row, text, at);
		break;
	case OPTION_LISTEN:
		settings_layer_apply_listen(layer, row, text, at);
		break;
	case OPTION_HANDLER:
		settings_layer_apply_handler(layer, row, text, at);
		break;
	case OPTION_PAIR:
		settings_layer_apply_pair(layer, row, text, at);
		break;
	case OPTION_SCOPED:
		settings_scope_keep(layer, row, NULL, text, at);
		break;
	default:
		settings_layer_apply_one(layer, row, text, at);
		break;
	}
}

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
