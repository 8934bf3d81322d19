#include "handler/script/script_env.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/token.h"
#include "ws/upgrade.h"

#define SCRIPT_ENV_FIXED 34

struct script_env {
	char **v;
	size_t n, cap;
	bool failed;
};

static void script_env_add(struct script_env *e, const char *name, struct span value)
{
	char *line = e->n + 1 < e->cap ? malloc(strlen(name) + value.n + 2) : NULL;
	if (line == NULL) {
		e->failed = true;
		return;
	}
	size_t n = strlen(name);
	memcpy(line, name, n);
	line[n] = '=';
	if (value.n > 0)
		memcpy(line + n + 1, value.p, value.n);
	line[n + 1 + value.n] = '\0';
	e->v[e->n++] = line;
}

static void script_env_add_number(struct script_env *e, const char *name, unsigned value)
{
	char text[16];
	snprintf(text, sizeof text, "%u", value);
	script_env_add(e, name, span_of(text));
}

static char **script_env_find(struct script_env *e, const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->v[i], name, n) == 0 && e->v[i][n] == '=')
			return &e->v[i];
	return NULL;
}

/* RFC 3875 4.1.18: several headers of a name are one value. */
static void script_env_append(struct script_env *e, char **line, struct span value)
{
	size_t n = strlen(*line);
	char *wider = realloc(*line, n + value.n + 3);
	if (wider == NULL) {
		e->failed = true;
		return;
	}
	memcpy(wider + n, ", ", 2);
	memcpy(wider + n + 2, value.p, value.n);
	wider[n + 2 + value.n] = '\0';
	*line = wider;
}

/* HTTP_NAME. Names with other characters than letters, digits and '-' are left out, as X_Y and X-Y
 * would become the same; and HTTP_PROXY, which many programs take for a setting (httpoxy). */
static bool script_env_header_name(char name[264], struct span header)
{
	size_t n = 5;
	memcpy(name, "HTTP_", n);
	if (header.n > 255)
		return false;
	for (size_t i = 0; i < header.n; i++) {
		char c = header.p[i];
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		else if (c == '-')
			c = '_';
		else if (!((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')))
			return false;
		name[n++] = c;
	}
	name[n] = '\0';
	return strcmp(name, "HTTP_PROXY") != 0;
}

static void script_env_add_headers(struct script_env *e, const struct request *r)
{
	char name[264];
	for (unsigned i = 0; i < r->n_headers; i++) {
		if (!script_env_header_name(name, r->headers[i].name))
			continue;
		char **have = script_env_find(e, name);
		if (have != NULL)
			script_env_append(e, have, r->headers[i].value);
		else
			script_env_add(e, name, r->headers[i].value);
	}
}

/* The host without its port. */
static struct span script_env_server_name(struct span host)
{
	const char *colon = host.n > 0 ? memrchr(host.p, ':', host.n) : NULL,
		   *bracket = host.n > 0 ? memrchr(host.p, ']', host.n) : NULL;
	return colon != NULL && (bracket == NULL || bracket < colon)
		       ? (struct span){host.p, (size_t)(colon - host.p)}
		       : host;
}

/* As Apache's mod_ssl and nginx name them. */
static void script_env_add_tls(struct script_env *e, const struct event_request *facts)
{
	const struct tls_facts *tls = &facts->tls;
	script_env_add(e, "REQUEST_SCHEME", facts->secure ? SPAN("https") : SPAN("http"));
	if (facts->secure)
		script_env_add(e, "HTTPS", SPAN("on"));
	if (tls->version == NULL)
		return;
	script_env_add(e, "SSL_PROTOCOL", span_of(tls->version));
	script_env_add(e, "SSL_CIPHER", span_of(tls->cipher));
	if (tls->name != NULL)
		script_env_add(e, "SSL_TLS_SNI", span_of(tls->name));
	script_env_add(e, "SSL_CLIENT_VERIFY",
		       tls->subject != NULL ? SPAN("SUCCESS") : SPAN("NONE"));
	if (tls->subject != NULL)
		script_env_add(e, "SSL_CLIENT_S_DN", span_of(tls->subject));
}

static void script_env_add_path(struct script_env *e, const struct event_request *facts,
				const struct request *r, const struct script_found *found)
{
	size_t mount = strcmp(facts->mount_path, "/") == 0 ? 0 : strlen(facts->mount_path);
	size_t script = mount + (found != NULL ? found->n : 0);
	script_env_add(e, "REQUEST_URI", r->target);
	script_env_add(e, "SCRIPT_NAME", (struct span){r->path.p, script});
	script_env_add(e, "PATH_INFO", (struct span){r->path.p + script, r->path.n - script});
	if (found != NULL)
		script_env_add(e, "SCRIPT_FILENAME", span_of(found->file));
}

static void script_env_add_request(struct script_env *e, const struct event_request *facts,
				   const struct request *r)
{
	char text[ADDRESS_TEXT];
	script_env_add(e, "GATEWAY_INTERFACE", SPAN("CGI/1.1"));
	script_env_add(e, "SERVER_PROTOCOL", SPAN("HTTP/1.1"));
	script_env_add(e, "SERVER_SOFTWARE", SPAN("tova-host/" TOVA_VERSION));
	script_env_add(e, "REQUEST_METHOD", r->method);
	script_env_add(e, "QUERY_STRING", r->query);
	script_env_add(e, "SERVER_NAME", script_env_server_name(r->host));
	script_env_add_number(e, "SERVER_PORT", facts->local.port);
	script_env_add(e, "REMOTE_ADDR", span_of(address_text(&facts->remote, text)));
	script_env_add(e, "REMOTE_HOST", span_of(text));
	script_env_add_number(e, "REMOTE_PORT", facts->remote.port);
	if (facts->token != NULL) {
		script_env_add(e, "AUTH_TYPE", SPAN("Bearer"));
		script_env_add(e, "TOVA_CLAIMS", span_of(facts->token->text));
		if (facts->token->subject != NULL)
			script_env_add(e, "REMOTE_USER", span_of(facts->token->subject));
	}
	if (facts->traced) { /* as programs that are started by others know them */
		script_env_add(e, "TRACEPARENT", request_header(r, "traceparent"));
		if (request_header_count(r, "tracestate") > 0)
			script_env_add(e, "TRACESTATE", request_header(r, "tracestate"));
	}
	script_env_add_tls(e, facts);
	script_env_add_headers(e, r);
}

char **script_env_make(const struct event_request *request, const struct script_env_facts *facts)
{
	struct script_env e = {.cap = SCRIPT_ENV_FIXED + REQUEST_HEADERS_MAX};
	struct request r;
	e.v = calloc(e.cap, sizeof *e.v);
	if (e.v == NULL || !request_parse_kept(&r, request->head)) {
		free(e.v);
		return NULL;
	}
	script_env_add_path(&e, request, &r, facts->found);
	script_env_add_request(&e, request, &r);
	script_env_add(&e, "TOVA_CONN", span_of(facts->conn));
	script_env_add(&e, "TOVA_MOUNT", span_of(request->mount_path));
	struct span chosen = facts->subprotocols != NULL
				     ? upgrade_choose(&r, span_of(facts->subprotocols))
				     : (struct span){0};
	if (chosen.n > 0)
		script_env_add(&e, "TOVA_SUBPROTOCOL", chosen);
	if (!e.failed)
		return e.v;
	script_env_free(&e.v);
	return NULL;
}

void script_env_free(char ***env_p)
{
	for (char **at = *env_p; at != NULL && *at != NULL; at++)
		free(*at);
	free(*env_p);
	*env_p = NULL;
}
