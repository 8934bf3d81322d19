/* codec_read: text to what a worker says. */
#include <stdlib.h>

#include "handler/codec.h"
#include "hub/room.h"
#include "ws/header.h"

/* --- one object --------------------------------------------------------------------------------------------------------------------- */

struct reader {
	struct json j;
	uint64_t binary; /* bytes that the objects so far have claimed */
	uint64_t limit;	 /* no more than the message has */
};

/* Claims the next n bytes behind the text; returns where they are. */
static size_t claim(struct reader *r, uint64_t n)
{
	size_t at = (size_t)r->binary;
	if (n > r->limit || r->binary > r->limit - n)
		json_fail(&r->j, "more binary bytes than the message has");
	else
		r->binary += n;
	return at;
}

/* Commands are read twice: first to be checked, with `use` NULL, then to be done. */
struct use {
	const struct codec_batch *batch;
	const struct hub *hub;
	const struct session *own;
	struct commit *commit;
};

struct command_text {
	struct json_string c, conn, room, data, exclude, reason, state, name, key;
	bool exclude_own, has_bin, has_state_bin;
	uint64_t bin, state_bin, code, id, delay, period;
	size_t bin_at, state_bin_at;
};

struct field {
	const char *key;
	size_t at;
};

/* Reads a member whose key is in a table of strings or numbers; false: it is in neither. */
static bool read_field(struct json *j, struct span name, void *base, const struct field *strings, const struct field *numbers)
{
	for (; strings->key != NULL; strings++)
		if (span_eq(name, span_of(strings->key)))
			return json_read_string(j, (struct json_string *)((char *)base + strings->at)), true;
	for (; numbers->key != NULL; numbers++)
		if (span_eq(name, span_of(numbers->key)))
			return json_read_uint(j, (uint64_t *)((char *)base + numbers->at)), true;
	return false;
}

static void read_exclude(struct json *j, struct command_text *t)
{
	if (json_next_is(j, '"'))
		json_read_string(j, &t->exclude);
	else if (json_next_is(j, 'n'))
		json_skip(j, NULL);
	else
		json_read_bool(j, &t->exclude_own);
}

static void read_command_text(struct reader *r, struct command_text *t)
{
	static const struct field strings[] = {
		{"c", offsetof(struct command_text, c)},
		{"conn", offsetof(struct command_text, conn)},
		{"room", offsetof(struct command_text, room)},
		{"data", offsetof(struct command_text, data)},
		{"reason", offsetof(struct command_text, reason)},
		{"state", offsetof(struct command_text, state)},
		{"name", offsetof(struct command_text, name)},
		{"key", offsetof(struct command_text, key)},
		{NULL, 0},
	};
	static const struct field numbers[] = {
		{"code", offsetof(struct command_text, code)},
		{"id", offsetof(struct command_text, id)},
		{"delay", offsetof(struct command_text, delay)},
		{"period", offsetof(struct command_text, period)},
		{"bin", offsetof(struct command_text, bin)},
		{"state_bin", offsetof(struct command_text, state_bin)},
		{NULL, 0},
	};
	struct span name;
	*t = (struct command_text){.bin = 0};
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);) {
		if (span_eq(name, SPAN("exclude"))) {
			read_exclude(&r->j, t);
			continue;
		}
		if (!read_field(&r->j, name, t, strings, numbers))
			json_skip(&r->j, NULL);
		t->has_bin = t->has_bin || span_eq(name, SPAN("bin"));
		t->has_state_bin = t->has_state_bin || span_eq(name, SPAN("state_bin"));
	}
	t->state_bin_at = claim(r, t->state_bin);
	t->bin_at = claim(r, t->bin);
	if (t->c.p == NULL)
		json_fail(&r->j, "a command without \"c\"");
}

/* --- commands ----------------------------------------------------------------------------------------------------------------------- */

struct span codec_text(struct json_string *s)
{
	if (s->escaped) {
		s->n = json_unescape(s, (char *)s->p);
		s->escaped = false;
	}
	return (struct span){s->p, s->n};
}

