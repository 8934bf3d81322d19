#include "c/request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/cookie.h"
#include "common/dump.h"

/* Members that are missing or null are "", as they are in a host's process. */
static const char *request_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

static void request_address(const json_t *json, const char *key, const char **address_r,
			    uint16_t *port_r)
{
	const json_t *pair = json_object_get(json, key);
	const char *address = json_string_value(json_array_get(pair, 0));
	*address_r = address != NULL ? address : "";
	*port_r = (uint16_t)json_integer_value(json_array_get(pair, 1));
}

static bool request_headers(struct request *r, const json_t *list)
{
	size_t n = json_array_size(list);
	r->headers = calloc(n + 1, sizeof *r->headers);
	if (r->headers == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *header = json_array_get(list, i);
		const char *name = json_string_value(json_array_get(header, 0)),
			   *value = json_string_value(json_array_get(header, 1));
		if (name != NULL && value != NULL)
			r->headers[r->request.n_headers++] = (tova_pair){name, value};
	}
	return true;
}

static bool request_subprotocols(struct request *r, const json_t *list)
{
	size_t n = json_array_size(list);
	r->subprotocols = calloc(n + 1, sizeof *r->subprotocols);
	if (r->subprotocols == NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (name != NULL)
			r->subprotocols[r->request.n_subprotocols++] = name;
	}
	return true;
}

static bool request_is_cookie(const tova_pair *header)
{
	return strcasecmp(header->name, "Cookie") == 0;
}

static bool request_cookies(struct request *r)
{
	size_t bytes = 0, parts = 0;
	for (size_t i = 0; i < r->request.n_headers; i++) {
		if (!request_is_cookie(&r->headers[i]))
			continue;
		parts++;
		for (const char *p = r->headers[i].value; *p != '\0'; p++, bytes++)
			parts += *p == ';';
	}
	if (parts == 0)
		return true;
	char *at = r->text = malloc(bytes + 2 * parts);
	r->cookies = calloc(parts + 1, sizeof *r->cookies);
	if (r->text == NULL || r->cookies == NULL)
		return false;
	for (size_t i = 0; i < r->request.n_headers; i++) {
		struct span rest = span_of(r->headers[i].value), name, value;
		while (request_is_cookie(&r->headers[i]) && cookie_next(&rest, &name, &value))
			r->cookies[r->request.n_cookies++] =
				(tova_pair){span_put(&at, name), span_put(&at, value)};
	}
	return true;
}

static void request_tls(tova_request *q, const json_t *tls)
{
	if (!json_is_object(tls))
		return;
	q->tls_version = json_string_value(json_object_get(tls, "version"));
	q->tls_cipher = json_string_value(json_object_get(tls, "cipher"));
	q->tls_subject = json_string_value(json_object_get(tls, "subject"));
}

/* As text again, for that is what handlers in a host's process get. */
static bool request_claims(struct request *r, const json_t *claims)
{
	if (!json_is_object(claims))
		return true;
	r->claims = dump_text(claims, JSON_COMPACT);
	r->request.claims = r->claims;
	r->request.subject = json_string_value(json_object_get(claims, "sub"));
	return r->claims != NULL;
}

bool request_build(struct request *r, const json_t *json)
{
	*r = (struct request){.request = {.size = sizeof r->request}};
	tova_request *q = &r->request;
	if (!request_headers(r, json_object_get(json, "headers")) ||
	    !request_subprotocols(r, json_object_get(json, "subprotocols")) ||
	    !request_cookies(r) || !request_claims(r, json_object_get(json, "claims"))) {
		request_free(r);
		return false;
	}
	q->method = request_string(json, "method");
	q->mount = request_string(json, "mount");
	q->path = request_string(json, "path");
	q->query = request_string(json, "query");
	q->host = request_string(json, "host");
	request_address(json, "remote", &q->remote_addr, &q->remote_port);
	request_address(json, "local", &q->local_addr, &q->local_port);
	request_tls(q, json_object_get(json, "tls"));
	q->secure = json_is_true(json_object_get(json, "secure"));
	q->headers = r->headers;
	q->cookies = r->cookies;
	q->subprotocols = r->subprotocols;
	return true;
}

void request_free(struct request *r)
{
	free(r->headers);
	free(r->cookies);
	free(r->subprotocols);
	free(r->text);
	free(r->claims);
	*r = (struct request){0};
}
