/* Request heads: the same answer whole and in pieces; what is accepted keeps every promise of
 * request.h, and means the same when it is written anew from its parts. The input's first two bytes
 * choose the limits and the pieces. */
#include "common/utf8.h"
#include "fuzz.h"
#include "ws/request.h"

struct answer {
	enum request_status status;
	size_t used;
	int code;
	const char *why;
};

static struct answer parse(struct request *r, const struct request_limits *limits, const char *p,
			   size_t n, struct request_progress *progress)
{
	struct answer a = {REQUEST_MORE, 0, 0, ""};

	a.status = request_parse(r, limits, p, n, progress, &a.used, &a.code, &a.why);
	if (a.status == REQUEST_BAD)
		MUST((a.code == 400 || a.code == 414 || a.code == 431 || a.code == 505) &&
		     a.why != NULL && a.why[0] != '\0');
	if (a.status == REQUEST_OK)
		MUST(a.used >= 16 && a.used <= n && a.used <= limits->head_max &&
		     memcmp(p + a.used - 2, "\r\n", 2) == 0 && r->head.p == p &&
		     r->head.n == a.used);
	if (a.status == REQUEST_MORE)
		MUST(n < limits->head_max && (progress == NULL || progress->seen == n || n == 1));
	else if (progress != NULL)
		MUST(progress->seen == 0 && progress->method == 0 && progress->target == 0 &&
		     !progress->line);
	if (a.status == REQUEST_EMPTY)
		MUST(a.used >= 2 && a.used <= n && a.used % 2 == 0 && p[0] == '\r' && p[1] == '\n');
	return a;
}

static void in_pieces(struct request *r, const struct request_limits *limits, const char *p,
		      size_t n, uint32_t seed, const struct answer *whole)
{
	struct answer a = {REQUEST_MORE, 0, 0, ""};

	struct request_progress progress = {0};

	for (size_t have = 0; a.status == REQUEST_MORE && have < n;) {
		char *exact;

		have += fuzz_piece(&seed, n - have);
		exact = malloc(have);
		memcpy(exact, p, have);
		a = parse(r, limits, exact, have, &progress);
		free(exact);
	}
	MUST(a.status == whole->status && a.used == whole->used && a.code == whole->code &&
	     strcmp(a.why, whole->why) == 0);
}

static bool inside(struct span s, const char *p, size_t n)
{
	return s.n == 0 || (s.p >= p && s.p + s.n <= p + n);
}

static void check_path(const struct request *r)
{
	const struct span path = r->path;

	MUST(path.n >= 1 && path.n <= REQUEST_PATH_MAX && path.p == r->path_bytes &&
	     path.p[0] == '/' && path.p[path.n] == '\0');
	MUST(memchr(path.p, '\0', path.n) == NULL && utf8_valid(path.p, path.n));
	MUST(strstr(path.p, "/../") == NULL && strstr(path.p, "/./") == NULL);
	MUST(path.n < 2 || strcmp(path.p + path.n - 2, "/.") != 0);
	MUST(path.n < 3 || strcmp(path.p + path.n - 3, "/..") != 0);
}

static void check_parts(const struct request *r, const char *p, size_t n)
{
	MUST(inside(r->method, p, n) && inside(r->target, p, n) && inside(r->host, p, n) &&
	     r->method.n > 0 && r->target.n > 0);
	MUST(inside(r->query, p, n) && r->minor <= 1 && (r->host.n > 0 || r->minor == 0));
	MUST(r->n_headers <= REQUEST_HEADERS_MAX &&
	     (r->minor == 1 || (!r->keep_alive && !r->wants_upgrade)));
	for (unsigned i = 0; i < r->n_headers; i++) {
		const struct span name = r->headers[i].name, value = r->headers[i].value;

		MUST(inside(name, p, n) && inside(value, p, n) && name.n > 0);
		for (size_t k = 0; k < name.n; k++)
			MUST(name.p[k] > ' ' && name.p[k] < 0x7F &&
			     strchr("\"(),/:;<=>?@[\\]{}", name.p[k]) == NULL);
		for (size_t k = 0; k < value.n; k++)
			MUST(((unsigned char)value.p[k] >= ' ' && value.p[k] != 0x7F) ||
			     value.p[k] == '\t');
		MUST(value.n == 0 || (strchr(" \t", value.p[0]) == NULL &&
				      strchr(" \t", value.p[value.n - 1]) == NULL));
	}
	MUST(request_header_count(r, "Host") + (r->minor == 0) >= 1 &&
	     request_header_count(r, "Host") <= 1);
	MUST(request_header_count(r, "Content-Length") <= 1);
	MUST(request_header_count(r, "Content-Length") == 0 ||
	     request_header_count(r, "Transfer-Encoding") == 0);
	MUST(r->wants_upgrade == (r->minor == 1 && request_has_token(r, "upgrade", "WEBSOCKET") &&
				  request_has_token(r, "connection", "UPGRADE")));
}

