/* upgrade: requests, and their answers. */
#include <stdlib.h>

#include "probe.h"
#include "text.h"
#include "word.h"

static int upgrade_refuse_with(struct probe_run *r, char *rest)
{
	unsigned status = (unsigned)word_number(&rest);
	word_unescape(rest);
	return tova_refuse(r->m, status, rest);
}

static int upgrade_subprotocol(struct probe_run *r, char *rest)
{
	word_unescape(rest);
	return tova_subprotocol(r->m, rest);
}

static int upgrade_header(struct probe_run *r, char *rest)
{
	word_unescape(rest);
	char *colon = strchr(rest, ':');
	if (colon == NULL)
		return TOVA_E_ARG;
	*colon = '\0';
	return tova_response_header(r->m, rest, colon + 1);
}

void upgrade_request_text(struct text *t, const tova_request *r)
{
	text_add(t, "{\"size\":%zu,\"remote_port\":%u,\"local_port\":%u,\"secure\":%d", r->size,
		 r->remote_port, r->local_port, tova_is_secure(r));
	const char *const members[] = {"method",       r->method,      "mount",
				       r->mount,       "path",	       r->path,
				       "query",	       r->query,       "host",
				       r->host,	       "remote_addr",  r->remote_addr,
				       "local_addr",   r->local_addr,  "tls_version",
				       r->tls_version, "tls_cipher",   r->tls_cipher,
				       "tls_subject",  r->tls_subject, "claims",
				       tova_claims(r), "subject",      tova_subject(r)};
	for (size_t i = 0; i < sizeof members / sizeof members[0]; i += 2)
		text_member(t, members[i], members[i + 1]);
	const tova_pair *const lists[] = {r->headers, r->cookies};
	const size_t sizes[] = {r->n_headers, r->n_cookies};
	for (int list = 0; list < 2; list++) {
		text_add(t, ",\"%s\":[", list == 0 ? "headers" : "cookies");
		for (size_t i = 0; i < sizes[list]; i++) {
			text_add(t, "%s[", i > 0 ? "," : "");
			text_string(t, lists[list][i].name);
			text_add(t, ",");
			text_string(t, lists[list][i].value);
			text_add(t, "]");
		}
		text_add(t, "]");
	}
	text_add(t, ",\"subprotocols\":[");
	for (size_t i = 0; i < r->n_subprotocols; i++) {
		text_add(t, "%s", i > 0 ? "," : "");
		text_string(t, r->subprotocols[i]);
	}
	text_add(t, "]}");
}

static int upgrade_headers(tova_mount *m, const tova_request *request)
{
	int result = 0;
	char *line;
	for (int i = 0; result == 0 && (line = word_parameter(request->query, "header", i)) != NULL;
	     i++) {
		word_unescape(line);
		char *colon = strchr(line, ':');
		if (colon != NULL) {
			*colon = '\0';
			result = tova_response_header(m, line, colon + 1);
		}
		free(line);
	}
	return result;
}

static int upgrade_refuse(tova_mount *m, const tova_request *request)
{
	char *status = word_parameter(request->query, "refuse", 0),
	     *body = word_parameter(request->query, "body", 0);
	int result = 0;
	if (status != NULL) {
		if (body != NULL)
			word_unescape(body);
		result = tova_refuse(m, (unsigned)atoi(status), body != NULL ? body : "");
	}
	free(status);
	free(body);
	return result;
}

int upgrade_on(tova_mount *m, const tova_request *request)
{
	char *sub = word_parameter(request->query, "sub", 0),
	     *fail = word_parameter(request->query, "upgradefail", 0);
	int result = upgrade_headers(m, request);
	if (result == 0 && sub != NULL)
		result = tova_subprotocol(m, sub);
	if (result == 0)
		result = upgrade_refuse(m, request);
	if (result == 0)
		result = script_run_parameter(m, TOVA_NONE, request, "up");
	if (fail != NULL)
		result = tova_fail(m, "%s", fail);
	free(sub);
	free(fail);
	return result;
}

const struct probe_command upgrade_commands[] = {
	{"refuse", upgrade_refuse_with},
	{"subprotocol", upgrade_subprotocol},
	{"header", upgrade_header},
	{NULL, NULL},
};
