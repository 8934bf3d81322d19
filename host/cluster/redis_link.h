/* redis_link: one connection to a Redis server, on the host's own loop. */
#ifndef TOVA_CLUSTER_REDIS_LINK_H
#define TOVA_CLUSTER_REDIS_LINK_H

#include <sys/socket.h>

#include "cluster/resp.h"
#include "net/loop.h"

struct redis_link_events {
	/* It is connected. */
	void (*open)(void *ctx);
	/* A reply, which goes behind the call. */
	void (*reply)(void *ctx, const struct resp_value *v);
	/* It broke, and is closed; why is borrowed. Not called by redis_link_close. */
	void (*lost)(void *ctx, const char *why);
};

struct redis_link {
	uint16_t magic; /* CHECK_REDIS_LINK */
	struct loop *loop;
	const struct redis_link_events *events;
	void *ctx;
	int fd; /* -1: there is none */
	bool connecting;
	struct loop_watch in, out;
	struct buffer queue; /* what waits for the socket */
	struct resp *resp;
};

/* There is none at first. */
void redis_link_init(struct redis_link *l, struct loop *loop,
		     const struct redis_link_events *events, void *ctx);
/* Begins to. False with errno. */
bool redis_link_connect(struct redis_link *l, const struct sockaddr *to, socklen_t len);
/* Adds a command, which leaves with redis_link_flush. False without memory. */
bool redis_link_say(struct redis_link *l, size_t n, const struct span *words);
void redis_link_flush(struct redis_link *l);
/* What has come already is told, as long as there is something. */
void redis_link_drain(struct redis_link *l);
/* Of one that is closed, too. */
void redis_link_close(struct redis_link *l);

#endif
