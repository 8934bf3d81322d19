/* codec: the worker grammar (sdk/PROTOCOL.md) as pure code: events to text, text to what workers
 * say. */
#ifndef TOVA_HANDLER_WORKER_CODEC_H
#define TOVA_HANDLER_WORKER_CODEC_H

#include <sys/uio.h>

#include "common/buffer.h"
#include "common/json.h"
#include "hub/hub.h"

/* --- host to worker --------------------------------------------------------------------------- */

/* A batch being written. */
struct codec_out {
	struct buffer text, binary;
	unsigned n;  /* objects in it */
	bool claims; /* whoever reads it wants to know what tokens say with each event */
	bool room_states; /* and what is kept with the connection's first room */
	/* whose own state it wants, too, where that has another version than it knows; NULL: not */
	const struct mount *mount;
	uint64_t mount_told;
};

/* No memory: the batch is not whole. */
static inline bool codec_failed(const struct codec_out *o)
{
	return o->text.failed || o->binary.failed;
}

/* What a hello asks for that does not say which events. */
#define CODEC_EVENTS \
	(EVENT_BIT(EVENT_OPEN) | EVENT_BIT(EVENT_MESSAGE) | EVENT_BIT(EVENT_CLOSE) | \
	 EVENT_BIT(EVENT_ERROR) | EVENT_BIT(EVENT_TIMER))

#define CODEC_PARTS 4
/* The batch as one message; it stays as it is until codec_reset. Returns the number of parts. */
int codec_parts(struct codec_out *o, struct iovec parts[CODEC_PARTS]);
/* Empty again; keeps a moderate amount of memory. */
void codec_reset(struct codec_out *o);
void codec_free(struct codec_out *o);
static inline size_t codec_size(const struct codec_out *o)
{
	return o->text.n + o->binary.n;
}

/* An event with its number on the link, h->number. */
void codec_event(struct codec_out *o, const struct event_held *h);
/* Bytes of it that are what is kept with its connection's first room, and for the mount. */
size_t codec_kept_size(const struct codec_out *o, const struct event_held *h);
/* The same of a large message, which is made as it is sent: `o` gets what stands in front of it,
 * and codec_parts of that is the message's head; the text (or the bytes) follow from
 * codec_stream_next; and then tail_r, of which it returns the number of parts. */
struct codec_stream {
	uint16_t magic; /* CHECK_CODEC_STREAM */
	const uint8_t *at;
	size_t left; /* bytes of the event's message */
	bool binary; /* it goes as it is */
};
/* h stays, and its bytes, until all of it was taken. */
int codec_stream(struct codec_out *o, const struct event_held *h, struct codec_stream *stream_r,
		 struct iovec tail_r[CODEC_PARTS]);
/* Bytes that it will be in all. */
uint64_t codec_stream_size(const struct codec_stream *stream);
/* The next of them, at most `room`, which is 64 at least. Returns how many. */
size_t codec_stream_next(void *stream, uint8_t *dst, size_t room);
/* The event's members for a dead letter: all text, binary as base64. */
void codec_dead_event(struct codec_out *o, const struct event_held *h);
/* {"t":type} and {"t":"bye","error":why} (why may be NULL). */
void codec_word(struct codec_out *o, const char *type);
void codec_bye(struct codec_out *o, const char *why);
/* runs: above 1 if the worker takes runs. starting: it will say when it is ready. */
void codec_welcome(struct codec_out *o, const char *link, const char *mount, unsigned window,
		   unsigned batch, unsigned runs, bool starting);

/* What an answer is built from: begin opens the object, the others add members, end closes it. */
void codec_object(struct codec_out *o, const char *type);
void codec_member_text(struct codec_out *o, const char *key,
		       struct span text); /* not UTF-8: taken for Latin-1 */
void codec_member_uint(struct codec_out *o, const char *key, uint64_t value);
/* json is put down as it is. */
void codec_member_raw(struct codec_out *o, const char *key, const char *json);
void codec_member_base64(struct codec_out *o, const char *key, struct span bytes);
void codec_object_end(struct codec_out *o);
/* For lists: raw text, and a string with quotes. */
void codec_raw(struct codec_out *o, const char *text, size_t n);
void codec_string(struct codec_out *o, struct span text);

