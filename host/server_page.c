/* server_page: how people come to the admin page, and its console to the mounts. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server.h"

/* The first address of --admin that has a port; NULL: there is none. */
static const struct listener *server_page_listener(const struct server *s)
{
	const struct listener *l = s->doors[SETTINGS_ADMIN].listeners.list;
	if (!s->doors[SETTINGS_ADMIN].open)
		return NULL;
	while (l != NULL && l->acceptor.unix_path != NULL)
		l = l->next;
	return l;
}

/* Where a browser of this machine finds it. */
static void server_page_authority(const struct listener *l, char text[SERVER_URL_MAX])
{
	const char *port = strrchr(l->acceptor.name, ':');
	bool any = strncmp(l->acceptor.name, "0.0.0.0:", 8) == 0 ||
		   strncmp(l->acceptor.name, "[::]:", 5) == 0;
	snprintf(text, SERVER_URL_MAX, "%s%s", any ? "localhost" : l->acceptor.name,
		 any ? port : "");
}

bool server_admin_url(void *ctx, char *url_r, size_t cap)
{
	struct server *s = ctx;
	const struct listener *l = server_page_listener(s);
	char authority[SERVER_URL_MAX], code[VISITORS_SECRET] = "";
	if (l == NULL ||
	    (s->api.tokens.n > 0 && !visitors_invite(&s->api.visitors, loop_now(s->loop), code)))
		return false;
	server_page_authority(l, authority);
	snprintf(url_r, cap, "http%s://%.200s/%s%s", l->kind.tls ? "s" : "", authority,
		 code[0] != '\0' ? "#code=" : "", code);
	return true;
}

/* Not into a log, where others may read it. */
void server_announce_page(struct server *s)
{
	char url[SERVER_URL_MAX];
	if (isatty(STDERR_FILENO) && server_admin_url(s, url, sizeof url))
		fprintf(stderr, "The admin page%s: %s\n",
			s->api.tokens.n > 0 ? ", for one browser, within ten minutes" : "", url);
}

/* The page comes from this host, at these origins: its console may be a client. */
bool server_let_page_in(struct server *s)
{
	char authority[SERVER_URL_MAX];
	const struct listener *first = server_page_listener(s);
	size_t n = 0;
	for (const struct listener *l = first; l != NULL; l = l->next)
		n += 2;
	if (n == 0)
		return true;
	s->hub.page_origins = calloc(n, sizeof(char *));
	bool ok = s->hub.page_origins != NULL;
	for (const struct listener *l = first; ok && l != NULL; l = l->next) {
		const char *port = strrchr(l->acceptor.name, ':'), *tls = l->kind.tls ? "s" : "";
		if (l->acceptor.unix_path != NULL)
			continue;
		server_page_authority(l, authority);
		ok = asprintf(&s->hub.page_origins[s->hub.n_page_origins], "http%s://%s", tls,
			      authority) > 0;
		s->hub.n_page_origins += ok;
		ok = ok && asprintf(&s->hub.page_origins[s->hub.n_page_origins],
				    "http%s://localhost%s", tls, port) > 0;
		s->hub.n_page_origins += ok;
	}
	if (!ok)
		fprintf(s->source->err, "tova-host: --admin: no memory\n");
	return ok;
}

void server_free_page(struct server *s)
{
	for (size_t i = 0; i < s->hub.n_page_origins; i++)
		free(s->hub.page_origins[i]);
	free(s->hub.page_origins);
	s->hub.page_origins = NULL;
	s->hub.n_page_origins = 0;
}
