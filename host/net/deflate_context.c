#include "net/deflate_context.h"

#include <stdlib.h>

#include "ws/frame.h"

#define DEFLATE_CONTEXT_RSV1 0x40 /* RFC 7692 6 */
#define DEFLATE_CONTEXT_SCRATCH_MIN 4096
#define DEFLATE_CONTEXT_SCRATCH_KEEP (256u << 10)

/* --- a loop's --------------------------------------------------------------------------------- */

void deflate_contexts_init(struct deflate_contexts *s, struct chunk_pool *chunks,
			   struct stats *stats)
{
	*s = (struct deflate_contexts){.chunks = chunks,
				       .stats = stats,
				       .inflaters = {.memory = &stats->deflate_memory}};
}

static void deflate_context_drop_packers(struct deflate_contexts *s)
{
	for (unsigned i = 0; i < DEFLATE_WINDOWS; i++) {
		if (s->packers[i] == NULL)
			continue;
		deflateEnd(s->packers[i]);
		free(s->packers[i]);
		s->packers[i] = NULL;
	}
}

void deflate_contexts_set_limits(struct deflate_contexts *s, const struct deflate_limits *limits)
{
	if (limits->level != s->limits.level)
		deflate_context_drop_packers(s);
	s->limits = *limits;
	/* A quarter is for messages under way from those who have no window of their own. */
	s->inflaters.lent_max = (unsigned)(limits->memory / 4 / inflate_cost(DEFLATE_BITS_MAX));
	/* And a quarter is left for those who agree on a window, however many refer back
	 * unasked. */
	s->inflaters.memory_max = limits->memory / 2;
}

void deflate_contexts_free(struct deflate_contexts *s)
{
	deflate_context_drop_packers(s);
	inflate_pool_free(&s->inflaters);
	free(s->scratch);
	s->scratch = NULL;
	s->scratch_size = 0;
}

static z_stream *deflate_context_new_packer(const struct deflate_contexts *s, unsigned bits)
{
	z_stream *z = malloc(sizeof *z);
	if (z != NULL && !deflate_start(z, s->limits.level, bits)) {
		free(z);
		z = NULL;
	}
	return z;
}

/* --- connections ------------------------------------------------------------------------------ */

static uint32_t deflate_context_cost(const struct deflate_terms *t)
{
	return (uint32_t)(sizeof(struct deflate_context) +
			  (t->keep_out ? sizeof(z_stream) + deflate_cost(t->out_bits) : 0) +
			  (t->keep_in ? inflate_cost(t->in_bits) : 0));
}

/* With a window that is kept where there is memory for one; *kept_r has it then. */
static bool deflate_context_agree(struct deflate_contexts *s, const struct request *r,
				  struct deflate_policy *policy, struct deflate_terms *t,
				  struct deflate_context **kept_r)
{
	*kept_r = NULL;
	if (!deflate_negotiate(r, policy, t))
		return false;
	if (!t->keep_out && !t->keep_in)
		return true;
	if (s->stats->deflate_memory + deflate_context_cost(t) <= s->limits.memory / 4 * 3)
		*kept_r = calloc(1, sizeof **kept_r);
	if (*kept_r != NULL)
		return true;
	s->stats->deflate_denied++;
	policy->keep_out = policy->keep_in = false;
	return deflate_negotiate(r, policy, t);
}

unsigned deflate_contexts_accept(struct deflate_contexts *s, const struct request *r, bool may_keep,
				 struct deflate_context **kept_r, char answer[DEFLATE_ANSWER_MAX])
{
	struct deflate_policy policy = s->limits.policy;
	struct deflate_terms terms;
	answer[0] = '\0';
	policy.keep_out = policy.keep_out && may_keep;
	if (!deflate_context_agree(s, r, &policy, &terms, kept_r))
		return 0;
	struct deflate_context *kept = *kept_r;
	if (kept != NULL) {
		kept->keep_out = terms.keep_out;
		kept->keep_in = terms.keep_in;
		kept->cost = deflate_context_cost(&terms);
		s->stats->deflate_memory += kept->cost;
		inflate_init(&kept->inflate, &s->inflaters, terms.in_bits, terms.keep_in);
	}
	s->stats->deflate_connections++;
	deflate_answer(&terms, answer);
	return terms.out_bits;
}

struct deflate_context *deflate_context_keep(const struct inflate *in)
{
	struct deflate_context *c = calloc(1, sizeof *c);
	if (c != NULL)
		c->inflate = *in;
	return c;
}

bool deflate_context_is_done(const struct deflate_context *c)
{
	return !c->keep_out && !c->keep_in && !inflate_has_state(&c->inflate);
}

void deflate_context_free(struct deflate_contexts *s, struct deflate_context **c_p)
{
	struct deflate_context *c = *c_p;
	*c_p = NULL;
	inflate_reset(&c->inflate);
	if (c->packer != NULL)
		deflateEnd(c->packer);
	free(c->packer);
	s->stats->deflate_memory -= c->cost;
	free(c);
}

