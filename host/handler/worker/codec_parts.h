/* codec_parts: what the parts of the codec that read share: codec_field.c is a member of an object,
 * codec_read.c a batch and its commands, codec_answer.c the answer to an upgrade. */
#ifndef TOVA_HANDLER_WORKER_CODEC_PARTS_H
#define TOVA_HANDLER_WORKER_CODEC_PARTS_H

#include "handler/worker/codec.h"

struct reader {
	struct json j;
	uint64_t binary; /* bytes that the objects so far have claimed */
	uint64_t limit;	 /* no more than the message has */
	struct codec_batch *batch;
	struct codec_request *request; /* which is read strictly; NULL: a worker's batch */
};

/* A member of an object and where it goes. */
struct field {
	struct span key; /* NULL: the last */
	uint16_t at;
	/* of a number: a bool that says that it is there; 0: none */
	uint16_t has;
	/* likewise a bool that says that the number is none, which spoils only what it is for; 0:
	 * it spoils the batch */
	uint16_t bad;
	bool number; /* else text */
};

/* The first member of each struct is none of these, so that 0 is no place of a bool. */
#define TEXT_FIELD(type, name, member) \
	{ \
		SPAN(name), offsetof(type, member), 0, 0, false \
	}
#define NUMBER_FIELD(type, name, member) \
	{ \
		SPAN(name), offsetof(type, member), 0, 0, true \
	}
#define COUNTED_FIELD(type, name, member, flag) \
	{ \
		SPAN(name), offsetof(type, member), offsetof(type, flag), 0, true \
	}
#define LOOSE_FIELD(type, name, member, bad_flag) \
	{ \
		SPAN(name), offsetof(type, member), 0, offsetof(type, bad_flag), true \
	}

#define LOOSE_COUNTED_FIELD(type, name, member, flag, bad_flag) \
	{ \
		SPAN(name), offsetof(type, member), offsetof(type, flag), \
			offsetof(type, bad_flag), true \
	}

/* --- codec_field.c ---------------------------------------------------------------------------- */

/* Claims the next n bytes behind the text; returns where they are. */
size_t codec_read_claim(struct reader *r, uint64_t n);
/* Reads a member if it is in the table; false: it is not. */
bool codec_read_field(struct json *j, struct span name, void *base, const struct field *fields);

/* --- codec_answer.c --------------------------------------------------------------------------- */

struct codec_answer_text {
	struct json_string subprotocol, state, type, body, user, info;
	uint64_t status, state_bin, bin;
	size_t state_bin_at, bin_at;
	struct span headers;
	bool has_state_bin, has_bin, bad_status;
};
/* Its object, with what it claims of the bytes behind the text. */
void codec_answer_read(struct reader *r, struct codec_answer_text *t);

#endif
