/* What proxies say of a client. The input is header lines, as a client may have begun them; then
 * the proxy adds its own, which must be what counts, whatever stands before it. */
#include "fuzz.h"
#include "ws/forwarded.h"

static const char *const added[] = {"X-Forwarded-For: 192.0.2.1\r\n\r\n",
				    "Forwarded: for=192.0.2.1;proto=https;host=a\r\n\r\n"};
/* The same, added to the client's own line. */
static const char *const appended[] = {", 192.0.2.1\r\n\r\n",
				       ", for=192.0.2.1;proto=https;host=a\r\n\r\n"};
static const char *const names[] = {"X-Forwarded-For", "Forwarded"};

static void check_facts(const struct forwarded *f, const struct request *r)
{
	char text[ADDRESS_TEXT];
	struct address again;

	MUST(f->client.family == AF_UNSPEC || f->client.family == AF_INET ||
	     f->client.family == AF_INET6);
	if (f->client.family != AF_UNSPEC)
		MUST(address_parse(&again, span_of(address_text(&f->client, text))) &&
		     again.family == f->client.family);
	MUST(f->scheme.n == 0 ||
	     (f->scheme.n <= 5 && f->scheme.p >= r->head.p && f->scheme.p < r->head.p + r->head.n));
	MUST(f->host.n == 0 || request_authority_ok(f->host));
}

static void check(const char *lines, size_t n, const char *end, enum forwarded_kind kind, bool sure)
{
	static const struct request_limits limits = {.head_max = 1 << 20,
						     .headers_max = REQUEST_HEADERS_MAX};
	static const char begin[] = "GET /chat HTTP/1.1\r\nHost: example.com\r\n";
	static struct request r;
	char *proxies[] = {"10.0.0.0/8", "fd00::/8"},
	     *head = malloc(sizeof begin + n + strlen(end));
	struct address_set trusted;
	struct forwarded f;
	const char *why;
	size_t used;
	int status;
	size_t len = sizeof begin - 1;

	memcpy(head, begin, len);
	memcpy(head + len, lines, n);
	memcpy(head + len + n, end, strlen(end));
	address_set_make(&trusted, proxies, 2);
	if (request_parse(&r, &limits, head, len + n + strlen(end), NULL, &used, &status, &why) ==
	    REQUEST_OK) {
		forwarded_read(&f, &r, kind, &trusted);
		check_facts(&f, &r);
		/* The head may have ended in the client's part already. */
		if (sure && used == len + n + strlen(end)) {
			MUST(f.client.family == AF_INET &&
			     memcmp(f.client.ip, "\xC0\0\2\1", 4) == 0);
			MUST(kind == FORWARDED_X ||
			     (span_eq(f.scheme, SPAN("https")) && span_eq(f.host, SPAN("a"))));
		}
	}
	address_set_free(&trusted);
	free(head);
}

/* Is the last line one of these headers, without its CRLF? */
static bool is_open(const char *lines, size_t n, const char *name)
{
	size_t start = n, len = strlen(name);

	while (start > 0 && lines[start - 1] != '\n')
		start--;
	return n - start > len && strncasecmp(lines + start, name, len) == 0 &&
	       lines[start + len] == ':';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *lines = (const char *)data;

	for (int kind = 0; kind < 2; kind++) {
		check(lines, size, "\r\n\r\n", (enum forwarded_kind)kind, false);
		if (size == 0 || lines[size - 1] == '\n')
			check(lines, size, added[kind], (enum forwarded_kind)kind, true);
		else if (is_open(lines, size, names[kind]))
			check(lines, size, appended[kind], (enum forwarded_kind)kind, true);
	}
	check(lines, size, "\r\n\r\n", FORWARDED_OFF, false);
	return 0;
}
