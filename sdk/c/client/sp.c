/* sp: a commit as an attached pusher, over nng's wire protocol. Its source begins with a push of
 * nothing, so that all that matters have numbers above 1: a host that was started again knows that
 * it does not know them. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "c/client/client.h"
#include "common/dump.h"

#define SP_MESSAGE_MAX (1u << 24) /* what a host answers is short */

static const uint8_t sp_handshake[8] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};

static bool sp_fail(struct tova_answer *answer, const struct client_address *a, const char *why)
{
	snprintf(answer->error, sizeof answer->error, "%.200s: %s", a->url, why);
	return false;
}

/* Waits until it is ready for that. False: the time is over. */
static bool sp_wait(struct client_address *a, short events, uint64_t deadline)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	curl_easy_getinfo(a->curl, CURLINFO_ACTIVESOCKET, &fd);
	struct pollfd p = {.fd = (int)fd, .events = events};
	return client_now() < deadline && poll(&p, 1, (int)client_left(deadline)) > 0;
}

static bool sp_write(struct client_address *a, const void *bytes, size_t n, uint64_t deadline,
		     struct tova_answer *answer)
{
	const char *p = bytes;
	while (n > 0) {
		size_t done = 0;
		CURLcode code = curl_easy_send(a->curl, p, n, &done);
		p += done;
		n -= done;
		if (code == CURLE_AGAIN && !sp_wait(a, POLLOUT, deadline))
			return sp_fail(answer, a, "it did not take it in time");
		if (code != CURLE_OK && code != CURLE_AGAIN)
			return sp_fail(answer, a, curl_easy_strerror(code));
	}
	return true;
}

static bool sp_read(struct client_address *a, uint64_t deadline, struct tova_answer *answer)
{
	size_t got = 0;
	if (a->in_cap - a->in_n < 4096) {
		uint8_t *wider = realloc(a->in, a->in_cap + 65536);
		if (wider == NULL)
			return sp_fail(answer, a, "no memory");
		a->in = wider;
		a->in_cap += 65536;
	}
	for (;;) {
		CURLcode code = curl_easy_recv(a->curl, a->in + a->in_n, a->in_cap - a->in_n, &got);
		if (code == CURLE_OK && got > 0)
			break;
		if (code == CURLE_AGAIN && !sp_wait(a, POLLIN, deadline))
			return sp_fail(answer, a, "it did not answer in time");
		if (code == CURLE_OK)
			return sp_fail(answer, a, "the host has closed the connection");
		if (code != CURLE_AGAIN)
			return sp_fail(answer, a, curl_easy_strerror(code));
	}
	a->in_n += got;
	return true;
}

static void sp_skip(struct client_address *a, size_t n)
{
	memmove(a->in, a->in + n, a->in_n - n);
	a->in_n -= n;
}

static bool sp_need(struct client_address *a, size_t n, uint64_t deadline,
		    struct tova_answer *answer)
{
	while (a->in_n < n)
		if (!sp_read(a, deadline, answer))
			return false;
	return true;
}

/* The next object that the host says; the caller's. NULL: answer->error. */
static json_t *sp_next(struct client_address *a, uint64_t deadline, struct tova_answer *answer)
{
	size_t head = a->ipc ? 9 : 8;
	while (json_array_size(a->waiting) == 0) {
		uint64_t len = 0;
		if (!a->greeted) {
			if (!sp_need(a, 8, deadline, answer))
				return NULL;
			if (memcmp(a->in, sp_handshake, 8) != 0) {
				sp_fail(answer, a, "this is no nng socket of a host");
				return NULL;
			}
			sp_skip(a, 8);
			a->greeted = true;
		}
		if (!sp_need(a, head, deadline, answer))
			return NULL;
		for (size_t i = head - 8; i < head; i++)
			len = len << 8 | a->in[i];
		if (len > SP_MESSAGE_MAX || (a->ipc && a->in[0] != 1)) {
			sp_fail(answer, a, "what it says is no message");
			return NULL;
		}
		if (!sp_need(a, head + len, deadline, answer))
			return NULL;
		json_decref(a->waiting);
		a->waiting = json_loadb((char *)a->in + head, len, 0, NULL);
		sp_skip(a, head + len);
		if (!json_is_array(a->waiting)) {
			sp_fail(answer, a, "what it says is no batch");
			return NULL;
		}
	}
	json_t *item = json_incref(json_array_get(a->waiting, 0));
	json_array_remove(a->waiting, 0);
	return item;
}

/* text: a batch; bytes behind it. */
static bool sp_say(struct client_address *a, const char *text, const uint8_t *bytes, size_t n_bytes,
		   uint64_t deadline, struct tova_answer *answer)
{
	size_t n = strlen(text), len = n + (n_bytes > 0 ? 1 + n_bytes : 0), head = a->ipc ? 9 : 8;
	uint8_t *message = malloc(head + len + 1);
	if (message == NULL)
		return sp_fail(answer, a, "no memory");
	message[0] = 1;
	for (size_t i = 0; i < 8; i++)
		message[head - 1 - i] = (uint8_t)((uint64_t)len >> (8 * i));
	memcpy(message + head, text, n);
	if (n_bytes > 0) {
		message[head + n] = '\n';
		memcpy(message + head + n + 1, bytes, n_bytes);
	}
	bool ok = sp_write(a, message, head + len, deadline, answer);
	free(message);
	return ok;
}

static const char *sp_text(const json_t *said, const char *key)
{
	const char *text = json_string_value(json_object_get(said, key));
	return text != NULL ? text : "";
}

