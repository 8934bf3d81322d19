#include "net/outq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/check.h"
#include "ws/frame.h"

#define OUTQ_IOV 64
#define OUTQ_LIST_MIN 16	  /* slices of a new list */
#define OUTQ_SPARE_MAX (1u << 20) /* bytes of lists kept */

struct outq_urgent {
	uint8_t len;
	uint8_t frame[FRAME_SERVER_HEAD_MAX + FRAME_CONTROL_MAX];
};

static struct slice *outq_last(struct outq *q)
{
	uint32_t n = outq_n(q);
	return n > 0 ? outq_at(q, n - 1) : NULL;
}

/* What is sent next; NULL: nothing is. */
static struct slice *outq_first(struct outq *q)
{
	struct outq_notes_run *run =
		outq_backlog(q) != NULL
			? outq_notes_run(q->list->outq_notes, q->list->outq_notes->first)
			: NULL;
	if (outq_backlog(q) != NULL)
		return run != NULL ? &run->s : NULL;
	return outq_n(q) > 0 ? outq_at(q, 0) : NULL;
}

/* What follows a slice, and will be the i-th. */
static struct slice *outq_next(struct outq *q, const struct slice *s, uint32_t i)
{
	struct outq_notes *b = outq_backlog(q);
	if (b == NULL)
		return i < outq_n(q) ? outq_at(q, i) : NULL;
	struct outq_notes_run *run = outq_notes_run(b, ((const struct outq_notes_run *)s)->next);
	return run != NULL ? &run->s : NULL;
}

static size_t outq_list_size(uint32_t cap)
{
	return sizeof(struct outq_list) + cap * sizeof(struct slice);
}

