#include "net/outq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "ws/frame.h"

#define OUTQ_IOV 64
#define OUTQ_LIST_MIN 16	  /* slices of a new list */
#define OUTQ_SPARE_MAX (1u << 20) /* bytes of lists kept */
#define OUTQ_OWN_MIN 1024	  /* smallest chunk of a stalled queue's own */
#define OUTQ_OWN_MAX 65536	  /* and the largest */

struct outq_urgent {
	uint8_t len;
	uint8_t frame[FRAME_SERVER_HEAD_MAX + FRAME_CONTROL_MAX];
};

static struct slice *outq_last(struct outq *q)
{
	uint32_t n = outq_n(q);
	return n > 0 ? outq_at(q, n - 1) : NULL;
}

static size_t outq_list_size(uint32_t cap)
{
	return sizeof(struct outq_list) + cap * sizeof(struct slice);
}

static bool outq_take_list(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = spare != NULL ? spare->first : NULL;
	if (list != NULL) {
		spare->first = list->next;
		spare->bytes -= outq_list_size(list->cap);
	} else if ((list = malloc(outq_list_size(OUTQ_LIST_MIN))) != NULL) {
		list->cap = OUTQ_LIST_MIN;
	} else {
		return false;
	}
	list->urgent = NULL;
	list->backlog = NULL;
	list->head = 0;
	list->n = q->one.chunk != NULL;
	list->v[0] = q->one;
	q->one.chunk = NULL;
	q->list = list;
	return true;
}

static void outq_give_list(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = q->list;
	if (spare != NULL && spare->bytes + outq_list_size(list->cap) <= OUTQ_SPARE_MAX) {
		list->next = spare->first;
		spare->first = list;
		spare->bytes += outq_list_size(list->cap);
	} else {
		free(list);
	}
	q->list = NULL;
}

/* A list that holds nothing any more. */
static void outq_give_back(struct outq *q, struct outq_spare *spare)
{
	if (q->list->n == 0 && q->list->urgent == NULL && q->list->backlog == NULL)
		outq_give_list(q, spare);
}

void outq_spare_free(struct outq_spare *spare)
{
	struct outq_list *list;
	while ((list = spare->first) != NULL) {
		spare->first = list->next;
		free(list);
	}
	spare->bytes = 0;
}

/* For one slice more. */
static bool outq_make_room(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = q->list;
	if (list == NULL)
		return q->one.chunk == NULL || outq_take_list(q, spare);
	if (list->head + list->n < list->cap)
		return true;
	if (list->head > list->cap / 2) {
		memmove(list->v, list->v + list->head, list->n * sizeof *list->v);
		list->head = 0;
		return true;
	}
	list = realloc(list, outq_list_size(2 * list->cap));
	if (list == NULL)
		return false;
	list->cap *= 2;
	q->list = list;
	return true;
}

/* Takes over the slice's reference. */
static bool outq_push(struct outq *q, struct slice s, struct outq_spare *spare)
{
	if (!outq_make_room(q, spare))
		return false;
	if (q->list == NULL)
		q->one = s;
	else
		q->list->v[q->list->head + q->list->n++] = s;
	return true;
}

static void outq_end_backlog(struct outq *q)
{
	backlog_free(q->list->backlog);
	q->list->backlog = NULL;
}

