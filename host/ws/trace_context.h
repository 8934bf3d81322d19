/* trace_context: which distributed trace a request belongs to (W3C Trace Context), as pure code.
 *
 *	traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *	             version, trace, span of whoever asks, flags (1: it is sampled)
 */
#ifndef TOVA_WS_TRACE_CONTEXT_H
#define TOVA_WS_TRACE_CONTEXT_H

#include <stdint.h>

#include "ws/request.h"

#define TRACE_CONTEXT_TEXT 56	 /* with the NUL */
#define TRACE_CONTEXT_ID_TEXT 33 /* of the trace alone */
/* Bytes of a tracestate that are passed on; the standard asks for 512. A longer one is not. */
#define TRACE_CONTEXT_STATE_MAX 1024

struct trace_context {
	uint8_t trace[16], span[8]; /* neither is all zero */
	bool sampled;
};

/* False: it is none. Of a version that is not known yet what this one has is taken, as the standard
 * asks. */
bool trace_context_parse(struct span text, struct trace_context *context_r);
/* Of the request's header, which comes once. */
bool trace_context_of(const struct request *r, struct trace_context *context_r);
/* Its tracestate, if it has a traceparent that is one, and n 0 otherwise. */
struct span trace_context_state(const struct request *r);
/* Returns text. */
const char *trace_context_text(const struct trace_context *c, char text[TRACE_CONTEXT_TEXT]);
const char *trace_context_id_text(const struct trace_context *c, char text[TRACE_CONTEXT_ID_TEXT]);

/* The request's head with this context in the place of what it came with; its tracestate stays if
 * there was a traceparent beside it, and if it is one. malloc; p NULL: no memory. */
struct span trace_context_head(const struct request *r, const struct trace_context *c);

#endif
