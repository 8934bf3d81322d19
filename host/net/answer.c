#include "net/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BLOCK 65536 /* bytes of a file read at once */

struct answer_file {
	int fd;
	uint64_t left, at;
};

static size_t answer_date(char *dst, size_t cap)
{
	time_t now = time(NULL);
	struct tm tm;
	return strftime(dst, cap, "%a, %d %b %Y %H:%M:%S GMT",
			gmtime_r(&now, &tm)); /* RFC 9110 5.6.7; the locale is C */
}

/* The whole head, however long those lines are; NULL without memory. */
static char *answer_head(const struct conn *c, int status, struct span lines, const char *type,
			 uint64_t length)
{
	char date[40], *head, body[256] = "";
	answer_date(date, sizeof date);
	if (status != 304) /* which has no body and tells no length (RFC 9110 15.4.5) */
		snprintf(body, sizeof body, "Content-Type: %s\r\nContent-Length: %llu\r\n", type,
			 (unsigned long long)length);
	int n = asprintf(
		&head,
		"HTTP/1.1 %d %s\r\nDate: %s\r\nServer: tova-host\r\nX-Content-Type-Options: nosniff\r\n"
		"%.*s%sConnection: %s\r\n\r\n",
		status, request_status_text(status), date, (int)lines.n, lines.n > 0 ? lines.p : "",
		body, c->keep_alive ? "keep-alive" : "close");
	return n < 0 ? NULL : head;
}

/* Queues the head, and the body behind it. */
static bool answer_queue(struct conn *c, int status, struct span lines, const char *type,
			 uint64_t length, struct span body)
{
	struct slice s;
	char *head = answer_head(c, status, lines, type, length);
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

void answer_refuse(struct conn *c, enum log_kind kind, const struct request *r, int status,
		   struct span head, const char *why)
{
	answer_note(c, LOG_INFO, kind, r, status, why, (struct span){NULL, 0});
	answer_error(c, status, head, why);
}

void answer_file(struct conn *c, struct span head, const char *type, int fd, uint64_t size)
{
	if (!conn_answering(c)) {
		close(fd);
		return;
	}
	bool wanted = !c->head_only && size > 0;
	struct answer_file *f = wanted && conn_more(c) != NULL ? malloc(sizeof *f) : NULL;
	if (f != NULL) {
		*f = (struct answer_file){.fd = fd, .left = size};
		c->more->file = f;
	} else {
		close(fd);
	}
	if ((f == NULL && wanted) || !answer_queue(c, 200, head, type, size, (struct span){0}))
		conn_abort(c);
}

void answer_drop(struct conn *c)
{
	struct answer_file *f = c->more != NULL ? c->more->file : NULL;
	if (f == NULL)
		return;
	close(f->fd);
	free(f);
	c->more->file = NULL;
	conn_less(c);
}

bool answer_pump(struct conn *c)
{
	struct answer_file *f = c->more != NULL ? c->more->file : NULL;
	if (f == NULL)
		return false;
	size_t want = f->left < ANSWER_BLOCK ? (size_t)f->left : ANSWER_BLOCK;
	struct slice s = {.chunk = chunk_new(want)};
	ssize_t n = s.chunk != NULL ? pread(f->fd, s.chunk->bytes, want, (off_t)f->at) : -1;
	if (n > 0) {
		s.len = s.chunk->used = (uint32_t)n;
		f->at += (uint64_t)n;
		f->left -= (uint64_t)n;
	}
	/* before its last block is queued, which then leaves like any other output */
	if (n > 0 && f->left == 0)
		answer_drop(c);
	if (n <= 0 || !conn_queue_raw(c, &s))
		conn_abort(c);
	slice_unref(&s);
	return true;
}
