#include "net/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "ws/frame.h"

#define BACKLOG_MIN 8		 /* runs of a new array */
#define BACKLOG_FRONT 4		 /* left free in front of the first, for control frames */
#define BACKLOG_CHUNK_MIN 1024	 /* smallest chunk of the backlog's own */
#define BACKLOG_CHUNK 65536	 /* and the largest */
#define BACKLOG_INDEX_MIN 16	 /* a power of two */
#define BACKLOG_OPCODE_CONTROL 8 /* RFC 6455 5.5: the opcodes with this bit */
#define BACKLOG_PACK 4096	 /* bytes packed with each message that comes; twice its own, if that is more */
#define BACKLOG_SCAN 64		 /* runs looked at with each message that comes, whether they are stale */

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
	b->head = b->oldest = b->scan = BACKLOG_FRONT;
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

static void backlog_unref(struct backlog *b, struct chunk *c)
{
	if (c->owned && c->refs == 1)
		b->own -= c->size;
	chunk_unref(c);
}

static void backlog_drop_fill(struct backlog *b)
{
	if (b->fill != NULL)
		backlog_unref(b, b->fill);
	b->fill = NULL;
}

void backlog_free(struct backlog *b)
{
	if (b == NULL)
		return;
	for (uint32_t i = 0; i < b->n; i++)
		slice_unref(&backlog_at(b, i)->s);
	backlog_drop_fill(b);
	backlog_drop_index(b);
	b->account->held -= sizeof *b + b->cap * sizeof *b->v;
	free(b->v);
	free(b);
}

uint64_t backlog_memory(const struct backlog *b)
{
	uint64_t shared = 0;
	for (uint32_t i = 0; i < b->n && b->shared > 0; i++) {
		const struct chunk *c = backlog_at(b, i)->s.chunk;
		shared += c != NULL && !c->owned ? c->size / c->refs : 0;
	}
	return sizeof *b + b->cap * sizeof *b->v + b->index_cap * sizeof *b->index + b->own + shared;
}

