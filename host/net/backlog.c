#include "net/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "ws/frame.h"

#define BACKLOG_MIN 64		 /* items of a new array */
#define BACKLOG_FRONT 4		 /* left free in front of the first, for control frames */
#define BACKLOG_CHUNK 65536	 /* of the backlog's own */
#define BACKLOG_INDEX_MIN 64	 /* a power of two */
#define BACKLOG_OPCODE_CONTROL 8 /* RFC 6455 5.5: the opcodes with this bit */

/* --- memory ----------------------------------------------------------------------------------------------------------------------- */

struct backlog *backlog_new(struct backlog_account *account)
{
	struct backlog *b = calloc(1, sizeof *b);
	if (b == NULL)
		return NULL;
	b->v = malloc(BACKLOG_MIN * sizeof *b->v);
	if (b->v == NULL) {
		free(b);
		return NULL;
	}
	b->cap = BACKLOG_MIN;
	b->head = b->oldest = BACKLOG_FRONT;
	b->account = account;
	account->held += sizeof *b + b->cap * sizeof *b->v;
	return b;
}

static void backlog_drop_index(struct backlog *b)
{
	b->account->held -= b->index_cap * sizeof *b->index;
	free(b->index);
	b->index = NULL;
	b->index_cap = b->index_n = 0;
}

void backlog_free(struct backlog *b)
{
	if (b == NULL)
		return;
	for (uint32_t i = 0; i < b->n; i++)
		slice_unref(&backlog_at(b, i)->s);
	if (b->fill != NULL)
		chunk_unref(b->fill);
	backlog_drop_index(b);
	b->account->held -= sizeof *b + b->cap * sizeof *b->v;
	free(b->v);
	free(b);
}

/* --- the index: open addressing, linear probing ------------------------------------------------------------------------------------ */

/* Where the key's newest message is noted, or may be. A place in v keeps the key of what was there until all is moved. */
static uint32_t *backlog_find(const struct backlog *b, uint64_t key)
{
	uint32_t mask = b->index_cap - 1, i = (uint32_t)key & mask;
	while (b->index[i] != 0 && b->v[b->index[i] - 1].note != key)
		i = (i + 1) & mask;
	return &b->index[i];
}

static bool backlog_has_key(const struct backlog_item *item)
{
	return item->note != 0 && item->note != BACKLOG_KEEP;
}

/* Notes where everything is, from the oldest to the newest. */
static void backlog_fill_index(struct backlog *b)
{
	memset(b->index, 0, b->index_cap * sizeof *b->index);
	b->index_n = 0;
	for (uint32_t at = b->head; at < b->head + b->n; at++) {
		if (b->v[at].s.chunk == NULL || !backlog_has_key(&b->v[at]))
			continue;
		uint32_t *place = backlog_find(b, b->v[at].note);
		b->index_n += *place == 0;
		*place = at + 1;
	}
}

/* Room in the index for one more key: it is at most half full. What is not there any more goes first. */
static bool backlog_reserve_index(struct backlog *b)
{
	uint32_t cap = b->index_cap > 0 ? b->index_cap : BACKLOG_INDEX_MIN;
	if (b->index != NULL && b->index_n < cap / 2)
		return true;
	while (cap / 4 <= b->live)
		cap *= 2;
	if (b->index == NULL || cap != b->index_cap) {
		uint32_t *index = malloc(cap * sizeof *index);
		if (index == NULL)
			return false;
		backlog_drop_index(b);
		b->index = index;
		b->index_cap = cap;
		b->account->held += cap * sizeof *index;
	}
	backlog_fill_index(b);
	return true;
}

/* --- the array --------------------------------------------------------------------------------------------------------------------- */

/* Moves what is there together, into the same array or another. */
static void backlog_gather(struct backlog *b, struct backlog_item *to)
{
	uint32_t n = 0, old = b->oldest;
	b->oldest = BACKLOG_FRONT + b->live;
	if (to == b->v && b->head < BACKLOG_FRONT) { /* there is room behind: see backlog_make_room */
		memmove(b->v + BACKLOG_FRONT, b->v + b->head, b->n * sizeof *b->v);
		old += BACKLOG_FRONT - b->head;
		b->head = BACKLOG_FRONT;
	}
	for (uint32_t at = b->head; at < b->head + b->n; at++) {
		if (b->v[at].s.chunk == NULL)
			continue;
		if (at >= old && b->oldest > BACKLOG_FRONT + n)
			b->oldest = BACKLOG_FRONT + n;
		to[BACKLOG_FRONT + n++] = b->v[at];
	}
	b->head = BACKLOG_FRONT;
	b->n = n;
}

