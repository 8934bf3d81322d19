/* What a request carries: read behind its head into memory of its own, until all of it is there and
 * the request is told. */
#include <stdlib.h>

#include "base/check.h"
#include "net/conn_parts.h"

#define CONN_BODY_FIRST 4096 /* bytes for which there is room at once */

static void conn_body_refuse(struct conn *c, const struct request *r, int status, const char *why)
{
	c->keep_alive = false; /* where the body ends is not known any more */
	answer_refuse(c, LOG_HTTP, r, status, (struct span){NULL, 0}, why);
}

/* False: it expects something else than it can get (RFC 9110 10.1.1). */
static bool conn_body_expected(const struct request *r)
{
	return request_header_count(r, "Expect") == 0 ||
	       (request_header_count(r, "Expect") == 1 &&
		span_eq_nocase(request_header(r, "Expect"), SPAN("100-continue")));
}

/* The client waits with its body until it is told that it is wanted. */
static bool conn_body_invite(struct conn *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct slice s;
	if (!chunk_alloc(&c->conns->loop->chunks, sizeof text - 1, &s))
		return false;
	memcpy(slice_bytes(&s), text, sizeof text - 1);
	bool ok = conn_queue_raw(c, &s);
	slice_unref(&s);
	return ok;
}

static bool conn_body_new(struct conn *c, const struct request *r, const struct body_reader *reader)
{
	struct conn_more *more = conn_more(c);
	struct conn_body *b = more != NULL ? calloc(1, sizeof *b) : NULL;
	if (b == NULL || !buffer_reserve(&b->in, r->head.n + CONN_BODY_FIRST)) {
		free(b);
		return false;
	}
	buffer_append(&b->in, r->head.p, r->head.n);
	b->reader = *reader;
	b->head = b->seen = r->head.n;
	CHECK(more->body == NULL);
	more->body = b;
	return true;
}

void conn_body_begin(struct conn *c, struct request *r)
{
	struct conns *s = c->conns;
	struct body_reader reader;
	const char *why = "an expectation other than 100-continue";
	uint64_t max = 0;
	if (!s->ops->body(s->ctx, c, r, &max))
		return;
	int status = conn_body_expected(r) ? body_begin(&reader, r, max, &why) : 417;
	if (status != 0) {
		conn_body_refuse(c, r, status, why);
		return;
	}
	bool invited = r->minor > 0 && request_header_count(r, "Expect") > 0;
	if (!conn_body_new(c, r, &reader) || (invited && !conn_body_invite(c))) {
		conn_body_drop(c);
		conn_body_refuse(c, r, 503, "no memory for a request's body");
		return;
	}
	conn_set_state(c, CONN_BODY);
	conn_wait(c, CONN_WAIT_BODY);
}

struct buffer conn_body_take(struct conn *c, struct request *r)
{
	struct conn_body *b = c->more->body;
	CHECK(b != NULL && b->head <= b->in.n);
	struct buffer in = b->in;
	size_t head = b->head;
	c->more->body = NULL;
	free(b);
	/* again, as it has been moved */
	CHECK(request_parse_kept(r, (struct span){in.p, head}));
	r->body = (struct span){in.p + head, in.n - head};
	return in;
}

size_t conn_body_consume(struct conn *c, const uint8_t *data, size_t len, bool *whole_r)
{
	enum body_status status;
	struct span piece;
	size_t at = 0, used;
	int refusal = 503;
	const char *why = "no memory for a request's body";
	do {
		status = body_read(&c->more->body->reader, (const char *)data + at, len - at, &used,
				   &piece, &refusal, &why);
		at += used;
		if (status == BODY_DATA && !buffer_append(&c->more->body->in, piece.p, piece.n))
			status = BODY_BAD;
	} while (status == BODY_DATA);
	*whole_r = status == BODY_DONE;
	if (status == BODY_MORE)
		return len;
	if (status == BODY_DONE)
		return at;
	conn_body_drop(c);
	conn_body_refuse(c, NULL, refusal, why);
	return len;
}

/* One that comes on may take its time. */
void conn_body_timeout(struct conn *c)
{
	struct conn_body *b = c->more->body;
	CHECK(c->state == CONN_BODY && b != NULL);
	uint64_t least = (uint64_t)CONN_PACE * c->conns->limits.head_ms / 1000;
	bool comes = b->in.n - b->seen >= least && b->in.n > b->seen;
	b->seen = b->in.n;
	if (comes) {
		conn_wait(c, CONN_WAIT_BODY);
		return;
	}
	conn_body_drop(c);
	conn_body_refuse(c, NULL, 408, "the request's body did not come in time");
}
