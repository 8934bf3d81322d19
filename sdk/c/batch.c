#include "batch.h"

#include <string.h>

bool batch_read(struct batch_reader *b, void *body, size_t len, const char **why)
{
	json_error_t error;
	*b = (struct batch_reader){.root = json_loadb(body, len, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &error)};
	size_t end = b->root != NULL ? (size_t)error.position : 0;
	if (!json_is_array(b->root)) {
		*why = "it is not a JSON array";
	} else if (end < len && ((const char *)body)[end] != '\n') {
		*why = "something else than a line feed stands behind the array";
	} else {
		b->bytes = (uint8_t *)body + end + (end < len);
		b->left = len - end - (end < len);
		return true;
	}
	batch_free(b);
	return false;
}

json_t *batch_next(struct batch_reader *b)
{
	return json_array_get(b->root, b->next++);
}

bool batch_take(struct batch_reader *b, const json_t *object, const char *key, uint8_t **p_r, size_t *n_r)
{
	const json_t *count = json_object_get(object, key);
	json_int_t n = json_integer_value(count);
	*p_r = NULL;
	*n_r = 0;
	if (count == NULL)
		return true;
	if (!json_is_integer(count) || n < 0 || (uint64_t)n > b->left)
		return false;
	*p_r = b->bytes;
	*n_r = (size_t)n;
	b->bytes += n;
	b->left -= (size_t)n;
	return true;
}

void batch_free(struct batch_reader *b)
{
	json_decref(b->root);
	*b = (struct batch_reader){0};
}

/* The host takes 65,536 objects and 64 MiB; what is larger than this alone travels alone. */
#define BATCH_OBJECTS 4096
#define BATCH_BYTES (256u << 10)

void batch_add(struct batch *b, const char *object, size_t len, const void *bytes, size_t n_bytes)
{
	if (b->full != NULL && b->n > 0 && (b->n >= BATCH_OBJECTS || batch_size(b) + len + n_bytes > BATCH_BYTES))
		b->full(b->ctx);
	b->n++;
	if (b->text.n > 0)
		buffer_add(&b->text, ",", 1);
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