/* Room for one more in front and one behind. */
static bool backlog_make_room(struct backlog *b)
{
	if (b->head > 0 && b->head + b->n < b->cap)
		return true;
	if (b->live + BACKLOG_FRONT + 1 <= b->cap / 2 && (b->head >= BACKLOG_FRONT || b->n + BACKLOG_FRONT <= b->cap)) {
		backlog_gather(b, b->v);
	} else {
		struct backlog_item *wider = malloc(2 * (size_t)b->cap * sizeof *wider);
		if (wider == NULL)
			return false;
		backlog_gather(b, wider);
		free(b->v);
		b->v = wider;
		b->account->held += b->cap * sizeof *wider;
		b->cap *= 2;
	}
	if (b->index != NULL)
		backlog_fill_index(b);
	return true;
}

/* Takes over the slice's reference; there is room. */
static void backlog_push(struct backlog *b, struct slice s, uint64_t note)
{
	b->v[b->head + b->n++] = (struct backlog_item){.s = s, .note = note};
	b->live++;
	b->bytes += s.len;
	b->kept += note == BACKLOG_KEEP ? s.len : 0;
}

/* --- own chunks --------------------------------------------------------------------------------------------------------------------- */

/* A copy in an own chunk. */
static bool backlog_copy(struct backlog *b, const struct slice *s, struct slice *copy_r)
{
	if (b->fill == NULL || b->fill->size - b->fill->used < s->len) {
		struct chunk *c = chunk_new(BACKLOG_CHUNK);
		if (c == NULL)
			return false;
		chunk_account(c, &b->account->held);
		if (b->fill != NULL)
			chunk_unref(b->fill);
		b->fill = c;
		b->packed += BACKLOG_CHUNK;
	}
	*copy_r = (struct slice){.chunk = b->fill, .off = b->fill->used, .len = s->len};
	memcpy(slice_bytes(copy_r), slice_bytes(s), s->len);
	b->fill->used += s->len;
	chunk_ref(b->fill);
	return true;
}

/* Copies what waits into as few chunks as it needs, but for the first, which is being sent. Without memory some of it stays where
 * it is. */
static void backlog_pack(struct backlog *b)
{
	if (b->fill != NULL)
		chunk_unref(b->fill);
	b->fill = NULL;
	b->packed = 0;
	for (uint32_t i = 1; i < b->n; i++) {
		struct slice *s = &backlog_at(b, i)->s, copy;
		if (s->chunk == NULL || s->len > CHUNK_SHARED_MAX || !backlog_copy(b, s, &copy))
			continue;
		slice_unref(s);
		*s = copy;
	}
}

/* --- messages come and go ------------------------------------------------------------------------------------------------------------ */

static bool backlog_is_control(const struct slice *frame)
{
	return (slice_bytes(frame)[0] & BACKLOG_OPCODE_CONTROL) != 0;
}

static uint64_t backlog_note(const struct slice *frame)
{
	return backlog_is_control(frame) ? BACKLOG_KEEP : chunk_note_at(frame->chunk, frame->off);
}

static bool backlog_take_part(struct backlog *b, struct slice s, uint64_t note)
{
	if (!backlog_make_room(b))
		return false;
	if (s.chunk->pool == NULL)
		chunk_account(s.chunk, &b->account->held);
	chunk_ref(s.chunk);
	backlog_push(b, s, note);
	return true;
}

bool backlog_take(struct backlog *b, const struct slice *s, uint32_t begun)
{
	struct slice part = *s, rest = *s;
	if (begun > 0) {
		part.len = begun < s->len ? begun : s->len;
		if (!backlog_take_part(b, part, BACKLOG_KEEP))
			return false;
		rest.off += part.len;
		rest.len -= part.len;
	}
	while (rest.len > 0) {
		part = rest;
		part.len = (uint32_t)frame_size(slice_bytes(&rest), rest.len);
		if (!backlog_take_part(b, part, backlog_note(&part)))
			return false;
		rest.off += part.len;
		rest.len -= part.len;
	}
	return true;
}

/* The first one is no hole. */
static void backlog_trim(struct backlog *b)
{
	while (b->n > 0 && backlog_at(b, 0)->s.chunk == NULL) {
		b->head++;
		b->n--;
	}
	if (b->oldest < b->head)
		b->oldest = b->head;
}

static void backlog_remove(struct backlog *b, uint32_t at)
{
	struct backlog_item *item = &b->v[at];
	b->bytes -= item->s.len;
	b->kept -= item->note == BACKLOG_KEEP ? item->s.len : 0;
	b->live--;
	slice_unref(&item->s);
}