static void outq_pop(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = q->list;
	if (outq_backlog(q) != NULL) {
		backlog_pop(list->backlog);
		if (list->backlog->n == 0)
			outq_end_backlog(q);
		outq_give_back(q, spare);
		return;
	}
	slice_unref(outq_at(q, 0));
	if (list == NULL)
		return;
	list->head++;
	list->n--;
	outq_give_back(q, spare);
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

static void outq_account(struct chunk *c, struct outq_spare *spare)
{
	if (spare != NULL)
		chunk_account(c, &spare->account.held);
}

/* As large as what waits, so that a queue that goes on growing allocates rarely and a short one little. */
static struct chunk *outq_own_chunk(const struct outq *q, uint32_t len, struct outq_spare *spare)
{
	size_t size = q->bytes < OUTQ_OWN_MIN ? OUTQ_OWN_MIN : q->bytes > OUTQ_OWN_MAX ? OUTQ_OWN_MAX : q->bytes;
	struct chunk *c = chunk_new(size > len ? size : len);
	if (c != NULL)
		outq_account(c, spare);
	return c;
}

static struct slice outq_copy(struct chunk *c, const uint8_t *p, uint32_t len)
{
	struct slice s = {.chunk = c, .off = c->used, .len = len};
	memcpy(c->bytes + c->used, p, len);
	c->used += len;
	return s;
}

/* The queue is stalled: small slices are copied at once. */
static bool outq_append_copy(struct outq *q, const struct slice *s, struct outq_spare *spare)
{
	struct slice *last = outq_last(q);
	if (last != NULL && outq_has_room(last, s->len)) {
		if (!chunk_copy_notes(s, last->chunk, last->chunk->used))
			return false;
		outq_copy(last->chunk, slice_bytes(s), s->len);
		last->len += s->len;
		return true;
	}
	struct chunk *c = outq_own_chunk(q, s->len, spare);
	if (c == NULL)
		return false;
	if (!chunk_copy_notes(s, c, 0) || !outq_push(q, outq_copy(c, slice_bytes(s), s->len), spare)) {
		chunk_unref(c);
		return false;
	}
	return true;
}

static bool outq_append_backlog(struct outq *q, const struct slice *frame)
{
	struct backlog *b = q->list->backlog;
	uint32_t before = b->bytes;
	if (!backlog_append(b, frame, q->begun > 0))
		return false;
	q->bytes += b->bytes - before; /* it may have taken the place of a larger one */
	return true;
}

bool outq_append(struct outq *q, const struct slice *s, struct outq_spare *spare)
{
	if (outq_take(q, s))
		return true;
	if (outq_backlog(q) != NULL)
		return outq_append_backlog(q, s);
	struct slice *last = outq_last(q);
	if (q->stalled && !outq_is_small(s))
		outq_account(s->chunk, spare);
	if (q->stalled && outq_is_small(s)) {
		if (!outq_append_copy(q, s, spare))
			return false;
	} else if (last != NULL && last->chunk == s->chunk && last->off + last->len == s->off) {
		last->len += s->len;
	} else {
		if (!outq_push(q, *s, spare))
			return false;
		chunk_ref(s->chunk);
	}
	q->bytes += s->len;
	return true;
}

bool outq_append_raw(struct outq *q, const struct slice *s, struct outq_spare *spare)
{
	if (!outq_append(q, s, spare))
		return false;
	q->begun = q->bytes & OUTQ_FRAME_MAX;
	return true;
}

bool outq_has_urgent(const struct outq *q)
{
	return q->list != NULL && q->list->urgent != NULL;
}

bool outq_urgent(struct outq *q, const uint8_t *frame, size_t len, struct outq_spare *spare)
{
	if (q->list == NULL && !outq_take_list(q, spare))
		return false;
	struct outq_list *list = q->list;
	if (list->urgent == NULL) {
		list->urgent = malloc(sizeof *list->urgent);
		if (list->urgent == NULL) {
			outq_give_back(q, spare);
			return false;
		}
		list->urgent->len = 0;
	}
	q->bytes += (uint32_t)len - list->urgent->len;
	memcpy(list->urgent->frame, frame, len);
	list->urgent->len = (uint8_t)len;
	return true;
}

/* The socket is full: copies small slices into chunks of the queue's own, in place. Without memory a slice stays shared, which
 * costs more and is as correct. */
static void outq_stall(struct outq *q, struct outq_spare *spare)
{
	uint32_t kept = 0;
	q->stalled = true;
	for (uint32_t i = 0, n = outq_n(q); i < n; i++) {
		struct slice s = *outq_at(q, i);
		struct slice *last = kept > 0 ? outq_at(q, kept - 1) : NULL;
		if (outq_is_small(&s)) {
			bool fits = last != NULL && outq_has_room(last, s.len);
			struct chunk *c = fits ? last->chunk : outq_own_chunk(q, s.len, spare);
			if (c != NULL && !chunk_copy_notes(&s, c, c->used)) {
				if (!fits)
					chunk_unref(c);
				c = NULL;
			}
			if (c != NULL) {
				struct slice copy = outq_copy(c, slice_bytes(&s), s.len);
				slice_unref(&s);
				if (last != NULL && last->chunk == c) {
					last->len += copy.len;
					continue;
				}
				s = copy;
			}
		} else {
			outq_account(s.chunk, spare);
		}
		*outq_at(q, kept++) = s;
	}
	if (q->list != NULL)
		q->list->n = kept;
}

/* Drops `sent` bytes from the front; what remains of a frame that was begun is counted. */
static void outq_advance(struct outq *q, size_t sent, struct outq_spare *spare)
{
	q->bytes -= (uint32_t)sent;
	while (sent > 0) {
		struct slice *s = outq_at(q, 0);
		uint32_t step = sent < s->len ? (uint32_t)sent : s->len;
		uint32_t at = q->begun; /* walks to the frame boundary at or behind step */
		while (at < step)
			at += (uint32_t)frame_size(slice_bytes(s) + at, s->len - at);
		q->begun = (at - step) & OUTQ_FRAME_MAX;
		if (outq_backlog(q) != NULL) {
			backlog_sent(q->list->backlog, step);
		} else {
			s->off += step;
			s->len -= step;
		}
		sent -= step;
		if (s->len == 0)
			outq_pop(q, spare);
	}
}

/* A frame that was begun and is done lets the urgent one in: it becomes the first slice. */
static bool outq_let_in(struct outq *q)
{
	struct outq_urgent *urgent = outq_has_urgent(q) ? q->list->urgent : NULL;
	if (urgent == NULL || q->begun > 0)
		return true;
	struct chunk *c = chunk_new(urgent->len);
	if (c == NULL)
		return false;
	struct slice first = outq_copy(c, urgent->frame, urgent->len);
	bool backlog = outq_backlog(q) != NULL;
	/* There is a list: nothing is taken from the spare ones. */
	if (backlog ? !backlog_push_front(q->list->backlog, first) : !outq_push(q, first, NULL)) {
		chunk_unref(c);
		return false;
	}
	struct outq_list *list = q->list;
	struct slice *v = &list->v[list->head];
	if (!backlog) {
		memmove(v + 1, v, (list->n - 1) * sizeof *v);
		v[0] = first;
	}
	q->begun = first.len & OUTQ_FRAME_MAX;
	free(urgent);
	list->urgent = NULL;
	return true;
}

/* One system call. While an urgent frame waits behind one that was begun, only the latter's rest is written. */
static ssize_t outq_write(struct outq *q, int fd, struct tls *tls, uint64_t *sent_r)
{
	uint32_t slices = outq_n(q);
	bool urgent = outq_has_urgent(q);
	if (slices == 1 && !urgent && tls == NULL)
		return send(fd, slice_bytes(outq_at(q, 0)), outq_at(q, 0)->len, MSG_NOSIGNAL);
	struct iovec iov[OUTQ_IOV];
	size_t limit = urgent ? q->begun : SIZE_MAX, n = 0;
	for (uint32_t i = 0; i < slices && n < OUTQ_IOV && limit > 0; i++) {
		struct slice *s = outq_at(q, i);
		if (s->chunk == NULL)
			continue;
		iov[n] = (struct iovec){.iov_base = slice_bytes(s), .iov_len = s->len < limit ? s->len : limit};
		limit -= iov[n++].iov_len;
	}
	if (tls != NULL)
		return tls_write(tls, fd, iov, (int)n, sent_r);
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = n};
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

const struct slice *outq_only(const struct outq *q)
{
	return q->list == NULL && q->one.chunk != NULL ? &q->one : NULL;
}

void outq_wrote(struct outq *q, size_t sent, struct outq_spare *spare)
{
	if (sent == q->bytes && q->list == NULL) { /* the usual case: everything left */
		slice_unref(&q->one);
		q->bytes = q->begun = 0;
	} else {
		outq_advance(q, sent, spare);
	}
}

void outq_full(struct outq *q, struct outq_spare *spare)
{
	if (!q->stalled)
		outq_stall(q, spare);
}

enum outq_status outq_flush(struct outq *q, int fd, struct tls *tls, struct outq_spare *spare, uint64_t *sent_r)
{
	while (q->bytes > 0 || (tls != NULL && tls_waits(tls))) {
		if (!outq_let_in(q)) {
			errno = ENOMEM;
			return OUTQ_BROKEN;
		}
		ssize_t n = outq_write(q, fd, tls, sent_r);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				return OUTQ_BROKEN;
			outq_full(q, spare);
			return OUTQ_STALLED;
		}
		if (n > 0)
			outq_wrote(q, (size_t)n, spare);
		if (tls == NULL) {
			*sent_r += (uint64_t)n;
		} else if (tls_waits(tls)) { /* TLS has taken what the socket does not take: no need to ask it again */
			outq_full(q, spare);
			return OUTQ_STALLED;
		}
	}
	if (outq_backlog(q) != NULL) { /* all of it was given up, and what it was for came to nothing */
		outq_end_backlog(q);
		outq_give_back(q, spare);
	}
	q->stalled = false;
	return OUTQ_EMPTY;
}

