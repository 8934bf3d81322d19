/* frame: WebSocket frames (RFC 6455 section 5) as pure code, bytes in and bytes out.
 *
 * The reader is fed whatever the peer sent, cut anywhere, and gives back whole messages and control
 * frames. It unmasks in place. A message that lies whole and unfragmented in the bytes that were
 * fed is returned where it lies, without a copy; only a message that arrives in parts makes the
 * reader own a buffer, which grows with what was really received, never with what a header
 * promises, and is given up with the message. UTF-8 is checked as it arrives (fail fast, RFC
 * 6455 8.1). A message that comes compressed is inflated as it arrives, and is checked and limited
 * as what it becomes.
 */
#ifndef TOVA_WS_FRAME_H
#define TOVA_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"
#include "ws/inflate.h"

enum frame_opcode {
	FRAME_CONTINUATION = 0x0,
	FRAME_TEXT = 0x1,
	FRAME_BINARY = 0x2,
	FRAME_CLOSE = 0x8,
	FRAME_PING = 0x9,
	FRAME_PONG = 0xA,
};

/* Close codes, RFC 6455 7.4.1 and the IANA registry. */
enum close_code {
	CLOSE_NORMAL = 1000,
	CLOSE_GOING_AWAY = 1001,
	CLOSE_PROTOCOL = 1002,
	CLOSE_UNSUPPORTED = 1003,
	CLOSE_NONE = 1005,     /* never on the wire: a close frame without a code came */
	CLOSE_ABNORMAL = 1006, /* never on the wire: no close frame came */
	CLOSE_BAD_DATA = 1007,
	CLOSE_POLICY = 1008,
	CLOSE_TOO_BIG = 1009,
	CLOSE_INTERNAL = 1011,
	CLOSE_RESTART = 1012,
	CLOSE_TRY_LATER = 1013,
};

#define FRAME_HEAD_MAX 14	 /* 2 + 8 byte length + mask */
#define FRAME_SERVER_HEAD_MAX 10 /* without the mask, which a server never sends (5.1) */
#define FRAME_CONTROL_MAX 125	 /* payload of a control frame (5.5) */

struct frame_limits {
	uint64_t message_max; /* bytes of one message over all of its fragments; beyond it: 1009 */
	/* the peer must mask (it is a client); false: it must not (it is a server, in tests and
	 * tools) */
	bool masked;
	/* Of this connection, where its messages may come compressed (RFC 7692); NULL: they may
	 * not. */
	struct inflate *inflate;
};

/* All zero is a fresh reader. Private: use the functions. */
struct frame_reader {
	/* bytes of the unfinished message and control frame; NULL when nothing is held */
	struct frame_part *part;
	uint64_t left; /* payload bytes of the current frame still to come */
	uint32_t utf8; /* state of the check of the current text message */
	/* of the current frame as it lies in memory, turned to the next payload byte */
	uint32_t mask;
	uint8_t head[FRAME_HEAD_MAX]; /* part of a header that was cut */
	uint8_t head_len;
	uint8_t opcode;	 /* of the current frame */
	uint8_t message; /* opcode of the message under way, 0: none */
	uint8_t stage;	 /* what comes next: see frame.c */
	bool fin;	 /* of the current frame */
};

enum frame_status {
	FRAME_MORE,    /* everything was consumed, nothing is complete */
	FRAME_MESSAGE, /* opcode text or binary, data is the whole message */
	FRAME_CONTROL, /* opcode close, ping or pong */
	/* code and why say what the peer did; everything was consumed and is refused from now on */
	FRAME_BAD,
};

struct frame {
	uint8_t opcode;
	/* writable, at least one writable byte lies behind it when it is the reader's own (see
	 * frame_read) */
	uint8_t *data;
	size_t len;
	/* FRAME_BAD: the close code to send; FRAME_CONTROL with FRAME_CLOSE: what came, CLOSE_NONE
	 * without one */
	uint16_t code;
	const char *why; /* FRAME_BAD: a sentence for the log, static */
};

