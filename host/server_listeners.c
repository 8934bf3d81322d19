/* Where it is reached: addresses, files, what systemd has opened. */
#include <arpa/inet.h>
#include <stdio.h>

#include "server.h"

/* [::] is what people write who mean every address of the machine: it takes IPv4 as well, unless
 * that port has an address of its own for that. */
static bool server_listeners_listens_both(const struct settings *set,
					  const struct settings_listen *at)
{
	struct in6_addr any;
	bool both = at->host != NULL && inet_pton(AF_INET6, at->host, &any) == 1 &&
		    IN6_IS_ADDR_UNSPECIFIED(&any);
	for (enum settings_door door = 0; both && door < SETTINGS_DOORS; door++) {
		const struct settings_listens *listens = settings_door(set, door);
		for (size_t i = 0; both && i < listens->n; i++) {
			const struct settings_listen *other = &listens->items[i];
			both = other->host == NULL || strchr(other->host, ':') != NULL ||
			       other->port != at->port || at->port == 0;
		}
	}
	return both;
}

/* All that systemd has opened under that name. */
static bool server_listeners_add_given(struct server *s, struct listeners *listeners,
				       const char *option, const struct settings_listen *at,
				       const struct conn_kind *kind)
{
	char why[SERVER_WHY_MAX], left[SERVER_WHY_MAX / 2];
	unsigned n = 0;
	for (int fd; (fd = activation_take(&s->activation, at->given)) >= 0; n++)
		if (!listeners_add_given(listeners, fd, kind, (int)s->settings.backlog, why,
					 sizeof why))
			return server_refuse(s, option, at->text, why);
	if (n > 0)
		return true;
	if (activation_left(&s->activation, left, sizeof left))
		snprintf(why, sizeof why, "systemd passes no socket of that name; it passes %s",
			 left);
	else
		snprintf(
			why, sizeof why,
			"systemd passes no socket of that name; is the .socket unit started, and "
			"does its FileDescriptorName= say so?");
	return server_refuse(s, option, at->text, why);
}

static bool server_listeners_add_listener(struct server *s, struct listeners *listeners,
					  const char *option, const struct settings_listen *at)
{
	char why[SERVER_WHY_MAX];
	const struct conn_kind kind = {.proxy = at->proxy,
				       .tls = at->tls,
				       .tls_group = at->tls_group};
	if (at->given != NULL)
		return server_listeners_add_given(s, listeners, option, at, &kind);
	bool entered = server_enter(s, at->unix_path);
	bool added = listeners_add(listeners, at->host, at->port,
				   server_listeners_listens_both(&s->settings, at), at->unix_path,
				   &kind, (int)s->settings.backlog, why, sizeof why);
	server_leave(entered);
	return added || server_refuse(s, option, at->text, why);
}

bool server_add_listeners(struct server *s, enum settings_door door, struct listeners *listeners)
{
	static const mode_t modes[] = {0600, 0660, 0666}; /* the choices of --unix-mode */
	const struct settings_listens *all = settings_door(&s->settings, door);
	listeners->unix_mode = modes[s->settings.unix_mode];
	for (size_t i = 0; i < all->n; i++)
		if (!server_listeners_add_listener(s, listeners, settings_door_option(door),
						   &all->items[i]))
			return false;
	return true;
}

void server_check_activation(const struct server *s)
{
	char left[SERVER_WHY_MAX];
	if (activation_left(&s->activation, left, sizeof left))
		LOG(s->log, LOG_WARN, LOG_LISTEN,
		    "systemd passes sockets that no --listen systemd:NAME takes",
		    LOG_STR("names", left));
}

const char *server_listens_at(const struct server *s, const char *path)
{
	static const char *const sentences[] =
		{[SETTINGS_CLIENTS] = "clients connect there: --listen has it",
		 [SETTINGS_API] = "users of the API connect there: --api has it",
		 [SETTINGS_ADMIN] = "operators connect there: --admin has it"};
	for (enum settings_door door = 0; door < SETTINGS_DOORS; door++) {
		const struct settings_listens *listens = settings_door(&s->settings, door);
		for (size_t i = 0; i < listens->n; i++)
			if (listens->items[i].unix_path != NULL &&
			    strcmp(listens->items[i].unix_path, path) == 0)
				return sentences[door];
	}
	return NULL;
}
