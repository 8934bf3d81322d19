/* http: a commit over the HTTP API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "c/client/client.h"

#define HTTP_ANSWER_MAX (1u << 20) /* what a host answers to a push is short */

struct http_answer {
	char *text;
	size_t n;
	char run[CLIENT_RUN];
	long status;
	json_t *said;
};

static size_t http_take(char *p, size_t size, size_t n, void *arg)
{
	struct http_answer *h = arg;
	(void)size;
	char *wider = h->n + n <= HTTP_ANSWER_MAX ? realloc(h->text, h->n + n + 1) : NULL;
	if (wider == NULL)
		return 0;
	h->text = wider;
	memcpy(h->text + h->n, p, n);
	h->n += n;
	return n;
}

static size_t http_head(char *p, size_t size, size_t n, void *arg)
{
	static const char name[] = "Tova-Instance: ";
	struct http_answer *h = arg;
	size_t len = n;
	(void)size;
	while (len > 0 && (p[len - 1] == '\r' || p[len - 1] == '\n'))
		len--;
	if (len > sizeof name - 1 && strncasecmp(p, name, sizeof name - 1) == 0)
		snprintf(h->run, sizeof h->run, "%.*s", (int)(len - (sizeof name - 1)),
			 p + sizeof name - 1);
	return n;
}

static void http_free(struct http_answer *h)
{
	json_decref(h->said);
	free(h->text);
}

static CURLcode http_ask(struct client_address *a, const char *path, const void *body, size_t n,
			 struct curl_slist *headers, uint64_t deadline, struct http_answer *h)
{
	char url[2048];
	*h = (struct http_answer){0};
	snprintf(url, sizeof url, "%s%s", a->base, path);
	curl_easy_setopt(a->curl, CURLOPT_URL, url);
	curl_easy_setopt(a->curl, CURLOPT_TIMEOUT_MS, client_left(deadline));
	curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(a->curl, CURLOPT_WRITEFUNCTION, http_take);
	curl_easy_setopt(a->curl, CURLOPT_WRITEDATA, h);
	curl_easy_setopt(a->curl, CURLOPT_HEADERFUNCTION, http_head);
	curl_easy_setopt(a->curl, CURLOPT_HEADERDATA, h);
	if (body != NULL) {
		curl_easy_setopt(a->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(a->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
		curl_easy_setopt(a->curl, CURLOPT_POSTFIELDS, body);
	} else {
		curl_easy_setopt(a->curl, CURLOPT_HTTPGET, 1L);
	}
	CURLcode code = curl_easy_perform(a->curl);
	curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &h->status);
	h->said = code == CURLE_OK && h->n > 0 ? json_loadb(h->text, h->n, 0, NULL) : NULL;
	return code;
}

/* Nothing of the request has left. */
static bool http_not_sent(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
	       code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
	       code == CURLE_SSL_CACERT_BADFILE || code == CURLE_OUT_OF_MEMORY;
}

static void http_why(const struct client_address *a, CURLcode code, struct tova_answer *answer)
{
	snprintf(answer->error, sizeof answer->error, "%.200s: %s", a->url,
		 curl_easy_strerror(code));
}

/* Which run of the host it is has to be known before something is given to it. */
static enum client_end http_begin(struct tova_client *c, struct client_address *a,
				  uint64_t deadline, struct tova_answer *answer)
{
	struct http_answer h;
	if (a->curl == NULL && (a->curl = client_curl(c, a)) == NULL) {
		snprintf(answer->error, sizeof answer->error, "no memory");
		return CLIENT_NOT_DONE;
	}
	if (a->run[0] != '\0')
		return CLIENT_DONE;
	CURLcode code = http_ask(a, "/healthz", NULL, 0, NULL, deadline, &h);
	if (code != CURLE_OK) {
		http_why(a, code, answer);
		a->final = code == CURLE_PEER_FAILED_VERIFICATION;
	}
	snprintf(a->run, sizeof a->run, "%s", h.run);
	http_free(&h);
	return code == CURLE_OK ? CLIENT_DONE : CLIENT_NOT_DONE;
}

static enum client_end http_judge(const struct http_answer *h, bool again,
				  struct tova_answer *answer)
{
	json_t *receivers = json_object_get(h->said, "receivers");
	char otherwise[64];
	if (h->status == 200 && json_is_integer(receivers)) {
		answer->receivers = (unsigned long long)json_integer_value(receivers);
		return CLIENT_DONE;
	}
	snprintf(otherwise, sizeof otherwise, "the host answered %ld", h->status);
	client_said(answer, h->said, otherwise);
	answer->status = (int)h->status;
	if (h->status == 412 && again)
		return CLIENT_ANOTHER;
	if (h->status == 503 && h->run[0] != '\0')
		return CLIENT_NOT_DONE; /* it says so itself, and keeps no answer under the key */
	return h->status >= 500 ? CLIENT_LOST : CLIENT_REFUSED;
}

static struct curl_slist *http_headers(const struct tova_client *c, const struct client_job *job,
				       bool again)
{
	char line[1024];
	struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
	list = curl_slist_append(list, "Expect:");
	snprintf(line, sizeof line, "Idempotency-Key: %s", job->key);
	list = curl_slist_append(list, line);
	if (again) {
		snprintf(line, sizeof line, "Tova-Instance: %s", job->run);
		list = curl_slist_append(list, line);
	}
	if (c->token != NULL) {
		snprintf(line, sizeof line, "Authorization: Bearer %s", c->token);
		list = curl_slist_append(list, line);
	}
	return list;
}

enum client_end client_http_commit(struct tova_client *c, struct client_address *a,
				   struct client_job *job, bool again, struct tova_answer *answer)
{
	enum client_end end = http_begin(c, a, job->deadline, answer);
	size_t n = strlen(job->text);
	char *body = end == CLIENT_DONE ? malloc(n + job->n_bytes + 8) : NULL;
	struct http_answer h;
	if (end == CLIENT_DONE && body == NULL)
		snprintf(answer->error, sizeof answer->error, "no memory");
	if (body == NULL)
		return CLIENT_NOT_DONE;
	size_t len = (size_t)sprintf(body, "{%s}%s", job->text, job->n_bytes > 0 ? "\n" : "");
	if (job->n_bytes > 0)
		memcpy(body + len, job->bytes, job->n_bytes);
	if (!again)
		snprintf(job->run, sizeof job->run, "%s", a->run);
	struct curl_slist *headers = http_headers(c, job, again);
	CURLcode code = http_ask(a, "/api/v1/commands", body, len + job->n_bytes, headers,
				 job->deadline, &h);
	if (code == CURLE_OK) {
		end = http_judge(&h, again, answer);
		if (h.run[0] != '\0')
			snprintf(a->run, sizeof a->run, "%s", h.run);
	} else {
		http_why(a, code, answer);
		end = http_not_sent(code) ? CLIENT_NOT_DONE : CLIENT_LOST;
	}
	http_free(&h);
	curl_slist_free_all(headers);
	free(body);
	return end;
}
