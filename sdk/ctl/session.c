#include "ctl/session.h"

#include <errno.h>
#include <nng/protocol/pair0/pair.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/dump.h"

#define SESSION_BYE_MS 100
#define SESSION_LEAVE_S 2 /* for the host to close */

__attribute__((format(printf, 2, 3))) static bool session_fail(struct session *s,
							       const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(s->why, sizeof s->why, format, args);
	va_end(args);
	return false;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool session_send(struct session *s, json_t *object, const void *bytes, size_t n)
{
	json_t *batch = json_pack("[o]", object);
	char *text = dump_text(batch, JSON_COMPACT);
	nng_msg *msg = NULL;
	int error = text != NULL ? nng_msg_alloc(&msg, 0) : NNG_ENOMEM;
	if (error == 0)
		error = nng_msg_append(msg, text, strlen(text));
	if (error == 0 && n > 0)
		error = nng_msg_append(msg, "\n", 1);
	if (error == 0 && n > 0)
		error = nng_msg_append(msg, bytes, n);
	if (error == 0)
		error = nng_sendmsg(s->socket, msg, 0);
	if (error != 0 && msg != NULL)
		nng_msg_free(msg);
	free(text);
	json_decref(batch);
	return error == 0 || session_fail(s, "the host can not be told: %s", nng_strerror(error));
}

/* Answers carry no bytes: what stands behind the array is not looked at. */
static bool session_receive(struct session *s)
{
	nng_msg *msg;
	int error = nng_recvmsg(s->socket, &msg, 0);
	s->timed_out = error == NNG_ETIMEDOUT;
	if (error != 0)
		return session_fail(s, "the host does not answer: %s", nng_strerror(error));
	json_t *batch = json_loadb(nng_msg_body(msg), nng_msg_len(msg),
				   JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);
	nng_msg_free(msg);
	if (!json_is_array(batch)) {
		json_decref(batch);
		return session_fail(
			s, "the host's answer is not the protocol's: is this its control socket?");
	}
	json_array_extend(s->waiting, batch);
	json_decref(batch);
	return true;
}

static const char *session_type(const json_t *object)
{
	const char *type = json_string_value(json_object_get(object, "t"));
	return type != NULL ? type : "";
}

/* The next object, which is the caller's. */
static json_t *session_next(struct session *s)
{
	while (json_array_size(s->waiting) == 0)
		if (!session_receive(s))
			return NULL;
	json_t *object = json_incref(json_array_get(s->waiting, 0));
	json_array_remove(s->waiting, 0);
	if (strcmp(session_type(object), "bye") != 0)
		return object;
	const char *why = json_string_value(json_object_get(object, "error"));
	session_fail(s, "the host ends the conversation%s%s", why != NULL ? ": " : "",
		     why != NULL ? why : "");
	json_decref(object);
	return NULL;
}

/* --- the conversation ------------------------------------------------------------------------- */

static bool session_hello(struct session *s)
{
	if (!session_send(s,
			  json_pack("{s:s, s:i, s:[], s:s}", "t", "hello", "v", 1, "events", "name",
				    "tova-ctl"),
			  NULL, 0))
		return false;
	json_t *object = session_next(s);
	while (object != NULL && strcmp(session_type(object), "welcome") != 0) {
		json_decref(object);
		object = session_next(s);
	}
	const char *link = json_string_value(json_object_get(object, "link"));
	s->link = link != NULL ? strdup(link) : NULL;
	bool ok = object != NULL;
	json_decref(object);
	return ok && (s->link != NULL || session_fail(s, "the host's welcome names no link"));
}

static void session_on_end(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
	(void)pipe, (void)event;
	sem_post(arg);
}

static int session_setup(struct session *s, int timeout_ms)
{
	int error = sem_init(&s->ended, 0, 0) == 0 ? nng_pair0_open(&s->socket) : NNG_ENOMEM;
	if (error == 0)
		error = nng_socket_set_ms(s->socket, NNG_OPT_SENDTIMEO, timeout_ms);
	if (error == 0)
		error = nng_socket_set_ms(s->socket, NNG_OPT_RECVTIMEO, timeout_ms);
	if (error == 0)
		error = nng_socket_set_size(s->socket, NNG_OPT_RECVMAXSZ, 0);
	if (error == 0)
		error = nng_pipe_notify(s->socket, NNG_PIPE_EV_REM_POST, session_on_end, &s->ended);
	return error;
}

bool session_open(struct session *s, const char *path, int timeout_ms)
{
	char url[4096];
	*s = (struct session){.waiting = json_array()};
	if (s->waiting == NULL || (size_t)snprintf(url, sizeof url, "ipc://%s", path) >= sizeof url)
		return session_fail(s, "%s: too long", path);
	int error = session_setup(s, timeout_ms);
	if (error == 0)
		error = nng_dial(s->socket, url, NULL, 0);
	if (error == NNG_ENOENT || error == NNG_ECONNREFUSED)
		return session_fail(s, "no host listens at %s", path);
	if (error == NNG_EPERM)
		return session_fail(s, "%s belongs to somebody else", path);
	if (error != 0)
		return session_fail(s, "%s: %s", path, nng_strerror(error));
	return session_hello(s);
}

json_t *session_ask(struct session *s, json_t *object, const void *bytes, size_t n, const char *key)
{
	json_t *number = json_incref(json_object_get(object, key)), *answer;
	json_object_set_new(object, "link", json_string(s->link));
	if (!session_send(s, object, bytes, n)) {
		json_decref(number);
		return NULL;
	}
	while ((answer = session_next(s)) != NULL &&
	       !json_equal(json_object_get(answer, key), number)) {
		if (strcmp(session_type(answer), "ping") == 0)
			session_send(s, json_pack("{s:s, s:s}", "t", "pong", "link", s->link), NULL,
				     0);
		json_decref(answer);
	}
	json_decref(number);
	return answer;
}

json_t *session_hear(struct session *s, const char *type, int timeout_ms)
{
	json_t *object;
	nng_socket_set_ms(s->socket, NNG_OPT_RECVTIMEO, timeout_ms);
	while ((object = session_next(s)) != NULL && strcmp(session_type(object), type) != 0) {
		if (strcmp(session_type(object), "ping") == 0)
			session_send(s, json_pack("{s:s, s:s}", "t", "pong", "link", s->link), NULL,
				     0);
		json_decref(object);
	}
	return object;
}

void session_leave(struct session *s)
{
	struct timespec until;
	/* At once or not at all: a host that stops has closed already. */
	nng_socket_set_ms(s->socket, NNG_OPT_SENDTIMEO, SESSION_BYE_MS);
	if (s->link == NULL || sem_trywait(&s->ended) == 0 ||
	    !session_send(s, json_pack("{s:s, s:s}", "t", "bye", "link", s->link), NULL, 0))
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SESSION_LEAVE_S;
	while (sem_timedwait(&s->ended, &until) != 0 && errno == EINTR)
		;
}
