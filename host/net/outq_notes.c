#include "net/outq_notes.h"

#include <string.h>

#include "base/check.h"
#include "net/outq_notes_parts.h"
#include "ws/frame.h"

#define OUTQ_NOTES_OPCODE_CONTROL 8 /* RFC 6455 5.5: the opcodes with this bit */
/* runs looked at with each message that comes, whether they are stale */
#define OUTQ_NOTES_SCAN 16

/* --- messages come and go --------------------------------------------------------------------- */

static uint64_t outq_notes_note(const struct slice *frame)
{
	bool control = (slice_bytes(frame)[0] & OUTQ_NOTES_OPCODE_CONTROL) != 0;
	return control ? OUTQ_NOTES_KEEP : chunk_note_at(frame->chunk, frame->off);
}

/* Is it the last run, to which more can be added? */
static struct outq_notes_run *outq_notes_open_run(const struct outq_notes *b, uint32_t len,
						  uint64_t note)
{
	struct outq_notes_run *last = outq_notes_run(b, b->last);
	bool fits = last != NULL && last->s.chunk == b->fill && last->note == note &&
		    !outq_notes_is_key(note);
	return fits && last->s.off + last->s.len == b->fill->used &&
			       b->fill->size - b->fill->used >= len
		       ? last
		       : NULL;
}

/* Puts bytes at the end: a reference to what others have, too, or a copy of what is small. */
static bool outq_notes_add(struct outq_notes *b, const struct slice *s, uint64_t note, uint32_t n)
{
	bool small = s->chunk->pool != NULL;
	struct outq_notes_run *run = small ? outq_notes_open_run(b, s->len, note) : NULL;
	if (run != NULL) {
		memcpy(b->fill->bytes + b->fill->used, slice_bytes(s), s->len);
		b->fill->used += s->len;
		outq_notes_count(b, &(struct slice){.chunk = b->fill, .len = s->len}, note);
		run->s.len += s->len;
		run->n = (run->n + n) & 0x7fffffff;
		return true;
	}
	if (!outq_notes_make_room(b) || (small && !outq_notes_reserve_fill(b, s->len)))
		return false;
	if (small) {
		outq_notes_push(b, outq_notes_copy(b, s), note, n);
		return true;
	}
	chunk_account(s->chunk, &b->account->held);
	chunk_ref(s->chunk);
	outq_notes_push(b, *s, note, n);
	return true;
}

/* The one that has this key now, if there is one and it may go. */
static struct outq_notes_run *outq_notes_with_key(const struct outq_notes *b, uint64_t key,
						  bool begun)
{
	uint32_t at = b->index != NULL && outq_notes_is_key(key) ? *outq_notes_find(b, key) : 0;
	return at != 0 && !(begun && at - 1 == b->first) ? outq_notes_at(b, at - 1) : NULL;
}

/* One with a key: the one that had it is stale, and goes where that is wanted. */
static bool outq_notes_add_keyed(struct outq_notes *b, const struct slice *frame, uint64_t key,
				 bool begun)
{
	bool small = frame->chunk->pool != NULL;
	if (!outq_notes_make_room(b) || !outq_notes_reserve_index(b) ||
	    (small && !outq_notes_reserve_fill(b, frame->len)))
		return false;
	if (b->conflating)
		outq_notes_supersede(b, frame, begun);
	struct outq_notes_run *old = outq_notes_with_key(b, key, begun);
	if (old != NULL) {
		old->stale = true;
		b->stale++;
		b->stale_bytes += old->s.len;
	}
	uint32_t *place = outq_notes_find(b, key);
	b->index_n += *place == 0;
	outq_notes_add(b, frame, key, 1); /* there is room for it */
	*place = b->last + 1;
	return true;
}

static bool outq_notes_add_frame(struct outq_notes *b, const struct slice *frame, uint64_t note,
				 bool begun)
{
	return outq_notes_is_key(note) ? outq_notes_add_keyed(b, frame, note, begun)
				       : outq_notes_add(b, frame, note, 1);
}

