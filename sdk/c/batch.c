#include "c/batch.h"

#include <stdlib.h>
#include <string.h>

/* --- reading ---------------------------------------------------------------------------------- */

static const struct {
	struct span key;
	size_t at;
	bool text;
} batch_members[] = {
	{SPAN("t"), offsetof(struct batch_object, t), true},
	{SPAN("s"), offsetof(struct batch_object, s), false},
	{SPAN("run"), offsetof(struct batch_object, run), false},
	{SPAN("data"), offsetof(struct batch_object, data), true},
	{SPAN("conn"), offsetof(struct batch_object, conn), true},
	{SPAN("seq"), offsetof(struct batch_object, seq), false},
	{SPAN("attempt"), offsetof(struct batch_object, attempt), false},
	{SPAN("subject"), offsetof(struct batch_object, subject), true},
	{SPAN("user"), offsetof(struct batch_object, user), true},
	{SPAN("info"), offsetof(struct batch_object, info), true},
	{SPAN("state"), offsetof(struct batch_object, state), true},
	{SPAN("traceparent"), offsetof(struct batch_object, traceparent), true},
	{SPAN("tracestate"), offsetof(struct batch_object, tracestate), true},
	{SPAN("bin"), offsetof(struct batch_object, bin), false},
	{SPAN("state_bin"), offsetof(struct batch_object, state_bin), false},
	{SPAN("room"), offsetof(struct batch_object, room), true},
	{SPAN("room_state"), offsetof(struct batch_object, room_state), true},
	{SPAN("room_state_bin"), offsetof(struct batch_object, room_state_bin), false},
	{SPAN("room_version"), offsetof(struct batch_object, room_version), false},
	{SPAN("mount_version"), offsetof(struct batch_object, mount_version), false},
	{SPAN("mount_state_bin"), offsetof(struct batch_object, mount_state_bin), false},
};

/* A later version of the protocol may mean something else by a text, but bytes are counted for
 * ever. */
static void batch_read_member(struct json *j, struct span key, struct batch_object *o)
{
	for (size_t i = 0; i < sizeof batch_members / sizeof *batch_members; i++) {
		void *member = (char *)o + batch_members[i].at;
		if (key.n != batch_members[i].key.n || key.n == 0 ||
		    *key.p != *batch_members[i].key.p || !span_eq(key, batch_members[i].key))
			continue;
		o->has_bin = o->has_bin || member == &o->bin;
		o->has_state_bin = o->has_state_bin || member == &o->state_bin;
		if (!batch_members[i].text)
			json_read_uint(j, member);
		else if (json_next_is(j, '"'))
			json_read_string(j, member);
		else
			json_skip(j, NULL);
		return;
	}
	json_skip(j, span_eq(key, SPAN("claims")) ? &o->claims : NULL);
}

static size_t batch_claim(struct json *j, uint64_t n, size_t *claimed)
{
	size_t at = *claimed;
	if (n > SIZE_MAX - at)
		json_fail(j, "it names more bytes than there are");
	else
		*claimed += (size_t)n;
	return at;
}

static void batch_read_object(struct json *j, struct batch_object *o, size_t *claimed)
{
	struct span key;
	/* One by one: to clear all of it costs more than to read a short object. */
	o->t.p = o->conn.p = o->state.p = o->data.p = o->subject.p = o->user.p = o->info.p = NULL;
	o->traceparent.p = o->tracestate.p = o->room.p = o->room_state.p = NULL;
	o->room_state_bin = o->mount_state_bin = o->mount_version = 0;
	o->room_version = BATCH_NO_VERSION;
	o->claims.p = NULL;
	o->s = o->seq = o->run = o->bin = o->state_bin = 0;
	o->attempt = 1;
	o->has_bin = o->has_state_bin = false;
	json_next_is(j, '{');
	o->json.p = j->p;
	for (bool first = json_enter(j, '{'); json_next_key(j, &first, &key);)
		batch_read_member(j, key, o);
	o->json.n = (size_t)(j->p - o->json.p);
	o->state_bin_at = batch_claim(j, o->state_bin, claimed);
	o->room_state_bin_at = batch_claim(j, o->room_state_bin, claimed);
	o->mount_state_bin_at = batch_claim(j, o->mount_state_bin, claimed);
	o->bin_at = batch_claim(j, o->bin, claimed);
}

static struct batch_object *batch_room(struct batch_reader *b)
{
	if (b->n == b->cap) {
		size_t cap = b->cap == 0 ? 64 : 2 * b->cap;
		struct batch_object *wider = realloc(b->objects, cap * sizeof *wider);
		if (wider == NULL)
			return NULL;
		b->objects = wider;
		b->cap = cap;
	}
	return &b->objects[b->n++];
}