static uint64_t local_id(const struct use *u, struct json_string *text)
{
	struct session_id id;
	return session_id_parse(codec_text(text), &id) && id.host == u->hub->host_id ? id.local : 0;
}

/* The connection that is named, or the event's own. */
static uint64_t target_of(const struct use *u, struct command_text *t)
{
	return t->conn.p != NULL ? local_id(u, &t->conn) : u->own != NULL ? u->own->local : 0;
}

static uint64_t exclude_of(const struct use *u, struct command_text *t)
{
	if (t->exclude_own)
		return u->own != NULL ? u->own->local : 0;
	return t->exclude.p != NULL ? local_id(u, &t->exclude) : 0;
}

static struct span data_of(const struct use *u, struct command_text *t)
{
	return t->has_bin ? (struct span){(const char *)u->batch->binary + t->bin_at, t->bin} : codec_text(&t->data);
}

static void do_timer(const struct use *u, struct command_text *t, bool cancel)
{
	char name[ROOM_NAME_MAX + 1];
	struct span text = codec_text(&t->name);
	struct event_timer timer = {.name = name, .id = t->id, .delay_ms = t->delay, .period_ms = t->period};
	bool of_session = t->conn.p != NULL;
	if (!room_name_ok(text)) {
		commit_spoil(u->commit, COMMIT_E_ARG);
		return;
	}
	memcpy(name, text.p, text.n);
	name[text.n] = '\0';
	if (cancel)
		commit_cancel(u->commit, of_session, of_session ? target_of(u, t) : 0, text);
	else
		commit_timer(u->commit, of_session, of_session ? target_of(u, t) : 0, &timer);
}

/* Is it a command that sends something? */
static bool do_message(const struct use *u, struct command_text *t, struct span room)
{
	struct commit *c = u->commit;
	if (!t->has_bin && t->data.p == NULL)
		return false;
	if (json_is(&t->c, "send")) {
		struct span data = data_of(u, t);
		commit_send(c, target_of(u, t), t->has_bin, data.p, data.n);
	} else if (json_is(&t->c, "broadcast")) {
		struct span data = data_of(u, t);
		commit_broadcast(c, t->has_bin, data.p, data.n, exclude_of(u, t));
	} else if (json_is(&t->c, "broadcast_to")) {
		struct span data = data_of(u, t);
		commit_broadcast_to(c, room, t->has_bin, data.p, data.n, exclude_of(u, t));
	} else {
		return false;
	}
	if (t->key.p != NULL)
		commit_key(c, codec_text(&t->key));
	return true;
}

static void do_command(const struct use *u, struct command_text *t)
{
	struct commit *c = u->commit;
	struct span room = t->room.p != NULL ? codec_text(&t->room) : (struct span){0};
	if (do_message(u, t, room))
		return;
	if (json_is(&t->c, "join"))
		commit_join(c, target_of(u, t), room);
	else if (json_is(&t->c, "leave"))
		commit_leave(c, target_of(u, t), room);
	else if (json_is(&t->c, "close") && t->code <= UINT16_MAX)
		commit_close(c, target_of(u, t), (uint16_t)t->code,
			     t->reason.p != NULL ? codec_text(&t->reason) : (struct span){0});
	else if (json_is(&t->c, "set") && (t->has_state_bin || t->state.p != NULL)) {
		struct span state = t->has_state_bin ? (struct span){(const char *)u->batch->binary + t->state_bin_at, t->state_bin}
						     : codec_text(&t->state);
		commit_set(c, target_of(u, t), state.p, state.n);
	} else if (json_is(&t->c, "timer") || json_is(&t->c, "cancel"))
		do_timer(u, t, json_is(&t->c, "cancel"));
	else
		commit_spoil(c, COMMIT_E_ARG);
}

static void read_commands(struct reader *r, const struct use *u)
{
	struct command_text t;
	for (bool first = json_enter(&r->j, '['); json_next(&r->j, ']', &first);) {
		read_command_text(r, &t);
		if (u != NULL && u->commit->error == COMMIT_OK)
			do_command(u, &t);
	}
}

