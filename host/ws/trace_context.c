#include "ws/trace_context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_CONTEXT_FLAG_SAMPLED 1

/* --- texts ------------------------------------------------------------------------------------ */

/* Capital letters are none (2.2.2). */
static int trace_context_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: these are no digits. */
static bool trace_context_bytes(const char *text, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int high = trace_context_digit(text[2 * i]),
		    low = trace_context_digit(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static bool trace_context_is_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

bool trace_context_parse(struct span text, struct trace_context *context_r)
{
	uint8_t version, flags;
	const char *p = text.p;
	if (text.n < TRACE_CONTEXT_TEXT - 1 || p[2] != '-' || p[35] != '-' || p[52] != '-' ||
	    !trace_context_bytes(p, &version, 1) || version == 0xff ||
	    !trace_context_bytes(p + 3, context_r->trace, 16) ||
	    !trace_context_bytes(p + 36, context_r->span, 8) ||
	    !trace_context_bytes(p + 53, &flags, 1) ||
	    trace_context_is_zero(context_r->trace, 16) ||
	    trace_context_is_zero(context_r->span, 8))
		return false;
	context_r->sampled = (flags & TRACE_CONTEXT_FLAG_SAMPLED) != 0;
	return text.n == TRACE_CONTEXT_TEXT - 1 ||
	       (version != 0 && p[TRACE_CONTEXT_TEXT - 1] == '-');
}

static char *trace_context_hex(char *at, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < n; i++) {
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 15];
	}
	return at;
}

const char *trace_context_text(const struct trace_context *c, char text[TRACE_CONTEXT_TEXT])
{
	char *at = text;
	memcpy(at, "00-", 3);
	at = trace_context_hex(at + 3, c->trace, 16);
	*at++ = '-';
	at = trace_context_hex(at, c->span, 8);
	memcpy(at, c->sampled ? "-01" : "-00", 4);
	return text;
}

const char *trace_context_id_text(const struct trace_context *c, char text[TRACE_CONTEXT_ID_TEXT])
{
	*trace_context_hex(text, c->trace, 16) = '\0';
	return text;
}

/* --- requests --------------------------------------------------------------------------------- */

bool trace_context_of(const struct request *r, struct trace_context *context_r)
{
	return request_header_count(r, "traceparent") == 1 &&
	       trace_context_parse(request_header(r, "traceparent"), context_r);
}

/* Visible ASCII and spaces (3.3.1.3). One that comes in several headers is one list, which is more
 * than is worth while: it is not passed on. */
static bool trace_context_state_ok(const struct request *r)
{
	struct span state = request_header(r, "tracestate");
	for (size_t i = 0; i < state.n; i++)
		if ((state.p[i] < ' ' || state.p[i] > '~') && state.p[i] != '\t')
			return false;
	return state.n > 0 && state.n <= TRACE_CONTEXT_STATE_MAX &&
	       request_header_count(r, "tracestate") == 1;
}

struct span trace_context_state(const struct request *r)
{
	struct trace_context context;
	return trace_context_of(r, &context) && trace_context_state_ok(r)
		       ? request_header(r, "tracestate")
		       : (struct span){NULL, 0};
}

static char *trace_context_put(char *at, struct span text)
{
	if (text.n > 0)
		memcpy(at, text.p, text.n);
	return at + text.n;
}

static char *trace_context_put_header(char *at, struct span name, struct span value)
{
	at = trace_context_put(at, name);
	at = trace_context_put(at, SPAN(": "));
	at = trace_context_put(at, value);
	return trace_context_put(at, SPAN("\r\n"));
}

/* Of the context it came with. */
static bool trace_context_is_its(struct span name)
{
	return span_eq_nocase(name, SPAN("traceparent")) ||
	       span_eq_nocase(name, SPAN("tracestate"));
}

struct span trace_context_head(const struct request *r, const struct trace_context *c)
{
	char text[TRACE_CONTEXT_TEXT];
	struct span state = trace_context_state(r);
	size_t n = r->method.n + r->target.n + sizeof "  HTTP/1.1\r\n\r\n" +
		   sizeof "traceparent: \r\n" + sizeof text + sizeof "tracestate: \r\n" + state.n;
	for (unsigned i = 0; i < r->n_headers; i++)
		n += r->headers[i].name.n + r->headers[i].value.n + 4;
	char *head = malloc(n), *at = head;
	if (head == NULL)
		return (struct span){NULL, 0};
	at = trace_context_put(at, r->method);
	at = trace_context_put(at, SPAN(" "));
	at = trace_context_put(at, r->target);
	at = trace_context_put(at, r->minor == 0 ? SPAN(" HTTP/1.0\r\n") : SPAN(" HTTP/1.1\r\n"));
	for (unsigned i = 0; i < r->n_headers; i++)
		if (!trace_context_is_its(r->headers[i].name))
			at = trace_context_put_header(at, r->headers[i].name, r->headers[i].value);
	at = trace_context_put_header(at, SPAN("traceparent"),
				      span_of(trace_context_text(c, text)));
	if (state.n > 0)
		at = trace_context_put_header(at, SPAN("tracestate"), state);
	at = trace_context_put(at, SPAN("\r\n"));
	return (struct span){head, (size_t)(at - head)};
}