/* Consumes bytes from *data (advancing it and reducing *len) up to and including the next complete
 * message or control frame. Call again while *len > 0. out->data points into *data's bytes or into
 * the reader, valid until the next call on this reader. The bytes fed must be writable (they are
 * unmasked in place) and one byte behind them must be writable too: a caller may put a NUL behind a
 * message for as long as it looks at it, if it restores what was there. A close frame is checked
 * whole (7.4: code allowed on the wire, reason UTF-8): out->data/len is the reason then. Close
 * frames end reading: bytes behind one are ignored by returning FRAME_MORE with everything
 * consumed. Out of memory is reported as FRAME_BAD with CLOSE_INTERNAL. */
enum frame_status frame_read(struct frame_reader *r, const struct frame_limits *limits,
			     uint8_t **data, size_t *len, struct frame *out);

/* In the middle of a large data frame: where the next bytes of its payload may be received
 * directly, so that they need no copy. Returns the number of bytes at *where_r (0: feed frame_read
 * as usual). Follow with frame_filled for what was really received (n > 0), which unmasks, checks,
 * and returns as frame_read does. */
size_t frame_space(struct frame_reader *r, const struct frame_limits *limits, uint8_t **where_r);
enum frame_status frame_filled(struct frame_reader *r, const struct frame_limits *limits, size_t n,
			       struct frame *out);

/* Gives up the memory of what the last call returned. The next call does so too, but on a quiet
 * connection that may take long. */
void frame_release(struct frame_reader *r);
/* Is it between two messages, with nothing kept? Then it is worth as much as a fresh one. Not while
 * the last message is looked at. */
static inline bool frame_at_rest(const struct frame_reader *r)
{
	return (r->stage | r->message | r->head_len) == 0 && r->part == NULL;
}
/* Bytes of memory the reader holds now beyond the struct itself. */
size_t frame_held(const struct frame_reader *r);
/* Bytes that are there of the unfinished message. */
size_t frame_gathered(const struct frame_reader *r);
/* The memory in which the message lies that the last call returned, taken from the reader: the
 * caller's to free. data_r: where the message is now, with one writable byte behind it; size_r:
 * bytes of the memory. NULL: it does not lie in memory of its own. */
void *frame_take(struct frame_reader *r, uint8_t **data_r, size_t *size_r);
/* Frees what it holds and makes it fresh. */
void frame_reset(struct frame_reader *r);

/* Writes the header of an unmasked frame with fin set; returns its length, 2, 4 or 10. */
static inline size_t frame_head_size(uint64_t payload_len)
{
	return payload_len < 126 ? 2 : payload_len <= UINT16_MAX ? 4 : 10;
}
static inline size_t frame_head(uint8_t dst[FRAME_SERVER_HEAD_MAX], enum frame_opcode opcode,
				uint64_t payload_len)
{
	size_t size = frame_head_size(payload_len);
	dst[0] = (uint8_t)(0x80 | opcode);
	dst[1] = (uint8_t)(size == 2 ? payload_len : size == 4 ? 126 : 127);
	for (size_t i = 2; i < size; i++)
		dst[i] = (uint8_t)(payload_len >> (8 * (size - 1 - i)));
	return size;
}
/* Length of the header that begins with these two bytes, a mask included. */
size_t frame_head_bytes(const uint8_t *h);
/* Of a whole frame of ours: what it carries, and of which kind. */
static inline struct span frame_payload(const uint8_t *frame, size_t len)
{
	size_t head = frame_head_bytes(frame);
	return (struct span){(const char *)frame + head, len - head};
}
static inline bool frame_is_binary(const uint8_t *frame)
{
	return (frame[0] & 15) == FRAME_BINARY;
}
/* Length of the whole unmasked frame (header and payload) that starts at p; 0 if fewer than its
 * header's bytes are there. For walking a queue of frames of our own. */
uint64_t frame_size(const uint8_t *p, size_t n);

/* Payload of a close frame: code (0: empty payload) and as much of reason as fits, cut at a UTF-8
 * boundary. Returns its length. */
size_t frame_close_payload(uint8_t dst[FRAME_CONTROL_MAX], uint16_t code, const char *reason,
			   size_t reason_len);
/* May this code stand in a close frame (RFC 6455 7.4, IANA registry; 3000 to 4999 for
 * applications)? */
bool frame_close_code_ok(unsigned code);

#endif
