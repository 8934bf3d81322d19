#include "ws/deflate.h"

#include <limits.h>
#include <stdio.h>

#include "ws/extension.h"

/* --- what is agreed on ------------------------------------------------------------------------ */

enum param { SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER, SERVER_BITS, CLIENT_BITS, PARAMS };

static const char *const param_names[PARAMS] = {
	[SERVER_NO_TAKEOVER] = "server_no_context_takeover",
	[CLIENT_NO_TAKEOVER] = "client_no_context_takeover",
	[SERVER_BITS] = "server_max_window_bits",
	[CLIENT_BITS] = "client_max_window_bits",
};

/* One offer: which parameters it has, and the value of those that have one. */
struct offer {
	bool has[PARAMS];
	unsigned bits[PARAMS]; /* 0: no value */
};

/* A decimal number from 8 to 15 without zeroes in front (7.1.2); 0: it is none. Backslashes of a
 * quoted value mean nothing. */
static unsigned deflate_bits_value(struct span s)
{
	char digits[3] = "";
	unsigned n = 0, value;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\\')
			continue;
		if (s.p[i] < '0' || s.p[i] > '9' || n == 2)
			return 0;
		digits[n++] = s.p[i];
	}
	value = n == 1	 ? (unsigned)(digits[0] - '0')
		: n == 2 ? (unsigned)(digits[0] - '0') * 10 + (unsigned)(digits[1] - '0')
			 : 0;
	return digits[0] != '0' && value >= 8 && value <= DEFLATE_BITS_MAX ? value : 0;
}

static bool deflate_offer_take(struct offer *o, const struct extension_param *p)
{
	unsigned which = 0;

	while (which < PARAMS && !span_eq_nocase(p->name, span_of(param_names[which])))
		which++;
	if (which == PARAMS || o->has[which])
		return false;
	o->has[which] = true;
	if (p->value.p == NULL)
		return which != SERVER_BITS;
	o->bits[which] = deflate_bits_value(p->value);
	return which >= SERVER_BITS && o->bits[which] != 0;
}

static bool deflate_offer_parse(struct span params, struct offer *o)
{
	struct extension_param param;

	*o = (struct offer){0};
	while (extension_param_next(&params, &param))
		if (!deflate_offer_take(o, &param))
			return false;
	return params.n == 0;
}

static bool deflate_offer_accept(const struct offer *o, const struct deflate_policy *policy,
				 struct deflate_terms *t)
{
	const unsigned out = o->bits[SERVER_BITS] != 0 ? o->bits[SERVER_BITS] : DEFLATE_BITS_MAX;
	const unsigned in = o->bits[CLIENT_BITS] != 0 ? o->bits[CLIENT_BITS] : DEFLATE_BITS_MAX;

	if (out < DEFLATE_BITS_MIN)
		return false;
	*t = (struct deflate_terms){
		.out_bits = (uint8_t)(out < policy->bits ? out : policy->bits),
		.in_bits = (uint8_t)in,
		.keep_out = policy->keep_out && !o->has[SERVER_NO_TAKEOVER],
		.keep_in = policy->keep_in && !o->has[CLIENT_NO_TAKEOVER],
	};
	/* A smaller window than usual could be told to any client, and would save it memory
	 * (7.1.2.1); but some take what they have not asked for for an error. */
	t->say_out_bits = o->has[SERVER_BITS];
	if (in > policy->bits && t->keep_in) {
		/* A client that did not offer to be told of a window must not be (7.1.2.2): it uses
		 * the largest, which is not kept. */
		if (o->has[CLIENT_BITS])
			t->in_bits = policy->bits;
		else
			t->keep_in = false;
	}
	t->say_in_bits = o->has[CLIENT_BITS] && t->in_bits < DEFLATE_BITS_MAX;
	return true;
}

bool deflate_negotiate(const struct request *r, const struct deflate_policy *policy,
		       struct deflate_terms *terms_r)
{
	struct request_walk w = extension_walk(r);
	struct span name, params;
	struct offer o;

	*terms_r = (struct deflate_terms){0};
	if (!policy->on)
		return false;
	while (extension_next(&w, &name, &params))
		if (span_eq_nocase(name, SPAN("permessage-deflate")) &&
		    deflate_offer_parse(params, &o) && deflate_offer_accept(&o, policy, terms_r))
			return true;
	return false;
}

size_t deflate_answer(const struct deflate_terms *terms, char dst[DEFLATE_ANSWER_MAX])
{
	char out[32] = "", in[32] = "";

	if (terms->say_out_bits)
		snprintf(out, sizeof(out), "; %s=%u", param_names[SERVER_BITS], terms->out_bits);
	if (terms->say_in_bits)
		snprintf(in, sizeof(in), "; %s=%u", param_names[CLIENT_BITS], terms->in_bits);
	return (size_t)snprintf(dst, DEFLATE_ANSWER_MAX,
				"Sec-WebSocket-Extensions: permessage-deflate%s%s%s%s\r\n",
				terms->keep_out ? "" : "; server_no_context_takeover",
				terms->keep_in ? "" : "; client_no_context_takeover", out, in);
}

/* --- compressing ------------------------------------------------------------------------------ */

/* zlib's tables beside the window: as large as the window, so that a compressor of a small one is
 * small, and quick to be reset. */
static unsigned deflate_mem_level(unsigned bits)
{
	return bits < 11 ? 4 : bits - 7;
}

bool deflate_start(z_stream *z, int level, unsigned bits)
{
	*z = (z_stream){0};
	return deflateInit2(z, level, Z_DEFLATED, -(int)bits, (int)deflate_mem_level(bits),
			    Z_DEFAULT_STRATEGY) == Z_OK;
}

/* zconf.h says so of window and tables; what is left is the state itself. */
size_t deflate_cost(unsigned bits)
{
	return ((size_t)1 << (bits + 2)) + ((size_t)1 << (deflate_mem_level(bits) + 9)) + 8192;
}

/* zlib does not refer back to the last 262 bytes of a window. */
unsigned deflate_bits_for(size_t n)
{
	unsigned bits = DEFLATE_BITS_MIN;

	while (bits < DEFLATE_BITS_MAX && ((size_t)1 << bits) - 262 < n)
		bits++;
	return bits;
}

size_t deflate_message(z_stream *z, const uint8_t *src, size_t n, uint8_t *dst)
{
	size_t len;

	if (n > UINT_MAX - DEFLATE_TAIL)
		return 0;
	z->next_in = (Bytef *)src; /* which zlib does not write to */
	z->avail_in = (uInt)n;
	z->next_out = dst;
	z->avail_out = (uInt)n + DEFLATE_TAIL;
	/* A flush is only complete where there is room left (zlib.h); what fills the room has not
	 * shrunk. */
	if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_out == 0)
		return 0;
	len = n + DEFLATE_TAIL - z->avail_out;
	/* without the empty block at its end (7.2.1) */
	return len - DEFLATE_TAIL < n ? len - DEFLATE_TAIL : 0;
}
