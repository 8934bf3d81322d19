#include "net/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BLOCK 65536 /* bytes of a file read at once */
#define ANSWER_HEAD_MAX 4096

struct answer_file {
	int fd;
	uint64_t left, at;
};

static size_t answer_date(char *dst, size_t cap)
{
	time_t now = time(NULL);
	struct tm tm;
	return strftime(dst, cap, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm)); /* RFC 9110 5.6.7; the locale is C */
}

/* Queues the head, and the body behind it. */
static bool answer_queue(struct conn *c, int status, struct span head, const char *type, uint64_t length, struct span body)
{
	char text[ANSWER_HEAD_MAX], date[40];
	answer_date(date, sizeof date);
	int n = snprintf(text, sizeof text,
			 "HTTP/1.1 %d %s\r\nDate: %s\r\nServer: tova-host\r\nX-Content-Type-Options: nosniff\r\n%.*s", status,
			 request_status_text(status), date, (int)head.n, head.p != NULL ? head.p : "");
	if (n > 0 && (size_t)n < sizeof text && status != 304) /* a 304 has no body and tells no length (RFC 9110 15.4.5) */
		n += snprintf(text + n, sizeof text - (size_t)n, "Content-Type: %s\r\nContent-Length: %llu\r\n", type,
			      (unsigned long long)length);
	if (n > 0 && (size_t)n < sizeof text)
		n += snprintf(text + n, sizeof text - (size_t)n, "Connection: %s\r\n\r\n", c->keep_alive ? "keep-alive" : "close");
	struct slice s;
	if (n < 0 || (size_t)n >= sizeof text || !chunk_alloc(&c->conns->loop->chunks, (size_t)n + body.n, &s))
		return false;
	memcpy(slice_bytes(&s), text, (size_t)n);
	if (body.n > 0)
		memcpy(slice_bytes(&s) + n, body.p, body.n);
	bool ok = conn_queue_raw(c, &s);
	slice_unref(&s);
	return ok;
}

void answer_respond(struct conn *c, int status, struct span head, const char *type, struct span body)
{
	if (!conn_answering(c))
		return;
	const char *what = type != NULL ? type : "text/plain; charset=utf-8";
	if (!answer_queue(c, status, head, what, body.n, c->head_only || status == 304 ? (struct span){0} : body))
		conn_abort(c);
}

void answer_error(struct conn *c, int status, struct span head, const char *why)
{
	char body[512];
	int n = snprintf(body, sizeof body, "%d %s: %s\n", status, request_status_text(status), why);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof body ? (size_t)n : sizeof body - 1;

	answer_respond(c, status, head, NULL, (struct span){body, len});
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
	if (n > 0 && f->left == 0)
		answer_drop(c); /* before its last block is queued, which then leaves like any other output */
	if (n <= 0 || !conn_queue_raw(c, &s))
		conn_abort(c);
	slice_unref(&s);
	return true;
}