/* The hello and what begins its source. */
static char *sp_hello(const struct tova_client *c, const struct client_address *a)
{
	json_t *hello = json_pack("[{s:s,s:i,s:s,s:[],s:s,s:s*},{s:s,s:s,s:i,s:s*,s:[]}]", "t", "hello",
				  "v", 1, "token", c->token != NULL ? c->token : "", "events",
				  "name", "client", "mount", c->mount, "t", "push", "source",
				  a->source, "n", 1, "mount", c->mount, "commands");
	char *text = dump_text(hello, JSON_COMPACT);
	json_decref(hello);
	return text;
}

static enum client_end sp_greet(struct tova_client *c, struct client_address *a, uint64_t deadline,
				struct tova_answer *answer)
{
	char *hello = sp_hello(c, a);
	bool ok = hello != NULL && sp_write(a, sp_handshake, 8, deadline, answer) &&
		  sp_say(a, hello, NULL, 0, deadline, answer);
	free(hello);
	json_t *welcome = ok ? sp_next(a, deadline, answer) : NULL;
	if (welcome == NULL)
		return CLIENT_NOT_DONE;
	bool bye = strcmp(sp_text(welcome, "t"), "bye") == 0;
	snprintf(a->link, sizeof a->link, "%s", sp_text(welcome, "link"));
	if (bye)
		client_said(answer, welcome, "the host has no use for this client");
	json_decref(welcome);
	if (bye)
		return CLIENT_REFUSED;
	json_t *begun = sp_next(a, deadline, answer);
	if (begun == NULL)
		return CLIENT_NOT_DONE;
	bool refused = json_object_get(begun, "error") != NULL;
	if (refused)
		client_said(answer, begun, "");
	json_decref(begun);
	return refused ? CLIENT_REFUSED : CLIENT_DONE;
}

static enum client_end sp_open(struct tova_client *c, struct client_address *a, uint64_t deadline,
			       struct tova_answer *answer)
{
	a->curl = client_curl(c, a);
	if (a->curl == NULL) {
		sp_fail(answer, a, "no memory");
		return CLIENT_NOT_DONE;
	}
	client_uuid(a->source);
	a->number = 1;
	curl_easy_setopt(a->curl, CURLOPT_URL, a->base);
	curl_easy_setopt(a->curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(a->curl, CURLOPT_TIMEOUT_MS, client_left(deadline));
	CURLcode code = curl_easy_perform(a->curl);
	a->final = code == CURLE_PEER_FAILED_VERIFICATION;
	if (code != CURLE_OK) {
		sp_fail(answer, a, curl_easy_strerror(code));
		return CLIENT_NOT_DONE;
	}
	return sp_greet(c, a, deadline, answer);
}

/* The host has nothing to say unasked but that it has gone. */
static bool sp_is_idle(struct client_address *a)
{
	uint8_t byte;
	size_t got = 0;
	return json_array_size(a->waiting) == 0 && a->in_n == 0 &&
	       curl_easy_recv(a->curl, &byte, 1, &got) == CURLE_AGAIN;
}

static enum client_end sp_judge(const json_t *said, bool again, struct tova_answer *answer)
{
	json_t *receivers = json_object_get(said, "receivers");
	if (again && json_is_true(json_object_get(said, "unknown")))
		return CLIENT_ANOTHER;
	if (json_object_get(said, "error") == NULL && json_is_integer(receivers)) {
		answer->receivers = (unsigned long long)json_integer_value(receivers);
		return CLIENT_DONE;
	}
	client_said(answer, said, "this host does not tell how many were reached: it is older than this library");
	return CLIENT_REFUSED;
}

static enum client_end sp_answer(struct client_address *a, const struct client_job *job, bool again,
				 struct tova_answer *answer)
{
	json_t *said;
	while ((said = sp_next(a, job->deadline, answer)) != NULL) {
		bool mine = strcmp(sp_text(said, "t"), "done") == 0 &&
			    strcmp(sp_text(said, "source"), job->source) == 0 &&
			    (uint64_t)json_integer_value(json_object_get(said, "n")) == job->number;
		bool bye = strcmp(sp_text(said, "t"), "bye") == 0;
		enum client_end end = mine ? sp_judge(said, again, answer) : CLIENT_LOST;
		if (bye)
			client_said(answer, said, "the host said goodbye");
		json_decref(said);
		if (mine || bye)
			return end;
	}
	return CLIENT_LOST;
}

enum client_end client_sp_commit(struct tova_client *c, struct client_address *a,
				 struct client_job *job, bool again, struct tova_answer *answer)
{
	enum client_end end = CLIENT_DONE;
	if (a->curl != NULL && (again || !sp_is_idle(a)))
		client_close(a);
	if (a->curl == NULL)
		end = sp_open(c, a, job->deadline, answer);
	if (end != CLIENT_DONE) {
		client_close(a);
		return end;
	}
	if (again) {
		snprintf(a->source, sizeof a->source, "%s", job->source);
		a->number = job->number;
	} else {
		snprintf(job->source, sizeof job->source, "%s", a->source);
		job->number = ++a->number;
	}
	size_t cap = strlen(job->text) + 256;
	char *push = malloc(cap);
	if (push != NULL)
		snprintf(push, cap, "[{\"t\":\"push\",\"link\":\"%s\",\"source\":\"%s\",\"n\":%llu,%s}]",
			 a->link, job->source, (unsigned long long)job->number, job->text);
	end = CLIENT_LOST;
	if (push != NULL && sp_say(a, push, job->bytes, job->n_bytes, job->deadline, answer))
		end = sp_answer(a, job, again, answer);
	free(push);
	if (end == CLIENT_LOST || end == CLIENT_ANOTHER)
		client_close(a);
	return end;
}
