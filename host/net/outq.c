#include "net/outq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ws/frame.h"

#define OUTQ_IOV 64
#define OUTQ_VECTOR_MIN 16	  /* slices of a new array */
#define OUTQ_SPARE_MAX (1u << 20) /* bytes of arrays kept */
#define OUTQ_OWN_MIN 1024	  /* first chunk of a stalled queue's own */
#define OUTQ_OWN_MAX 65536	  /* and the largest */

struct outq_urgent {
	uint8_t len;
	uint8_t frame[FRAME_SERVER_HEAD_MAX + FRAME_CONTROL_MAX];
};

static struct slice *outq_at(struct outq *q, uint32_t i)
{
	return q->v == NULL ? &q->one : &q->v[q->head + i];
}

/* The array of a queue that needs one for a moment only, as most do that get from several rooms in one turn, comes from those
 * that others have given back. A spare one begins with this. */
struct outq_vector {
	struct outq_vector *next;
	uint32_t cap;
};

static bool outq_take_vector(struct outq *q)
{
	struct outq_vector *spare = q->spare != NULL ? q->spare->first : NULL;
	if (spare != NULL) {
		q->spare->first = spare->next;
		q->spare->bytes -= spare->cap * sizeof *q->v;
		q->cap = spare->cap;
		q->v = (struct slice *)spare;
	} else {
		q->v = malloc(OUTQ_VECTOR_MIN * sizeof *q->v);
		q->cap = q->v != NULL ? OUTQ_VECTOR_MIN : 0;
	}
	q->head = 0;
	return q->v != NULL;
}

static void outq_give_vector(struct outq *q)
{
	struct outq_vector *spare = (struct outq_vector *)q->v;
	if (q->spare != NULL && q->spare->bytes + q->cap * sizeof *q->v <= OUTQ_SPARE_MAX) {
		spare->cap = q->cap;
		spare->next = q->spare->first;
		q->spare->first = spare;
		q->spare->bytes += spare->cap * sizeof *q->v;
	} else {
		free(spare);
	}
	q->v = NULL;
	q->head = q->cap = 0;
}

void outq_spare_free(struct outq_spare *spare)
{
	struct outq_vector *v;
	while ((v = spare->first) != NULL) {
		spare->first = v->next;
		free(v);
	}
	spare->bytes = 0;
}

static bool outq_make_room(struct outq *q)
{
	if (q->v == NULL) {
		if (q->n == 0)
			return true;
		if (!outq_take_vector(q))
			return false;
		q->v[0] = q->one;
		return true;
	}
	if (q->head + q->n < q->cap)
		return true;
	if (q->head > q->cap / 2) {
		memmove(q->v, q->v + q->head, q->n * sizeof *q->v);
		q->head = 0;
		return true;
	}
	struct slice *v = realloc(q->v, 2 * q->cap * sizeof *v);
	if (v == NULL)
		return false;
	q->v = v;
	q->cap *= 2;
	return true;
}

/* Takes over the slice's reference. */
static bool outq_push(struct outq *q, struct slice s)
{
	if (!outq_make_room(q))
		return false;
	*(q->v == NULL ? &q->one : &q->v[q->head + q->n]) = s;
	q->n++;
	return true;
}

static void outq_pop(struct outq *q)
{
	slice_unref(outq_at(q, 0));
	q->n--;
	if (q->v == NULL)
		return;
	q->head++;
	if (q->n == 0)
		outq_give_vector(q);
}

/* Only chunks of the shared pool are worth copying out of. */
static bool outq_is_small(const struct slice *s)
{
	return s->chunk->pool != NULL;
}

/* Is it the end of a chunk of the queue's own, with room behind it? */
static bool outq_has_room(const struct slice *last, uint32_t len)
{
	const struct chunk *c = last->chunk;
	return c->pool == NULL && c->refs == 1 && last->off + last->len == c->used && c->size - c->used >= len;
}

/* Own chunks double, so that a queue that goes on growing allocates rarely and a short one little. */
static size_t outq_own_size(const struct slice *last, uint32_t len)
{
	size_t size = last != NULL && last->chunk->pool == NULL ? (size_t)last->chunk->size * 2 : OUTQ_OWN_MIN;
	size = size > OUTQ_OWN_MAX ? OUTQ_OWN_MAX : size;
	return size > len ? size : len;
}

static struct slice outq_copy(struct chunk *c, const uint8_t *p, uint32_t len)
{
	struct slice s = {.chunk = c, .off = c->used, .len = len};
	memcpy(c->bytes + c->used, p, len);
	c->used += len;
	return s;
}

/* The queue is stalled: small slices are copied at once. */
static bool outq_append_copy(struct outq *q, const struct slice *s)
{
	struct slice *last = q->n > 0 ? outq_at(q, q->n - 1) : NULL;
	if (last != NULL && outq_has_room(last, s->len)) {
		outq_copy(last->chunk, slice_bytes(s), s->len);
		last->len += s->len;
		return true;
	}
	struct chunk *c = chunk_new(outq_own_size(last, s->len));
	if (c == NULL)
		return false;
	if (!outq_push(q, outq_copy(c, slice_bytes(s), s->len))) {
		chunk_unref(c);
		return false;
	}
	return true;
}

bool outq_append(struct outq *q, const struct slice *s)
{
	if (q->stalled && outq_is_small(s)) {
		if (!outq_append_copy(q, s))
			return false;
	} else {
		struct slice *last = q->n > 0 ? outq_at(q, q->n - 1) : NULL;
		if (last != NULL && last->chunk == s->chunk && last->off + last->len == s->off) {
			last->len += s->len;
		} else {
			if (!outq_push(q, *s))
				return false;
			chunk_ref(s->chunk);
		}
	}
	q->bytes += s->len;
	return true;
}