/* --- worker to host --------------------------------------------------------------------------- */

enum codec_type {
	CODEC_HELLO,
	CODEC_READY,
	CODEC_ACK,
	CODEC_NACK,
	CODEC_PUSH,
	CODEC_QUERY,
	CODEC_CONTROL,
	CODEC_PONG,
	CODEC_BYE,
};

/* One object of a batch. Strings lie in the batch. A string that is not there has p == NULL. */
struct codec_item {
	enum codec_type type;
	uint64_t s, n, ref, q, v, retry_ms, runs, since, epoch, limit, mount_size;
	uint64_t expires; /* of a push: milliseconds of the clock on the wall */
	bool has_s, has_n, has_ref, has_q, has_since, has_retry, bad_retry, has_events,
		has_expires, starting, claims, room_states; /* bad_retry: it is no number */
	bool waits;		  /* for what becomes of it */
	unsigned events;  /* EVENT_BITs */
	struct json_string t, link, token, name, mount, error, source, what, room, conn, what_to_do,
		id, after, user;
	struct span commands, accept, refuse; /* their JSON; p == NULL: none */
	size_t commands_at, answer_at;	      /* of the binary bytes that they take */
	size_t first_command, end_command;    /* of the batch's, if they are kept */
	bool kept;
	/* Of a push, said by who has read it: whoever gave it may do nothing, or nothing but send
	 * messages. */
	bool mute, only_publishes;
};

struct codec_batch {
	struct codec_item *items;
	size_t n, cap;
	struct codec_command *commands; /* as they were read */
	size_t n_commands, cap_commands;
	uint8_t *binary; /* behind the text */
	size_t binary_len;
	const char *why; /* what was wrong */
};

/* an object of a few bytes is an item of hundreds, and whoever connects may send some */
#define CODEC_ITEMS_MAX 32768

/* Reads and checks a whole message. The bytes stay untouched until the functions below unescape
 * strings in them, each string once. False: b->why. The items' memory is kept for the next call;
 * see codec_batch_done. */
bool codec_read(struct codec_batch *b, uint8_t *bytes, size_t len);
/* Reads no more than the batch's first object, and leaves the bytes as they are, so that codec_read
 * can follow: for what somebody has sent who has not said who he is. False: b->why. */
bool codec_read_first(struct codec_batch *b, uint8_t *bytes, size_t len, struct codec_item *first);
/* What somebody asks for who is no worker: one object, {"mount":…,"commands":[…]}, or, where `word`
 * says which command it is, that command's members and "mount". */
struct codec_request {
	struct codec_item item; /* a push */
	uint32_t n;		/* commands that were read; where one is wrong, its place from 0 */
	bool listed;		/* what is wrong is in the command of that place of a list */
	bool only_messages;	/* all of them send, broadcast or broadcast_to */
	struct span unknown; /* the name of which b->why tells, as it was written; p NULL: none */
};
/* Reads it, with the binary bytes behind it. People write these by hand, so what would be passed
 * over of a worker's is refused: names that are none, a command that lacks something, an id that is
 * none. False: b->why. */
bool codec_read_request(struct codec_batch *b, const char *word, uint8_t *bytes, size_t len,
			struct codec_request *q);
/* The batch is done with: what only a large one needs is given back. */
void codec_batch_done(struct codec_batch *b);
void codec_batch_free(struct codec_batch *b);

/* The string's text, unescaped where it stands. */
struct span codec_text(struct json_string *s);
/* Is it this text? The bytes stay as they are. Takes a time that depends on the lengths only. */
bool codec_text_is(const struct json_string *s, const char *text);

/* Adds the item's commands to the commit, which was begun for the event's session (NULL: none).
 * What can not be done spoils it. */
void codec_commands(const struct codec_batch *b, struct codec_item *item, const struct hub *hub,
		    const struct session *own, struct commit *c);
/* Fills the answer to an upgrade from accept or refuse. Returns NULL, or what is wrong with it.
 * answer->body and the data are the caller's to free, the latter at *data_r. */
const char *codec_answer(const struct codec_batch *b, struct codec_item *item,
			 struct event_answer *answer, void **data_r);

#endif
