/* client: a commit, until it is known what became of it. */
#include "c/client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "common/dump.h"

#define CLIENT_TIMEOUT_MS 10000
#define CLIENT_BACK_OFF_FIRST 50
#define CLIENT_BACK_OFF_MAX 1000
#define CLIENT_SCHEMES \
	"http://, https://, unix:/path, http+unix://, ipc:///path, tcp:// or tls+tcp://"

/* --- small ones ------------------------------------------------------------------------------- */

static uint64_t client_clock(clockid_t which)
{
	struct timespec t;
	clock_gettime(which, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t client_now(void)
{
	return client_clock(CLOCK_MONOTONIC);
}

long client_left(uint64_t deadline)
{
	uint64_t now = client_now();
	return deadline > now ? (long)(deadline - now) : 1;
}

void client_uuid(char text[CLIENT_KEY])
{
	uint8_t b[16] = {0};
	while (getrandom(b, sizeof b, 0) != sizeof b)
		;
	snprintf(text, CLIENT_KEY,
		 "%02x%02x%02x%02x-%02x%02x-4%x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		 b[2], b[3], b[4], b[5], b[6] & 15, b[7], b[8], b[9], b[10], b[11], b[12], b[13],
		 b[14], b[15]);
}

void client_said(struct tova_answer *answer, const json_t *said, const char *otherwise)
{
	const char *text = json_string_value(json_object_get(said, "error"));
	json_t *index = json_object_get(said, "index");
	snprintf(answer->error, sizeof answer->error, "%s", text != NULL ? text : otherwise);
	if (json_is_integer(index))
		answer->index = (long)json_integer_value(index);
}

CURL *client_curl(const struct tova_client *c, const struct client_address *a)
{
	CURL *curl = curl_easy_init();
	if (curl == NULL)
		return NULL;
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	if (a->path != NULL)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, a->path);
	if (c->ca != NULL)
		curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca);
	return curl;
}

void client_close(struct client_address *a)
{
	if (a->curl != NULL)
		curl_easy_cleanup(a->curl);
	a->curl = NULL;
	json_decref(a->waiting);
	a->waiting = NULL;
	a->in_n = 0;
	a->greeted = false;
}

/* --- where hosts are -------------------------------------------------------------------------- */

static char *client_text(const char *format, const char *text)
{
	size_t cap = strlen(format) + strlen(text) + 1;
	char *made = malloc(cap);
	if (made != NULL)
		snprintf(made, cap, format, text);
	return made;
}

/* http+unix://%2Frun%2Fapi.sock/base */
static bool client_parse_unix(struct client_address *a, const char *rest)
{
	const char *slash = strchr(rest, '/');
	size_t n = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
	char *place = strndup(rest, n), *plain = NULL;
	CURL *curl = curl_easy_init();
	if (place != NULL && curl != NULL)
		plain = curl_easy_unescape(curl, place, (int)n, NULL);
	a->path = plain != NULL ? strdup(plain) : NULL;
	a->base = client_text("http://localhost%s", slash != NULL ? slash : "");
	curl_free(plain);
	free(place);
	if (curl != NULL)
		curl_easy_cleanup(curl);
	return a->path != NULL && a->base != NULL;
}

/* False: it is none, or there is no memory. */
static bool client_parse(struct client_address *a)
{
	static const struct {
		const char *scheme, *base;
		bool sp, path;
	} kinds[] = {
		{"http://", "http://%s", false, false},	   {"https://", "https://%s", false, false},
		{"unix://", "http://localhost", false, true}, {"unix:", "http://localhost", false, true},
		{"ipc://", "http://localhost", true, true},   {"tcp://", "http://%s", true, false},
		{"tls+tcp://", "https://%s", true, false},
	};
	if (strncmp(a->url, "http+unix://", 12) == 0)
		return client_parse_unix(a, a->url + 12);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		size_t n = strlen(kinds[i].scheme);
		const char *rest = a->url + n;
		if (strncmp(a->url, kinds[i].scheme, n) != 0)
			continue;
		a->sp = kinds[i].sp;
		a->ipc = a->sp && kinds[i].path;
		if (*rest == '\0' || strchr(rest, '@') != NULL || (kinds[i].path && *rest != '/'))
			return false;
		a->path = kinds[i].path ? strdup(rest) : NULL;
		a->base = client_text(kinds[i].base, kinds[i].path ? "" : rest);
		while (a->base != NULL && a->base[strlen(a->base) - 1] == '/')
			a->base[strlen(a->base) - 1] = '\0';
		return a->base != NULL && (!kinds[i].path || a->path != NULL);
	}
	return false;
}

