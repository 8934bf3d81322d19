/* tova.v1: a client's control message, or (first byte odd) the headers of its upgrade. What was cut
 * out of a request is all that may be missing from it: whatever else it said it says as before, in
 * its order, and nothing of ours is left in it. */
#include <jansson.h>

#include "fuzz.h"
#include "ws/tova_v1.h"

static const struct request_limits limits = {.head_max = 1 << 16,
					     .headers_max = REQUEST_HEADERS_MAX};
static const char beginning[] = "GET / HTTP/1.1\r\nHost: h\r\n";

static bool is_ours(struct span item)
{
	return span_eq(item, SPAN("tova.v1")) ||
	       (item.n >= 12 && memcmp(item.p, "tova.resume.", 12) == 0);
}

static bool is_protocol(const struct request_header *h)
{
	return span_eq_nocase(h->name, SPAN("Sec-WebSocket-Protocol"));
}

/* The next element of the protocols, or with `others` of those that are not ours. */
static bool next(struct request_walk *w, bool others, struct span *item_r)
{
	while (request_walk_next(w, item_r))
		if (!others || !is_ours(*item_r))
			return true;
	return false;
}

static void same_protocols(const struct request *before, const struct request *after)
{
	struct request_walk was = {.r = before, .name = SPAN("Sec-WebSocket-Protocol")}, is = was;
	struct span a, b;
	is.r = after;
	while (next(&was, true, &a))
		MUST(next(&is, false, &b) && span_eq(a, b));
	MUST(!next(&is, false, &b));
}

static void same_headers(const struct request *before, const struct request *after)
{
	unsigned k = 0;
	for (unsigned i = 0; i < before->n_headers; i++) {
		if (is_protocol(&before->headers[i]))
			continue;
		while (k < after->n_headers && is_protocol(&after->headers[k]))
			k++;
		MUST(k < after->n_headers &&
		     span_eq(before->headers[i].name, after->headers[k].name) &&
		     span_eq(before->headers[i].value, after->headers[k].value));
		k++;
	}
	while (k < after->n_headers)
		MUST(is_protocol(&after->headers[k++]));
}

static bool parse(struct request *r, const char *head, size_t n)
{
	size_t used;
	int status;
	const char *why;
	return request_parse(r, &limits, head, n, NULL, &used, &status, &why) == REQUEST_OK;
}

static void take(const uint8_t *data, size_t size)
{
	static struct request before, after;
	struct tova_v1_offer offer;
	size_t n = sizeof beginning - 1 + size + 4;
	char *head = malloc(n), *copy = malloc(n);
	memcpy(head, beginning, sizeof beginning - 1);
	memcpy(head + sizeof beginning - 1, data, size);
	memcpy(head + n - 4, "\r\n\r\n", 4);
	memcpy(copy, head, n);
	if (parse(&before, head, n) && parse(&after, copy, n)) {
		tova_v1_take(&after, &offer);
		MUST(after.head.p == copy && after.head.n <= before.head.n);
		MUST(offer.offered == tova_v1_is_offered(&before) && !tova_v1_is_offered(&after));
		MUST(offer.offered || !offer.returns);
		MUST(!offer.returns ||
		     (strlen(offer.token) == TOVA_V1_TOKEN &&
		      strspn(offer.token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					  "0123456789-_") == TOVA_V1_TOKEN));
		same_protocols(&before, &after);
		same_headers(&before, &after);
		MUST(after.head.n == before.head.n ||
		     memcmp(copy + after.head.n - 4, "\r\n\r\n", 4) == 0);
	}
	free(head);
	free(copy);
}

/* What jansson takes for an object with a number of ours is not BAD, and the number is the same. */
static void read(const uint8_t *data, size_t size)
{
	struct tova_v1_control control;
	char *text = malloc(size + 1);
	memcpy(text, data, size);
	json_t *v = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	tova_v1_read(text, size, &control);
	MUST((control.said & TOVA_V1_BAD) == 0 || control.said == TOVA_V1_BAD);
	MUST((control.said & TOVA_V1_JWT) == 0 ||
	     (control.jwt.p >= text && control.jwt.p + control.jwt.n <= text + size));
	if (v != NULL && !json_is_object(v))
		MUST(control.said == TOVA_V1_BAD);
	if (control.said & TOVA_V1_GOT && v != NULL)
		MUST((uint64_t)json_integer_value(json_object_get(v, "got")) == control.got);
	json_decref(v);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] & 1)
		take(data + 1, size - 1);
	else if (size > 0)
		read(data + 1, size - 1);
	return 0;
}