uint64_t backlog_most(const struct backlog *b)
{
	const struct slice *first = b->shared > 0 ? &backlog_at(b, 0)->s : NULL;
	/* Of a large message, of which little is left, all of it stays as long. */
	uint64_t sent = first != NULL && !first->chunk->owned ? (first->chunk->size - first->len) / first->chunk->refs : 0;
	return sizeof *b + b->cap * sizeof *b->v + b->index_cap * sizeof *b->index + b->own + b->shared + sent;
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

static bool backlog_is_key(uint64_t note)
{
	return note != 0 && note != BACKLOG_KEEP;
}

/* Notes where everything is, from the oldest to the newest. */
static void backlog_fill_index(struct backlog *b)
{
	memset(b->index, 0, b->index_cap * sizeof *b->index);
	b->index_n = 0;
	for (uint32_t at = b->head; at < b->head + b->n; at++) {
		if (b->v[at].s.chunk == NULL || !backlog_is_key(b->v[at].note))
			continue;
		uint32_t *place = backlog_find(b, b->v[at].note);
		b->index_n += *place == 0;
		*place = at + 1;
	}
}

/* Room in the index for one more key: it is at most three quarters full. What is not there any more goes first. */
static bool backlog_reserve_index(struct backlog *b)
{
	uint32_t cap = b->index_cap > 0 ? b->index_cap : BACKLOG_INDEX_MIN;
	if (b->index != NULL && b->index_n < cap / 4 * 3)
		return true;
	while (cap / 2 <= b->keys)
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

/* Moves what is there together, into the same array or another; the places that somebody remembers go with it. */
static void backlog_gather(struct backlog *b, struct backlog_run *to)
{
	uint32_t *const places[] = {&b->oldest, &b->scan, &b->pack, &b->pack_end}, old[] = {b->oldest, b->scan, b->pack, b->pack_end};
	uint32_t n = 0, shift = 0;
	if (to == b->v && b->head < BACKLOG_FRONT) { /* there is room behind: see backlog_make_room */
		memmove(b->v + BACKLOG_FRONT, b->v + b->head, b->n * sizeof *b->v);
		shift = BACKLOG_FRONT - b->head;
		b->head = BACKLOG_FRONT;
	}
	for (unsigned k = 0; k < sizeof old / sizeof *old; k++)
		*places[k] = BACKLOG_FRONT + b->live;
	for (uint32_t at = b->head; at < b->head + b->n; at++) {
		if (b->v[at].s.chunk == NULL)
			continue;
		for (unsigned k = 0; k < sizeof old / sizeof *old; k++)
			if (at >= old[k] + shift && *places[k] > BACKLOG_FRONT + n)
				*places[k] = BACKLOG_FRONT + n;
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
	if (b->live + BACKLOG_FRONT + 1 <= b->cap / 4 * 3 && (b->head >= BACKLOG_FRONT || b->n + BACKLOG_FRONT <= b->cap)) {
		backlog_gather(b, b->v);
	} else {
		uint32_t cap = b->cap + b->cap / 2 + BACKLOG_FRONT;
		struct backlog_run *wider = malloc(cap * sizeof *wider);
		if (wider == NULL)
			return false;
		backlog_gather(b, wider);
		free(b->v);
		b->v = wider;
		b->account->held += (cap - b->cap) * sizeof *wider;
		b->cap = cap;
	}
	if (b->index != NULL)
		backlog_fill_index(b);
	return true;
}

static void backlog_count(struct backlog *b, const struct slice *s, uint64_t note)
{
	b->bytes += s->len;
	b->kept += note == BACKLOG_KEEP ? s->len : 0;
	b->shared += s->chunk->owned ? 0 : s->len;
}

static void backlog_uncount(struct backlog *b, const struct backlog_run *run, uint32_t len)
{
	b->bytes -= len;
	b->kept -= run->note == BACKLOG_KEEP ? len : 0;
	b->shared -= run->s.chunk->owned ? 0 : len;
	b->stale_bytes -= run->stale ? len : 0;
}

/* Takes over the slice's reference; there is room. */
static void backlog_push(struct backlog *b, struct slice s, uint64_t note, uint32_t n)
{
	b->v[b->head + b->n++] = (struct backlog_run){.s = s, .note = note, .n = n};
	b->live++;
	b->keys += backlog_is_key(note);
	backlog_count(b, &s, note);
}

/* --- own chunks --------------------------------------------------------------------------------------------------------------------- */

/* As large as what waits, so that a queue that goes on growing allocates rarely and a short one little. */
static struct chunk *backlog_new_chunk(struct backlog *b, uint32_t len)
{
	uint32_t size = b->bytes < BACKLOG_CHUNK_MIN ? BACKLOG_CHUNK_MIN : b->bytes > BACKLOG_CHUNK ? BACKLOG_CHUNK : b->bytes;
	struct chunk *c = chunk_new(size > len ? size : len);
	if (c == NULL)
		return NULL;
	c->owned = true;
	b->own += c->size;
	chunk_account(c, &b->account->held);
	return c;
}

/* Room for so much in the chunk that is being filled. */
static bool backlog_reserve_fill(struct backlog *b, uint32_t len)
{
	if (b->fill != NULL && b->fill->size - b->fill->used >= len)
		return true;
	struct chunk *c = backlog_new_chunk(b, len);
	if (c == NULL)
		return false;
	backlog_drop_fill(b);
	b->fill = c;
	return true;
}

static struct slice backlog_copy(struct backlog *b, const struct slice *s)
{
	struct slice copy = {.chunk = b->fill, .off = b->fill->used, .len = s->len};
	memcpy(slice_bytes(&copy), slice_bytes(s), s->len);
	b->fill->used += s->len;
	chunk_ref(b->fill);
	return copy;
}

/* Once there is more memory than that it is worth the work. */
static bool backlog_is_sparse(const struct backlog *b)
{
	return b->own > 2 * (uint64_t)(b->bytes - b->shared) + 2 * BACKLOG_CHUNK;
}

static void backlog_begin_packing(struct backlog *b)
{
	if (b->pack < b->pack_end || b->n < 2)
		return;
	backlog_drop_fill(b);
	b->pack = b->head + 1; /* the first is being sent */
	b->pack_end = b->head + b->n;
}

/* Copies runs that are no large part of their chunk into as few chunks as they need. Without memory some stay where they are. */
static void backlog_pack(struct backlog *b, uint32_t most)
{
	for (uint32_t looked = 0; b->pack < b->pack_end && most > 0 && looked < BACKLOG_PACK / 16; b->pack++, looked++) {
		struct slice *s = &b->v[b->pack].s;
		if (b->pack <= b->head || s->chunk == NULL || !s->chunk->owned || s->len > s->chunk->size / 2 ||
		    !backlog_reserve_fill(b, s->len))
			continue;
		struct slice copy = backlog_copy(b, s);
		backlog_unref(b, s->chunk);
		*s = copy;
		most -= most < s->len ? most : s->len;
	}
}

static void backlog_tidy(struct backlog *b, uint32_t len)
{
	if (b->pack >= b->pack_end && backlog_is_sparse(b))
		backlog_begin_packing(b);
	if (b->pack < b->pack_end)
		backlog_pack(b, 2 * len > BACKLOG_PACK ? 2 * len : BACKLOG_PACK);
}

/* --- messages come and go ------------------------------------------------------------------------------------------------------------ */

static uint64_t backlog_note(const struct slice *frame)
{
	bool control = (slice_bytes(frame)[0] & BACKLOG_OPCODE_CONTROL) != 0;
	return control ? BACKLOG_KEEP : chunk_note_at(frame->chunk, frame->off);
}

/* Is it the last run, to which more can be added? */
static struct backlog_run *backlog_open_run(const struct backlog *b, uint32_t len, uint64_t note)
{
	struct backlog_run *last = b->n > 0 ? backlog_at(b, b->n - 1) : NULL;
	bool fits = last != NULL && last->s.chunk != NULL && last->s.chunk == b->fill && last->note == note && !backlog_is_key(note);
	return fits && last->s.off + last->s.len == b->fill->used && b->fill->size - b->fill->used >= len ? last : NULL;
}

/* Puts bytes at the end: a reference to what others have, too, or a copy of what is small. */
static bool backlog_add(struct backlog *b, const struct slice *s, uint64_t note, uint32_t n)
{
	bool small = s->chunk->pool != NULL;
	struct backlog_run *run = small ? backlog_open_run(b, s->len, note) : NULL;
	if (run != NULL) {
		memcpy(b->fill->bytes + b->fill->used, slice_bytes(s), s->len);
		b->fill->used += s->len;
		backlog_count(b, &(struct slice){.chunk = b->fill, .len = s->len}, note);
		run->s.len += s->len;
		run->n += n;
		return true;
	}
	if (!backlog_make_room(b) || (small && !backlog_reserve_fill(b, s->len)))
		return false;
	if (small) {
		backlog_push(b, backlog_copy(b, s), note, n);
		return true;
	}
	chunk_account(s->chunk, &b->account->held);
	chunk_ref(s->chunk);
	backlog_push(b, *s, note, n);
	return true;
}

/* The one that has this key now, if there is one and it may go. */
static struct backlog_run *backlog_with_key(const struct backlog *b, uint64_t key, bool begun)
{
	uint32_t at = b->index != NULL && backlog_is_key(key) ? *backlog_find(b, key) : 0;
	return at != 0 && at - 1 >= b->head + begun && b->v[at - 1].s.chunk != NULL ? &b->v[at - 1] : NULL;
}

/* One with a key: the one that had it is stale, and goes where that is wanted. */
static bool backlog_add_keyed(struct backlog *b, const struct slice *frame, uint64_t key, bool begun)
{
	bool small = frame->chunk->pool != NULL;
	if (!backlog_make_room(b) || !backlog_reserve_index(b) || (small && !backlog_reserve_fill(b, frame->len)))
		return false;
	if (b->conflating)
		backlog_supersede(b, frame, begun);
	backlog_add(b, frame, key, 1); /* there is room for it */
	struct backlog_run *old = backlog_with_key(b, key, begun);
	if (old != NULL && !old->stale) {
		old->stale = true;
		b->stale++;
		b->stale_bytes += old->s.len;
	}
	uint32_t *place = backlog_find(b, key);
	b->index_n += *place == 0;
	*place = b->head + b->n;
	return true;
}

static bool backlog_add_frame(struct backlog *b, const struct slice *frame, uint64_t note, bool begun)
{
	return backlog_is_key(note) ? backlog_add_keyed(b, frame, note, begun) : backlog_add(b, frame, note, 1);
}

/* Steps over the frames at the beginning that have this note; one of a key stands alone. Returns how many they are. */
static uint32_t backlog_alike(struct slice *rest, uint64_t note)
{
	uint32_t n = 0;
	do {
		uint32_t len = (uint32_t)frame_size(slice_bytes(rest), rest->len);
		rest->off += len;
		rest->len -= len;
		n++;
	} while (rest->len > 0 && !backlog_is_key(note) && backlog_note(rest) == note);
	return n;
}

/* Frames that lie together, and are treated alike, are copied together. */
bool backlog_take(struct backlog *b, const struct slice *s, uint32_t begun)
{
	struct slice part = *s, rest = *s;
	if (begun > 0) {
		part.len = begun < s->len ? begun : s->len;
		if (!backlog_add(b, &part, BACKLOG_KEEP, 1))
			return false;
		rest.off += part.len;
		rest.len -= part.len;
	}
	while (rest.len > 0) {
		uint64_t note = backlog_note(&rest);
		part = rest;
		uint32_t n = backlog_alike(&rest, note);
		part.len -= rest.len;
		if (!(backlog_is_key(note) ? backlog_add_keyed(b, &part, note, false) : backlog_add(b, &part, note, n)))
			return false;
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
	if (b->scan < b->head)
		b->scan = b->head;
}

static void backlog_remove(struct backlog *b, struct backlog_run *run)
{
	backlog_uncount(b, run, run->s.len);
	b->stale -= run->stale;
	b->keys -= backlog_is_key(run->note);
	b->live--;
	backlog_unref(b, run->s.chunk);
	run->s.chunk = NULL;
	run->stale = false;
}

static void backlog_give_up(struct backlog *b, struct backlog_run *run, bool conflated)
{
	b->given_up += run->n;
	b->account->given_up += run->n;
	b->account->conflated += conflated ? run->n : 0;
	backlog_remove(b, run);
}

void backlog_supersede(struct backlog *b, const struct slice *frame, bool begun)
{
	struct backlog_run *old = backlog_with_key(b, backlog_note(frame), begun);
	if (old == NULL)
		return;
	backlog_give_up(b, old, true);
	backlog_trim(b);
}

/* Goes on giving up what is stale. */
static void backlog_scan(struct backlog *b, bool begun)
{
	uint32_t end = b->head + b->n;
	if (b->scan < b->head + begun)
		b->scan = b->head + begun;
	for (uint32_t looked = 0; b->stale > 0 && b->scan < end && looked < BACKLOG_SCAN; b->scan++, looked++)
		if (b->v[b->scan].s.chunk != NULL && b->v[b->scan].stale)
			backlog_give_up(b, &b->v[b->scan], true);
	backlog_trim(b);
}

bool backlog_append(struct backlog *b, const struct slice *frame, bool begun)
{
	if (!backlog_add_frame(b, frame, backlog_note(frame), begun))
		return false;
	if (b->conflating && b->stale > 0)
		backlog_scan(b, begun);
	backlog_tidy(b, frame->len);
	return true;
}

bool backlog_append_raw(struct backlog *b, const struct slice *bytes)
{
	return backlog_add(b, bytes, BACKLOG_KEEP, 0);
}

/* There is room in front. */
static void backlog_put_first(struct backlog *b, struct slice s)
{
	b->v[--b->head] = (struct backlog_run){.s = s, .note = BACKLOG_KEEP, .n = 1};
	b->n++;
	b->live++;
	backlog_count(b, &s, BACKLOG_KEEP);
}

bool backlog_push_front(struct backlog *b, struct slice frame)
{
	if (!backlog_make_room(b))
		return false;
	chunk_account(frame.chunk, &b->account->held);
	backlog_put_first(b, frame);
	return true;
}

void backlog_sent(struct backlog *b, uint32_t bytes, uint32_t messages)
{
	struct backlog_run *first = backlog_at(b, 0);
	if (bytes == first->s.len) {
		backlog_remove(b, first);
		backlog_trim(b);
		return;
	}
	backlog_uncount(b, first, bytes);
	first->s.off += bytes;
	first->s.len -= bytes;
	first->n -= messages < first->n ? messages : first->n;
}

/* What is left of a run is not to keep a chunk of many, nor a large message that others have got. */
static void backlog_shrink(struct backlog *b, struct backlog_run *run)
{
	if (run->s.chunk->size / 2 <= run->s.len)
		return;
	struct chunk *c = chunk_new(run->s.len);
	if (c == NULL)
		return;
	c->owned = true;
	c->used = run->s.len;
	b->own += c->size;
	chunk_account(c, &b->account->held);
	memcpy(c->bytes, slice_bytes(&run->s), run->s.len);
	backlog_uncount(b, run, run->s.len);
	backlog_unref(b, run->s.chunk);
	run->s = (struct slice){.chunk = c, .len = c->used};
	backlog_count(b, &run->s, run->note);
	b->stale_bytes += run->stale ? run->s.len : 0;
}

void backlog_cut(struct backlog *b, uint32_t keep)
{
	backlog_drop_fill(b);
	b->pack = b->pack_end = 0;
	uint32_t at = b->head;
	for (; at < b->head + b->n && keep > 0; at++) {
		struct backlog_run *run = &b->v[at];
		if (run->s.chunk == NULL)
			continue;
		uint32_t len = run->s.len < keep ? run->s.len : keep;
		if (len < run->s.len) {
			backlog_uncount(b, run, run->s.len - len);
			run->s.len = len;
			run->n = 1;
		}
		keep -= len;
		backlog_shrink(b, run);
	}
	for (uint32_t rest = at; rest < b->head + b->n; rest++)
		if (b->v[rest].s.chunk != NULL)
			backlog_remove(b, &b->v[rest]);
	b->n = at - b->head;
	b->oldest = b->scan = b->head;
	b->grace = b->before = b->given = 0;
	backlog_drop_index(b);
	backlog_trim(b);
}

/* --- giving up ----------------------------------------------------------------------------------------------------------------------- */

/* What is begun becomes a run of its own, so that what follows it can go. Without memory all of its run stays. */
static void backlog_part(struct backlog *b, uint32_t begun)
{
	struct backlog_run *first = b->n > 0 ? backlog_at(b, 0) : NULL;
	if (begun == 0 || first == NULL || first->s.len <= begun || first->note == BACKLOG_KEEP || !backlog_make_room(b))
		return;
	first = backlog_at(b, 0);
	struct slice front = first->s;
	front.len = begun;
	chunk_ref(front.chunk);
	backlog_uncount(b, first, begun);
	first->s.off += begun;
	first->s.len -= begun;
	first->n--;
	backlog_put_first(b, front);
}

/* The oldest messages of a run that has more of them than have to go. */
static void backlog_drop_some(struct backlog *b, struct backlog_run *run, uint64_t most)
{
	uint32_t len = 0, n = 0;
	while (len < run->s.len && backlog_weight(b) - len > most) {
		struct slice rest = {.chunk = run->s.chunk, .off = run->s.off + len, .len = run->s.len - len};
		len += (uint32_t)frame_size(slice_bytes(&rest), rest.len);
		n++;
	}
	if (len >= run->s.len) {
		backlog_give_up(b, run, false);
		return;
	}
	b->given_up += n;
	b->account->given_up += n;
	backlog_uncount(b, run, len);
	run->s.off += len;
	run->s.len -= len;
	run->n -= n;
}

/* whole: a run goes as one. */
static void backlog_drop(struct backlog *b, uint64_t most, uint32_t begun, bool whole)
{
	backlog_part(b, begun);
	uint32_t first = b->head + (begun > 0);
	uint32_t at = b->oldest > first ? b->oldest : first;
	while (at < b->head + b->n && backlog_weight(b) > most) {
		struct backlog_run *run = &b->v[at];
		if (run->s.chunk == NULL || run->note == BACKLOG_KEEP) {
			at++;
			continue;
		}
		if (whole || backlog_weight(b) - most >= run->s.len + BACKLOG_RUN)
			backlog_give_up(b, run, false);
		else
			backlog_drop_some(b, run, most);
	}
	b->oldest = at;
	backlog_trim(b);
}

void backlog_drop_oldest(struct backlog *b, uint64_t most, uint32_t begun)
{
	backlog_drop(b, most, begun, false);
}

void backlog_lighten(struct backlog *b, uint32_t begun)
{
	backlog_drop(b, backlog_weight(b) / 2, begun, true);
	if (b->fill != NULL && b->fill->refs == 1)
		backlog_drop_fill(b);
}

void backlog_conflate(struct backlog *b, uint32_t begun)
{
	b->conflating = true;
	backlog_scan(b, begun > 0);
}
