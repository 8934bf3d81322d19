/* session: a conversation with a running host over its control socket (sdk/PROTOCOL.md 8), on
 * libnng. */
#ifndef TOVA_CTL_SESSION_H
#define TOVA_CTL_SESSION_H

#include <jansson.h>
#include <nng/nng.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

struct session {
	nng_socket socket;
	json_t *waiting; /* objects that came together with others */
	char *link;
	sem_t ended; /* the host has closed */
	bool timed_out;
	char why[512]; /* what went wrong, a sentence */
};

/* Dials and says hello. False: s->why. */
bool session_open(struct session *s, const char *path, int timeout_ms);
/* Says one object, with its bytes, and returns the answer: the next object that carries the same
 * `key`. NULL: s->why. Steals the reference to the object. */
json_t *session_ask(struct session *s, json_t *object, const void *bytes, size_t n,
		    const char *key);
/* The next object of that type, which comes by itself, for at most so long. NULL: s->why, or
 * s->timed_out: none came. */
json_t *session_hear(struct session *s, const char *type, int timeout_ms);
/* Takes leave. The process has to end by _exit(): nng's socket is not closed, as nng_close() can
 * hang. */
void session_leave(struct session *s);

#endif