static bool client_add(tova_client *c, const char *url, size_t n, char *why, size_t why_cap)
{
	struct client_address *wider = realloc(c->addresses, (c->n + 1) * sizeof *wider);
	if (wider == NULL) {
		snprintf(why, why_cap, "no memory");
		return false;
	}
	c->addresses = wider;
	struct client_address *a = &c->addresses[c->n++];
	*a = (struct client_address){.url = strndup(url, n)};
	if (a->url != NULL && client_parse(a))
		return true;
	snprintf(why, why_cap, "\"%.*s\" is no URL of a host; expected " CLIENT_SCHEMES, (int)n, url);
	return false;
}

static bool client_copy(char **to, const char *text)
{
	*to = text != NULL ? strdup(text) : NULL;
	return text == NULL || *to != NULL;
}

tova_client *tova_client_connect(const char *urls, const struct tova_client_options *options,
				 char *why, size_t why_cap)
{
	static const struct tova_client_options none;
	const struct tova_client_options *o = options != NULL ? options : &none;
	tova_client *c = calloc(1, sizeof *c);
	bool ok = c != NULL && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	snprintf(why, why_cap, ok ? "no URL of a host was given; expected " CLIENT_SCHEMES : "no memory");
	if (c == NULL)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : CLIENT_TIMEOUT_MS;
	ok = ok && client_copy(&c->token, o->token) && client_copy(&c->mount, o->mount) &&
	     client_copy(&c->ca, o->ca);
	for (const char *p = urls + strspn(urls, " \t\n"); ok && *p != '\0'; p += strspn(p, " \t\n")) {
		size_t n = strcspn(p, " \t\n");
		ok = client_add(c, p, n, why, why_cap);
		p += n;
	}
	if (ok && c->n > 0)
		return c;
	tova_client_disconnect(c);
	return NULL;
}

void tova_client_disconnect(tova_client *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->n; i++) {
		client_close(&c->addresses[i]);
		free(c->addresses[i].url);
		free(c->addresses[i].path);
		free(c->addresses[i].base);
		free(c->addresses[i].in);
	}
	free(c->addresses);
	free(c->token);
	free(c->mount);
	free(c->ca);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* --- a commit --------------------------------------------------------------------------------- */

/* The members of what is sent, without what stands around them. NULL without memory. */
static char *client_members(const tova_client *c, const tova_commands *list, uint64_t expires)
{
	json_t *all = json_pack("{s:s*,s:O}", "mount", c->mount, "commands", list->items);
	if (all != NULL && expires > 0)
		json_object_set_new(all, "expires", json_integer((json_int_t)expires));
	char *text = dump_text(all, JSON_COMPACT);
	json_decref(all);
	if (text == NULL)
		return NULL;
	size_t n = strlen(text);
	memmove(text, text + 1, n - 2);
	text[n - 2] = '\0';
	return text;
}

static void client_pause(unsigned *wait, uint64_t deadline)
{
	long ms = *wait / 2 + random() % (*wait / 2 + 1);
	ms = ms < client_left(deadline) ? ms : client_left(deadline);
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
	*wait = *wait * 2 < CLIENT_BACK_OFF_MAX ? *wait * 2 : CLIENT_BACK_OFF_MAX;
}

static enum client_end client_attempt(tova_client *c, struct client_address *a,
				      struct client_job *job, bool again, struct tova_answer *answer)
{
	*answer = (struct tova_answer){.index = -1};
	return (a->sp ? client_sp_commit : client_http_commit)(c, a, job, again, answer);
}

