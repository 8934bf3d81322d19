#include "ctl/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HTTP_TOKEN_MAX 4096
#define HTTP_ANSWER_MAX (256u << 20) /* bytes */

struct http_answer {
	char *p;
	size_t n, cap;
};

__attribute__((format(printf, 2, 3))) static bool http_fail(struct http *h, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(h->why, sizeof h->why, format, args);
	va_end(args);
	return false;
}

/* --- where ------------------------------------------------------------------------------------ */

static bool http_set_url(struct http *h, const char *url)
{
	char *scheme = NULL, *user = NULL, *rest = NULL;
	CURLU *parsed = curl_url();
	if (strncmp(url, "unix:/", 6) == 0) {
		curl_url_cleanup(parsed);
		h->base = strdup("http://localhost");
		return curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, url + 5) == CURLE_OK &&
		       h->base != NULL;
	}
	bool ok = parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
		  curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		  (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
		  curl_url_get(parsed, CURLUPART_USER, &user, 0) != CURLUE_OK &&
		  curl_url_get(parsed, CURLUPART_QUERY, &rest, 0) != CURLUE_OK &&
		  curl_url_get(parsed, CURLUPART_FRAGMENT, &rest, 0) != CURLUE_OK;
	curl_free(scheme);
	curl_free(user);
	curl_free(rest);
	curl_url_cleanup(parsed);
	if (!ok)
		return http_fail(
			h,
			"--url: \"%s\"; expected http://HOST:PORT, https://HOST:PORT or unix:/PATH",
			url);
	size_t n = strlen(url);
	while (n > 0 && url[n - 1] == '/')
		n--;
	h->base = strndup(url, n);
	return h->base != NULL;
}

/* A file's text without its last line end, as the host reads it. */
static bool http_set_token(struct http *h, const char *file)
{
	char line[HTTP_TOKEN_MAX + 32] = "Authorization: Bearer ";
	size_t head = strlen(line);
	FILE *f = fopen(file, "rb");
	size_t n = f != NULL ? fread(line + head, 1, HTTP_TOKEN_MAX + 1, f) : 0;
	int error = f == NULL || ferror(f) != 0 ? errno : 0;
	if (f != NULL)
		fclose(f);
	if (error != 0)
		return http_fail(h, "--token-file: %s: %s", file, strerror(error));
	n -= n > 0 && line[head + n - 1] == '\n';
	n -= n > 0 && line[head + n - 1] == '\r';
	line[head + n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (line[head + i] <= ' ' || line[head + i] > '~')
			n = 0;
	if (n == 0 || n > HTTP_TOKEN_MAX)
		return http_fail(
			h, "--token-file: %s: this is no token; expected a line of visible ASCII",
			file);
	h->headers = curl_slist_append(h->headers, line);
	explicit_bzero(line, sizeof line);
	return h->headers != NULL;
}

static size_t http_on_bytes(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_answer *a = arg;
	n *= size;
	if (a->n + n > HTTP_ANSWER_MAX)
		return 0;
	if (a->n + n > a->cap) {
		size_t cap = a->cap * 2 > a->n + n ? a->cap * 2 : a->n + n + 4096;
		char *wider = realloc(a->p, cap);
		if (wider == NULL)
			return 0;
		a->p = wider;
		a->cap = cap;
	}
	memcpy(a->p + a->n, bytes, n);
	a->n += n;
	return n;
}

static bool http_set_up(struct http *h, const struct http_place *place, int timeout_ms)
{
	CURL *c = h->curl;
	return curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->curl_why) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_USERAGENT, "tova-ctl/" TOVA_VERSION) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, http_on_bytes) == CURLE_OK &&
	       (place->ca == NULL || curl_easy_setopt(c, CURLOPT_CAINFO, place->ca) == CURLE_OK);
}

bool http_open(struct http *h, const struct http_place *place, int timeout_ms)
{
	*h = (struct http){.curl = NULL, .name = place->url};
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ||
	    (h->curl = curl_easy_init()) == NULL)
		return http_fail(h, "no memory");
	/* nothing waits for "100 Continue" */
	h->headers = curl_slist_append(NULL, "Expect:");
	http_fail(h, "no memory, or a libcurl that can not do it");
	return h->headers != NULL && http_set_up(h, place, timeout_ms) &&
	       http_set_url(h, place->url) &&
	       (place->token_file == NULL || http_set_token(h, place->token_file));
}

/* --- a request -------------------------------------------------------------------------------- */

