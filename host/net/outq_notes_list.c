/* Where the runs of a queue that is stalled stand: places, keys, chunks. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "net/outq_notes_parts.h"

#define OUTQ_NOTES_CHUNK_MIN 1024 /* smallest chunk of the backlog's own */
#define OUTQ_NOTES_CHUNK 65536	  /* and the largest */
#define OUTQ_NOTES_INDEX_MIN 16	  /* a power of two */
/* bytes packed with each message that comes; twice its own, if that is more */
#define OUTQ_NOTES_PACK 4096

/* --- memory ----------------------------------------------------------------------------------- */

/* Of runs and what tells where they are. */
static uint64_t outq_notes_list_frame(const struct outq_notes *b)
{
	return sizeof *b +
	       b->n_blocks * (sizeof *b->blocks + OUTQ_NOTES_BLOCK * sizeof **b->blocks) +
	       b->index_cap * sizeof *b->index;
}

struct outq_notes *outq_notes_new(struct outq_notes_account *account)
{
	struct outq_notes *b = calloc(1, sizeof *b);
	if (b == NULL)
		return NULL;
	b->free = b->first = b->last = b->oldest = b->scan = b->pack = OUTQ_NOTES_NONE;
	b->account = account;
	account->held += sizeof *b;
	return b;
}

void outq_notes_drop_index(struct outq_notes *b)
{
	CHECK(b->account->held >= b->index_cap * sizeof *b->index);
	b->account->held -= b->index_cap * sizeof *b->index;
	free(b->index);
	b->index = NULL;
	b->index_cap = b->index_n = 0;
}

void outq_notes_unref(struct outq_notes *b, struct chunk **c_p)
{
	if ((*c_p)->owned && (*c_p)->refs == 1) {
		CHECK(b->own >= (*c_p)->size);
		b->own -= (*c_p)->size;
	}
	chunk_unref(c_p);
}

void outq_notes_drop_fill(struct outq_notes *b)
{
	if (b->fill != NULL)
		outq_notes_unref(b, &b->fill);
}

void outq_notes_free(struct outq_notes **b_p)
{
	struct outq_notes *b = *b_p;
	*b_p = NULL;
	if (b == NULL)
		return;
	for (struct outq_notes_run *run = outq_notes_run(b, b->first); run != NULL;
	     run = outq_notes_run(b, run->next))
		chunk_unref(&run->s.chunk);
	outq_notes_drop_fill(b);
	outq_notes_drop_index(b);
	CHECK(b->account->held >= outq_notes_list_frame(b));
	b->account->held -= outq_notes_list_frame(b);
	for (uint32_t i = 0; i < b->n_blocks; i++)
		free(b->blocks[i]);
	free(b->blocks);
	free(b);
}

uint64_t outq_notes_memory(const struct outq_notes *b)
{
	uint64_t shared = 0;
	const struct outq_notes_run *run = b->shared > 0 ? outq_notes_run(b, b->first) : NULL;
	for (; run != NULL; run = outq_notes_run(b, run->next))
		shared += run->s.chunk->owned ? 0 : run->s.chunk->size / run->s.chunk->refs;
	return outq_notes_list_frame(b) + b->own + shared;
}

uint64_t outq_notes_most(const struct outq_notes *b)
{
	const struct slice *first = b->shared > 0 ? &outq_notes_run(b, b->first)->s : NULL;
	/* Of a large message, of which little is left, all of it stays as long. */
	uint64_t sent = first != NULL && !first->chunk->owned
				? (first->chunk->size - first->len) / first->chunk->refs
				: 0;
	return outq_notes_list_frame(b) + b->own + b->shared + sent;
}

/* --- the index: open addressing, linear probing ----------------------------------------------- */

uint32_t *outq_notes_find(const struct outq_notes *b, uint64_t key)
{
	uint32_t mask = b->index_cap - 1, i = (uint32_t)key & mask;
	while (b->index[i] != 0 && outq_notes_at(b, b->index[i] - 1)->note != key)
		i = (i + 1) & mask;
	return &b->index[i];
}

/* Notes where everything is, in the order in which it lies in memory. Of each key one is not stale,
 * and perhaps the first, which is on its way. */
static void outq_notes_list_fill_index(struct outq_notes *b)
{
	b->index_n = 0;
	for (uint32_t at = 0; at < b->used; at++) {
		const struct outq_notes_run *run = outq_notes_at(b, at);
		if (run->s.chunk == NULL || run->stale || !outq_notes_is_key(run->note))
			continue;
		uint32_t *place = outq_notes_find(b, run->note);
		b->index_n += *place == 0;
		if (*place == 0 || at != b->first)
			*place = at + 1;
	}
}

/* How many keys the index takes: a half to three quarters of its places. All members of a room are
 * given the same keys: if they grew at the same one, that would be a turn of tens of milliseconds,
 * so each has a share of its own. */