void codec_commands(const struct codec_batch *b, struct codec_item *item, const struct hub *hub, const struct session *own,
		    struct commit *c)
{
	const struct use u = {.batch = b, .hub = hub, .own = own, .commit = c};
	if (item->commands.p == NULL)
		return;
	struct reader r = {.j = {.p = item->commands.p, .end = item->commands.p + item->commands.n},
			   .binary = item->commands_at,
			   .limit = UINT64_MAX};
	read_commands(&r, &u);
}

/* --- the answer to an upgrade -------------------------------------------------------------------------------------------------------- */

struct answer_text {
	struct json_string subprotocol, state, type, body;
	uint64_t status, state_bin, bin;
	size_t state_bin_at, bin_at;
	struct span headers;
	bool has_state_bin, has_bin;
};

static void read_answer_text(struct reader *r, struct answer_text *t)
{
	static const struct field strings[] = {
		{"subprotocol", offsetof(struct answer_text, subprotocol)},
		{"state", offsetof(struct answer_text, state)},
		{"type", offsetof(struct answer_text, type)},
		{"body", offsetof(struct answer_text, body)},
		{NULL, 0},
	};
	static const struct field numbers[] = {
		{"status", offsetof(struct answer_text, status)},
		{"state_bin", offsetof(struct answer_text, state_bin)},
		{"bin", offsetof(struct answer_text, bin)},
		{NULL, 0},
	};
	struct span name;
	*t = (struct answer_text){.status = 0};
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);) {
		if (span_eq(name, SPAN("headers")))
			json_skip(&r->j, &t->headers);
		else if (!read_field(&r->j, name, t, strings, numbers))
			json_skip(&r->j, NULL);
		t->has_state_bin = t->has_state_bin || span_eq(name, SPAN("state_bin"));
		t->has_bin = t->has_bin || span_eq(name, SPAN("bin"));
	}
	t->state_bin_at = claim(r, t->state_bin);
	t->bin_at = claim(r, t->bin);
}

static bool copy_text(char *dst, size_t cap, struct json_string *s)
{
	struct span text = s->p != NULL ? codec_text(s) : (struct span){0};
	if (text.n >= cap || (text.n > 0 && memchr(text.p, '\0', text.n) != NULL))
		return false;
	if (text.n > 0)
		memcpy(dst, text.p, text.n);
	dst[text.n] = '\0';
	return true;
}

static const char *read_headers(struct event_answer *answer, struct span json)
{
	struct json j = {.p = json.p, .end = json.p + json.n};
	struct json_string pair[2];
	for (bool first = json_enter(&j, '['); json_next(&j, ']', &first);) {
		char name[256], value[EVENT_HEAD_MAX];
		unsigned n = 0;
		for (bool inner = json_enter(&j, '['); json_next(&j, ']', &inner); n++)
			if (n >= 2 || !json_read_string(&j, &pair[n]))
				return "a header of the answer is not [\"Name\",\"value\"]";
		if (j.why != NULL || n != 2 || !copy_text(name, sizeof name, &pair[0]) ||
		    !copy_text(value, sizeof value, &pair[1]) || !event_answer_header(answer, name, value))
			return "a header of the answer can not be sent";
	}
	return j.why;
}

/* Bytes or text, in memory of their own. */
static void *copy_of(struct span bytes)
{
	void *copy = malloc(bytes.n + 1);
	if (copy != NULL && bytes.n > 0)
		memcpy(copy, bytes.p, bytes.n);
	return copy;
}

