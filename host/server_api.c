/* api: opens the addresses of the HTTP API, with what guards them. */
#include <stdio.h>
#include <stdlib.h>

#include "server.h"
#include "ws/authority.h"

#define API_CROWD \
	"many connections at --api or --admin: the one that has waited longest for a request gives way to each new one"

/* --- tokens and names ------------------------------------------------------------------------- */

/* Reads all of them. False: *wrong_r is the value that is wrong. log: what the operator should know
 * is said. */
static bool server_api_read_tokens(const struct server *s, struct api_tokens *tokens, bool log,
				   const char **wrong_r, char why[API_TOKEN_WHY_MAX])
{
	*tokens = (struct api_tokens){.n = 0};
	for (size_t i = 0; i < s->settings.api_token.n; i++) {
		struct settings_token token;
		const char *warning = NULL;
		*wrong_r = s->settings.api_token.items[i];
		settings_token_parse(*wrong_r, &token); /* it was checked where it was read */
		if (!api_token_add(tokens, (enum api_scope)token.scope, token.mount, token.file,
				   &warning, why)) {
			api_token_free(tokens);
			return false;
		}
		if (log && warning != NULL)
			LOG(s->log, LOG_WARN, LOG_API, warning, LOG_STR("api-token", *wrong_r));
	}
	return true;
}

/* NULL if none are given. False without memory. */
static bool server_api_read_hosts(const struct server *s, char **hosts_r)
{
	const struct settings_list *list = &s->settings.api_host;
	*hosts_r = list->n > 0 ? authority_list(list->items, list->n) : NULL;
	return *hosts_r != NULL || list->n == 0;
}

bool server_check_api(const struct server *s)
{
	struct api_tokens tokens;
	const char *wrong;
	char why[API_TOKEN_WHY_MAX];
	if (!server_api_read_tokens(s, &tokens, false, &wrong, why))
		return server_refuse(s, "api-token", wrong, why);
	api_token_free(&tokens);
	return true;
}

/* --- addresses -------------------------------------------------------------------------------- */

/* Requests and their times are as for clients. */
static struct conn_limits server_api_limits(const struct server *s)
{
	const struct conn_limits *clients = &s->conns.limits;
	return (struct conn_limits){.head = clients->head,
				    .queue_max = clients->queue_max,
				    .head_ms = clients->head_ms,
				    .close_ms = clients->close_ms,
				    .max = (uint32_t)s->settings.api_connections};
}

void server_set_api_limits(struct server *s)
{
	struct conn_limits limits = server_api_limits(s);
	s->api.body_max = s->settings.api_max_body;
	for (int i = 0; i < SETTINGS_DOORS; i++) {
		struct server_door *d = &s->doors[i];
		if (!d->open)
			continue;
		conns_set_limits(&d->conns, &limits);
		d->conns.client_addr.forwarded = (enum forwarded_kind)s->settings.forwarded;
	}
}

void server_show_api_tls(struct server *s)
{
	for (int i = 0; i < SETTINGS_DOORS; i++)
		if (s->doors[i].open)
			conns_set_tls(&s->doors[i].conns, s->conns.tls);
}

static bool server_api_open(struct server *s, enum settings_door which)
{
	struct server_door *d = &s->doors[which];
	struct conn_limits limits = server_api_limits(s);
	if (settings_door(&s->settings, which)->n == 0)
		return true;
	d->door = (struct api_door){.magic = CHECK_API_DOOR,
				    .api = &s->api,
				    .admin = which == SETTINGS_ADMIN};
	d->open = true;
	bool ok = conns_init(&d->conns, s->loop, &api_conn_ops, &d->door, &limits);
	d->conns.lent = NULL;
	listeners_init(&d->listeners, &d->conns);
	d->listeners.user = DESCRIPTORS_HOST; /* a host that is full can be asked why */
	d->listeners.crowd = API_CROWD;
	d->conns.freed = listeners_on_freed;
	d->conns.freed_ctx = &d->listeners;
	d->conns.client_addr =
		(struct client_addr){.trusted = &s->trusted,
				     .forwarded = (enum forwarded_kind)s->settings.forwarded};
	if (!ok)
		fprintf(s->source->err, "tova-host: --%s: no memory\n",
			settings_door_option(which));
	return ok && server_add_listeners(s, which, &d->listeners);
}