static void backlog_give_up(struct backlog *b, uint32_t at, bool conflated)
{
	backlog_remove(b, at);
	b->given_up++;
	b->account->given_up++;
	b->account->conflated += conflated;
}

void backlog_supersede(struct backlog *b, const struct slice *frame, bool begun)
{
	struct backlog_item item = {.note = backlog_note(frame)};
	uint32_t at = backlog_has_key(&item) ? *backlog_find(b, item.note) : 0;
	if (at == 0 || at - 1 < b->head + begun || b->v[at - 1].s.chunk == NULL)
		return;
	backlog_give_up(b, at - 1, true);
	backlog_trim(b);
}

bool backlog_append(struct backlog *b, const struct slice *frame, bool begun)
{
	struct slice s = *frame;
	struct backlog_item item = {.note = backlog_note(frame)};
	bool keyed = b->index != NULL && backlog_has_key(&item);
	if (!backlog_make_room(b) || (keyed && !backlog_reserve_index(b)))
		return false;
	if (frame->chunk->pool == NULL) {
		chunk_account(frame->chunk, &b->account->held);
		chunk_ref(frame->chunk);
	} else if (!backlog_copy(b, frame, &s)) {
		return false;
	}
	if (keyed)
		backlog_supersede(b, frame, begun);
	backlog_push(b, s, item.note);
	if (keyed) {
		uint32_t *place = backlog_find(b, item.note);
		b->index_n += *place == 0;
		*place = b->head + b->n;
	}
	if (b->packed > 2 * (uint64_t)b->bytes + 2 * BACKLOG_CHUNK)
		backlog_pack(b);
	return true;
}

bool backlog_push_front(struct backlog *b, struct slice frame)
{
	if (!backlog_make_room(b))
		return false;
	chunk_account(frame.chunk, &b->account->held);
	b->v[--b->head] = (struct backlog_item){.s = frame, .note = BACKLOG_KEEP};
	b->n++;
	b->live++;
	b->bytes += frame.len;
	b->kept += frame.len;
	return true;
}

void backlog_pop(struct backlog *b)
{
	backlog_remove(b, b->head);
	backlog_trim(b);
}

void backlog_sent(struct backlog *b, uint32_t bytes)
{
	struct backlog_item *first = backlog_at(b, 0);
	first->s.off += bytes;
	first->s.len -= bytes;
	b->bytes -= bytes;
	b->kept -= first->note == BACKLOG_KEEP ? bytes : 0;
}

void backlog_cut(struct backlog *b, uint32_t keep)
{
	uint32_t at = b->head;
	for (; at < b->head + b->n && keep > 0; at++) {
		struct slice *s = &b->v[at].s;
		uint32_t len = s->chunk == NULL ? 0 : s->len < keep ? s->len : keep;
		if (s->chunk != NULL && len < s->len) {
			b->bytes -= s->len - len;
			b->kept -= b->v[at].note == BACKLOG_KEEP ? s->len - len : 0;
			s->len = len;
		}
		keep -= len;
	}
	for (uint32_t rest = at; rest < b->head + b->n; rest++)
		if (b->v[rest].s.chunk != NULL)
			backlog_remove(b, rest);
	b->n = at - b->head;
	b->oldest = b->head;
	backlog_drop_index(b);
	backlog_trim(b);
	if (b->fill != NULL)
		chunk_unref(b->fill);
	b->fill = NULL;
	b->packed = 0;
}

/* --- giving up ----------------------------------------------------------------------------------------------------------------------- */

void backlog_drop_oldest(struct backlog *b, uint64_t most, bool begun)
{
	uint32_t at = b->oldest > b->head + begun ? b->oldest : b->head + begun;
	for (; at < b->head + b->n && backlog_weight(b) > most; at++)
		if (b->v[at].s.chunk != NULL && b->v[at].note != BACKLOG_KEEP)
			backlog_give_up(b, at, false);
	/* A first one that is begun may be one of a key: it is never come back to, and is on its way. */
	b->oldest = at;
	backlog_trim(b);
}

bool backlog_conflate(struct backlog *b, bool begun)
{
	if (b->index != NULL)
		return true;
	if (!backlog_reserve_index(b))
		return false;
	for (uint32_t at = b->head + begun; at < b->head + b->n; at++)
		if (b->v[at].s.chunk != NULL && backlog_has_key(&b->v[at]) && *backlog_find(b, b->v[at].note) != at + 1)
			backlog_give_up(b, at, true);
	backlog_trim(b);
	return true;
}
