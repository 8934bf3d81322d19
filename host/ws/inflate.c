#include "ws/inflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SPARE_MAX 4 /* streams kept for the next messages */
#define BITS_MIN 9  /* some clients that promise 8 use 9, as zlib once did for them */
#define BITS_MAX 15
#define PAST_MIN 256 /* bytes */
/* bytes that a message and what was before it have in common, which any compressor finds */
#define SAMPLE 8
#define SHOWN_MAX 3 /* messages that could have referred back and did not */

struct inflate_stream {
	z_stream z;
	struct inflate_stream *next;
};

/* --- streams ---------------------------------------------------------------------------------- */

static struct inflate_stream *inflate_stream_new(unsigned bits)
{
	struct inflate_stream *s = calloc(1, sizeof(*s));

	if (s != NULL && inflateInit2(&s->z, -(int)(bits < BITS_MIN ? BITS_MIN : bits)) != Z_OK) {
		free(s);
		s = NULL;
	}
	return s;
}

static void inflate_stream_free(struct inflate_stream *s)
{
	inflateEnd(&s->z);
	free(s);
}

static struct inflate_stream *inflate_pool_take(struct inflate_pool *pool)
{
	struct inflate_stream *s = pool->spare;

	if (s == NULL)
		return inflate_stream_new(BITS_MAX);
	pool->spare = s->next;
	pool->n_spare--;
	inflateReset(&s->z);
	return s;
}

static void inflate_pool_give(struct inflate_pool *pool, struct inflate_stream *s)
{
	if (pool->n_spare == SPARE_MAX) {
		inflate_stream_free(s);
		return;
	}
	s->next = pool->spare;
	pool->spare = s;
	pool->n_spare++;
}

void inflate_pool_free(struct inflate_pool *pool)
{
	while (pool->n_spare > 0)
		inflate_stream_free(inflate_pool_take(pool));
	free(pool->part);
	pool->part = NULL;
}

size_t inflate_cost(unsigned bits)
{
	/* zconf.h: about 7 KiB */
	return sizeof(struct inflate_stream) + ((size_t)1 << (bits < BITS_MIN ? BITS_MIN : bits)) +
	       8192;
}

/* --- messages --------------------------------------------------------------------------------- */

void inflate_init(struct inflate *i, struct inflate_pool *pool, unsigned bits, bool keep)
{
	*i = (struct inflate){.pool = pool, .bits = (uint8_t)bits, .keep = keep};
}

enum inflate_status inflate_begin(struct inflate *i, bool whole)
{
	i->begun = true;
	i->ended = false;
	i->tail = 0;
	i->whole = whole && !i->keep;
	i->gathers = !i->keep && !whole && i->pool->lent >= i->pool->lent_max;
	if (i->gathers || i->stream != NULL)
		return INFLATE_DONE;
	i->stream = i->keep ? inflate_stream_new(i->bits) : inflate_pool_take(i->pool);
	if (i->stream == NULL)
		return INFLATE_NO_MEMORY;
	i->lent = !i->keep && !whole;
	i->pool->lent += i->lent;
	/* its beginning will not be there any more when it turns out to refer back */
	if (!whole && i->past != NULL)
		inflateSetDictionary(&i->stream->z, i->past->bytes, (uInt)i->past->n);
	return INFLATE_DONE;
}

/* --- clients that refer back though they should not ------------------------------------------- */

static void inflate_past_drop(struct inflate *i)
{
	if (i->past == NULL)
		return;
	*i->pool->memory -= sizeof(*i->past) + i->past->cap;
	free(i->past);
	i->past = NULL;
}

/* Room for n bytes, which is counted. */
static bool inflate_past_reserve(struct inflate *i, size_t n)
{
	struct inflate_pool *const pool = i->pool;
	const size_t had = i->past != NULL ? sizeof(*i->past) + i->past->cap : 0;
	size_t cap = i->past != NULL ? i->past->cap : PAST_MIN;
	struct inflate_past *wider;

	while (cap < n)
		cap *= 2;
	if (i->past != NULL && cap == i->past->cap)
		return true;
	if (pool->memory == NULL || *pool->memory - had + sizeof(*wider) + cap > pool->memory_max)
		return false;
	wider = realloc(i->past, sizeof(*wider) + cap);
	if (wider == NULL)
		return false;
	if (i->past == NULL)
		wider->n = 0;
	wider->cap = cap;
	i->past = wider;
	*pool->memory += sizeof(*wider) + cap - had;
	return true;
}

/* Without a gap, or not at all: half of what it may refer to is as good as nothing. */
static void inflate_past_add(struct inflate *i, const uint8_t *text, size_t n)
{
	const size_t take = n < INFLATE_PAST_MAX ? n : INFLATE_PAST_MAX,
		     had = i->past != NULL ? i->past->n : 0;
	const size_t stay = had + take <= INFLATE_PAST_MAX ? had : INFLATE_PAST_MAX - take;

	if (!inflate_past_reserve(i, stay + take)) {
		inflate_past_drop(i);
		return;
	}
	memmove(i->past->bytes, i->past->bytes + had - stay, stay);
	memcpy(i->past->bytes + stay, text + n - take, take);
	i->past->n = stay + take;
}

