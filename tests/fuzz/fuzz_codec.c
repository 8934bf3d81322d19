/* The worker grammar, both ways. The first byte chooses: batches of workers are read and all that
 * is in them is used; or what is asked for over HTTP; or an event is made of the input, written,
 * and read back by jansson. */
#include <jansson.h>

#include "common/rules.h"
#include "common/utf8.h"
#include "fuzz.h"
#include "handler/worker/codec.h"

static struct hub hub = {.host_id = 0x1122334455667788};
static struct mount mount = {.hub = &hub};

/* --- worker to host --------------------------------------------------------------------------- */

static void use_answer(const struct codec_batch *b, struct codec_item *item)
{
	static struct event_answer answer;
	void *copy = NULL;
	memset(&answer, 0, sizeof answer);
	const char *why = codec_answer(b, item, &answer, &copy);
	if (why == NULL) {
		MUST(answer.status == 0 || (answer.status >= 300 && answer.status <= 599));
		MUST(answer.data_len <= 4096 && answer.head_len < RULES_HEAD_MAX &&
		     (answer.data == copy || copy == NULL));
		MUST(strpbrk(answer.type, "\r\n") == NULL);
		/* Lines of headers and nothing else: no empty one, which would end the head. */
		MUST(answer.head_len == 0 ||
		     (answer.head[0] != '\r' && strstr(answer.head, "\r\n\r\n") == NULL));
	}
	free(answer.body);
	free(copy);
}

static void use_commands(const struct codec_batch *b, struct codec_item *item)
{
	static struct chunk_pool pool;
	static struct session own = {.local = 5};
	struct commit c;
	commit_init(&c, &pool, 4096);
	commit_begin(&c, NULL);
	codec_commands(b, item, &hub, &own, &c);
	for (uint32_t i = 0; i < c.n; i++) {
		struct span text = c.commands[i].text_len > 0 ? commit_text(&c, &c.commands[i])
							      : (struct span){0};
		MUST(text.n <= c.arena_len);
		if (c.commands[i].kind == COMMAND_JOIN)
			MUST(rules_name_ok(text));
	}
	commit_drop(&c);
	commit_free(&c);
	chunk_pool_free(&pool);
	pool = (struct chunk_pool){.current = NULL};
}

static void use_item(const struct codec_batch *b, struct codec_item *item, size_t size)
{
	struct json_string *const strings[] = {&item->link,	  &item->token, &item->name,
					       &item->mount,	  &item->error, &item->source,
					       &item->what,	  &item->room,	&item->conn,
					       &item->what_to_do, &item->id};
	MUST((item->type != CODEC_ACK && item->type != CODEC_NACK) || item->has_s);
	MUST(item->type != CODEC_PUSH || item->commands.p != NULL);
	use_commands(b, item);
	use_answer(b, item);
	for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
		MUST(strings[i]->p == NULL || codec_text(strings[i]).n <= size);
}

static void read_batch(const uint8_t *data, size_t size)
{
	struct codec_batch b = {.n = 0};
	uint8_t *bytes = malloc(size + 1); /* the net leaves a byte behind each message */
	memcpy(bytes, data, size);
	struct codec_item first;
	bool good = codec_read_first(&b, bytes, size, &first);
	MUST(size == 0 || memcmp(bytes, data, size) == 0);
	if (codec_read(&b, bytes, size)) {
		MUST(good && first.type == b.items[0].type);
		MUST(memcmp(bytes, data, size) == 0); /* untouched until it is used */
		MUST(b.n > 0 && b.n <= CODEC_ITEMS_MAX && b.binary_len < size);
		MUST(b.binary_len == 0 || b.binary + b.binary_len == bytes + size);
		for (size_t i = 0; i < b.n; i++)
			use_item(&b, &b.items[i], size);
	} else {
		MUST(b.why != NULL && b.why[0] != '\0');
	}
	codec_batch_free(&b);
	free(bytes);
}

/* --- over HTTP -------------------------------------------------------------------------------- */

