/* What tests ask of the client in C: a call a line, an answer a line. The first line says where to
 * connect. */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tova_client.h"

static const char *text(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

/* {"bytes": hex}, or NULL. */
static unsigned char *bytes_of(const json_t *o, size_t *n_r)
{
	const char *hex = text(json_object_get(o, "data"), "bytes");
	if (hex == NULL)
		return NULL;
	*n_r = strlen(hex) / 2;
	unsigned char *bytes = malloc(*n_r + 1);
	for (size_t i = 0; i < *n_r; i++) {
		unsigned byte;
		sscanf(hex + 2 * i, "%2x", &byte);
		bytes[i] = (unsigned char)byte;
	}
	return bytes;
}

/* What commands may have beside what each has. */
static void more(tova_commands *list, const json_t *o)
{
	static const char *const numbers[] = {"max", "users_max", "last", "since", "epoch"},
				 *const flags[] = {"first", "replace", "keep"},
				 *const lists[] = {"rooms", "exclude_users", "exclude_rooms"};
	const char *names[16];
	for (size_t i = 0; i < 5; i++)
		if (json_object_get(o, numbers[i]) != NULL)
			tova_commands_number(list, numbers[i],
					     (unsigned long long)json_integer_value(
						     json_object_get(o, numbers[i])));
	for (size_t i = 0; i < 3; i++)
		if (json_object_get(o, flags[i]) != NULL)
			tova_commands_flag(list, flags[i],
					   json_is_true(json_object_get(o, flags[i])));
	for (size_t i = 0; i < 3; i++) {
		const json_t *all = json_object_get(o, lists[i]);
		for (size_t k = 0; k < json_array_size(all); k++)
			names[k] = json_string_value(json_array_get(all, k));
		if (all != NULL)
			tova_commands_names(list, lists[i], names, json_array_size(all));
	}
}

static void add(tova_commands *list, const char *word, const json_t *o)
{
	size_t n = 0;
	unsigned char *bytes = bytes_of(o, &n);
	const char *conn = text(o, "conn"), *room = text(o, "room"), *data = text(o, "data"),
		   *exclude = text(o, "exclude");
	if (strcmp(word, "send") == 0 && bytes != NULL)
		tova_commands_send_bytes(list, conn, bytes, n);
	else if (strcmp(word, "send") == 0)
		tova_commands_send(list, conn, data);
	else if (strcmp(word, "broadcast") == 0)
		tova_commands_broadcast(list, data, exclude);
	else if (strcmp(word, "broadcast_to") == 0)
		tova_commands_broadcast_to(list, room, data, exclude);
	else if (strcmp(word, "join") == 0)
		tova_commands_join(list, conn, room);
	else if (strcmp(word, "leave") == 0)
		tova_commands_leave(list, conn, room);
	else if (strcmp(word, "close") == 0)
		tova_commands_close(list, conn, (int)json_integer_value(json_object_get(o, "code")),
				    text(o, "reason"));
	else if (strcmp(word, "leave_all") == 0)
		tova_commands_leave_all(list, conn);
	else if (strcmp(word, "info") == 0)
		tova_commands_info(list, conn, text(o, "info"), text(o, "user"));
	else if (strcmp(word, "close_room") == 0)
		tova_commands_close_room(list, room,
					 (int)json_integer_value(json_object_get(o, "code")),
					 text(o, "reason"));
	else if (strcmp(word, "set") == 0)
		tova_commands_set(list, conn, text(o, "state"), text(o, "if_state"));
	else
		abort();
	more(list, o);
	free(bytes);
}

static json_t *told(const struct tova_answer *a)
{
	static const char *const kinds[] = {[TOVA_REFUSED] = "Refused",
					    [TOVA_UNREACHABLE] = "Unreachable",
					    [TOVA_EXPIRED] = "Expired",
					    [TOVA_ANSWER_LOST] = "AnswerLost",
					    [TOVA_WRONG] = "Wrong"};
	if (a->result == TOVA_DONE)
		return json_pack("{s:I}", "receivers", (json_int_t)a->receivers);
	return json_pack("{s:s,s:s,s:o,s:o}", "error", a->error, "kind", kinds[a->result], "status",
			 a->status > 0 ? json_integer(a->status) : json_null(), "index",
			 a->index >= 0 ? json_integer(a->index) : json_null());
}

struct share {
	tova_client *client;
	const char *room;
	int thread, each;
	pthread_t id;
	unsigned long long calls, receivers;
	json_t *failed;
};

static void *say(void *arg)
{
	struct share *s = arg;
	char what[512];
	struct tova_answer a;
	tova_commands *list = tova_commands_new();
	for (int i = 0; i < s->each; i++) {
		snprintf(what, sizeof what, "%d.%d", s->thread, i);
		tova_commands_clear(list);
		tova_commands_broadcast_to(list, s->room, what, NULL);
		if (tova_client_commit(s->client, list, NULL, &a)) {
			s->calls++;
			s->receivers += a.receivers;
		} else {
			json_t *t = told(&a);
			char line[1200];
			snprintf(line, sizeof line, "%s: %s: %s", what, text(t, "kind"), a.error);
			json_array_append_new(s->failed, json_string(line));
			json_decref(t);
		}
	}
	tova_commands_free(list);
	return NULL;
}

static json_t *parallel(tova_client *c, const json_t *o)
{
	struct share shares[64];
	int n = (int)json_integer_value(json_object_get(o, "threads"));
	json_t *failed = json_array();
	unsigned long long calls = 0, receivers = 0;
	for (int i = 0; i < n; i++) {
		shares[i] =
			(struct share){.client = c,
				       .room = text(o, "room"),
				       .thread = i,
				       .each = (int)json_integer_value(json_object_get(o, "each")),
				       .failed = json_array()};
		pthread_create(&shares[i].id, NULL, say, &shares[i]);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(shares[i].id, NULL);
		calls += shares[i].calls;
		receivers += shares[i].receivers;
		json_array_extend(failed, shares[i].failed);
		json_decref(shares[i].failed);
	}
	return json_pack("{s:I,s:I,s:o}", "calls", (json_int_t)calls, "receivers",
			 (json_int_t)receivers, "failed", failed);
}

static json_t *perform(tova_client *c, const json_t *o)
{
	const char *word = text(o, "call");
	struct tova_answer a;
	struct tova_call call = {
		.expires_ms =
			(unsigned long)(json_number_value(json_object_get(o, "expires")) * 1000)};
	if (strcmp(word, "parallel") == 0)
		return parallel(c, o);
	tova_commands *list = tova_commands_new();
	json_t *item;
	size_t i;
	if (strcmp(word, "commands") == 0)
		json_array_foreach(json_object_get(o, "list"), i, item)
			add(list, text(item, "c"), item);
	else
		add(list, word, o);
	tova_client_commit(c, list, &call, &a);
	tova_commands_free(list);
	return told(&a);
}

static char *urls_of(const json_t *where)
{
	json_t *url = json_object_get(where, "url"), *one;
	size_t i;
	char all[2048] = "";
	if (json_is_string(url))
		return strdup(json_string_value(url));
	json_array_foreach(url, i, one)
	{
		strcat(all, json_string_value(one));
		strcat(all, " ");
	}
	return strdup(all);
}

int main(void)
{
	char *line = NULL, why[512];
	size_t cap = 0;
	tova_client *c = NULL;
	while (getline(&line, &cap, stdin) > 0) {
		json_t *o = json_loads(line, 0, NULL), *said;
		if (c == NULL) {
			char *urls = urls_of(o);
			const struct tova_client_options options =
				{.token = text(o, "token"),
				 .mount = text(o, "mount"),
				 .ca = text(o, "ca"),
				 .timeout_ms =
					 (unsigned long)(json_number_value(
								 json_object_get(o, "timeout")) *
							 1000)};
			c = tova_client_connect(urls, &options, why, sizeof why);
			free(urls);
			json_decref(o);
			if (c == NULL) {
				fprintf(stderr, "%s\n", why);
				return 1;
			}
			continue;
		}
		said = perform(c, o);
		char *out = json_dumps(said, JSON_COMPACT);
		puts(out);
		fflush(stdout);
		free(out);
		json_decref(said);
		json_decref(o);
	}
	tova_client_disconnect(c);
	free(line);
	return 0;
}
