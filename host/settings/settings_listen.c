/* settings_listen: addresses: of clients, of the API, of workers. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "settings/settings_layer.h"

bool settings_is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

const struct settings_listens *settings_door(const struct settings *s, enum settings_door door)
{
	return door == SETTINGS_CLIENTS ? &s->listen : door == SETTINGS_API ? &s->api : &s->admin;
}

const char *settings_door_option(enum settings_door door)
{
	return door == SETTINGS_CLIENTS ? "listen" : door == SETTINGS_API ? "api" : "admin";
}

void settings_listen_free(struct settings_listen *listen)
{
	free(listen->text);
	free(listen->host);
	free(listen->unix_path);
	free(listen->given);
	settings_list_free(&listen->tls_names);
}

static bool settings_listen_split_port(const char *text, uint16_t *port_r)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	*port_r = (uint16_t)port;
	return digits > 0 && digits <= 5 && text[digits] == '\0' && port <= UINT16_MAX;
}

/* ADDR:PORT or [ADDR6]:PORT; *host_r gets the address. PORT and :PORT mean all addresses, as people
 * have it from other servers. */
static bool settings_listen_split_address(const char *text, char host_r[INET6_ADDRSTRLEN],
					  uint16_t *port_r)
{
	const char *colon = strrchr(text, ':');
	unsigned char address[sizeof(struct in6_addr)];
	bool v6 = text[0] == '[';
	size_t n;

	if (settings_listen_split_port(colon == text ? text + 1 : text, port_r)) {
		memcpy(host_r, "::", sizeof("::"));
		return true;
	}
	if (colon == NULL || colon == text || (v6 && colon[-1] != ']'))
		return false;
	n = (size_t)(colon - text) - (v6 ? 2 : 0);
	if (n >= INET6_ADDRSTRLEN || !settings_listen_split_port(colon + 1, port_r))
		return false;
	memcpy(host_r, text + v6, n);
	host_r[n] = '\0';
	if (strcmp(host_r, "localhost") == 0 && !v6)
		memcpy(host_r, "127.0.0.1", sizeof("127.0.0.1"));
	return inet_pton(v6 ? AF_INET6 : AF_INET, host_r, address) == 1;
}

bool settings_listen_same(const struct settings_listen *a, const struct settings_listen *b)
{
	if (a->given != NULL || b->given != NULL)
		return a->given != NULL && b->given != NULL && strcmp(a->given, b->given) == 0;
	if (a->unix_path != NULL || b->unix_path != NULL)
		return a->unix_path != NULL && b->unix_path != NULL &&
		       strcmp(a->unix_path, b->unix_path) == 0;
	return a->port != 0 && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Takes the word off the end of *n_r bytes. */
static bool settings_listen_take_word(const char *text, size_t *n_r, const char *word)
{
	size_t len = strlen(word);
	bool has = *n_r > len && memcmp(text + *n_r - len, word, len) == 0;

	*n_r -= has ? len : 0;
	return has;
}

/* Takes ",tls=NAME" off the end, however often. They stand before those that were taken before. */
static void settings_listen_take_tls_names(struct settings_layer *layer, const char *text,
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
static size_t settings_listen_length(struct settings_layer *layer, const char *text,
				     struct settings_listen *said_r)
{
	size_t n = strlen(text), before;

	do {
		before = n;
		if (said_r->speaks == SETTINGS_SPEAKS_EITHER)
			settings_listen_take_tls_names(layer, text, &n, said_r);
		if (!said_r->proxy)
			said_r->proxy = settings_listen_take_word(text, &n, ",proxy");
		if (said_r->speaks == SETTINGS_SPEAKS_EITHER &&
		    settings_listen_take_word(text, &n, ",tls"))
			said_r->speaks = SETTINGS_SPEAKS_TLS;
		else if (said_r->speaks == SETTINGS_SPEAKS_EITHER &&
			 settings_listen_take_word(text, &n, ",plain"))
			said_r->speaks = SETTINGS_SPEAKS_PLAIN;
	} while (n < before);
	return n;
}

/* What is wrong with the address, or NULL; what it names is the caller's to free, too, if something
 * is. */
static const char *settings_listen_address(struct settings_layer *layer, const char *address,
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
			return "names no socket; expected what FileDescriptorName= says in the "
			       ".socket unit behind systemd:";
		said_r->given = settings_layer_keep(layer, address + 8, n - 8);
	} else {
		if (!settings_listen_split_address(address, host, &said_r->port))
			return "is not an address; expected ADDR:PORT with a numeric address, "
			       "[ADDR6]:PORT, PORT, unix:PATH or systemd:NAME, and ,tls, "
			       ",tls=NAME, ,plain or ,proxy behind it or not";
		said_r->host = settings_layer_keep(layer, host, strlen(host));
	}
	return NULL;
}

void settings_listen_apply(struct settings_layer *layer, const struct option_row *row,
			   const char *text, const struct settings_place *at)
{
	struct settings_listens *list = settings_layer_field(&layer->s, row);
	struct settings_listen said = {.speaks = SETTINGS_SPEAKS_EITHER}, *item = NULL;
	size_t len = settings_listen_length(layer, text, &said);
	char *address = settings_layer_keep(layer, text, len);
	const char *why = address != NULL ? settings_listen_address(layer, address, &said) : NULL;

	free(address);
	if (why != NULL)
		settings_layer_error(layer, at, row->name, "\"%.200s\" %s", text, why);
	else if (address != NULL)
		item = settings_layer_grow(layer, &list->items, list->n, sizeof(*item));
	if (item == NULL) {
		settings_listen_free(&said);
		return;
	}
	list->n++;
	said.text = settings_layer_keep(layer, text, strlen(text));
	*item = said;
	for (size_t i = 0; i + 1 < list->n && !*layer->no_memory; i++)
		if (settings_listen_same(item, &list->items[i]))
			settings_layer_error(layer, at, row->name, "\"%.200s\" is given twice",
					     text);
}

bool settings_listen_is_tls(const char *url)
{
	return strncmp(url, "tls+tcp://", 10) == 0;
}

static bool settings_listen_split_url(const char *url, char host_r[INET6_ADDRSTRLEN],
				      uint16_t *port_r)
{
	if (strncmp(url, "ipc:///", 7) == 0)
		return strlen(url + 6) < sizeof(((struct sockaddr_un *)0)->sun_path);
	url += settings_listen_is_tls(url) ? 4 : 0;
	return strncmp(url, "tcp://", 6) == 0 && strncmp(url + 6, "localhost:", 10) != 0 &&
	       settings_listen_split_address(url + 6, host_r, port_r);
}

bool settings_listen_is_url(const char *url)
{
	char host[INET6_ADDRSTRLEN];
	uint16_t port;

	return settings_listen_split_url(url, host, &port);
}

bool settings_listen_is_open(const char *url)
{
	char host[INET6_ADDRSTRLEN] = "";
	uint16_t port;

	return settings_listen_split_url(url, host, &port) && host[0] != '\0' &&
	       !settings_is_loopback(host);
}