bool outq_append_raw(struct outq *q, const struct slice *s)
{
	if (!outq_append(q, s))
		return false;
	q->begun = q->bytes;
	return true;
}

bool outq_urgent(struct outq *q, const uint8_t *frame, size_t len)
{
	if (q->urgent == NULL) {
		q->urgent = malloc(sizeof *q->urgent);
		if (q->urgent == NULL)
			return false;
		q->urgent->len = 0;
	}
	q->bytes += (uint32_t)len - q->urgent->len;
	memcpy(q->urgent->frame, frame, len);
	q->urgent->len = (uint8_t)len;
	return true;
}

/* The socket is full: copies small slices into chunks of the queue's own, in place. Without memory a slice stays shared, which
 * costs more and is as correct. */
static void outq_stall(struct outq *q)
{
	uint32_t kept = 0;
	q->stalled = true;
	for (uint32_t i = 0; i < q->n; i++) {
		struct slice s = *outq_at(q, i);
		struct slice *last = kept > 0 ? outq_at(q, kept - 1) : NULL;
		if (outq_is_small(&s)) {
			struct chunk *c =
				last != NULL && outq_has_room(last, s.len) ? last->chunk : chunk_new(outq_own_size(last, s.len));
			if (c != NULL) {
				struct slice copy = outq_copy(c, slice_bytes(&s), s.len);
				slice_unref(&s);
				if (last != NULL && last->chunk == c) {
					last->len += copy.len;
					continue;
				}
				s = copy;
			}
		}
		*outq_at(q, kept++) = s;
	}
	q->n = kept;
}

/* Drops `sent` bytes from the front; what remains of a frame that was begun is counted. */
static void outq_advance(struct outq *q, size_t sent)
{
	q->bytes -= (uint32_t)sent;
	while (sent > 0) {
		struct slice *s = outq_at(q, 0);
		uint32_t step = sent < s->len ? (uint32_t)sent : s->len;
		uint32_t at = q->begun; /* walks to the frame boundary at or behind step */
		while (at < step)
			at += (uint32_t)frame_size(slice_bytes(s) + at, s->len - at);
		q->begun = at - step;
		s->off += step;
		s->len -= step;
		sent -= step;
		if (s->len == 0)
			outq_pop(q);
	}
}

/* A frame that was begun and is done lets the urgent one in: it becomes the first slice. */
static bool outq_let_in(struct outq *q)
{
	if (q->urgent == NULL || q->begun > 0)
		return true;
	struct chunk *c = chunk_new(q->urgent->len);
	if (c == NULL)
		return false;
	memcpy(c->bytes, q->urgent->frame, q->urgent->len);
	c->used = q->urgent->len;
	if (!outq_push(q, (struct slice){.chunk = c, .len = c->used})) {
		chunk_unref(c);
		return false;
	}
	struct slice urgent = *outq_at(q, q->n - 1);
	for (uint32_t i = q->n - 1; i > 0; i--)
		*outq_at(q, i) = *outq_at(q, i - 1);
	*outq_at(q, 0) = urgent;
	q->begun = c->used;
	free(q->urgent);
	q->urgent = NULL;
	return true;
}

/* One system call. While an urgent frame waits behind one that was begun, only the latter's rest is written. */
static ssize_t outq_write(struct outq *q, int fd)
{
	if (q->n == 1 && q->urgent == NULL)
		return send(fd, slice_bytes(outq_at(q, 0)), outq_at(q, 0)->len, MSG_NOSIGNAL);
	struct iovec iov[OUTQ_IOV];
	size_t limit = q->urgent != NULL ? q->begun : SIZE_MAX, n = 0;
	for (uint32_t i = 0; i < q->n && n < OUTQ_IOV && limit > 0; i++, n++) {
		struct slice *s = outq_at(q, i);
		iov[n] = (struct iovec){.iov_base = slice_bytes(s), .iov_len = s->len < limit ? s->len : limit};
		limit -= iov[n].iov_len;
	}
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = n};
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

enum outq_status outq_flush(struct outq *q, int fd, uint64_t *sent_r)
{
	while (q->bytes > 0) {
		if (!outq_let_in(q)) {
			errno = ENOMEM;
			return OUTQ_BROKEN;
		}
		ssize_t n = outq_write(q, fd);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				return OUTQ_BROKEN;
			if (!q->stalled)
				outq_stall(q);
			return OUTQ_STALLED;
		}
		*sent_r += (uint64_t)n;
		if (q->n == 1 && (uint32_t)n == outq_at(q, 0)->len && q->urgent == NULL) { /* the usual case: everything left */
			outq_pop(q);
			q->bytes = q->begun = 0;
		} else {
			outq_advance(q, (size_t)n);
		}
	}
	q->stalled = false;
	return OUTQ_EMPTY;
}

void outq_cut(struct outq *q)
{
	uint32_t keep = q->begun, kept = 0;
	for (uint32_t i = 0; i < q->n; i++) {
		struct slice *s = outq_at(q, i);
		if (s->len > keep) { /* the rest of what was begun lies in one slice, or is exactly some raw ones */
			s->len = keep;
			if (keep == 0) {
				slice_unref(s);
				continue;
			}
		}
		keep -= s->len;
		kept = i + 1;
	}
	q->n = kept;
	if (q->n == 0 && q->v != NULL)
		outq_give_vector(q);
	free(q->urgent);
	q->urgent = NULL;
	q->bytes = q->begun;
}

void outq_clear(struct outq *q)
{
	while (q->n > 0)
		outq_pop(q);
	free(q->urgent);
	*q = (struct outq){.spare = q->spare};
}
