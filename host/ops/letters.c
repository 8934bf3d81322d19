#include "ops/letters.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "hub/delivery.h"

#define LETTERS_ID_MAX 64

static bool letter_id(const json_t *letter, char id[LETTERS_ID_MAX])
{
	const char *conn = json_string_value(json_object_get(letter, "conn"));
	json_int_t seq = json_integer_value(json_object_get(letter, "seq"));
	return snprintf(id, LETTERS_ID_MAX, "%s:%lld", conn != NULL ? conn : "-", (long long)seq) < LETTERS_ID_MAX;
}

/* All lines, by id; a line that says "replayed" takes its letter out again. NULL with errno. */
static json_t *letters_read(const char *path)
{
	FILE *f = fopen(path, "re");
	json_t *letters = json_object();
	char *line = NULL, id[LETTERS_ID_MAX];
	size_t cap = 0;
	if (f == NULL || letters == NULL) {
		json_decref(letters);
		return NULL;
	}
	while (getline(&line, &cap, f) > 0) {
		json_t *letter = json_loads(line, JSON_ALLOW_NUL, NULL); /* a message may contain one */
		const char *done = json_string_value(json_object_get(letter, "replayed"));
		if (done != NULL)
			json_object_del(letters, done);
		else if (json_is_object(letter) && letter_id(letter, id))
			json_object_set(letters, id, letter);
		json_decref(letter);
	}
	free(line);
	fclose(f);
	return letters;
}

void letters_list(const char *path, struct codec_out *o)
{
	json_t *letters = path != NULL ? letters_read(path) : NULL, *letter;
	const char *id;
	bool first = true;
	if (letters == NULL) {
		codec_member_text(o, "error", path == NULL ? SPAN("the host has no --dead-letter file") : span_of(strerror(errno)));
		return;
	}
	codec_member_raw(o, "dead_letters", "[");
	json_object_foreach(letters, id, letter)
	{
		json_object_set_new(letter, "id", json_string(id));
		char *text = json_dumps(letter, JSON_COMPACT);
		codec_raw(o, ",", !first && text != NULL);
		if (text != NULL)
			codec_raw(o, text, strlen(text));
		first = first && text == NULL;
		free(text);
	}
	codec_raw(o, "]", 1);
	json_decref(letters);
}

/* The message of a letter in memory of its own; NULL: it is none. */
static uint8_t *letter_message(const json_t *letter, size_t *len_r, bool *binary_r)
{
	const json_t *text = json_object_get(letter, "data"), *base64 = json_object_get(letter, "data_base64");
	const json_t *value = text != NULL ? text : base64;
	const char *kind = json_string_value(json_object_get(letter, "event"));
	if (kind == NULL || strcmp(kind, "message") != 0 || !json_is_string(value))
		return NULL;
	size_t n = json_string_length(value);
	const char *bytes = json_string_value(value);
	uint8_t *message = malloc(n + 1);
	*binary_r = text == NULL;
	*len_r = n;
	if (message == NULL || text != NULL) {
		if (message != NULL)
			memcpy(message, bytes, n);
		return message;
	}
	int decoded = EVP_DecodeBlock(message, (const unsigned char *)bytes, (int)n);
	if (decoded < 0) {
		free(message);
		return NULL;
	}
	*len_r = (size_t)decoded - (n > 0 && bytes[n - 1] == '=') - (n > 1 && bytes[n - 2] == '=');
	return message;
}

static bool letter_replay(struct hub *hub, const json_t *letter)
{
	struct session_id id;
	const char *conn = json_string_value(json_object_get(letter, "conn"));
	size_t len;
	bool binary;
	if (conn == NULL || !session_id_parse(span_of(conn), &id) || id.host != hub->host_id)
		return false;
	struct session *s = slotmap_get(&hub->sessions, id.local);
	uint8_t *message = s != NULL && !s->ended ? letter_message(letter, &len, &binary) : NULL;
	if (message == NULL)
		return false;
	struct hub_event e = {.kind = EVENT_MESSAGE, .message = {.bytes = message, .len = len, .binary = binary}};
	bool ok = delivery_submit(s->mount, s, &e);
	free(message);
	return ok;
}

static void letter_noted(void *ctx, void *item)
{
	(void)ctx;
	(void)item;
}

static void letter_note(struct deadletter *d, const char *id)
{
	char *line = NULL;
	if (asprintf(&line, "{\"t\":\"replayed\",\"replayed\":\"%s\"}", id) > 0)
		deadletter_write(d, line, letter_noted, NULL, NULL);
}

void letters_replay(struct hub *hub, struct deadletter *d, struct span only, struct codec_out *o)
{
	const char *path = deadletter_path(d), *id;
	json_t *letters = path != NULL ? letters_read(path) : NULL, *letter;
	uint64_t replayed = 0, left = 0;
	if (letters == NULL) {
		codec_member_text(o, "error", path == NULL ? SPAN("the host has no --dead-letter file") : span_of(strerror(errno)));
		return;
	}
	json_object_foreach(letters, id, letter)
	{
		if (only.n > 0 && !span_eq(only, span_of(id)))
			continue;
		if (letter_replay(hub, letter)) {
			letter_note(d, id);
			replayed++;
		} else {
			left++;
		}
	}
	codec_member_uint(o, "replayed", replayed);
	codec_member_uint(o, "left", left);
	json_decref(letters);
}
