#include "ctl/rest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/dump.h"

#define REST_PAGE "1000" /* items of a list, of each request */

static const char *rest_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text != NULL ? text : "";
}

static json_t *rest_fail(struct http *h, const char *why)
{
	snprintf(h->why, sizeof h->why, "%s", why);
	return NULL;
}

/* --- pushes ----------------------------------------------------------------------------------- */

/* The command as a body, with its bytes behind it; malloc. */
static char *rest_body(const json_t *command, const void *bytes, size_t n, size_t *n_r)
{
	char *text = dump_text(command, JSON_COMPACT);
	size_t len = text != NULL ? strlen(text) : 0;
	char *body = text != NULL && n > 0 ? realloc(text, len + 1 + n) : text;
	if (body == NULL) {
		free(text);
		return NULL;
	}
	if (n > 0) {
		body[len++] = '\n';
		memcpy(body + len, bytes, n);
	}
	*n_r = len + n;
	return body;
}

static json_t *rest_post(struct http *h, const char *path, const json_t *body, const void *bytes,
			 size_t n, long *status_r)
{
	size_t len = 0;
	char *text = rest_body(body, bytes, n, &len);
	const struct http_request r = {.method = "POST", .path = path, .body = text, .n = len};
	json_t *answer = text != NULL ? http_ask(h, &r, status_r) : rest_fail(h, "no memory");
	free(text);
	return answer;
}

static json_t *rest_push(struct http *h, const json_t *object, const void *bytes, size_t n)
{
	json_t *command = json_copy(json_array_get(json_object_get(object, "commands"), 0));
	char word[32];
	long status;
	snprintf(word, sizeof word, "%s", rest_text(command, "c"));
	json_object_del(command, "c");
	if (json_object_get(object, "mount") != NULL)
		json_object_set(command, "mount", json_object_get(object, "mount"));
	json_t *answer = rest_post(h, word, command, bytes, n, &status);
	json_decref(command);
	if (answer != NULL && status == 200 && h->nobody > 0)
		json_object_set_new(answer, "nobody", json_integer((json_int_t)h->nobody));
	return answer;
}

/* --- lists ------------------------------------------------------------------------------------ */

/* "name=value" behind a path; an empty value is left out. */
static bool rest_add(struct http *h, char **path, const char *name, const char *value)
{
	char *escaped = value[0] != '\0' ? http_escape(h, value) : NULL, *longer = NULL;
	if (value[0] == '\0')
		return true;
	bool ok = escaped != NULL &&
		  asprintf(&longer, "%s%c%s=%s", *path, strchr(*path, '?') != NULL ? '&' : '?',
			   name, escaped) > 0;
	curl_free(escaped);
	if (!ok)
		return false;
	free(*path);
	*path = longer;
	return true;
}

/* A page of it; status 200, or the answer is an error. */
static json_t *rest_page(struct http *h, const char *path, const char *cursor, long *status_r)
{
	char *whole = strdup(path);
	json_t *answer = NULL;
	struct http_request r = {.method = "GET"};
	if (whole != NULL && rest_add(h, &whole, "cursor", cursor)) {
		r.path = whole;
		answer = http_ask(h, &r, status_r);
	} else {
		rest_fail(h, "no memory");
	}
	free(whole);
	return answer;
}

/* All pages of it, as one. Takes the path. */
static json_t *rest_list(struct http *h, char *path, const char *name)
{
	json_t *all = NULL, *page;
	char *cursor = strdup("");
	long status = 0;
	while (cursor != NULL && (page = rest_page(h, path, cursor, &status)) != NULL) {
		const char *next = json_string_value(json_object_get(page, "next"));
		free(cursor);
		cursor = next != NULL && status == 200 ? strdup(next) : NULL;
		json_object_del(page, "next");
		if (status != 200 || all == NULL) {
			json_decref(all);
			all = page;
			continue;
		}
		json_array_extend(json_object_get(all, name), json_object_get(page, name));
		json_decref(page);
	}
	if (cursor != NULL) { /* a page did not come */
		json_decref(all);
		all = NULL;
	}
	free(cursor);
	free(path);
	return all;
}

static int rest_by_waiting(const void *a, const void *b)
{
	json_int_t one = json_integer_value(json_object_get(*(json_t *const *)a, "waiting")),
		   other = json_integer_value(json_object_get(*(json_t *const *)b, "waiting"));
	return (one < other) - (one > other);
}

/* The one for which most waits first. */
static void rest_sort(json_t *list)
{
	size_t n = json_array_size(list), i;
	json_t **rows = calloc(n + 1, sizeof(json_t *)), *row;
	if (rows == NULL)
		return;
	json_array_foreach(list, i, row) rows[i] = json_incref(row);
	qsort(rows, n, sizeof(json_t *), rest_by_waiting);
	for (i = 0; i < n; i++)
		json_array_set_new(list, i, rows[i]);
	free(rows);
}

/* --- questions -------------------------------------------------------------------------------- */

/* What is asked for, its path, and the list in the answer; NULL: it is one answer. */
static const struct rest_query {
	const char *what, *path, *list;
} rest_queries[] = {
	{"all_connections", "connections?limit=" REST_PAGE, "connections"},
	{"slow_connections", "connections?slow=true&limit=" REST_PAGE, "connections"},
	{"all_rooms", "rooms?limit=" REST_PAGE, "rooms"},
	{"members", "members?limit=" REST_PAGE, "members"},
	{"users", "users?limit=" REST_PAGE, NULL},
	{"history", "history", NULL},
	{"room_state", "room_state", NULL},
	{"workers", "workers", "workers"},
	{"mounts", "mounts", "mounts"},
	{"dead_letters", "dead_letters", NULL},
	{"stats", "stats", NULL},
	{"cluster", "cluster", NULL},
};
#define REST_QUERIES (sizeof rest_queries / sizeof *rest_queries)