bool server_start_api(struct server *s)
{
	const char *wrong;
	char why[API_TOKEN_WHY_MAX];
	bool log = s->settings.api.n > 0 || s->settings.admin.n > 0;
	const struct api_manage_actions manage = {.reloads = &s->reloads,
						  .letters = s->letters,
						  .drain = server_on_drain,
						  .admin_url = server_admin_url,
						  .ctx = s};
	api_init(&s->api, &s->hub, &s->readiness, &s->settings, &manage);
	s->api.sampler = &s->sampler;
	if (!server_api_read_tokens(s, &s->api.tokens, log, &wrong, why))
		return server_refuse(s, "api-token", wrong, why);
	if (!server_api_read_hosts(s, &s->api.hosts)) {
		fprintf(s->source->err, "tova-host: --api-host: no memory\n");
		return false;
	}
	if (!server_api_open(s, SETTINGS_API) || !server_api_open(s, SETTINGS_ADMIN))
		return false;
	server_set_api_limits(s);
	server_show_api_tls(s);
	if (s->hub.measures)
		loop_lag_start(&s->api.lag, s->loop);
	s->api.clients = &s->listeners;
	s->api.cluster = s->cluster;
	return server_let_page_in(s);
}

/* What somebody who looks at the machine should know. */
static void server_api_warn(const struct server *s, enum settings_door which)
{
	const struct settings_listens *listens = settings_door(&s->settings, which);
	for (size_t i = 0; i < listens->n; i++) {
		const struct settings_listen *at = &listens->items[i];
		if (at->host != NULL && s->settings.api_token.n == 0)
			LOG(s->log, LOG_WARN, LOG_API,
			    "each user of this machine may do everything here: there is no --api-token",
			    LOG_STR(settings_door_option(which), at->text));
		if (at->host != NULL && !at->tls && !settings_is_loopback(at->host))
			LOG(s->log, LOG_WARN, LOG_API,
			    "tokens travel here as they are: it does not speak TLS",
			    LOG_STR(settings_door_option(which), at->text));
	}
}

void server_announce_api(struct server *s)
{
	for (enum settings_door which = SETTINGS_API; which < SETTINGS_DOORS; which++) {
		const struct server_door *d = &s->doors[which];
		if (!d->open)
			continue;
		listeners_announce(&d->listeners,
				   d->door.admin ? "listening for those who operate this host"
						 : "listening for the API",
				   settings_door_option(which));
		server_api_warn(s, which);
	}
	server_announce_page(s);
}

bool server_reload_api(struct server *s)
{
	struct api_tokens tokens;
	const char *wrong;
	char why[API_TOKEN_WHY_MAX], *hosts;
	server_set_api_limits(s);
	if (server_api_read_hosts(s, &hosts)) {
		free(s->api.hosts);
		s->api.hosts = hosts;
	} else {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "no memory for --api-host, the old list goes on");
	}
	if (!server_api_read_tokens(s, &tokens, true, &wrong, why)) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the tokens of the API were not replaced, the old ones go on",
		    LOG_STR("api-token", wrong), LOG_STR("error", why));
		return false;
	}
	api_token_free(&s->api.tokens);
	s->api.tokens = tokens;
	return true;
}

void server_close_api(struct server *s)
{
	for (int i = 0; i < SETTINGS_DOORS; i++)
		if (s->doors[i].open)
			listeners_close(&s->doors[i].listeners);
}

void server_end_api(struct server *s)
{
	for (int i = 0; i < SETTINGS_DOORS; i++) {
		if (!s->doors[i].open)
			continue;
		s->doors[i].conns.freed = NULL;
		conns_free(&s->doors[i].conns);
	}
}

void server_free_api(struct server *s)
{
	if (s->api.hub != NULL)
		api_free(&s->api);
	server_free_page(s);
}
