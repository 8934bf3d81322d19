/* plugin_request: a request in the form that plugins see. Header strings end in NUL in place: the
 * byte behind each span is a separator that has been parsed and is not needed again. Cookies and
 * subprotocols, which share their headers, are copied. */
#include <stdlib.h>

#include "auth/token.h"
#include "common/cookie.h"
#include "handler/plugin/plugin_instance.h"

static const char *plugin_request_in_place(struct span s)
{
	if (s.n == 0)
		return "";
	((char *)s.p)[s.n] = '\0';
	return s.p;
}

struct lists {
	size_t bytes, cookies, subprotocols; /* upper bounds */
};

static struct lists plugin_request_measure(const struct request *r)
{
	struct lists n = {0};
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span value = r->headers[i].value;
		bool cookie = span_eq_nocase(r->headers[i].name, SPAN("Cookie"));
		if (!cookie && !span_eq_nocase(r->headers[i].name, SPAN("Sec-WebSocket-Protocol")))
			continue;
		size_t parts = 1;
		for (size_t k = 0; k < value.n; k++)
			parts += value.p[k] == (cookie ? ';' : ',');
		n.bytes += value.n + 2 * parts;
		*(cookie ? &n.cookies : &n.subprotocols) += parts;
	}
	return n;
}

static bool plugin_request_add_lists(struct plugin_request *p, const struct request *r)
{
	struct lists n = plugin_request_measure(r);
	struct span item, name;
	if (n.bytes == 0)
		return true;
	p->text = malloc(n.bytes);
	p->cookies = calloc(n.cookies + 1, sizeof *p->cookies);
	p->subprotocols = calloc(n.subprotocols + 1, sizeof *p->subprotocols);
	if (p->text == NULL || p->cookies == NULL || p->subprotocols == NULL) {
		plugin_request_free(p);
		return false;
	}
	char *at = p->text;
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span value = r->headers[i].value;
		if (span_eq_nocase(r->headers[i].name, SPAN("Cookie")))
			while (cookie_next(&value, &name, &item))
				p->cookies[p->request.n_cookies++] =
					(tova_pair){span_put(&at, name), span_put(&at, item)};
		else if (span_eq_nocase(r->headers[i].name, SPAN("Sec-WebSocket-Protocol")))
			while (request_list_next(&value, &item))
				p->subprotocols[p->request.n_subprotocols++] = span_put(&at, item);
	}
	return true;
}

bool plugin_request_build(struct plugin_request *p, const struct event_request *e)
{
	struct request *r = e->request;
	p->cookies = NULL;
	p->subprotocols = NULL;
	p->text = NULL;
	r->path_bytes[r->path.n] = '\0';
	p->request = (tova_request){.size = sizeof p->request};
	if (!plugin_request_add_lists(p, r))
		return false;
	for (unsigned i = 0; i < r->n_headers; i++)
		p->headers[i] = (tova_pair){plugin_request_in_place(r->headers[i].name),
					    plugin_request_in_place(r->headers[i].value)};
	p->request.method = plugin_request_in_place(r->method);
	p->request.mount = e->mount_path;
	p->request.path = r->path.p;
	p->request.query = plugin_request_in_place(r->query);
	p->request.host = plugin_request_in_place(r->host);
	p->request.remote_addr = address_text(&e->remote, p->remote);
	p->request.local_addr = address_text(&e->local, p->local);
	p->request.remote_port = e->remote.port;
	p->request.local_port = e->local.port;
	p->request.tls_version = e->tls.version;
	p->request.tls_cipher = e->tls.cipher;
	p->request.tls_subject = e->tls.subject;
	p->request.headers = p->headers;
	p->request.n_headers = r->n_headers;
	p->request.cookies = p->cookies;
	p->request.subprotocols = p->subprotocols;
	p->request.secure = e->secure;
	p->request.claims = e->token != NULL ? e->token->text : NULL;
	p->request.subject = e->token != NULL ? e->token->subject : NULL;
	return true;
}

void plugin_request_free(struct plugin_request *p)
{
	free(p->cookies);
	free(p->subprotocols);
	free(p->text);
	p->cookies = NULL;
	p->subprotocols = NULL;
	p->text = NULL;
}
