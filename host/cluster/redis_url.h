/* redis_url: where a server is: redis://[USER@]HOST[:PORT][/DB] or unix://[USER@]/PATH[?db=DB]. */
#ifndef TOVA_CLUSTER_REDIS_URL_H
#define TOVA_CLUSTER_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_URL_PORT 6379
#define REDIS_URL_HOST_MAX 255
#define REDIS_URL_PATH_MAX 107 /* what a sockaddr_un takes */
#define REDIS_URL_USER_MAX 255

struct redis_url {
	char host[REDIS_URL_HOST_MAX + 1]; /* empty: it is a path */
	char path[REDIS_URL_PATH_MAX + 1];
	char user[REDIS_URL_USER_MAX + 1]; /* empty: none is named */
	uint16_t port;
	uint32_t database;
};

/* False with a sentence in why, without the value. */
bool redis_url_read(struct redis_url *url_r, const char *text, char *why, size_t why_cap);
/* For people: without the user. */
#define REDIS_URL_TEXT (REDIS_URL_HOST_MAX + 32)
void redis_url_text(const struct redis_url *url, char text[REDIS_URL_TEXT]);

#endif