static bool outq_take_list(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = spare->first;
	if (list != NULL) {
		spare->first = list->next;
		CHECK(spare->bytes >= outq_list_size(list->cap));
		spare->bytes -= outq_list_size(list->cap);
	} else if ((list = malloc(outq_list_size(OUTQ_LIST_MIN))) != NULL) {
		list->cap = OUTQ_LIST_MIN;
	} else {
		return false;
	}
	list->urgent = NULL;
	list->outq_notes = NULL;
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
	CHECK(list->urgent == NULL && list->outq_notes == NULL);
	if (spare->bytes + outq_list_size(list->cap) <= OUTQ_SPARE_MAX) {
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
	if (q->list->n == 0 && q->list->urgent == NULL && q->list->outq_notes == NULL)
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

static void outq_end_backlog(struct outq *q, struct outq_spare *spare)
{
	outq_notes_free(&q->list->outq_notes);
	CHECK(spare->account.held >= outq_list_size(q->list->cap));
	spare->account.held -= outq_list_size(q->list->cap);
}

static void outq_pop(struct outq *q, struct outq_spare *spare)
{
	struct outq_list *list = q->list;
	slice_unref(outq_at(q, 0));
	if (list == NULL)
		return;
	CHECK(list->n > 0);
	list->head++;
	list->n--;
	outq_give_back(q, spare);
}

/* --- a socket that is full -------------------------------------------------------------------- */

static struct outq_notes *outq_new_backlog(const struct outq *q, struct outq_spare *spare)
{
	const struct outq_list *list = q->list;
	struct outq_notes *b = outq_notes_new(&spare->account);
	uint32_t begun = q->begun;
	for (uint32_t i = 0; i < list->n && b != NULL; i++) {
		const struct slice *s = &list->v[list->head + i];
		uint32_t here = begun < s->len ? begun : s->len;
		begun -= here;
		if (outq_notes_take(b, s, here))
			continue;
		outq_notes_free(&b);
	}
	return b;
}

/* False without memory: what waits stays where it is, which costs more and is as correct. */
static bool outq_begin_backlog(struct outq *q, struct outq_spare *spare)
{
	if (outq_backlog(q) != NULL)
		return true;
	if (q->list == NULL && !outq_take_list(q, spare))
		return false;
	struct outq_list *list = q->list;
	struct outq_notes *b = outq_new_backlog(q, spare);
	if (b == NULL) {
		outq_give_back(q, spare);
		return false;
	}
	for (uint32_t i = 0; i < list->n; i++)
		slice_unref(&list->v[list->head + i]);
	list->head = list->n = 0;
	list->outq_notes = b;
	spare->account.held += outq_list_size(list->cap);
	b->turn = spare->turn - 1;
	b->grace = outq_notes_weight(b) > spare->max ? outq_notes_weight(b) : 0;
	return true;
}

static bool outq_append_stalled(struct outq *q, const struct slice *s, bool raw,
				struct outq_spare *spare)
{
	if (!outq_begin_backlog(q, spare))
		return false;
	struct outq_notes *b = q->list->outq_notes;
	uint32_t before = b->bytes;
	bool ok = raw ? outq_notes_append_raw(b, s) : outq_notes_append(b, s, q->begun > 0);
	/* it may have taken the place of a larger one */
	if (ok)
		q->bytes += b->bytes - before;
	else if (b->live == 0)
		outq_end_backlog(q, spare), outq_give_back(q, spare);
	return ok;
}

static bool outq_append_any(struct outq *q, const struct slice *s, bool raw,
			    struct outq_spare *spare)
{
	if (outq_take(q, s))
		return true;
	if (q->stalled)
		return outq_append_stalled(q, s, raw, spare);
	struct slice *last = outq_last(q);
	if (last != NULL && last->chunk == s->chunk && last->off + last->len == s->off) {
		last->len += s->len;
	} else {
		if (!outq_push(q, *s, spare))
			return false;
		chunk_ref(s->chunk);
	}
	q->bytes += s->len;
	return true;
}

bool outq_append(struct outq *q, const struct slice *s, struct outq_spare *spare)
{
	return outq_append_any(q, s, false, spare);
}

bool outq_append_raw(struct outq *q, const struct slice *s, struct outq_spare *spare)
{
	if (!outq_append_any(q, s, true, spare))
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
	CHECK(len <= sizeof list->urgent->frame);
	q->bytes += (uint32_t)len - list->urgent->len;
	memcpy(list->urgent->frame, frame, len);
	list->urgent->len = (uint8_t)len;
	return true;
}

/* Of what was being sent so much is gone: a queue that is judged by less from now on. */
static void outq_ease(struct outq_notes *b, uint64_t weight)
{
	uint64_t now = outq_notes_weight(b), less = weight > now ? weight - now : 0,
		 before = b->before < less ? b->before : less;
	b->before -= before;
	b->grace -= b->grace < less - before ? b->grace : less - before;
	b->pardoned = b->pardoned && b->grace > 0;
}

static void outq_advance_backlog(struct outq *q, uint32_t step, uint32_t messages,
				 struct outq_spare *spare)
{
	struct outq_notes *b = q->list->outq_notes;
	uint64_t weight = outq_notes_weight(b);
	outq_notes_sent(b, step, messages);
	outq_ease(b, weight);
	if (b->live > 0)
		return;
	outq_end_backlog(q, spare);
	outq_give_back(q, spare);
}

/* Drops `sent` bytes from the front; what remains of a frame that was begun is counted. */
static void outq_advance(struct outq *q, size_t sent, struct outq_spare *spare)
{
	CHECK(sent <= q->bytes);
	q->bytes -= (uint32_t)sent;
	while (sent > 0) {
		struct slice *s = outq_first(q);
		uint32_t step = sent < s->len ? (uint32_t)sent : s->len;
		uint32_t at = q->begun,
			 /* walks to the frame boundary at or behind step */
			ended = at > 0 && at <= step;
		while (at < step) {
			at += (uint32_t)frame_size(slice_bytes(s) + at, s->len - at);
			ended += at <= step;
		}
		q->begun = (at - step) & OUTQ_FRAME_MAX;
		sent -= step;
		if (outq_backlog(q) != NULL) {
			outq_advance_backlog(q, step, ended, spare);
			continue;
		}
		s->off += step;
		s->len -= step;
		if (s->len == 0)
			outq_pop(q, spare);
	}
}

/* A frame that was begun and is done lets the urgent one in: it becomes the first slice. */
static bool outq_let_in(struct outq *q, struct outq_spare *spare)
{
	struct outq_urgent *urgent = outq_has_urgent(q) ? q->list->urgent : NULL;
	if (urgent == NULL || q->begun > 0)
		return true;
	struct chunk *c = chunk_new(urgent->len);
	if (c == NULL)
		return false;
	struct slice first = {.chunk = c, .len = urgent->len};
	memcpy(slice_bytes(&first), urgent->frame, first.len);
	c->used = first.len;
	bool outq_notes = outq_backlog(q) != NULL;
	if (outq_notes ? !outq_notes_push_front(q->list->outq_notes, first)
		       : !outq_push(q, first, spare)) {
		chunk_unref(&c);
		return false;
	}
	struct outq_list *list = q->list;
	struct slice *v = &list->v[list->head];
	if (!outq_notes) {
		memmove(v + 1, v, (list->n - 1) * sizeof *v);
		v[0] = first;
	}
	q->begun = first.len & OUTQ_FRAME_MAX;
	free(urgent);
	list->urgent = NULL;
	return true;
}

/* One system call. While an urgent frame waits behind one that was begun, only the latter's rest is
 * written. */
static ssize_t outq_write(struct outq *q, int fd, struct tls *tls, uint64_t *sent_r)
{
	if (q->list == NULL && q->one.chunk != NULL && tls == NULL)
		return send(fd, slice_bytes(&q->one), q->one.len, MSG_NOSIGNAL);
	bool urgent = outq_has_urgent(q);
	const struct slice *s = outq_first(q);
	struct iovec iov[OUTQ_IOV];
	size_t limit = urgent ? q->begun : SIZE_MAX, n = 0;
	for (uint32_t i = 0; s != NULL && n < OUTQ_IOV && limit > 0; s = outq_next(q, s, ++i)) {
		iov[n] = (struct iovec){.iov_base = slice_bytes(s),
					.iov_len = s->len < limit ? s->len : limit};
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
	if (q->stalled)
		return;
	q->stalled = true;
	/* without memory the next message tries again */
	if (q->bytes == 0 || !outq_begin_backlog(q, spare))
		return;
	struct outq_notes *b = q->list->outq_notes;
	b->turn = spare->turn;
	b->delivery = *spare->delivery; /* of which more may come on another loop than the hub's */
	b->given = outq_notes_weight(b);
}

enum outq_status outq_flush(struct outq *q, int fd, struct tls *tls, struct outq_spare *spare,
			    uint64_t *sent_r)
{
	while (q->bytes > 0 || (tls != NULL && tls_waits(tls))) {
		if (!outq_let_in(q, spare)) {
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
		} else if (tls_waits(tls)) { /* TLS has taken what the socket does not take: no need
						to ask it again */
			outq_full(q, spare);
			return OUTQ_STALLED;
		}
	}
	if (outq_backlog(q) != NULL) { /* all of it was given up, or only TLS has what waits */
		outq_end_backlog(q, spare);
		outq_give_back(q, spare);
	}
	q->stalled = false;
	return OUTQ_EMPTY;
}

static void outq_drop_urgent(struct outq *q)
{
	if (!outq_has_urgent(q))
		return;
	CHECK(q->bytes >= q->list->urgent->len);
	q->bytes -= q->list->urgent->len;
	free(q->list->urgent);
	q->list->urgent = NULL;
}

static void outq_cut_list(struct outq *q, struct outq_spare *spare)
{
	uint32_t keep = q->begun, kept = 0;
	for (uint32_t i = 0, n = outq_n(q); i < n; i++) {
		struct slice *s = outq_at(q, i);
		/* the rest of what was begun lies in one slice, or is exactly some raw ones */
		if (s->len > keep) {
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
		outq_notes_cut(q->list->outq_notes, q->begun);
		if (q->list->outq_notes->live == 0)
			outq_end_backlog(q, spare);
		outq_give_back(q, spare);
	} else {
		outq_cut_list(q, spare);
	}
	q->bytes = q->begun;
}

void outq_clear(struct outq *q, struct outq_spare *spare)
{
	outq_drop_urgent(q);
	if (outq_backlog(q) != NULL)
		outq_end_backlog(q, spare);
	while (outq_n(q) > 0)
		outq_pop(q, spare);
	if (q->list != NULL)
		outq_give_list(q, spare);
	*q = (struct outq){.bytes = 0};
}

/* --- the bound -------------------------------------------------------------------------------- */

static uint64_t outq_judged(const struct outq_notes *b)
{
	uint64_t weight = outq_notes_weight(b);
	return weight > b->grace ? weight - b->grace : 0;
}

/* The delivery does not count any more. */
static void outq_pardon(struct outq_notes *b, bool own)
{
	uint64_t weight = outq_notes_weight(b);
	if (b->grace == 0)
		b->before = weight > b->given ? weight - b->given : 0;
	b->grace += b->given;
	b->over = true;
	b->pardoned = b->pardoned || !own;
}

/* Of what waits nothing has had its chance, as the socket has just been found full. */
static void outq_pardon_all(struct outq_notes *b)
{
	b->before = 0;
	b->grace = outq_notes_weight(b);
	b->over = true;
}

bool outq_admits(struct outq *q, uint32_t len, bool own, struct outq_spare *spare)
{
	struct outq_notes *b = outq_backlog(q);
	if (b == NULL)
		return own || (uint64_t)q->bytes + len <= spare->max;
	if (b->delivery != *spare->delivery) {
		b->delivery = *spare->delivery;
		b->given = 0;
		b->over = false;
	}
	if (b->turn == spare->turn && outq_notes_weight(b) + len > spare->max) {
		outq_pardon_all(b);
		return true;
	}
	uint64_t judged = outq_judged(b);
	if (judged + len <= spare->max)
		return true;
	if (!own && b->given == 0 && judged > spare->max)
		return false;
	if (!b->over && (own || (!b->pardoned && b->given + len > spare->max)))
		outq_pardon(b, own);
	return true;
}

void outq_admitted(struct outq *q, uint64_t before)
{
	struct outq_notes *b = outq_backlog(q);
	if (b == NULL)
		return;
	uint64_t now = outq_notes_weight(b), more = now > before ? now - before : 1;
	b->given += more;
	b->grace += b->over ? more : 0;
}

uint64_t outq_memory(const struct outq *q)
{
	return outq_backlog(q) != NULL
		       ? outq_list_size(q->list->cap) + outq_notes_memory(outq_backlog(q))
		       : q->bytes;
}

uint64_t outq_most(const struct outq *q)
{
	return outq_backlog(q) != NULL
		       ? outq_list_size(q->list->cap) + outq_notes_most(outq_backlog(q))
		       : q->bytes;
}

/* --- giving up -------------------------------------------------------------------------------- */

/* Until what is left, but for answers that do not count, and the frame are no more than may wait.
 * Where it has no room even if all that can go does, the others stay. */
static void outq_drop_oldest(struct outq *q, uint32_t len, uint32_t max)
{
	struct outq_notes *b = q->list->outq_notes;
	uint32_t begun = q->begun,
		 answers =
			 b->kept -
			 (begun > 0 && outq_notes_run(b, b->first)->note == OUTQ_NOTES_KEEP ? begun
											    : 0);
	uint64_t stays = (uint64_t)answers + begun, large = answers + (begun > max ? begun : 0);
	uint64_t pardoned = b->grace < large ? b->grace : large, most = max + pardoned;
	b->grace = pardoned;
	b->pardoned = false;
	b->before = 0;
	if (answers == 0 || stays + len <= most)
		outq_notes_drop_oldest(b, len < most ? most - len : 0, q->begun);
}

enum outq_room outq_make_way(struct outq *q, const struct slice *frame, bool conflate,
			     struct outq_spare *spare)
{
	if (!outq_begin_backlog(q, spare))
		return OUTQ_NO_MEMORY;
	struct outq_notes *b = q->list->outq_notes;
	uint32_t before = b->bytes;
	b->gives_up = true;
	if (conflate) {
		outq_notes_conflate(b, q->begun);
		outq_notes_supersede(b, frame, q->begun > 0);
	} else {
		outq_drop_oldest(q, frame->len, spare->max);
	}
	q->bytes -= before - b->bytes;
	return b->bytes == q->begun || outq_judged(b) + frame->len <= spare->max ? OUTQ_ROOM
										 : OUTQ_NO_ROOM;
}

bool outq_lighten(struct outq *q)
{
	struct outq_notes *b = outq_backlog(q);
	if (b == NULL)
		return false;
	uint32_t before = b->bytes;
	b->gives_up = true;
	outq_notes_lighten(b, q->begun);
	q->bytes -= before - b->bytes;
	b->grace = b->before = 0;
	return b->bytes < before;
}