void deflate_contexts_leave(struct deflate_contexts *s, struct deflate_context *kept)
{
	s->stats->deflate_connections--;
	if (kept != NULL)
		deflate_context_free(s, &kept);
}

/* --- messages --------------------------------------------------------------------------------- */

/* Payload of a finished frame. */
static struct span deflate_context_payload(const struct slice *frame)
{
	const uint8_t *p = slice_bytes(frame);
	uint32_t head = p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10;
	return (struct span){(const char *)p + head, frame->len - head};
}

static bool deflate_context_make_scratch(struct deflate_contexts *s, size_t n)
{
	if (s->scratch_size >= n)
		return true;
	size_t size = n < DEFLATE_CONTEXT_SCRATCH_MIN ? DEFLATE_CONTEXT_SCRATCH_MIN : n;
	free(s->scratch);
	s->scratch = malloc(size);
	s->scratch_size = s->scratch != NULL ? size : 0;
	return s->scratch != NULL;
}

/* False: it does not shrink, or there is no memory; the compressor is spoilt. */
static bool deflate_context_pack(struct deflate_contexts *s, z_stream *z, const struct slice *frame,
				 struct slice *packed_r)
{
	struct span from = deflate_context_payload(frame);
	uint8_t head[FRAME_SERVER_HEAD_MAX];
	size_t n = deflate_context_make_scratch(s, from.n + DEFLATE_TAIL)
			   ? deflate_message(z, (const uint8_t *)from.p, from.n, s->scratch)
			   : 0;
	size_t head_len = frame_head(head, slice_bytes(frame)[0] & 0x0F, n);
	uint64_t note = chunk_note_at(frame->chunk, frame->off);
	bool ok = n > 0 && chunk_alloc(s->chunks, head_len + n, packed_r);
	if (ok && note != 0 && !chunk_note(packed_r, note)) {
		slice_unref(packed_r);
		ok = false;
	}
	if (ok) {
		head[0] |= DEFLATE_CONTEXT_RSV1;
		memcpy(slice_bytes(packed_r), head, head_len);
		memcpy(slice_bytes(packed_r) + head_len, s->scratch, n);
		s->stats->deflated++;
		s->stats->deflated_from += from.n;
		s->stats->deflated_to += n;
	}
	if (s->scratch_size > DEFLATE_CONTEXT_SCRATCH_KEEP) {
		free(s->scratch);
		s->scratch = NULL;
		s->scratch_size = 0;
	}
	return ok;
}

/* With the connection's own compressor, which refers back to what this client has got from it. */
static bool deflate_context_own(struct deflate_contexts *s, struct deflate_context *c,
				unsigned bits, const struct slice *frame, struct slice *packed_r)
{
	if (c->packer == NULL)
		c->packer = deflate_context_new_packer(s, bits);
	else if (c->stale)
		deflateReset(c->packer);
	c->stale = false;
	if (c->packer == NULL)
		return false;
	c->stale = !deflate_context_pack(s, c->packer, frame, packed_r);
	return !c->stale;
}

/* With a compressor that has seen nothing before, for everybody whose window is not smaller. The
 * window need not be larger than the message, so that most settings are one, and a short message
 * costs little. */
static bool deflate_context_shared(struct deflate_contexts *s, unsigned bits, struct out_message *o,
				   struct slice *packed_r)
{
	unsigned enough = deflate_bits_for(deflate_context_payload(o->frame).n);
	unsigned at = (enough < bits ? enough : bits) - DEFLATE_BITS_MIN;
	struct slice *packed = &o->packed[at];
	if (!(o->tried & 1u << at)) {
		z_stream *z = s->packers[at];
		if (z != NULL)
			deflateReset(z);
		else
			z = s->packers[at] = deflate_context_new_packer(s, DEFLATE_BITS_MIN + at);
		o->tried |= (uint8_t)(1u << at);
		if (z == NULL || !deflate_context_pack(s, z, o->frame, packed))
			*packed = (struct slice){0};
	}
	if (packed->chunk == NULL)
		return false;
	*packed_r = *packed;
	chunk_ref(packed->chunk);
	return true;
}

bool deflate_contexts_frame(struct deflate_contexts *s, struct deflate_context *c, unsigned bits,
			    struct out_message *o, struct slice *packed_r)
{
	if (deflate_context_payload(o->frame).n < s->limits.min)
		return false;
	if (c != NULL && c->keep_out && !o->shared)
		return deflate_context_own(s, c, bits, o->frame, packed_r);
	if (!deflate_context_shared(s, bits, o, packed_r))
		return false;
	/* the client's window has in it now what its own compressor has not seen */
	deflate_context_lost(c);
	return true;
}