const char *codec_answer(const struct codec_batch *b, struct codec_item *item, struct event_answer *answer, void **data_r)
{
	bool refuse = item->refuse.p != NULL;
	struct span json = refuse ? item->refuse : item->accept;
	if (json.p == NULL)
		return NULL;
	struct reader r = {.j = {.p = json.p, .end = json.p + json.n}, .binary = item->answer_at, .limit = UINT64_MAX};
	struct answer_text t;
	read_answer_text(&r, &t);
	if (t.headers.p != NULL && read_headers(answer, t.headers) != NULL)
		return "a header of the answer can not be sent";
	if (!copy_text(answer->subprotocol, sizeof answer->subprotocol, &t.subprotocol) ||
	    !copy_text(answer->type, sizeof answer->type, &t.type))
		return "the answer's subprotocol or type is too long";
	if (!header_ok("X-Type", answer->type))
		return "the answer's type has a control character";
	if (refuse) {
		struct span body = t.has_bin	      ? (struct span){(const char *)b->binary + t.bin_at, t.bin}
				   : t.body.p != NULL ? codec_text(&t.body)
						      : (struct span){0};
		if (t.status < 300 || t.status > 599)
			return "a refusal needs a status of 300 to 599";
		answer->status = (int)t.status;
		answer->body = copy_of(body);
		answer->body_len = answer->body != NULL ? body.n : 0;
		return NULL;
	}
	struct span state = t.has_state_bin	? (struct span){(const char *)b->binary + t.state_bin_at, t.state_bin}
			    : t.state.p != NULL ? codec_text(&t.state)
						: (struct span){0};
	if (state.n > 4096)
		return "the state has more than 4,096 bytes";
	*data_r = state.n > 0 ? copy_of(state) : NULL;
	answer->data = *data_r;
	answer->data_len = *data_r != NULL ? state.n : 0;
	return NULL;
}

/* --- items -------------------------------------------------------------------------------------------------------------------------- */

static void read_events(struct json *j, struct codec_item *item)
{
	struct json_string word;
	item->has_events = true;
	for (bool first = json_enter(j, '['); json_next(j, ']', &first) && json_read_string(j, &word);)
		for (int kind = 0; kind < EVENT_KINDS; kind++)
			if (json_is(&word, event_name((enum event_kind)kind)))
				item->events |= EVENT_BIT(kind);
}

static enum codec_type type_of(struct json *j, const struct json_string *t)
{
	static const char *const words[] = {"hello", "ack", "nack", "push", "query", "control", "pong", "bye"};
	for (size_t i = 0; t->p != NULL && i < sizeof words / sizeof *words; i++)
		if (json_is(t, words[i]))
			return (enum codec_type)i;
	json_fail(j, t->p == NULL ? "an object without \"t\"" : "an object of an unknown type");
	return CODEC_BYE;
}

static void read_nested(struct reader *r, struct span *json_r, size_t *at_r, bool commands)
{
	struct answer_text t;
	json_r->p = r->j.p;
	*at_r = (size_t)r->binary;
	if (commands)
		read_commands(r, NULL);
	else
		read_answer_text(r, &t);
	json_r->n = (size_t)(r->j.p - json_r->p);
}

static void read_member(struct reader *r, struct span name, struct codec_item *item, struct json_string *t)
{
	static const struct field strings[] = {
		{"link", offsetof(struct codec_item, link)},   {"token", offsetof(struct codec_item, token)},
		{"name", offsetof(struct codec_item, name)},   {"mount", offsetof(struct codec_item, mount)},
		{"error", offsetof(struct codec_item, error)}, {"source", offsetof(struct codec_item, source)},
		{"what", offsetof(struct codec_item, what)},   {"room", offsetof(struct codec_item, room)},
		{"conn", offsetof(struct codec_item, conn)},   {"do", offsetof(struct codec_item, what_to_do)},
		{"id", offsetof(struct codec_item, id)},       {NULL, 0},
	};
	static const struct field numbers[] = {
		{"s", offsetof(struct codec_item, s)},	     {"n", offsetof(struct codec_item, n)},
		{"v", offsetof(struct codec_item, v)},	     {"q", offsetof(struct codec_item, q)},
		{"ref", offsetof(struct codec_item, ref)},   {"retry_ms", offsetof(struct codec_item, retry_ms)},
		{"runs", offsetof(struct codec_item, runs)}, {NULL, 0},
	};
	if (span_eq(name, SPAN("t")))
		json_read_string(&r->j, t);
	else if (span_eq(name, SPAN("commands")))
		read_nested(r, &item->commands, &item->commands_at, true);
	else if (span_eq(name, SPAN("accept")))
		read_nested(r, &item->accept, &item->answer_at, false);
	else if (span_eq(name, SPAN("refuse")))
		read_nested(r, &item->refuse, &item->answer_at, false);
	else if (span_eq(name, SPAN("events")))
		read_events(&r->j, item);
	else if (!read_field(&r->j, name, item, strings, numbers))
		json_skip(&r->j, NULL);
	item->has_s = item->has_s || span_eq(name, SPAN("s"));
	item->has_n = item->has_n || span_eq(name, SPAN("n"));
	item->has_q = item->has_q || span_eq(name, SPAN("q"));
	item->has_ref = item->has_ref || span_eq(name, SPAN("ref"));
	item->has_retry = item->has_retry || span_eq(name, SPAN("retry_ms"));
}