bool batch_read(struct batch_reader *b, void *body, size_t len, const char **why)
{
	struct json j = {.p = body, .end = (const char *)body + len};
	struct batch_object *o;
	size_t claimed = 0;
	b->n = b->next = 0;
	for (bool first = json_enter(&j, '['); json_next(&j, ']', &first);) {
		if ((o = batch_room(b)) == NULL)
			json_fail(&j, "there is no memory for it");
		else
			batch_read_object(&j, o, &claimed);
	}
	if (j.why == NULL && j.p < j.end && *j.p != '\n')
		json_fail(&j, "something else than a line feed stands behind the array");
	size_t left = j.why == NULL && j.p < j.end ? (size_t)(j.end - j.p) - 1 : 0;
	if (j.why == NULL && claimed > left)
		json_fail(&j, "it names more bytes than there are");
	b->bytes = (uint8_t *)j.p + (left > 0);
	*why = j.why;
	return j.why == NULL;
}

struct batch_object *batch_next(struct batch_reader *b)
{
	return b->next < b->n ? &b->objects[b->next++] : NULL;
}

/* What stands at `at` behind the text; none: NULL. */
static struct batch_bytes batch_behind(const struct batch_reader *b, bool has, size_t at,
				       uint64_t n)
{
	return has ? (struct batch_bytes){b->bytes + at, n} : (struct batch_bytes){NULL, 0};
}

struct batch_bytes batch_bin(const struct batch_reader *b, const struct batch_object *o)
{
	return batch_behind(b, o->has_bin, o->bin_at, o->bin);
}

struct batch_bytes batch_state_bin(const struct batch_reader *b, const struct batch_object *o)
{
	return batch_behind(b, o->has_state_bin, o->state_bin_at, o->state_bin);
}

struct batch_bytes batch_room_state_bin(const struct batch_reader *b, const struct batch_object *o)
{
	return batch_behind(b, o->room_state_bin > 0, o->room_state_bin_at, o->room_state_bin);
}

struct batch_bytes batch_mount_state_bin(const struct batch_reader *b, const struct batch_object *o)
{
	return batch_behind(b, o->mount_state_bin > 0, o->mount_state_bin_at, o->mount_state_bin);
}

struct batch_bytes batch_text(const struct json_string *s)
{
	char *p = (char *)s->p;
	if (p == NULL)
		return (struct batch_bytes){NULL, 0};
	size_t n = s->escaped ? json_unescape(s, p) : s->n;
	p[n] = '\0'; /* where its quote stood, or before */
	return (struct batch_bytes){(uint8_t *)p, n};
}

json_t *batch_json(const struct batch_object *o)
{
	return json_loadb(o->json.p, o->json.n, JSON_ALLOW_NUL, NULL);
}

void batch_reader_free(struct batch_reader *b)
{
	free(b->objects);
	*b = (struct batch_reader){0};
}

/* --- writing ---------------------------------------------------------------------------------- */

/* The host takes 65,536 objects and 64 MiB; what is larger than this alone travels alone. */
#define BATCH_OBJECTS 4096
#define BATCH_BYTES (256u << 10)

void batch_begin(struct batch *b, size_t size)
{
	if (b->full != NULL && b->n > 0 &&
	    (b->n >= BATCH_OBJECTS || batch_size(b) + size > BATCH_BYTES))
		b->full(b->ctx);
	b->n++;
	if (b->text.n > 0)
		buffer_add(&b->text, ",", 1);
}

void batch_add(struct batch *b, const char *object, size_t len, const void *bytes, size_t n_bytes)
{
	batch_begin(b, len + n_bytes);
	buffer_add(&b->text, object, len);
	buffer_add(&b->binary, bytes, n_bytes);
}

void batch_write(const struct batch *b, const char *link, struct buffer *message)
{
	buffer_add(message, "[{", 2);
	if (link != NULL) {
		buffer_add(message, "\"link\":", 7);
		buffer_add_json(message, link, strlen(link));
		buffer_add(message, ",", 1);
	}
	buffer_add(message, b->text.p + 1, b->text.n - 1);
	buffer_add(message, "]", 1);
	if (b->binary.n > 0) {
		buffer_add(message, "\n", 1);
		buffer_add(message, b->binary.p, b->binary.n);
	}
	message->failed |= b->text.failed || b->binary.failed;
}

void batch_clear(struct batch *b)
{
	buffer_clear(&b->text);
	buffer_clear(&b->binary);
	b->n = 0;
}
