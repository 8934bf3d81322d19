/* batch: messages of the protocol, read and written (PROTOCOL.md 2): a JSON array of objects, then a line feed and the bytes of those
 * that carry some. */
#ifndef TOVA_SDK_BATCH_H
#define TOVA_SDK_BATCH_H

#include <jansson.h>
#include <stdint.h>

#include "buffer.h"

/* A message of the host, object by object. */
struct batch_reader {
	json_t *root;
	size_t next;
	uint8_t *bytes; /* those that nobody has taken yet */
	size_t left;
};

/* Behind the body one byte has to be writable. False with a sentence in why. */
bool batch_read(struct batch_reader *b, void *body, size_t len, const char **why);
/* The next object, lent until batch_free; NULL behind the last. */
json_t *batch_next(struct batch_reader *b);
/* The bytes that the object's member `key` promises: *p_r is NULL where there is no such member. False: the message is broken. */
bool batch_take(struct batch_reader *b, const json_t *object, const char *key, uint8_t **p_r, size_t *n_r);
void batch_free(struct batch_reader *b);

/* A message to the host that grows. */
struct batch {
	struct buffer text, binary;
	size_t n; /* objects */
	/* Sends it and empties it; called before it grows further than is good. NULL: it may grow. */
	void (*full)(void *ctx);
	void *ctx;
};

/* Adds an object, as text with its braces, and its bytes. */
void batch_add(struct batch *b, const char *object, size_t len, const void *bytes, size_t n_bytes);
static inline bool batch_is_empty(const struct batch *b)
{
	return b->text.n == 0;
}
static inline size_t batch_size(const struct batch *b)
{
	return b->text.n + b->binary.n;
}
/* Writes the whole message; link: what the first object repeats, or NULL. */
void batch_write(const struct batch *b, const char *link, struct buffer *message);
void batch_clear(struct batch *b);

#endif
