/* client: what the files of the client share. */
#ifndef TOVA_CLIENT_INTERNAL_H
#define TOVA_CLIENT_INTERNAL_H

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdint.h>

#include "c/client/tova_client.h"

struct tova_commands {
	json_t *items; /* as the worker protocol has them */
	uint8_t *bytes;
	size_t n_bytes, cap_bytes;
	size_t n;	   /* how many were added, wrong ones among them */
	long wrong;	   /* the first of those; -1: none */
	const char *error; /* and what is wrong with it */
};

/* How one attempt ended. */
enum client_end {
	CLIENT_DONE,
	CLIENT_REFUSED,	 /* answer->error, status and index are filled */
	CLIENT_NOT_DONE, /* it can not have reached the host; answer->error says why */
	CLIENT_LOST,	 /* it may have */
	CLIENT_ANOTHER,	 /* it is another run of the host */
};

#define CLIENT_KEY 37 /* of a UUID, with its NUL */
#define CLIENT_RUN 64

/* Where a host is. */
struct client_address {
	char *url;
	char *path;	   /* of a Unix socket; NULL: none */
	char *base;	   /* http://host:port/base, as curl wants it, without a slash at the end */
	bool sp, ipc, final; /* final: trying it again is of no use */
	CURL *curl;	   /* NULL: not connected */
	char run[CLIENT_RUN]; /* HTTP: of the host; empty: not known */
	/* nng: */
	char source[CLIENT_KEY], link[64];
	uint64_t number;
	uint8_t *in; /* what was read */
	size_t in_n, in_cap;
	bool greeted;	 /* the host's handshake was seen */
	json_t *waiting; /* objects of a batch that nobody has looked at */
};

struct tova_client {
	pthread_mutex_t lock;
	struct client_address *addresses;
	size_t n, preferred;
	char *token, *mount, *ca;
	unsigned long timeout_ms;
};

/* What is committed. */
struct client_job {
	char *text;	  /* "mount":…,"expires":…,"commands":[…] */
	const uint8_t *bytes; /* behind it */
	size_t n_bytes;
	char key[CLIENT_KEY], run[CLIENT_RUN], source[CLIENT_KEY];
	uint64_t number;
	uint64_t deadline; /* milliseconds of client_now */
};

/* Milliseconds of a clock that nobody sets. */
uint64_t client_now(void);
/* Milliseconds until then; at least 1. */
long client_left(uint64_t deadline);
/* A random UUID. */
void client_uuid(char text[CLIENT_KEY]);
/* A handle for that address, with all that both ways of speaking need. NULL without memory. */
CURL *client_curl(const struct tova_client *c, const struct client_address *a);
/* Fills what the host said, {"error":…,"index":…}, or that it said nothing. */
void client_said(struct tova_answer *answer, const json_t *said, const char *otherwise);

/* One attempt; again: what was sent before is asked for. */
enum client_end client_http_commit(struct tova_client *c, struct client_address *a,
				   struct client_job *job, bool again, struct tova_answer *answer);
enum client_end client_sp_commit(struct tova_client *c, struct client_address *a,
				 struct client_job *job, bool again, struct tova_answer *answer);
/* Forgets the connection. */
void client_close(struct client_address *a);

#endif
