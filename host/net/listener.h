/* listener: sockets that accept. */
#ifndef TOVA_NET_LISTENER_H
#define TOVA_NET_LISTENER_H

#include "net/conn.h"

struct listener {
	struct event event;
	struct listeners *set;
	struct listener *next;
	struct conn_kind kind;
	int fd;
	char *unix_path; /* removed at the end; NULL for TCP */
	char *name;	 /* "127.0.0.1:8080", with the real port; "unix:PATH" */
};

struct listeners {
	struct conns *conns;
	struct listener *list;
	mode_t unix_mode; /* of the Unix sockets that are added */
	struct loop_timer retry;
	bool paused; /* out of descriptors or at the limit */
	bool said;   /* so; until everyone who waited was accepted */
};

void listeners_init(struct listeners *set, struct conns *conns);
/* host: numeric address, or NULL with a path for a Unix socket (a stale one is replaced, a live one is not). Starts
 * accepting at once. Returns false with a sentence in why. */
bool listeners_add(struct listeners *set, const char *host, uint16_t port, const char *unix_path, const struct conn_kind *kind,
		   int backlog, char *why, size_t why_cap);
/* A socket was closed: goes on accepting if that was what was missing. */
void listeners_resume(struct listeners *set);
/* Closes all of them. */
void listeners_close(struct listeners *set);

#endif