/* The helpers on whatever came. */
static void use(const struct request *r)
{
	char out[REQUEST_PATH_MAX];
	const long n = request_decode(r->query, out, sizeof out);

	MUST(n >= -1 && n <= (long)sizeof out && (n <= 0 || memchr(out, '\0', (size_t)n) == NULL));
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span rest = r->headers[i].value, item;

		while (request_list_next(&rest, &item)) {
			MUST(inside(item, r->headers[i].value.p, r->headers[i].value.n) &&
			     item.n > 0);
			MUST(strchr(" \t", item.p[0]) == NULL &&
			     strchr(" \t", item.p[item.n - 1]) == NULL);
		}
	}
}

/* Writes the head from its parts, and reads it again. */
static void again(const struct request *r, const struct request_limits *limits, size_t used)
{
	static struct request second;
	char *text = malloc(used + 2 * r->n_headers + 64);
	size_t n = (size_t)sprintf(text, "%.*s %.*s HTTP/1.%u\r\n", (int)r->method.n, r->method.p,
				   (int)r->target.n, r->target.p, r->minor);
	struct request_limits wide = *limits;
	struct answer a;

	for (unsigned i = 0; i < r->n_headers; i++)
		n += (size_t)sprintf(text + n, "%.*s:  %.*s\r\n", (int)r->headers[i].name.n,
				     r->headers[i].name.p, (int)r->headers[i].value.n,
				     r->headers[i].value.p);
	n += (size_t)sprintf(text + n, "\r\n");
	wide.head_max = n;
	a = parse(&second, &wide, text, n, NULL);
	MUST(a.status == REQUEST_OK && a.used == n && second.n_headers == r->n_headers);
	MUST(span_eq(second.path, r->path) && span_eq(second.query, r->query) &&
	     span_eq(second.host, r->host));
	MUST(second.keep_alive == r->keep_alive && second.wants_upgrade == r->wants_upgrade &&
	     second.has_body == r->has_body && second.content_length == r->content_length);
	for (unsigned i = 0; i < r->n_headers; i++)
		MUST(span_eq(second.headers[i].name, r->headers[i].name) &&
		     span_eq(second.headers[i].value, r->headers[i].value));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t heads[] = {8192, 8192, 8192, 64, 100, 300, 4096, 1 << 20};
	static struct request r;
	const char *p = (const char *)data + 2;
	struct request_limits limits;
	struct answer whole;

	if (size < 3)
		return 0;
	size -= 2;
	limits = (struct request_limits){.head_max = heads[data[0] % 8],
					 .headers_max = data[0] & 8 ? 3 : REQUEST_HEADERS_MAX};
	whole = parse(&r, &limits, p, size, NULL);
	if (whole.status == REQUEST_EMPTY) { /* as conn does */
		p += whole.used;
		size -= whole.used;
		if (size == 0)
			return 0;
		whole = parse(&r, &limits, p, size, NULL);
		MUST(whole.status != REQUEST_EMPTY);
	}
	in_pieces(&r, &limits, p, size, data[1], &whole);
	if (whole.status != REQUEST_OK)
		return 0;
	if (whole.used > 20) /* nothing less than the whole is enough */
		MUST(parse(&r, &limits, p, whole.used - 1 - data[1] % 18, NULL).status ==
		     REQUEST_MORE);
	parse(&r, &limits, p, size, NULL);
	check_path(&r);
	check_parts(&r, p, whole.used);
	use(&r);
	again(&r, &limits, whole.used);
	return 0;
}