static uint32_t outq_notes_list_index_most(const struct outq_notes *b)
{
	uint32_t share = (uint32_t)((uintptr_t)b >> 4) * 2654435769u >> 16; /* of 65,536 */
	return b->index_cap / 2 + (uint32_t)((uint64_t)(b->index_cap / 4) * share >> 16);
}

bool outq_notes_reserve_index(struct outq_notes *b)
{
	uint32_t cap = b->index_cap > 0 ? 2 * b->index_cap : OUTQ_NOTES_INDEX_MIN;
	if (b->index != NULL && b->index_n < outq_notes_list_index_most(b))
		return true;
	uint32_t *index = calloc(cap, sizeof *index);
	if (index == NULL)
		return false;
	outq_notes_drop_index(b);
	b->index = index;
	b->index_cap = cap;
	b->account->held += cap * sizeof *index;
	outq_notes_list_fill_index(b);
	return true;
}

/* Takes the one out, if it is there; those that were pushed on by it move up, so that no probe ends
 * too early. */
static void outq_notes_list_forget_key(struct outq_notes *b, uint32_t at)
{
	uint32_t mask = b->index_cap - 1,
		 hole = (uint32_t)(outq_notes_find(b, outq_notes_at(b, at)->note) - b->index);
	if (b->index[hole] != at + 1)
		return;
	for (uint32_t i = (hole + 1) & mask; b->index[i] != 0; i = (i + 1) & mask) {
		uint32_t home = (uint32_t)outq_notes_at(b, b->index[i] - 1)->note & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			b->index[hole] = b->index[i];
			hole = i;
		}
	}
	CHECK(b->index_n > 0);
	b->index[hole] = 0;
	b->index_n--;
}

/* --- the list --------------------------------------------------------------------------------- */

bool outq_notes_make_room(struct outq_notes *b)
{
	if (b->free != OUTQ_NOTES_NONE || b->used < b->n_blocks * OUTQ_NOTES_BLOCK)
		return true;
	struct outq_notes_run **blocks = b->blocks;
	/* there are as many as there is room for: a power of two */
	if ((b->n_blocks & (b->n_blocks - 1)) == 0)
		blocks = realloc(blocks, (b->n_blocks > 0 ? 2 * b->n_blocks : 1) * sizeof *blocks);
	if (blocks == NULL)
		return false;
	b->blocks = blocks;
	blocks[b->n_blocks] = malloc(OUTQ_NOTES_BLOCK * sizeof **blocks);
	if (blocks[b->n_blocks] == NULL)
		return false;
	b->n_blocks++;
	b->account->held += sizeof *blocks + OUTQ_NOTES_BLOCK * sizeof **blocks;
	return true;
}

static uint32_t outq_notes_list_take_place(struct outq_notes *b)
{
	uint32_t at = b->free;
	if (at == OUTQ_NOTES_NONE)
		return b->used++;
	b->free = outq_notes_at(b, at)->next;
	return at;
}

void outq_notes_count(struct outq_notes *b, const struct slice *s, uint64_t note)
{
	b->bytes += s->len;
	b->kept += note == OUTQ_NOTES_KEEP ? s->len : 0;
	b->shared += s->chunk->owned ? 0 : s->len;
}

void outq_notes_uncount(struct outq_notes *b, const struct outq_notes_run *run, uint32_t len)
{
	CHECK(len <= run->s.len && len <= b->bytes);
	b->bytes -= len;
	b->kept -= run->note == OUTQ_NOTES_KEEP ? len : 0;
	b->shared -= run->s.chunk->owned ? 0 : len;
	b->stale_bytes -= run->stale ? len : 0;
}

uint32_t outq_notes_push(struct outq_notes *b, struct slice s, uint64_t note, uint32_t n)
{
	uint32_t at = outq_notes_list_take_place(b);
	*outq_notes_at(b, at) = (struct outq_notes_run){.s = s,
							.note = note,
							.at = at,
							.prev = b->last,
							.next = OUTQ_NOTES_NONE,
							.n = n & 0x7fffffff};
	if (b->last != OUTQ_NOTES_NONE)
		outq_notes_at(b, b->last)->next = at;
	else
		b->first = at;
	b->last = at;
	b->oldest = b->oldest == OUTQ_NOTES_NONE ? at : b->oldest;
	b->scan = b->scan == OUTQ_NOTES_NONE ? at : b->scan;
	b->live++;
	b->keys += outq_notes_is_key(note);
	outq_notes_count(b, &s, note);
	return at;
}

