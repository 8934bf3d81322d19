#include "net/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "net/conn_parts.h"
#include "ws/upgrade.h"

#define ANSWER_BLOCK 65536 /* bytes of a file read at once */
/* Longest line of an answer's head that says what its body is. */
#define ANSWER_BODY_LINES 256

static size_t answer_date(char *dst, size_t cap)
{
	time_t now = time(NULL);
	struct tm tm;
	return strftime(dst, cap, "%a, %d %b %Y %H:%M:%S GMT",
			gmtime_r(&now, &tm)); /* RFC 9110 5.6.7; the locale is C */
}

/* The whole head, however long those lines are; NULL without memory. body: the lines that say what
 * follows. */
static char *answer_head(const struct conn *c, int status, struct span lines, const char *body)
{
	char date[40], *head;
	answer_date(date, sizeof date);
	int n = asprintf(
		&head,
		"HTTP/1.1 %d %s\r\nDate: %s\r\nServer: tova-host\r\nX-Content-Type-Options: "
		"nosniff\r\n%.*s%sConnection: %s\r\n\r\n",
		status, request_status_text(status), date, (int)lines.n, lines.n > 0 ? lines.p : "",
		body, c->keep_alive ? "keep-alive" : "close");
	return n < 0 ? NULL : head;
}

/* Queues the head, and the body behind it. */
static bool answer_queue_lines(struct conn *c, int status, struct span lines, const char *about,
			       struct span body)
{
	struct slice s;
	char *head = answer_head(c, status, lines, about);
	size_t n = head != NULL ? strlen(head) : 0;
	bool ok = n > 0 && chunk_alloc(&c->conns->loop->chunks, n + body.n, &s);
	if (ok) {
		memcpy(slice_bytes(&s), head, n);
		if (body.n > 0)
			memcpy(slice_bytes(&s) + n, body.p, body.n);
		ok = conn_queue_raw(c, &s);
		slice_unref(&s);
	}
	free(head);
	if (!ok)
		LOG(c->conns->loop->log, LOG_WARN, LOG_HTTP, "no memory for an answer",
		    LOG_U64("status", (uint64_t)status));
	return ok;
}

void answer_websocket(struct conn *c, const struct request *r, struct span subprotocol,
		      struct span text, uint16_t code, struct span reason)
{
	struct slice s;
	uint8_t payload[FRAME_CONTROL_MAX];
	size_t close_len = frame_close_payload(payload, code, reason.p, reason.n),
	       cap = UPGRADE_RESPONSE_MAX + subprotocol.n + 2 * (size_t)FRAME_SERVER_HEAD_MAX +
		     text.n + close_len;
	c->keep_alive = false;
	if (!conn_answering(c))
		return;
	if (!chunk_alloc(&c->conns->loop->chunks, cap, &s)) {
		conn_abort(c);
		return;
	}
	uint8_t *at = slice_bytes(&s);
	at += upgrade_response((char *)at, cap, r, subprotocol, (struct span){0}, (struct span){0});
	if (text.n > 0) {
		at += frame_head(at, FRAME_TEXT, text.n);
		at = (uint8_t *)memcpy(at, text.p, text.n) + text.n;
	}
	at += frame_head(at, FRAME_CLOSE, close_len);
	at = (uint8_t *)memcpy(at, payload, close_len) + close_len;
	s.len = (uint32_t)(at - slice_bytes(&s));
	if (!conn_queue_raw(c, &s))
		conn_abort(c);
	slice_unref(&s);
}

static bool answer_queue(struct conn *c, int status, struct span lines, const char *type,
			 uint64_t length, struct span body)
{
	char about[ANSWER_BODY_LINES] = "";
	/* which have no body and tell no length (RFC 9110 8.6, 15.4.5) */
	if (status != 204 && status != 304)
		snprintf(about, sizeof about, "Content-Type: %s\r\nContent-Length: %llu\r\n", type,
			 (unsigned long long)length);
	return answer_queue_lines(c, status, lines, about, body);
}

