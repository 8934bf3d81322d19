/* inflate: messages that come compressed (RFC 7692 7.2.2), as pure code.
 *
 * A connection needs zlib's state only while a message is under way, unless its client refers back
 * to earlier messages (context takeover). So the streams belong to a pool, of which each loop has
 * one: a message that arrives at once uses one for a moment, one that arrives in parts keeps it
 * until its end. When too many are kept, the parts of further messages are gathered as they come,
 * and inflated at the end.
 *
 * Some clients refer back though they were told not to (client_no_context_takeover). So of a client
 * without takeover the last text is kept where there is memory for it, until its messages have
 * shown that it does as it was told: what it could have referred to it has sent again. The first
 * message that can not be inflated without the earlier ones makes it a connection with takeover.
 */
#ifndef TOVA_WS_INFLATE_H
#define TOVA_WS_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inflate_pool {
	struct inflate_stream *spare; /* with the largest window */
	unsigned n_spare;
	unsigned lent, lent_max; /* to messages under way */
	struct frame_part *part; /* room for a message that nobody uses now; frame.c's */
	/* counts what is kept of clients that were told to refer to nothing; NULL: nothing is */
	uint64_t *memory;
	uint64_t memory_max; /* beyond which nothing more is */
};

/* The last text of a connection, INFLATE_PAST_MAX at most. */
struct inflate_past {
	size_t n, cap;
	uint8_t bytes[];
};
#define INFLATE_PAST_MAX 32768

/* What one connection needs. */
struct inflate {
	struct inflate_pool *pool;
	struct inflate_stream *stream; /* NULL: none now */
	struct inflate_past *past; /* what it may refer to, though it should not; NULL: nothing */
	uint64_t taken; /* bytes of the message under way, as they came; the reader counts them */
	uint8_t bits;	/* of the client's window */
	uint8_t tail;	/* bytes of the tail that have been given to zlib */
	bool keep : 1;	/* context takeover: the stream lives as long as the connection */
	bool compressed : 1; /* the message under way is; the reader says so */
	bool begun : 1;	     /* and some of it was there */
	bool lent : 1;	     /* the stream is the pool's, for the message under way */
	bool gathers : 1;    /* the message under way waits for its end */
	bool ended : 1;	     /* the last thing was the end of a final block */
	/* the message under way is there from its beginning, and was begun without a past */
	bool whole : 1;
	bool counted : 1;  /* its stream is, in the pool's memory */
	bool obeys : 1;	   /* its client refers to nothing: no past is kept */
	uint8_t shown : 2; /* how often it has */
};

enum inflate_status {
	INFLATE_DONE, /* all bytes were taken, and no more comes of them */
	INFLATE_FULL, /* more comes */
	INFLATE_BAD,
	INFLATE_FAR, /* bad, as it refers to what was before the message, or is not kept any more */
	INFLATE_NO_MEMORY,
};

/* bits: of the client's window. keep: its messages refer to earlier ones. The pool has to outlive
 * it. */
void inflate_init(struct inflate *i, struct inflate_pool *pool, unsigned bits, bool keep);
/* The first bytes of a compressed message are there; `whole`: all of them. */
enum inflate_status inflate_begin(struct inflate *i, bool whole);
/* Inflates what *src points at, advancing it, into dst, which has room for at least one byte. last:
 * the message ends behind these bytes. */
enum inflate_status inflate_some(struct inflate *i, const uint8_t **src, size_t *n, bool last,
				 uint8_t *dst, size_t room, size_t *made_r);
/* After INFLATE_FAR. True: the whole message can be inflated once more, from its beginning, with
 * what was before it. */
bool inflate_recall(struct inflate *i);
/* A whole message has come out. */
void inflate_remember(struct inflate *i, const uint8_t *text, size_t n);
/* Is there anything to be kept of it between two reads? */
static inline bool inflate_has_state(const struct inflate *i)
{
	return i->compressed || i->past != NULL || i->stream != NULL;
}
/* The message is over, or given up. */
void inflate_end(struct inflate *i);
/* The connection is over. */
void inflate_reset(struct inflate *i);
/* Bytes that zlib allocates for one stream, at most. */
size_t inflate_cost(unsigned bits);

/* Nobody uses it any more. */
void inflate_pool_free(struct inflate_pool *pool);

#endif
