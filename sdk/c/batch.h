/* batch: messages of the protocol, read and written (PROTOCOL.md 2): a JSON array of objects, then
 * a line feed and the bytes of those that carry some. */
#ifndef TOVA_SDK_BATCH_H
#define TOVA_SDK_BATCH_H

#include <jansson.h>
#include <stdint.h>

#include "common/buffer.h"
#include "common/json.h"

/* Bytes or text of an object; p == NULL: it has none. One byte behind them may be written. */
struct batch_bytes {
	uint8_t *p;
	size_t n;
};

#define BATCH_NO_VERSION UINT64_MAX /* the object has none */

/* One object of a message of the host: what there is to every event, and to a message. Strings are
 * as they stand in the JSON. */
struct batch_object {
	/* p == NULL: missing */
	struct json_string t, conn, state, data, subject, user, info, traceparent, tracestate, room,
		room_state;
	struct span claims; /* JSON */
	uint64_t s, seq, attempt, run, bin, state_bin, room_state_bin, mount_state_bin,
		room_version, mount_version;
	/* among the bytes of the message */
	size_t bin_at, state_bin_at, room_state_bin_at, mount_state_bin_at;
	bool has_bin, has_state_bin;
	struct span json; /* all of it */
};

struct batch_reader {
	struct batch_object *objects;
	size_t n, cap, next;
	uint8_t *bytes; /* behind the text */
};

/* Reads and checks a whole message, behind which one byte has to be writable. False with a sentence
 * in why. The reader keeps its memory. */
bool batch_read(struct batch_reader *b, void *body, size_t len, const char **why);
/* The next object; NULL behind the last. It lies in the message. */
struct batch_object *batch_next(struct batch_reader *b);
/* The bytes that come with an object. */
struct batch_bytes batch_bin(const struct batch_reader *b, const struct batch_object *o);
struct batch_bytes batch_room_state_bin(const struct batch_reader *b, const struct batch_object *o);
struct batch_bytes batch_mount_state_bin(const struct batch_reader *b,
					 const struct batch_object *o);
struct batch_bytes batch_state_bin(const struct batch_reader *b, const struct batch_object *o);
/* Text, unescaped where it stands, with a NUL behind it: the object's JSON is none any more. */
struct batch_bytes batch_text(const struct json_string *s);
/* All members. NULL: no memory, or the JSON is none. */
json_t *batch_json(const struct batch_object *o);
void batch_reader_free(struct batch_reader *b);

/* A message to the host that grows. */
struct batch {
	struct buffer text, binary;
	size_t n; /* objects */
	/* Sends it and empties it; called before it grows further than is good. NULL: it may
	 * grow. */
	void (*full)(void *ctx);
	void *ctx;
};

/* Begins an object of about that size, its bytes included: what follows is added to `text`, with
 * its braces, and to `binary`. */
void batch_begin(struct batch *b, size_t size);
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