/* Only the host that was given it can tell what became of it. */
static enum tova_result client_repeat(tova_client *c, struct client_address *a,
				      struct client_job *job, struct tova_answer *answer)
{
	unsigned wait = CLIENT_BACK_OFF_FIRST;
	char why[300];
	snprintf(why, sizeof why, "%.299s", answer->error);
	while ((a->sp || job->run[0] != '\0') && client_now() < job->deadline) {
		enum client_end end = client_attempt(c, a, job, true, answer);
		if (end == CLIENT_DONE)
			return TOVA_DONE;
		if (end == CLIENT_REFUSED && answer->status != 401 && answer->status != 403 &&
		    strncmp(answer->error, "the token", 9) != 0)
			return TOVA_REFUSED;
		snprintf(why, sizeof why, "%.299s",
			 end == CLIENT_ANOTHER ? "the host was started again meanwhile"
					       : answer->error);
		if (end == CLIENT_ANOTHER || end == CLIENT_REFUSED)
			break;
		client_pause(&wait, job->deadline);
	}
	*answer = (struct tova_answer){.index = -1};
	snprintf(answer->error, sizeof answer->error,
		 "it was sent to %.100s and not answered, so that it may have been done: %s", a->url,
		 why);
	return TOVA_ANSWER_LOST;
}

/* Where it was not done the next host is tried. */
static enum tova_result client_try(tova_client *c, struct client_job *job,
				   struct tova_answer *answer)
{
	unsigned wait = CLIENT_BACK_OFF_FIRST;
	bool final = false;
	snprintf(answer->error, sizeof answer->error, "no time was left");
	while (!final && client_now() < job->deadline) {
		final = true;
		for (size_t i = 0, first = c->preferred; i < c->n; i++) {
			struct client_address *a = &c->addresses[(first + i) % c->n];
			enum client_end end = client_attempt(c, a, job, false, answer);
			if (end == CLIENT_DONE)
				c->preferred = (first + i) % c->n;
			if (end == CLIENT_DONE || end == CLIENT_REFUSED)
				return end == CLIENT_DONE ? TOVA_DONE : TOVA_REFUSED;
			if (end != CLIENT_NOT_DONE)
				return client_repeat(c, a, job, answer);
			final = final && a->final;
		}
		if (!final)
			client_pause(&wait, job->deadline);
	}
	return TOVA_UNREACHABLE;
}

static enum tova_result client_commit(tova_client *c, const tova_commands *list, uint64_t began,
				      const struct tova_call *call, struct tova_answer *answer)
{
	uint64_t timeout = call->timeout_ms > 0 ? call->timeout_ms : c->timeout_ms,
		 over = call->expires_ms > 0 ? began + call->expires_ms : UINT64_MAX;
	struct client_job job = {.bytes = list->bytes,
				 .n_bytes = list->n_bytes,
				 .deadline = began + timeout < over ? began + timeout : over};
	client_uuid(job.key);
	job.text = client_members(c, list,
				  call->expires_ms > 0
					  ? client_clock(CLOCK_REALTIME) + over - client_now()
					  : 0);
	if (job.text == NULL) {
		snprintf(answer->error, sizeof answer->error, "no memory");
		return TOVA_UNREACHABLE;
	}
	enum tova_result result = client_try(c, &job, answer);
	free(job.text);
	if (result == TOVA_UNREACHABLE && client_now() >= over)
		result = TOVA_EXPIRED;
	if (result == TOVA_REFUSED &&
	    (answer->status == 410 ||
	     (answer->status == 0 && strstr(answer->error, "\"expires\"") != NULL)))
		result = TOVA_EXPIRED;
	return result;
}

bool tova_client_commit(tova_client *c, const tova_commands *list, const struct tova_call *call,
			struct tova_answer *answer_r)
{
	static const struct tova_call plain;
	uint64_t began = client_now();
	*answer_r = (struct tova_answer){.result = TOVA_WRONG, .index = list->wrong};
	if (list->wrong >= 0) {
		snprintf(answer_r->error, sizeof answer_r->error, "command %ld of the list: %s",
			 list->wrong, list->error);
		return false;
	}
	pthread_mutex_lock(&c->lock);
	enum tova_result result =
		client_commit(c, list, began, call != NULL ? call : &plain, answer_r);
	pthread_mutex_unlock(&c->lock);
	answer_r->result = result;
	if (result == TOVA_DONE)
		answer_r->error[0] = '\0';
	return result == TOVA_DONE;
}