void outq_notes_put_first(struct outq_notes *b, struct slice s)
{
	uint32_t at = outq_notes_list_take_place(b);
	*outq_notes_at(b, at) = (struct outq_notes_run){.s = s,
							.note = OUTQ_NOTES_KEEP,
							.at = at,
							.prev = OUTQ_NOTES_NONE,
							.next = b->first,
							.n = 1};
	if (b->first != OUTQ_NOTES_NONE)
		outq_notes_at(b, b->first)->prev = at;
	else
		b->last = at;
	b->first = at;
	b->live++;
	outq_notes_count(b, &s, OUTQ_NOTES_KEEP);
}

void outq_notes_remove(struct outq_notes *b, struct outq_notes_run *run)
{
	uint32_t at = run->at;
	if (outq_notes_is_key(run->note) && b->index != NULL)
		outq_notes_list_forget_key(b, at);
	*(run->prev != OUTQ_NOTES_NONE ? &outq_notes_at(b, run->prev)->next : &b->first) =
		run->next;
	*(run->next != OUTQ_NOTES_NONE ? &outq_notes_at(b, run->next)->prev : &b->last) = run->prev;
	uint32_t *const places[] = {&b->oldest, &b->scan, &b->pack};
	for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
		if (*places[i] == at)
			*places[i] = run->next;
	outq_notes_uncount(b, run, run->s.len);
	b->stale -= run->stale;
	b->keys -= outq_notes_is_key(run->note);
	CHECK(b->live > 0);
	b->live--;
	outq_notes_unref(b, &run->s.chunk);
	run->next = b->free;
	b->free = at;
}

/* --- own chunks ------------------------------------------------------------------------------- */

/* A part of what waits, so that a queue that goes on growing allocates rarely, and what is used in
 * part at its ends is little. There are few sizes, so that what one queue has given back another
 * can use. */
static struct chunk *outq_notes_list_new_chunk(struct outq_notes *b, uint32_t len)
{
	uint32_t size = OUTQ_NOTES_CHUNK_MIN;
	while (size < OUTQ_NOTES_CHUNK && 4 * size <= b->bytes / 2)
		size *= 4;
	struct chunk *c = chunk_new(size > len ? size : len);
	if (c == NULL)
		return NULL;
	c->owned = true;
	b->own += c->size;
	chunk_account(c, &b->account->held);
	return c;
}

bool outq_notes_reserve_fill(struct outq_notes *b, uint32_t len)
{
	if (b->fill != NULL && b->fill->size - b->fill->used >= len)
		return true;
	struct chunk *c = outq_notes_list_new_chunk(b, len);
	if (c == NULL)
		return false;
	outq_notes_drop_fill(b);
	b->fill = c;
	return true;
}

struct slice outq_notes_copy(struct outq_notes *b, const struct slice *s)
{
	CHECK(s->len <= b->fill->size - b->fill->used);
	struct slice copy = {.chunk = b->fill, .off = b->fill->used, .len = s->len};
	memcpy(slice_bytes(&copy), slice_bytes(s), s->len);
	b->fill->used += s->len;
	chunk_ref(b->fill);
	return copy;
}

/* Is there so much memory that it is worth the work? That of the first, which is being sent,
 * stays. */
static bool outq_notes_list_is_sparse(const struct outq_notes *b)
{
	const struct outq_notes_run *first = outq_notes_run(b, b->first);
	uint64_t stays = first != NULL && first->s.chunk->owned ? first->s.chunk->size : 0;
	return b->own > 2 * (uint64_t)(b->bytes - b->shared) + stays + 4 * OUTQ_NOTES_CHUNK_MIN;
}

/* Copies runs that are no large part of their chunk into as few chunks as they need. Without memory
 * some stay where they are. The first is being sent. */
static void outq_notes_list_pack(struct outq_notes *b, uint32_t most)
{
	struct outq_notes_run *run;
	for (uint32_t looked = 0; b->packing > 0 && most > 0 && looked < OUTQ_NOTES_PACK / 16;
	     b->packing--, looked++) {
		if ((run = outq_notes_run(b, b->pack)) == NULL) {
			b->packing = 0;
			return;
		}
		struct slice *s = &run->s;
		b->pack = run->next;
		if (run == outq_notes_run(b, b->first) || !s->chunk->owned || s->chunk == b->fill ||
		    s->len > s->chunk->size / 2 || !outq_notes_reserve_fill(b, s->len))
			continue;
		struct slice copy = outq_notes_copy(b, s);
		outq_notes_unref(b, &s->chunk);
		*s = copy;
		most -= most < s->len ? most : s->len;
	}
}

void outq_notes_tidy(struct outq_notes *b, uint32_t len)
{
	if (b->packing == 0 && outq_notes_list_is_sparse(b)) {
		outq_notes_drop_fill(b);
		b->pack = b->first;
		b->packing = b->live;
	}
	if (b->packing > 0)
		outq_notes_list_pack(b, 2 * len > OUTQ_NOTES_PACK ? 2 * len : OUTQ_NOTES_PACK);
}
