/* Bodies of requests: the same bytes and the same answer whole and in pieces; never more bytes than
 * are taken, and of chunks those that another, simple reader finds. The input's first byte chooses
 * what frames the body and how much is taken, the second one the pieces. */
#include "fuzz.h"
#include "record.h"
#include "ws/body.h"

#define CHUNKED 1

static struct request_limits limits = {.head_max = 4096, .headers_max = 10};

struct answer {
	struct record data;
	enum body_status status;
	size_t used;
	int code;
	const char *why;
};

static void begin(struct body_reader *b, uint8_t kind, uint64_t max)
{
	static struct request r;
	char head[256];
	size_t used;
	int status;
	const char *why;
	int n = snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n",
			 kind & CHUNKED ? "Transfer-Encoding: chunked" : "Content-Length: 16");

	MUST(request_parse(&r, &limits, head, (size_t)n, NULL, &used, &status, &why) == REQUEST_OK);
	MUST(body_begin(b, &r, max, &why) == 0);
}

/* Pieces of the sizes that the seed gives; 0: one piece. */
static void read_all(struct answer *a, uint8_t kind, uint64_t max, const char *p, size_t n,
		     uint32_t seed)
{
	struct body_reader b;

	*a = (struct answer){.status = BODY_MORE, .why = ""};
	begin(&b, kind, max);
	for (size_t at = 0; a->status == BODY_MORE && at < n;) {
		const size_t len = seed == 0 ? n : fuzz_piece(&seed, n - at);
		char *exact = malloc(len);
		size_t from = 0, used;
		struct span data;

		memcpy(exact, p + at, len);
		while ((a->status = body_read(&b, exact + from, len - from, &used, &data, &a->code,
					      &a->why)) == BODY_DATA) {
			MUST(used >= data.n && data.n > 0 &&
			     data.p == exact + from + used - data.n);
			record_add(&a->data, data.p, data.n);
			from += used;
		}
		from += used;
		MUST(from <= len && (a->status != BODY_MORE || from == len));
		a->used += from;
		at += len;
		free(exact);
	}
	MUST(a->data.n <= max && b.extra <= BODY_EXTRA_MAX + 1);
	if (a->status == BODY_BAD)
		MUST((a->code == 400 || a->code == 413 || a->code == 431) && a->why[0] != '\0');
}

/* What a right body holds, found by looking for its line ends: the reader may refuse more than this
 * one, but never read otherwise. */
static void judge(const struct answer *a, const char *p)
{
	const char *at = p, *end = p + a->used;
	char *digits_end = NULL;
	size_t n = 0;

	for (;;) {
		const unsigned long long size = strtoull(at, &digits_end, 16);

		MUST(digits_end > at && digits_end - at <= 16 && size <= a->data.n - n);
		at = strstr(digits_end, "\r\n") + 2;
		if (size == 0)
			break;
		MUST(memcmp(a->data.bytes + n, at, size) == 0 && memcmp(at + size, "\r\n", 2) == 0);
		n += size;
		at += size + 2;
	}
	MUST(n == a->data.n);
	while (strncmp(at, "\r\n", 2) != 0)
		at = strstr(at, "\r\n") + 2;
	MUST(at + 2 == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t most[] = {1 << 20, 16, 100, 1 << 20};
	struct answer whole, pieces;
	char *text;

	if (size < 3)
		return 0;
	const uint8_t kind = data[0];
	const uint64_t max = most[kind >> 1 & 3];
	text = malloc(size - 1); /* with a NUL, for what judges it */
	memcpy(text, data + 2, size - 2);
	text[size - 2] = '\0';
	read_all(&whole, kind, max, text, size - 2, 0);
	read_all(&pieces, kind, max, text, size - 2, 1 + data[1]);
	MUST(whole.status == pieces.status && whole.used == pieces.used &&
	     whole.code == pieces.code && strcmp(whole.why, pieces.why) == 0);
	MUST(whole.data.n == pieces.data.n &&
	     (whole.data.n == 0 || memcmp(whole.data.bytes, pieces.data.bytes, whole.data.n) == 0));
	if (whole.status == BODY_DONE && (kind & CHUNKED))
		judge(&whole, text);
	if (whole.status == BODY_DONE && !(kind & CHUNKED))
		MUST(whole.used == 16 && memcmp(whole.data.bytes, text, 16) == 0);
	free(whole.data.bytes);
	free(pieces.data.bytes);
	free(text);
	return 0;
}