/* Steps over the frames at the beginning that have this note; one of a key stands alone. Returns
 * how many they are. */
static uint32_t outq_notes_alike(struct slice *rest, uint64_t note)
{
	uint32_t n = 0;
	do {
		uint32_t len = (uint32_t)frame_size(slice_bytes(rest), rest->len);
		rest->off += len;
		rest->len -= len;
		n++;
	} while (rest->len > 0 && !outq_notes_is_key(note) && outq_notes_note(rest) == note);
	return n;
}

/* Frames that lie together, and are treated alike, are copied together. */
bool outq_notes_take(struct outq_notes *b, const struct slice *s, uint32_t begun)
{
	struct slice part = *s, rest = *s;
	if (begun > 0) {
		part.len = begun < s->len ? begun : s->len;
		if (!outq_notes_add(b, &part, OUTQ_NOTES_KEEP, 1))
			return false;
		rest.off += part.len;
		rest.len -= part.len;
	}
	while (rest.len > 0) {
		uint64_t note = outq_notes_note(&rest);
		part = rest;
		uint32_t n = outq_notes_alike(&rest, note);
		part.len -= rest.len;
		if (!(outq_notes_is_key(note) ? outq_notes_add_keyed(b, &part, note, false)
					      : outq_notes_add(b, &part, note, n)))
			return false;
	}
	return true;
}

static void outq_notes_give_up(struct outq_notes *b, struct outq_notes_run *run, bool conflated)
{
	b->given_up += run->n;
	b->account->given_up += run->n;
	b->account->conflated += conflated ? run->n : 0;
	outq_notes_remove(b, run);
}

void outq_notes_supersede(struct outq_notes *b, const struct slice *frame, bool begun)
{
	struct outq_notes_run *old = outq_notes_with_key(b, outq_notes_note(frame), begun);
	if (old == NULL)
		return;
	outq_notes_give_up(b, old, true);
}

/* Goes on giving up what is stale. */
static void outq_notes_scan(struct outq_notes *b, bool begun)
{
	struct outq_notes_run *run;
	if (begun && b->scan == b->first && b->first != OUTQ_NOTES_NONE)
		b->scan = outq_notes_at(b, b->first)->next;
	for (uint32_t looked = 0;
	     b->stale > 0 && looked < OUTQ_NOTES_SCAN && (run = outq_notes_run(b, b->scan)) != NULL;
	     looked++) {
		b->scan = run->next;
		if (run->stale)
			outq_notes_give_up(b, run, true);
	}
}

bool outq_notes_append(struct outq_notes *b, const struct slice *frame, bool begun)
{
	if (!outq_notes_add_frame(b, frame, outq_notes_note(frame), begun))
		return false;
	if (b->conflating && b->stale > 0)
		outq_notes_scan(b, begun);
	outq_notes_tidy(b, frame->len);
	return true;
}

bool outq_notes_append_raw(struct outq_notes *b, const struct slice *bytes)
{
	return outq_notes_add(b, bytes, OUTQ_NOTES_KEEP, 0);
}

bool outq_notes_push_front(struct outq_notes *b, struct slice frame)
{
	if (!outq_notes_make_room(b))
		return false;
	chunk_account(frame.chunk, &b->account->held);
	outq_notes_put_first(b, frame);
	return true;
}

void outq_notes_sent(struct outq_notes *b, uint32_t bytes, uint32_t messages)
{
	struct outq_notes_run *first = outq_notes_run(b, b->first);
	CHECK(first != NULL && bytes <= first->s.len);
	if (bytes == first->s.len) {
		outq_notes_remove(b, first);
		return;
	}
	outq_notes_uncount(b, first, bytes);
	first->s.off += bytes;
	first->s.len -= bytes;
	first->n -= (messages < first->n ? messages : first->n) & 0x7fffffff;
}

/* What is left of a run is not to keep a chunk of many, nor a large message that others have
 * got. */
