#include "cluster/redis_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/span.h"

#define REDIS_URL_DATABASES 65536

static bool redis_url_say(char *why, size_t cap, const char *text)
{
	snprintf(why, cap, "%s", text);
	return false;
}

static bool redis_url_number(struct span text, uint32_t most, uint32_t *value_r)
{
	uint32_t value = 0;
	if (text.n == 0 || text.n > 6)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text.p[i] - '0');
	}
	*value_r = value;
	return value <= most;
}

static bool redis_url_copy(char *to, size_t most, struct span from)
{
	if (from.n == 0 || from.n > most || memchr(from.p, '\0', from.n) != NULL)
		return false;
	memcpy(to, from.p, from.n);
	to[from.n] = '\0';
	return true;
}

/* What stands in front of an @, which is taken off. */
static bool redis_url_user(struct redis_url *url, struct span *rest, size_t most, char *why,
			   size_t cap)
{
	const char *at = memchr(rest->p, '@', most);
	if (at == NULL)
		return true;
	struct span user = {rest->p, (size_t)(at - rest->p)};
	rest->n -= user.n + 1;
	rest->p += user.n + 1;
	if (user.n > 0 && memchr(user.p, ':', user.n) != NULL)
		return redis_url_say(why, cap,
				     "it holds a password, which everybody sees who lists "
				     "processes; expected one in a file: --cluster-password FILE");
	return redis_url_copy(url->user, REDIS_URL_USER_MAX, user) ||
	       redis_url_say(why, cap, "expected a user of 1 to 255 bytes in front of @");
}

static bool redis_url_database(struct redis_url *url, struct span text, char *why, size_t cap)
{
	return redis_url_number(text, REDIS_URL_DATABASES, &url->database) ||
	       redis_url_say(why, cap, "expected a number of a database");
}

static bool redis_url_host(struct redis_url *url, struct span where, char *why, size_t cap)
{
	uint32_t port = REDIS_URL_PORT;
	bool brackets = where.n > 0 && where.p[0] == '[';
	const char *end = brackets ? memchr(where.p, ']', where.n) : NULL;
	size_t name = brackets ? 1 : 0;
	if (brackets && end == NULL)
		return redis_url_say(why, cap, "a [ has no ]");
	const char *from = brackets ? end + 1 : where.p;
	const char *colon = memchr(from, ':', (size_t)(where.p + where.n - from));
	size_t n = brackets	   ? (size_t)(end - where.p) - 1
		   : colon != NULL ? (size_t)(colon - where.p)
				   : where.n;
	if (brackets && colon != end + 1 && end + 1 != where.p + where.n)
		return redis_url_say(why, cap, "expected :PORT or nothing behind a ]");
	if (colon != NULL &&
	    (!redis_url_number((struct span){colon + 1, (size_t)(where.p + where.n - colon) - 1},
			       UINT16_MAX, &port) ||
	     port == 0))
		return redis_url_say(why, cap,
				     "expected a port from 1 to 65535; an IPv6 address as "
				     "[::1]:6379");
	url->port = (uint16_t)port;
	return redis_url_copy(url->host, REDIS_URL_HOST_MAX, (struct span){where.p + name, n}) ||
	       redis_url_say(why, cap, "expected redis://[USER@]HOST[:PORT][/DB]");
}

static bool redis_url_tcp(struct redis_url *url, struct span rest, char *why, size_t cap)
{
	const char *slash = memchr(rest.p, '/', rest.n);
	size_t most = slash != NULL ? (size_t)(slash - rest.p) : rest.n;
	if (!redis_url_user(url, &rest, most, why, cap))
		return false;
	slash = memchr(rest.p, '/', rest.n);
	struct span where = {rest.p, slash != NULL ? (size_t)(slash - rest.p) : rest.n};
	struct span database = {rest.p + where.n + 1, slash != NULL ? rest.n - where.n - 1 : 0};
	if (!redis_url_host(url, where, why, cap))
		return false;
	return database.n == 0 || redis_url_database(url, database, why, cap);
}

static bool redis_url_unix(struct redis_url *url, struct span rest, char *why, size_t cap)
{
	const char *slash = memchr(rest.p, '/', rest.n);
	if (slash != NULL && slash > rest.p &&
	    !redis_url_user(url, &rest, (size_t)(slash - rest.p), why, cap))
		return false;
	const char *query = memchr(rest.p, '?', rest.n);
	struct span path = {rest.p, query != NULL ? (size_t)(query - rest.p) : rest.n};
	if (path.n == 0 || path.p[0] != '/' ||
	    !redis_url_copy(url->path, REDIS_URL_PATH_MAX, path))
		return redis_url_say(why, cap,
				     "expected unix://[USER@]/PATH[?db=DB] with at most 107 bytes "
				     "of path");
	if (query == NULL)
		return true;
	struct span said = {query + 1, rest.n - path.n - 1};
	if (said.n < 3 || memcmp(said.p, "db=", 3) != 0)
		return redis_url_say(why, cap, "expected ?db=DB behind the path");
	return redis_url_database(url, (struct span){said.p + 3, said.n - 3}, why, cap);
}

bool redis_url_read(struct redis_url *url_r, const char *text, char *why, size_t why_cap)
{
	*url_r = (struct redis_url){.port = 0};
	if (strncmp(text, "redis://", 8) == 0)
		return redis_url_tcp(url_r, span_of(text + 8), why, why_cap);
	if (strncmp(text, "unix://", 7) == 0)
		return redis_url_unix(url_r, span_of(text + 7), why, why_cap);
	if (strncmp(text, "rediss://", 9) == 0)
		return redis_url_say(why, why_cap,
				     "TLS to the engine is not there yet; expected redis:// or "
				     "unix://, for a distant server through a tunnel of your own");
	return redis_url_say(why, why_cap,
			     "expected redis://[USER@]HOST[:PORT][/DB] or "
			     "unix://[USER@]/PATH[?db=DB]");
}

void redis_url_text(const struct redis_url *url, char text[REDIS_URL_TEXT])
{
	if (url->host[0] == '\0')
		snprintf(text, REDIS_URL_TEXT, "unix://%s", url->path);
	else
		snprintf(text, REDIS_URL_TEXT,
			 strchr(url->host, ':') != NULL ? "redis://[%s]:%u" : "redis://%s:%u",
			 url->host, url->port);
}