/* The rooms of one connection; or that it is unknown. */
static json_t *rest_rooms(struct http *h, const char *conn)
{
	char *escaped = http_escape(h, conn), *path = NULL;
	struct http_request r = {.method = "GET"};
	long status = 0;
	json_t *answer = NULL;
	if (escaped != NULL && asprintf(&path, "connections/%s", escaped) > 0) {
		r.path = path;
		answer = http_ask(h, &r, &status);
	} else {
		rest_fail(h, "no memory");
	}
	curl_free(escaped);
	free(path);
	if (answer != NULL && (status == 404 || status == 400)) {
		json_decref(answer);
		return json_pack("{s:b, s:i, s:[]}", "unknown", 1, "count", 0, "rooms");
	}
	json_t *rooms = json_object_get(answer, "room_names");
	if (answer == NULL || status != 200 || rooms == NULL)
		return answer;
	json_t *told =
		json_pack("{s:i, s:O}", "count", (int)json_array_size(rooms), "rooms", rooms);
	json_decref(answer);
	return told;
}

/* The connections, as the control socket tells them. */
static json_t *rest_members(json_t *answer)
{
	json_t *members = json_object_get(answer, "members"), *ids = json_array(), *member;
	size_t i;
	if (members == NULL) {
		json_decref(ids);
		return answer;
	}
	json_array_foreach(members, i, member)
		json_array_append(ids, json_object_get(member, "conn"));
	json_t *told =
		json_pack("{s:i, s:o}", "count", (int)json_array_size(ids), "connections", ids);
	if (json_array_size(members) == 0)
		json_object_set_new(told, "unknown", json_true());
	json_decref(answer);
	return told;
}

static json_t *rest_query(struct http *h, const json_t *object)
{
	const char *what = rest_text(object, "what");
	const struct rest_query *q = rest_queries;
	json_int_t most = json_integer_value(json_object_get(object, "limit"));
	char limit[24] = "";
	if (most > 0)
		snprintf(limit, sizeof limit, "%lld", (long long)most);
	if (strcmp(what, "rooms") == 0)
		return rest_rooms(h, rest_text(object, "conn"));
	while (q < rest_queries + REST_QUERIES && strcmp(q->what, what) != 0)
		q++;
	char *path = q < rest_queries + REST_QUERIES ? strdup(q->path) : NULL;
	if (path == NULL || !rest_add(h, &path, "mount", rest_text(object, "mount")) ||
	    !rest_add(h, &path, "room", rest_text(object, "room")) ||
	    !rest_add(h, &path, "limit", limit)) {
		free(path);
		return rest_fail(h, "this is not to be had over HTTP");
	}
	json_t *answer = rest_list(h, path, q->list);
	if (strcmp(what, "slow_connections") == 0)
		rest_sort(json_object_get(answer, "connections"));
	return strcmp(what, "members") == 0 ? rest_members(answer) : answer;
}

static json_t *rest_control(struct http *h, const json_t *object)
{
	json_t *body = json_object();
	static const char *const members[] = {"mount", "wait", "id"};
	long status = 0;
	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		if (json_object_get(object, members[i]) != NULL)
			json_object_set(body, members[i], json_object_get(object, members[i]));
	json_t *answer = rest_post(h, rest_text(object, "do"), body, NULL, 0, &status);
	json_decref(body);
	/* that it has begun goes without saying */
	json_object_del(answer, "draining");
	json_object_del(answer, "reloading");
	return answer;
}

/* --- traces ----------------------------------------------------------------------------------- */

#define REST_TRACE_S 3600 /* of each request, which is the most there is */

struct rest_watch {
	bool (*each)(void *ctx, json_t *line);
	void *ctx;
	bool enough;
};

static bool rest_on_line(void *ctx, json_t *line)
{
	struct rest_watch *w = ctx;
	w->enough = w->each(w->ctx, line);
	return w->enough;
}

/* NULL without memory. */
static char *rest_trace_path(struct http *h, const json_t *object, unsigned for_s)
{
	static const char *const members[] = {"mount", "conn", "user"};
	char *path = NULL;
	if (asprintf(&path, "trace?for=%u", for_s) < 0)
		return NULL;
	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		if (!rest_add(h, &path, members[i], rest_text(object, members[i]))) {
			free(path);
			return NULL;
		}
	return path;
}

json_t *rest_trace(struct http *h, const json_t *object, unsigned for_s,
		   bool (*each)(void *ctx, json_t *line), void *ctx, long *status_r)
{
	struct rest_watch watch = {.each = each, .ctx = ctx};
	char *path = rest_trace_path(h, object, for_s > 0 ? for_s : REST_TRACE_S);
	if (path == NULL)
		return rest_fail(h, "no memory");
	json_t *said;
	bool again = false;
	do {
		said = http_follow(h, path, rest_on_line, &watch, status_r);
		if (again && *status_r == 404) { /* it has ended meanwhile */
			json_decref(said);
			said = NULL;
		}
		again = true;
	} while (said == NULL && h->why[0] == '\0' && *status_r == 200 && for_s == 0 &&
		 !watch.enough);
	free(path);
	return said;
}

json_t *rest_ask(struct http *h, const json_t *object, const void *bytes, size_t n)
{
	const char *type = rest_text(object, "t");
	if (strcmp(type, "push") == 0)
		return rest_push(h, object, bytes, n);
	if (strcmp(type, "query") == 0)
		return rest_query(h, object);
	return rest_control(h, object);
}