static void outq_drop_urgent(struct outq *q)
{
	if (!outq_has_urgent(q))
		return;
	q->bytes -= q->list->urgent->len;
	free(q->list->urgent);
	q->list->urgent = NULL;
}

/* What is left of a message is not to keep a chunk of many, nor a large message that others have got. */
static void outq_shrink(struct outq *q, struct outq_spare *spare)
{
	for (uint32_t i = 0, n = outq_n(q); i < n; i++) {
		struct slice *s = outq_at(q, i);
		struct chunk *c = s->chunk != NULL && !outq_is_small(s) && s->chunk->size / 2 > s->len ? chunk_new(s->len) : NULL;
		if (c == NULL)
			continue;
		outq_account(c, spare);
		struct slice copy = outq_copy(c, slice_bytes(s), s->len);
		slice_unref(s);
		*s = copy;
	}
}

static void outq_cut_list(struct outq *q, struct outq_spare *spare)
{
	uint32_t keep = q->begun, kept = 0;
	for (uint32_t i = 0, n = outq_n(q); i < n; i++) {
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
	if (q->list != NULL) {
		q->list->n = kept;
		outq_give_back(q, spare);
	}
}

void outq_cut(struct outq *q, struct outq_spare *spare)
{
	outq_drop_urgent(q);
	if (outq_backlog(q) != NULL) {
		backlog_cut(q->list->backlog, q->begun);
		if (q->list->backlog->n == 0)
			outq_end_backlog(q);
		outq_give_back(q, spare);
	} else {
		outq_cut_list(q, spare);
	}
	outq_shrink(q, spare);
	q->bytes = q->begun;
}

void outq_clear(struct outq *q, struct outq_spare *spare)
{
	outq_drop_urgent(q);
	if (outq_backlog(q) != NULL)
		outq_end_backlog(q);
	while (outq_n(q) > 0)
		outq_pop(q, spare);
	if (q->list != NULL)
		outq_give_list(q, spare);
	*q = (struct outq){.bytes = 0};
}

/* --- giving up ------------------------------------------------------------------------------------------------------------------- */

/* From here until it is empty the queue knows its messages one by one. */
static bool outq_begin_backlog(struct outq *q, struct outq_spare *spare)
{
	if (outq_backlog(q) != NULL)
		return true;
	if (q->list == NULL && !outq_take_list(q, spare))
		return false;
	struct outq_list *list = q->list;
	struct backlog *b = backlog_new(&spare->account);
	uint32_t begun = q->begun;
	for (uint32_t i = 0; i < list->n && b != NULL; i++) {
		const struct slice *s = &list->v[list->head + i];
		uint32_t here = begun < s->len ? begun : s->len;
		begun -= here;
		if (backlog_take(b, s, here))
			continue;
		backlog_free(b);
		b = NULL;
	}
	if (b == NULL)
		return false;
	for (uint32_t i = 0; i < list->n; i++)
		slice_unref(&list->v[list->head + i]);
	list->head = list->n = 0;
	list->backlog = b;
	return true;
}

/* Room for so much below max, or beside what is on its way? */
static bool outq_fits(const struct outq *q, uint32_t len, uint32_t max)
{
	const struct backlog *b = q->list->backlog;
	return b->live == (q->begun > 0) || outq_weight(q) + len <= max;
}

static void outq_drop_oldest(struct outq *q, uint32_t len, uint32_t max)
{
	struct backlog *b = q->list->backlog;
	const struct backlog_item *first = backlog_at(b, 0);
	uint32_t begun = q->begun > 0 ? first->s.len : 0;
	uint32_t kept = b->kept - (first->note == BACKLOG_KEEP ? begun : 0);
	/* Where it has no room even if all that can go does, the others stay. */
	if (kept == 0 || (uint64_t)kept + begun + len <= max)
		backlog_drop_oldest(b, len < max ? max - len : 0, begun > 0);
}

enum outq_room outq_make_way(struct outq *q, const struct slice *frame, uint32_t max, bool conflate, struct outq_spare *spare)
{
	uint32_t len = frame->len > BACKLOG_LEAST ? frame->len : BACKLOG_LEAST;
	if (!outq_begin_backlog(q, spare))
		return OUTQ_NO_MEMORY;
	struct backlog *b = q->list->backlog;
	uint32_t before = b->bytes;
	bool ok = true;
	if (conflate)
		ok = backlog_conflate(b, q->begun > 0);
	if (conflate && ok)
		backlog_supersede(b, frame, q->begun > 0);
	if (!conflate)
		outq_drop_oldest(q, len, max);
	q->bytes -= before - b->bytes;
	return !ok ? OUTQ_NO_MEMORY : outq_fits(q, len, max) ? OUTQ_ROOM : OUTQ_NO_ROOM;
}

bool outq_lighten(struct outq *q, struct outq_spare *spare)
{
	if (!outq_begin_backlog(q, spare))
		return false;
	struct backlog *b = q->list->backlog;
	uint32_t before = b->bytes;
	backlog_drop_oldest(b, backlog_weight(b) / 2, q->begun > 0);
	q->bytes -= before - b->bytes;
	return b->bytes < before;
}