void inflate_end(struct inflate *i)
{
	i->compressed = i->begun = i->gathers = false;
	i->taken = 0;
	if (i->keep || i->stream == NULL)
		return;
	i->pool->lent -= i->lent;
	i->lent = false;
	inflate_pool_give(i->pool, i->stream);
	i->stream = NULL;
}

void inflate_reset(struct inflate *i)
{
	inflate_end(i);
	inflate_past_drop(i);
	if (i->counted)
		*i->pool->memory -= inflate_cost(BITS_MAX);
	i->counted = false;
	if (i->stream != NULL)
		inflate_stream_free(i->stream);
	i->stream = NULL;
}

void inflate_remember(struct inflate *i, const uint8_t *text, size_t n)
{
	if (i->keep || i->obeys || n == 0 || i->pool->memory == NULL)
		return;
	if (i->whole && n >= 2 * SAMPLE && i->past != NULL &&
	    memmem(i->past->bytes, i->past->n, text, SAMPLE) != NULL)
		i->shown++;
	i->obeys = i->shown == SHOWN_MAX;
	if (i->obeys)
		inflate_past_drop(i);
	else
		inflate_past_add(i, text, n);
}

bool inflate_recall(struct inflate *i)
{
	struct inflate_pool *const pool = i->pool;
	const size_t cost = inflate_cost(BITS_MAX),
		     had = i->past != NULL ? sizeof(*i->past) + i->past->cap : 0;
	struct inflate_stream *own;

	if (!i->whole || i->past == NULL || *pool->memory - had + cost > pool->memory_max)
		return false;
	own = inflate_stream_new(BITS_MAX);
	if (own == NULL)
		return false;
	inflateSetDictionary(&own->z, i->past->bytes, (uInt)i->past->n);
	inflate_pool_give(pool, i->stream);
	inflate_past_drop(i);
	*pool->memory += cost;
	i->stream = own;
	i->bits = BITS_MAX;
	i->keep = i->counted = true;
	i->ended = i->whole = false;
	i->tail = 0;
	return true;
}

/* Does the message end where it must: at the end of the empty block whose last bytes its sender
 * left out (7.2.1)? zlib tells by the bit of a block's beginning, and no bits that are left over.
 */
static bool inflate_at_block_end(const z_stream *z)
{
	return (z->data_type & 128) != 0 && (z->data_type & 63) == 0;
}

/* What zlib says of a distance beyond its window's bytes, and of nothing else. */
static bool inflate_is_far(const z_stream *z)
{
	return z->msg != NULL && strcmp(z->msg, "invalid distance too far back") == 0;
}

/* One call of zlib, which uses up either side or meets the end of a final block. */
static int inflate_step(z_stream *z, const uint8_t **src, size_t *n, uint8_t *dst, size_t room,
			size_t *made)
{
	const uInt in = *n < UINT_MAX ? (uInt)*n : UINT_MAX,
		   out = room - *made < UINT_MAX ? (uInt)(room - *made) : UINT_MAX;
	int code;

	z->next_in = (Bytef *)*src; /* which zlib does not write to */
	z->avail_in = in;
	z->next_out = dst + *made;
	z->avail_out = out;
	code = inflate(z, Z_SYNC_FLUSH);
	*src += in - z->avail_in;
	*n -= in - z->avail_in;
	*made += out - z->avail_out;
	return code;
}

enum inflate_status inflate_some(struct inflate *i, const uint8_t **src, size_t *n, bool last,
				 uint8_t *dst, size_t room, size_t *made_r)
{
	static const uint8_t tail[4] = {0x00, 0x00, 0xFF, 0xFF};
	z_stream *const z = &i->stream->z;

	*made_r = 0;
	while (*n > 0 || !i->ended) {
		/* nothing at all is an empty message */
		const bool ending = *n == 0 && last && i->taken > 0;
		const uint8_t *p = tail + i->tail;
		size_t left = sizeof(tail) - i->tail;
		int code =
			inflate_step(z, ending ? &p : src, ending ? &left : n, dst, room, made_r);

		if (ending)
			i->tail = (uint8_t)(p - tail);
		i->ended = code == Z_STREAM_END && i->tail == 0;
		if (code == Z_STREAM_END) {
			/* A final block ends the stream for zlib, and nothing here (7.2.3.4): the
			 * window is still good. */
			inflateResetKeep(z);
		} else if (code != Z_OK && code != Z_BUF_ERROR) {
			return code == Z_MEM_ERROR ? INFLATE_NO_MEMORY
			       : inflate_is_far(z) ? INFLATE_FAR
						   : INFLATE_BAD;
		} else if (*made_r == room) {
			return INFLATE_FULL;
		} else if (*n == 0 && !last) {
			return INFLATE_DONE;
		} else if (*n == 0 && (i->taken == 0 || i->tail == sizeof(tail))) {
			return i->taken == 0 || inflate_at_block_end(z) ? INFLATE_DONE
									: INFLATE_BAD;
		}
	}
	return INFLATE_DONE; /* a message may end with a final block, too */
}