static void outq_notes_shrink(struct outq_notes *b, struct outq_notes_run *run)
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
	outq_notes_uncount(b, run, run->s.len);
	outq_notes_unref(b, &run->s.chunk);
	run->s = (struct slice){.chunk = c, .len = c->used};
	outq_notes_count(b, &run->s, run->note);
	b->stale_bytes += run->stale ? run->s.len : 0;
}

void outq_notes_cut(struct outq_notes *b, uint32_t keep)
{
	struct outq_notes_run *run = outq_notes_run(b, b->first), *next;
	outq_notes_drop_fill(b);
	outq_notes_drop_index(b);
	for (; run != NULL; run = next) {
		next = outq_notes_run(b, run->next);
		if (keep == 0) {
			outq_notes_remove(b, run);
			continue;
		}
		if (keep < run->s.len) {
			outq_notes_uncount(b, run, run->s.len - keep);
			run->s.len = keep;
			run->n = 1;
		}
		keep -= run->s.len;
		outq_notes_shrink(b, run);
	}
	b->packing = 0;
	b->oldest = b->scan = b->first;
	b->grace = b->before = b->given = 0;
}

/* --- giving up -------------------------------------------------------------------------------- */

/* What is begun becomes a run of its own, so that what follows it can go. Without memory all of its
 * run stays. */
static void outq_notes_part(struct outq_notes *b, uint32_t begun)
{
	struct outq_notes_run *first = outq_notes_run(b, b->first);
	if (begun == 0 || first == NULL || first->s.len <= begun ||
	    first->note == OUTQ_NOTES_KEEP || !outq_notes_make_room(b))
		return;
	first = outq_notes_run(b, b->first);
	struct slice front = first->s;
	front.len = begun;
	chunk_ref(front.chunk);
	outq_notes_uncount(b, first, begun);
	first->s.off += begun;
	first->s.len -= begun;
	first->n--;
	outq_notes_put_first(b, front);
}

/* The oldest messages of a run that has more of them than have to go. */
static void outq_notes_drop_some(struct outq_notes *b, struct outq_notes_run *run, uint64_t most)
{
	uint32_t len = 0, n = 0;
	while (len < run->s.len && outq_notes_weight(b) - len > most) {
		struct slice rest = {.chunk = run->s.chunk,
				     .off = run->s.off + len,
				     .len = run->s.len - len};
		len += (uint32_t)frame_size(slice_bytes(&rest), rest.len);
		n++;
	}
	if (len >= run->s.len) {
		outq_notes_give_up(b, run, false);
		return;
	}
	b->given_up += n;
	b->account->given_up += n;
	outq_notes_uncount(b, run, len);
	run->s.off += len;
	run->s.len -= len;
	run->n -= n;
}

/* whole: a run goes as one. */
static void outq_notes_drop(struct outq_notes *b, uint64_t most, uint32_t begun, bool whole)
{
	struct outq_notes_run *run;
	outq_notes_part(b, begun);
	if (begun > 0 && b->oldest == b->first && b->first != OUTQ_NOTES_NONE)
		b->oldest = outq_notes_at(b, b->first)->next;
	while ((run = outq_notes_run(b, b->oldest)) != NULL && outq_notes_weight(b) > most) {
		if (run->note == OUTQ_NOTES_KEEP)
			b->oldest = run->next;
		else if (whole || outq_notes_weight(b) - most >= run->s.len + OUTQ_NOTES_RUN)
			outq_notes_give_up(b, run, false);
		else
			outq_notes_drop_some(b, run, most);
	}
}

void outq_notes_drop_oldest(struct outq_notes *b, uint64_t most, uint32_t begun)
{
	outq_notes_drop(b, most, begun, false);
}

void outq_notes_lighten(struct outq_notes *b, uint32_t begun)
{
	outq_notes_drop(b, outq_notes_weight(b) / 2, begun, true);
	if (b->fill != NULL && b->fill->refs == 1)
		outq_notes_drop_fill(b);
}

void outq_notes_conflate(struct outq_notes *b, uint32_t begun)
{
	b->conflating = true;
	outq_notes_scan(b, begun > 0);
}
