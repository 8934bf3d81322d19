/* trace_sampler: what becomes of the events of sampled connections (--trace-sample), written down
 * (--trace-file) and the last of it kept, of each mount by itself, so that a story can be told from
 * its beginning. While no mount samples, nothing is traced for it. */
#ifndef TOVA_OPS_TRACE_SAMPLER_H
#define TOVA_OPS_TRACE_SAMPLER_H

#include "handler/worker/codec.h"
#include "hub/trace.h"

#define TRACE_SAMPLER_KEPT 512	   /* lines of each mount */
#define TRACE_SAMPLER_LINE_MAX 512 /* bytes; a longer one is not kept */
#define TRACE_SAMPLER_USER_MAX 128 /* bytes of a user's name that is found again */

struct trace_sampler {
	struct hub *hub;
	struct log *log; /* NULL: it is not written down */
	struct trace *trace;
	struct trace_sampler_ring *rings;
	struct codec_out out;
};

/* Nothing is sampled yet. */
void trace_sampler_init(struct trace_sampler *s, struct hub *hub);
/* The mounts have other fractions than before. */
void trace_sampler_set(struct trace_sampler *s);
/* The mounts stay until then. The log is the caller's. */
void trace_sampler_free(struct trace_sampler *s);

/* Appends the lines that are kept of those that the filter asks for, the oldest of a mount first,
 * each with a line end, until there are `most` bytes of them. */
void trace_sampler_tell(const struct trace_sampler *s, const struct trace_filter *filter,
			size_t most, struct codec_out *o);

#endif
