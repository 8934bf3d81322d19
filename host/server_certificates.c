/* certificates: what clients are shown and asked for over TLS, from the files that the settings
 * name. */
#include <stdio.h>

#include "base/check.h"
#include "server.h"

static const char *server_certificates_option(enum tls_server_part part)
{
	return part == TLS_SERVER_KEY	      ? "tls-key"
	       : part == TLS_SERVER_CLIENT_CA ? "tls-client-ca"
	       : part == TLS_SERVER_GROUP     ? "listen"
					      : "tls-cert";
}

static const char *server_certificates_attach_option(enum tls_server_part part)
{
	return part == TLS_SERVER_KEY	      ? "attach-key"
	       : part == TLS_SERVER_CLIENT_CA ? "attach-client-ca"
					      : "attach-cert";
}

static struct tls_server *server_certificates_read(const struct settings *settings,
						   const struct tls_server *old,
						   tls_server_warn warn, void *ctx,
						   struct tls_server_error *error_r)
{
	struct tls_server_names groups[SETTINGS_TLS_GROUPS];
	size_t n = 0;
	for (enum settings_door door = 0; door < SETTINGS_DOORS; door++) {
		const struct settings_listens *listens = settings_door(settings, door);
		/* in the order of their numbers, tls_group */
		for (size_t i = 0; i < listens->n; i++) {
			const struct settings_list *names = &listens->items[i].tls_names;
			if (names->n > 0)
				groups[n++] =
					(struct tls_server_names){(const char *const *)names->items,
								  names->n};
		}
	}
	const struct tls_server_settings set = {
		.groups = groups,
		.n_groups = n,
		.certs = (const char *const *)settings->tls_cert.items,
		.keys = settings->tls_key.n > 0 ? (const char *const *)settings->tls_key.items
						: NULL,
		.n = settings->tls_cert.n,
		.client_ca = settings->tls_client_ca,
		.tls13 = settings->tls_min == 1,
		.http = true,
	};
	return tls_server_new(&set, old, warn, ctx, error_r);
}

static void server_certificates_on_warning(void *ctx, const char *file, const char *sentence)
{
	const struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	LOG(s->log, LOG_WARN, LOG_TLS, sentence, LOG_STR("file", file));
}

static void server_certificates_on_check_warning(void *ctx, const char *file, const char *sentence)
{
	const struct server *s = ctx;
	CHECK_IS(s, CHECK_SERVER);
	fprintf(s->source->err, "tova-host: warning: %s: %s\n", file, sentence);
}

/* Each loop has a reference of its own. */
static void server_certificates_show(struct server *s, struct tls_server *tls)
{
	conns_set_tls(&s->conns, tls);
	server_show_api_tls(s);
	io_threads_set_tls(&s->io_threads, tls);
	tls_server_unref(&tls);
}

bool server_start_tls(struct server *s)
{
	struct tls_server_error error;
	if (s->settings.tls_cert.n == 0)
		return true;
	struct tls_server *tls =
		server_certificates_read(&s->settings, NULL, server_certificates_on_warning, s,
					 &error);
	if (tls == NULL)
		return server_refuse(s, server_certificates_option(error.part), error.file,
				     error.why);
	server_certificates_show(s, tls);
	return true;
}

static void server_certificates_on_silence(void *ctx, const char *file, const char *sentence)
{
	(void)ctx;
	(void)file;
	(void)sentence;
}

bool server_check_attach_tls(struct server *s, bool warns)
{
	const struct settings *set = &s->settings;
	const struct tls_server_settings attach = {.certs = (const char *const *)&set->attach_cert,
						   .keys = (const char *const *)&set->attach_key,
						   .n = 1,
						   .client_ca = set->attach_client_ca};
	struct tls_server_error error;
	if (set->attach_cert == NULL || set->attach_key == NULL)
		return true;
	struct tls_server *tls = tls_server_new(&attach, NULL,
						warns ? server_certificates_on_check_warning
						      : server_certificates_on_silence,
						s, &error);
	if (tls == NULL)
		return server_refuse(s, server_certificates_attach_option(error.part), error.file,
				     error.why);
	tls_server_unref(&tls);
	return true;
}

bool server_check_tls(struct server *s)
{
	struct tls_server_error error;
	if (s->settings.tls_cert.n == 0)
		return true;
	struct tls_server *tls =
		server_certificates_read(&s->settings, NULL, server_certificates_on_check_warning,
					 s, &error);
	if (tls == NULL)
		return server_refuse(s, server_certificates_option(error.part), error.file,
				     error.why);
	tls_server_unref(&tls);
	return true;
}

bool server_reload_tls(struct server *s)
{
	struct tls_server_error error;
	/* which listeners speak TLS changes only with a restart */
	if (s->conns.tls == NULL || s->settings.tls_cert.n == 0)
		return true;
	struct tls_server *tls =
		server_certificates_read(&s->settings, s->conns.tls, server_certificates_on_warning,
					 s, &error);
	if (tls == NULL) {
		LOG(s->log, LOG_ERROR, LOG_RELOAD,
		    "the certificates were not replaced, the old ones go on",
		    LOG_STR("option", server_certificates_option(error.part)),
		    LOG_STR("file", error.file), LOG_STR("error", error.why));
		return false;
	}
	server_certificates_show(s, tls);
	LOG(s->log, LOG_NOTICE, LOG_RELOAD, "the certificates were read again",
	    LOG_U64("certificates", s->settings.tls_cert.n));
	return true;
}
