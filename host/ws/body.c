#include "ws/body.h"

#include "base/check.h"
#include "common/header.h"

#define BODY_DIGITS_MAX 16 /* of a chunk's size: no more fit into 64 bits */

enum body_state {
	BODY_LENGTH, /* as many bytes as the head said */
	/* RFC 9112 7.1, in the order in which it comes */
	BODY_SIZE,
	BODY_EXTENSION,
	BODY_SIZE_LF,
	BODY_CHUNK,
	BODY_CHUNK_CR,
	BODY_CHUNK_LF,
	BODY_TRAILER, /* the beginning of a line */
	BODY_TRAILER_NAME,
	BODY_TRAILER_VALUE,
	BODY_TRAILER_LF,
	BODY_LAST_LF,
	BODY_ENDED,
};

/* What a byte was found to be. */
struct body_error {
	int status;
	const char *why;
};

static const struct body_error BODY_FINE = {0, NULL};

static struct body_error body_refuse(const char *why)
{
	return (struct body_error){400, why};
}

/* Is the one transfer coding that of chunks? 0, or a status. */
static int body_coding(const struct request *r, const char **why_r)
{
	struct request_walk codings = {.r = r, .name = SPAN("Transfer-Encoding")};
	struct span coding;
	unsigned n = 0, chunked = 0;
	bool last = false;

	for (; request_walk_next(&codings, &coding); n++) {
		last = span_eq_nocase(coding, SPAN("chunked"));
		chunked += last;
	}
	if (last && n == 1)
		return 0;
	*why_r = last && chunked == 1 ? "a transfer coding other than chunked"
				      : "a Transfer-Encoding that does not end in chunked, once";
	return last && chunked == 1 ? 501 : 400;
}

int body_begin(struct body_reader *b, const struct request *r, uint64_t max, const char **why_r)
{
	int status = 0;

	CHECK(r->has_body);
	*b = (struct body_reader){.state = BODY_LENGTH, .left = r->content_length, .room = max};
	if (request_header_count(r, "Transfer-Encoding") > 0) {
		status = body_coding(r, why_r);
		b->state = BODY_SIZE;
	} else if (r->content_length > max) {
		*why_r = "a larger body than is taken";
		status = 413;
	}
	return status;
}

static int body_hex(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if ((ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F'))
		return (ch | 0x20) - 'a' + 10;
	return -1;
}

static bool body_is_text(char ch)
{
	return ((unsigned char)ch >= ' ' && ch != 0x7F) || ch == '\t';
}

/* The line with a chunk's size has ended: the last one is that of no bytes. */
static struct body_error body_begin_chunk(struct body_reader *b)
{
	if (b->left > b->room)
		return (struct body_error){413, "a larger body than is taken"};
	b->room -= b->left;
	b->state = b->left > 0 ? BODY_CHUNK : BODY_TRAILER;
	return BODY_FINE;
}

static struct body_error body_size(struct body_reader *b, char ch)
{
	const int value = body_hex(ch);

	if (value >= 0 && b->digits < BODY_DIGITS_MAX) {
		b->left = b->left << 4 | (unsigned)value;
		b->digits++;
	} else if (value >= 0) {
		return body_refuse("a chunk size of more than 16 digits");
	} else if (b->digits == 0 || (ch != '\r' && ch != ';')) {
		return body_refuse("a chunk size that is no hexadecimal number");
	} else {
		b->state = ch == ';' ? BODY_EXTENSION : BODY_SIZE_LF;
	}
	return BODY_FINE;
}

static struct body_error body_expect(struct body_reader *b, char ch, char expected,
				     enum body_state next)
{
	b->state = next;
	return ch == expected ? BODY_FINE : body_refuse("a line that does not end in CRLF");
}

/* A byte of what means nothing here. */
static struct body_error body_extra(struct body_reader *b, char ch, enum body_state stays,
				    enum body_state at_cr)
{
	if (++b->extra > BODY_EXTRA_MAX)
		return stays == BODY_EXTENSION
			       ? body_refuse("chunk extensions that are too long")
			       : (struct body_error){431, "trailers that are too long"};
	if (ch != '\r' && !body_is_text(ch))
		return body_refuse("a chunk extension or a trailer with a control character");
	b->state = ch == '\r' ? at_cr : stays;
	return BODY_FINE;
}

static struct body_error body_trailer(struct body_reader *b, char ch)
{
	const bool begins = b->state == BODY_TRAILER;

	if (ch == '\r' && begins) {
		b->state = BODY_LAST_LF;
		return BODY_FINE;
	}
	if (!header_is_token((struct span){&ch, 1}) && (ch != ':' || begins))
		return body_refuse("a trailer without a name and a colon right behind it");
	return body_extra(b, ch, ch == ':' ? BODY_TRAILER_VALUE : BODY_TRAILER_NAME,
			  BODY_TRAILER_LF);
}

/* One byte of what frames chunks. */
static struct body_error body_step(struct body_reader *b, char ch)
{
	switch ((enum body_state)b->state) {
	case BODY_SIZE:
		return body_size(b, ch);
	case BODY_EXTENSION:
		return body_extra(b, ch, BODY_EXTENSION, BODY_SIZE_LF);
	case BODY_SIZE_LF:
		return ch == '\n' ? body_begin_chunk(b)
				  : body_refuse("a line that does not end in CRLF");
	case BODY_CHUNK_CR:
		return body_expect(b, ch, '\r', BODY_CHUNK_LF);
	case BODY_CHUNK_LF:
		b->digits = 0;
		return body_expect(b, ch, '\n', BODY_SIZE);
	case BODY_TRAILER:
	case BODY_TRAILER_NAME:
		return body_trailer(b, ch);
	case BODY_TRAILER_VALUE:
		return body_extra(b, ch, BODY_TRAILER_VALUE, BODY_TRAILER_LF);
	case BODY_TRAILER_LF:
		return body_expect(b, ch, '\n', BODY_TRAILER);
	default:
		CHECK(b->state == BODY_LAST_LF);
		return body_expect(b, ch, '\n', BODY_ENDED);
	}
}

static bool body_has_data(const struct body_reader *b)
{
	return b->left > 0 && (b->state == BODY_LENGTH || b->state == BODY_CHUNK);
}

static void body_take(struct body_reader *b, const char *bytes, size_t len, struct span *data_r)
{
	*data_r = (struct span){bytes, b->left < len ? (size_t)b->left : len};
	b->left -= data_r->n;
	if (b->left == 0)
		b->state = b->state == BODY_CHUNK ? BODY_CHUNK_CR : BODY_ENDED;
}

enum body_status body_read(struct body_reader *b, const char *bytes, size_t len, size_t *used_r,
			   struct span *data_r, int *status_r, const char **why_r)
{
	size_t used = 0;

	while (used < len && b->state != BODY_ENDED && !body_has_data(b)) {
		const struct body_error error = body_step(b, bytes[used++]);

		if (error.status != 0) {
			*used_r = used;
			*status_r = error.status;
			*why_r = error.why;
			return BODY_BAD;
		}
	}
	*used_r = used;
	if (b->state == BODY_ENDED)
		return BODY_DONE;
	if (used == len)
		return BODY_MORE;
	body_take(b, bytes + used, len - used, data_r);
	*used_r = used + data_r->n;
	return BODY_DATA;
}