static void read_request(const char *word, const uint8_t *data, size_t size)
{
	struct codec_batch b = {.n = 0};
	struct codec_request q;
	uint8_t *bytes = malloc(size + (size == 0));
	memcpy(bytes, data, size);
	if (codec_read_request(&b, word, bytes, size, &q)) {
		MUST(memcmp(bytes, data, size) == 0 && b.why == NULL && q.unknown.p == NULL);
		MUST(q.item.commands.p != NULL && !q.listed && (word == NULL || q.n == 1));
		use_item(&b, &q.item, size);
	} else {
		MUST(b.why != NULL && b.why[0] != '\0' && (word == NULL || !q.listed));
	}
	codec_batch_free(&b);
	free(bytes);
}

/* --- host to worker --------------------------------------------------------------------------- */

static void must_be(const json_t *o, const char *text_key, const char *binary_key,
		    const uint8_t *bytes, size_t n, bool binary, const uint8_t **at)
{
	const json_t *v = json_object_get(o, binary ? binary_key : text_key);
	if (binary) {
		MUST(json_is_integer(v) && (size_t)json_integer_value(v) == n &&
		     memcmp(*at, bytes, n) == 0);
		*at += n;
	} else {
		MUST(json_is_string(v) && json_string_length(v) == n &&
		     memcmp(json_string_value(v), bytes, n) == 0);
	}
	MUST(json_object_get(o, binary ? text_key : binary_key) == NULL);
}

/* The message is the input, the state a part of it, and an error event repeats it, whatever it is.
 */
static void write_batch(const uint8_t *data, size_t size)
{
	struct session_more more = {.data_len = (uint16_t)(size / 3 < 4096 ? size / 3 : 4096)};
	struct session s = {.mount = &mount,
			    .local = 7,
			    .data = (void *)(uintptr_t)data,
			    .more = &more};
	struct event_held message = {.event = {.kind = EVENT_MESSAGE,
					       .session = &s,
					       .sequence = 1,
					       .attempt = 1},
				     .number = 1},
			  error = message;
	struct codec_out o = {.n = 0};
	struct iovec parts[CODEC_PARTS];
	json_error_t why;
	uint8_t *whole, *at;
	message.event.message.bytes = (uint8_t *)(uintptr_t)data;
	message.event.message.len = size;
	message.event.message.binary = !utf8_valid(data, size);
	error.event.kind = EVENT_ERROR;
	error.event.error.kind = EVENT_ERROR_HANDLER;
	error.event.error.text = (struct span){(const char *)data, size};
	codec_event(&o, &message);
	codec_event(&o, &error);
	MUST(!codec_failed(&o));
	at = whole = malloc(codec_size(&o) + 2);
	for (int i = 0, n = codec_parts(&o, parts); i < n; i++) {
		memcpy(at, parts[i].iov_base, parts[i].iov_len);
		at += parts[i].iov_len;
	}
	json_t *v = json_loadb((char *)whole, (size_t)(at - whole),
			       JSON_ALLOW_NUL | JSON_DISABLE_EOF_CHECK, &why);
	MUST(json_array_size(v) == 2);
	const uint8_t *binary = whole + why.position + 1;
	bool state_binary = !utf8_valid(data, more.data_len);
	if (more.data_len > 0)
		must_be(json_array_get(v, 0), "state", "state_bin", data, more.data_len,
			state_binary, &binary);
	must_be(json_array_get(v, 0), "data", "bin", data, size, message.event.message.binary,
		&binary);
	if (more.data_len > 0)
		must_be(json_array_get(v, 1), "state", "state_bin", data, more.data_len,
			state_binary, &binary);
	MUST(json_is_string(json_object_get(json_array_get(v, 1), "error")));
	MUST(binary == at || (binary == at + 1 && o.binary.n == 0));
	json_decref(v);
	free(whole);
	codec_free(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 'w')
		write_batch(data + 1, size - 1);
	else if (data[0] == 'l')
		read_request(NULL, data + 1, size - 1);
	else if (data[0] == 'c')
		read_request("broadcast_to", data + 1, size - 1);
	else
		read_batch(data + 1, size - 1);
	return 0;
}