void answer_respond(struct conn *c, int status, struct span head, const char *type,
		    struct span body)
{
	if (!conn_answering(c))
		return;
	const char *what = type != NULL ? type : "text/plain; charset=utf-8";
	if (!answer_queue(c, status, head, what, body.n,
			  c->head_only || status == 304 ? (struct span){0} : body))
		conn_abort(c);
}

void answer_error(struct conn *c, int status, struct span head, const char *why)
{
	char body[512];
	if (c->conns->ops->error != NULL) {
		c->conns->ops->error(c, status, head, why);
		return;
	}
	int n = snprintf(body, sizeof body, "%d %s: %s\n", status, request_status_text(status),
			 why);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof body ? (size_t)n : sizeof body - 1;

	answer_respond(c, status, head, NULL, (struct span){body, len});
}

void answer_note(struct conn *c, enum log_level level, enum log_kind kind, const struct request *r,
		 int status, const char *why, struct span error)
{
	static const struct request none;
	char remote[ADDRESS_TEXT];
	r = r != NULL ? r : &none;
	LOG(c->conns->loop->log, level, kind, why, LOG_U64("status", (uint64_t)status),
	    LOG_STR("remote", conn_remote_text(c, remote)), LOG_SPAN("method", r->method),
	    LOG_SPAN("path", r->path), LOG_SPAN("host", r->host),
	    LOG_SPAN("forwarded_host", r->forwarded_host.n > 0 ? r->forwarded_host : none.host),
	    LOG_SPAN("origin", request_header(r, "Origin")), LOG_SPAN("error", error));
}

/* What a client of tova.v1 is told instead of a status (ws/tova_v1.h); false: that is told. */
static bool answer_v1(struct conn *c, const struct request *r, int status, struct span head,
		      const char *why)
{
	char text[TOVA_V1_MAX];
	const char *retry = head.n > 0 ? memmem(head.p, head.n, "Retry-After: ", 13) : NULL;
	unsigned code = tova_v1_close_code(status);
	uint64_t seconds = retry != NULL ? strtoull(retry + 13, NULL, 10) : 0;
	if (code == 0)
		return false;
	size_t n = tova_v1_refused(text, status, seconds * 1000);
	answer_websocket(c, r, SPAN(TOVA_V1_NAME), (struct span){text, n}, (uint16_t)code,
			 span_of(why));
	return true;
}

void answer_error_upgrade(struct conn *c, const struct request *r, bool v1, int status,
			  struct span head, const char *why)
{
	if (!v1 || r == NULL || !answer_v1(c, r, status, head, why))
		answer_error(c, status, head, why);
}

void answer_refuse(struct conn *c, enum log_kind kind, const struct request *r, int status,
		   struct span head, const char *why)
{
	answer_note(c, LOG_INFO, kind, r, status, why, (struct span){NULL, 0});
	answer_error(c, status, head, why);
}

/* NULL without memory. */
static struct answer_rest *answer_rest_new(struct conn *c, const struct answer_rest *what)
{
	struct answer_rest *rest = conn_more(c) != NULL ? malloc(sizeof *rest) : NULL;
	if (rest != NULL)
		*rest = *what;
	CHECK(rest == NULL || c->more->rest == NULL);
	if (rest != NULL)
		c->more->rest = rest;
	return rest;
}

void answer_file(struct conn *c, struct span head, const char *type, int fd, uint64_t size)
{
	if (!conn_answering(c)) {
		close(fd);
		return;
	}
	bool wanted = !c->head_only && size > 0;
	const struct answer_rest what = {.fd = fd, .left = size};
	bool has = wanted && answer_rest_new(c, &what) != NULL;
	if (!has)
		close(fd);
	if (wanted != has || !answer_queue(c, 200, head, type, size, (struct span){0}))
		conn_abort(c);
}