static void check_item(struct json *j, const struct codec_item *item)
{
	if ((item->type == CODEC_ACK || item->type == CODEC_NACK) && !item->has_s)
		json_fail(j, "an acknowledgement without \"s\"");
	else if (item->type == CODEC_HELLO && item->v != 1)
		json_fail(j, "a hello of another version than 1");
	else if ((item->type == CODEC_QUERY || item->type == CODEC_CONTROL) && !item->has_q)
		json_fail(j, "a question without \"q\"");
	else if (item->type == CODEC_PUSH && item->source.p != NULL && (!item->has_n || item->n == 0))
		json_fail(j, "a push with a source needs \"n\" from 1");
	else if (item->type == CODEC_PUSH && item->commands.p == NULL)
		json_fail(j, "a push without commands");
	else if (item->accept.p != NULL && item->refuse.p != NULL)
		json_fail(j, "an answer that accepts and refuses");
}

static void read_item(struct reader *r, struct codec_item *item)
{
	struct json_string t = {.p = NULL};
	struct span name;
	*item = (struct codec_item){.n = 0};
	for (bool first = json_enter(&r->j, '{'); json_next_key(&r->j, &first, &name);)
		read_member(r, name, item, &t);
	if (r->j.why != NULL)
		return;
	item->type = type_of(&r->j, &t);
	check_item(&r->j, item);
}

static bool add_item(struct codec_batch *b, struct json *j)
{
	if (b->n == CODEC_ITEMS_MAX)
		return json_fail(j, "more than 65,536 objects in a batch");
	if (b->n < b->cap)
		return true;
	size_t cap = b->cap == 0 ? 64 : b->cap * 2;
	struct codec_item *wider = realloc(b->items, cap * sizeof *wider);
	if (wider == NULL)
		return json_fail(j, "no memory for the batch");
	b->items = wider;
	b->cap = cap;
	return true;
}

bool codec_read(struct codec_batch *b, uint8_t *bytes, size_t len)
{
	struct reader r = {.j = {.p = (const char *)bytes, .end = (const char *)bytes + len}, .limit = len};
	b->n = 0;
	for (bool first = json_enter(&r.j, '['); json_next(&r.j, ']', &first) && add_item(b, &r.j);)
		read_item(&r, &b->items[b->n++]);
	if (r.j.why == NULL && b->n == 0)
		json_fail(&r.j, "an empty batch");
	b->binary = (uint8_t *)r.j.p + 1;
	b->binary_len = r.j.p < r.j.end ? (size_t)(r.j.end - r.j.p) - 1 : 0;
	if (r.j.why == NULL && r.j.p < r.j.end && *r.j.p != '\n')
		json_fail(&r.j, "something other than a line feed behind the array");
	if (r.j.why == NULL && r.binary != b->binary_len)
		json_fail(&r.j, "the binary bytes are more or fewer than the objects say");
	b->why = r.j.why;
	return b->why == NULL;
}

void codec_batch_free(struct codec_batch *b)
{
	free(b->items);
	*b = (struct codec_batch){.items = NULL};
}