static json_t *http_read(struct http *h, const struct http_answer *a, long status)
{
	json_t *object = json_loadb(a->n > 0 ? a->p : "", a->n, JSON_ALLOW_NUL, NULL);
	if (json_is_object(object))
		return object;
	json_decref(object);
	http_fail(h, "%s answers with status %ld and no JSON: is this a host's --api or --admin?",
		  h->name, status);
	return NULL;
}

static unsigned long http_nobody(CURL *c)
{
	struct curl_header *header;
	return curl_easy_header(c, "Tova-Nobody", 0, CURLH_HEADER, -1, &header) == CURLHE_OK
		       ? strtoul(header->value, NULL, 10)
		       : 0;
}

json_t *http_ask(struct http *h, const struct http_request *r, long *status_r)
{
	struct http_answer answer = {NULL, 0, 0};
	char *url = NULL;
	CURL *c = h->curl;
	h->curl_why[0] = '\0';
	bool ok = asprintf(&url, "%s/api/v1/%s", h->base, r->path) > 0 &&
		  curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_HTTPGET, 1L) == CURLE_OK;
	if (ok && r->body != NULL)
		ok = curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body) == CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->n) == CURLE_OK;
	ok = ok && curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
	     curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method) == CURLE_OK &&
	     curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer) == CURLE_OK;
	CURLcode code = ok ? curl_easy_perform(c) : CURLE_OUT_OF_MEMORY;
	json_t *object = NULL;
	h->timed_out = code == CURLE_OPERATION_TIMEDOUT;
	if (code != CURLE_OK)
		http_fail(h, "%s: %s", h->name,
			  h->curl_why[0] != '\0' ? h->curl_why : curl_easy_strerror(code));
	else if (curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status_r) == CURLE_OK)
		object = http_read(h, &answer, *status_r);
	h->nobody = code == CURLE_OK ? http_nobody(c) : 0;
	free(url);
	free(answer.p);
	return object;
}

/* --- an answer that comes line by line -------------------------------------------------------- */

#define HTTP_SILENT_S 60L /* the host says something every 15 s */

struct http_lines {
	struct http *h;
	struct http_answer rest; /* of a line, or of what is said instead of lines */
	bool (*each)(void *ctx, json_t *line);
	void *ctx;
	bool enough;
};

static void http_each_line(struct http_lines *l)
{
	char *from = l->rest.p, *end = l->rest.p + l->rest.n, *stop;
	while (!l->enough && (stop = memchr(from, '\n', (size_t)(end - from))) != NULL) {
		json_t *line = json_loadb(from, (size_t)(stop - from), JSON_ALLOW_NUL, NULL);
		if (json_is_object(line))
			l->enough = l->each(l->ctx, line);
		json_decref(line);
		from = stop + 1;
	}
	l->rest.n = (size_t)(end - from);
	memmove(l->rest.p, from, l->rest.n);
}

static size_t http_on_lines(char *bytes, size_t size, size_t n, void *arg)
{
	struct http_lines *l = arg;
	long status = 0;
	curl_easy_getinfo(l->h->curl, CURLINFO_RESPONSE_CODE, &status);
	if (http_on_bytes(bytes, size, n, &l->rest) != size * n)
		return 0;
	if (status == 200)
		http_each_line(l);
	return l->enough ? 0 : size * n;
}

json_t *http_follow(struct http *h, const char *path, bool (*each)(void *ctx, json_t *line),
		    void *ctx, long *status_r)
{
	struct http_lines lines = {.h = h, .each = each, .ctx = ctx};
	char *url = NULL;
	CURL *c = h->curl;
	h->curl_why[0] = h->why[0] = '\0';
	bool ok = asprintf(&url, "%s/api/v1/%s", h->base, path) > 0 &&
		  curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, 0L) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, HTTP_SILENT_S) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, http_on_lines) == CURLE_OK &&
		  curl_easy_setopt(c, CURLOPT_WRITEDATA, &lines) == CURLE_OK;
	CURLcode code = ok ? curl_easy_perform(c) : CURLE_OUT_OF_MEMORY;
	json_t *said = NULL;
	*status_r = 0;
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, status_r);
	if (code != CURLE_OK && !lines.enough)
		http_fail(h, "%s: %s", h->name,
			  h->curl_why[0] != '\0' ? h->curl_why : curl_easy_strerror(code));
	else if (*status_r != 200)
		said = http_read(h, &lines.rest, *status_r);
	free(url);
	free(lines.rest.p);
	return said;
}

char *http_escape(struct http *h, const char *text)
{
	return curl_easy_escape(h->curl, text, 0);
}

void http_close(struct http *h)
{
	curl_slist_free_all(h->headers);
	curl_easy_cleanup(h->curl);
	free(h->base);
	*h = (struct http){.curl = NULL};
}