void answer_source(struct conn *c, const struct request *r, int status, struct span head,
		   const char *type, const struct answer_source *source)
{
	char about[ANSWER_BODY_LINES];
	const struct answer_rest what = {.fd = -1, .source = *source, .chunked = r->minor > 0};
	if (!conn_answering(c)) {
		source->free(source->ctx);
		return;
	}
	snprintf(about, sizeof about, "Content-Type: %s\r\n%s", type,
		 what.chunked ? "Transfer-Encoding: chunked\r\n" : "");
	bool has = !c->head_only && answer_rest_new(c, &what) != NULL;
	if (!has)
		source->free(source->ctx);
	if (c->head_only == has || !answer_queue_lines(c, status, head, about, (struct span){0}))
		conn_abort(c);
}

static void answer_pump_file(struct conn *c, struct answer_rest *f)
{
	size_t want = f->left < ANSWER_BLOCK ? (size_t)f->left : ANSWER_BLOCK;
	struct slice s = {.chunk = chunk_new(want)};
	ssize_t n = s.chunk != NULL ? pread(f->fd, s.chunk->bytes, want, (off_t)f->at) : -1;
	CHECK(f->left > 0);
	if (n > 0) {
		s.len = s.chunk->used = (uint32_t)n;
		f->at += (uint64_t)n;
		f->left -= (uint64_t)n;
	}
	/* before its last block is queued, which then leaves like any other output */
	if (n > 0 && f->left == 0)
		conn_drop_rest(c);
	if (n <= 0 || !conn_queue_raw(c, &s))
		conn_abort(c);
	slice_unref(&s);
}

/* A piece as a chunk, and the last one behind it (RFC 9112 7.1); or as it is, where the end of the
 * stream ends it. s_r->chunk NULL: no memory. */
static void answer_piece(struct slice *s_r, struct span piece, bool chunked, bool last)
{
	char size[24];
	size_t n = chunked && piece.n > 0 ? (size_t)snprintf(size, sizeof size, "%zx\r\n", piece.n)
					  : 0;
	struct span end = !chunked	 ? SPAN("")
			  : !last	 ? SPAN("\r\n")
			  : piece.n == 0 ? SPAN("0\r\n\r\n")
					 : SPAN("\r\n0\r\n\r\n");
	*s_r = (struct slice){.chunk = chunk_new(n + piece.n + end.n)};
	if (s_r->chunk == NULL)
		return;
	s_r->len = s_r->chunk->used = (uint32_t)(n + piece.n + end.n);
	memcpy(s_r->chunk->bytes, size, n);
	if (piece.n > 0)
		memcpy(s_r->chunk->bytes + n, piece.p, piece.n);
	memcpy(s_r->chunk->bytes + n + piece.n, end.p, end.n);
}

/* Returns false when that was all and nothing of it waits. */
static bool answer_pump_source(struct conn *c, struct answer_rest *rest)
{
	struct span piece = {NULL, 0};
	struct slice s = {.chunk = NULL};
	enum answer_next next = rest->source.next(rest->source.ctx, &piece);
	rest->quiet = next == ANSWER_QUIET;
	bool last = next == ANSWER_END, broken = next == ANSWER_BROKEN,
	     empty = piece.n == 0 && !(last && rest->chunked);
	if (!broken && !empty)
		answer_piece(&s, piece, rest->chunked, last);
	if (last)
		conn_drop_rest(c);
	if (broken || (!empty && (s.chunk == NULL || !conn_queue_raw(c, &s))))
		conn_abort(c);
	slice_unref(&s);
	return !last || !empty;
}

void answer_resume(struct conn *c)
{
	CHECK(conn_has_rest(c) && c->more->rest->fd < 0);
	if (c->more->rest->quiet && c->state != CONN_DEAD)
		conn_mark_dirty(c);
	c->more->rest->quiet = false;
}

bool answer_pump(struct conn *c)
{
	struct answer_rest *rest = c->more != NULL ? c->more->rest : NULL;
	if (rest == NULL)
		return false;
	if (rest->fd < 0)
		return answer_pump_source(c, rest);
	answer_pump_file(c, rest);
	return true;
}
