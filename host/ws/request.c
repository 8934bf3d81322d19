#include "ws/request.h"

#include "common/utf8.h"
#include "ws/request_parts.h"

/* --- headers ---------------------------------------------------------------------------------- */

/* One header line without its CRLF (RFC 9112 5). */
static bool request_header_parse(struct request_header *h, struct request_cursor *c,
				 struct span line)
{
	size_t n = 0;

	while (n < line.n && request_is_tchar(line.p[n]))
		n++;
	if (n == 0 && span_is_blank(line.p[0]))
		return request_refuse(c, 400, "folded header");
	if (n == 0 || n == line.n || line.p[n] != ':')
		return request_refuse(c, 400,
				      "header line without a name and a colon right behind it");
	h->name = (struct span){line.p, n};
	h->value = span_trim((struct span){line.p + n + 1, line.n - n - 1});
	for (size_t i = 0; i < h->value.n; i++) {
		const unsigned char ch = (unsigned char)h->value.p[i];

		if ((ch < ' ' && ch != '\t') || ch == 0x7F)
			return request_refuse(c, 400, "header value with a control character");
	}
	return true;
}

/* False without a status: the empty line is not there. */
static bool request_headers_parse(struct request *r, const struct request_limits *limits,
				  struct request_cursor *c)
{
	const unsigned max = limits->headers_max < REQUEST_HEADERS_MAX ? limits->headers_max
								       : REQUEST_HEADERS_MAX;

	for (r->n_headers = 0;; r->n_headers++) {
		const char *lf = memchr(c->p, '\n', (size_t)(c->end - c->p));
		struct span line;

		if (lf == NULL)
			return false;
		if (lf == c->p || lf[-1] != '\r')
			return request_refuse(c, 400, "line that ends in a bare LF");
		line = (struct span){c->p, (size_t)(lf - 1 - c->p)};
		c->p = lf + 1;
		if (line.n == 0)
			return true;
		if (r->n_headers == max)
			return request_refuse(c, 431, "too many headers");
		if (!request_header_parse(&r->headers[r->n_headers], c, line))
			return false;
	}
}

/* RFC 9112 6: what frames the body must be beyond doubt. */
static bool request_body_facts(struct request *r, struct request_cursor *c)
{
	const unsigned lengths = request_header_count(r, "Content-Length");
	const struct span length = request_header(r, "Content-Length");
	const bool encoded = request_header_count(r, "Transfer-Encoding") > 0;

	r->content_length = 0;
	if (lengths > 1)
		return request_refuse(c, 400, "more than one Content-Length");
	if (lengths > 0 && encoded)
		return request_refuse(c, 400, "Content-Length beside Transfer-Encoding");
	if (encoded && r->minor == 0)
		return request_refuse(c, 400, "Transfer-Encoding in HTTP/1.0");
	if (lengths > 0 && (length.n == 0 || length.n > 18))
		return request_refuse(c, 400, "Content-Length is not a number that makes sense");
	for (size_t i = 0; i < length.n; i++) {
		if (!request_is_digit(length.p[i]))
			return request_refuse(c, 400, "Content-Length is not a number");
		r->content_length = r->content_length * 10 + (uint64_t)(length.p[i] - '0');
	}
	r->has_body = encoded || r->content_length > 0;
	return true;
}

static bool request_header_facts(struct request *r, struct request_cursor *c)
{
	const unsigned hosts = request_header_count(r, "Host");
	const struct span host = request_header(r, "Host");

	if (hosts > 1 || (hosts == 0 && r->minor > 0))
		return request_refuse(c, 400, hosts > 1 ? "more than one Host" : "no Host");
	if (hosts > 0 && !request_authority_ok(host))
		return request_refuse(c, 400, "bad Host");
	if (r->host.p == NULL)
		r->host = host;
	r->keep_alive = r->minor > 0 && !request_has_token(r, "Connection", "close");
	/* RFC 9110 7.8: Upgrade in HTTP/1.0 is ignored. */
	r->wants_upgrade = r->minor > 0 && request_has_token(r, "Upgrade", "websocket") &&
			   request_has_token(r, "Connection", "upgrade");
	return request_body_facts(r, c);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Is there, from `seen` on, the LF of an empty line or one without CR? Either ends the waiting for
 * more. */
static bool request_has_end(const char *bytes, size_t len, size_t seen)
{
	const char *p = bytes + seen;

	while ((p = memchr(p, '\n', len - (size_t)(p - bytes))) != NULL) {
		const size_t i = (size_t)(p - bytes);

		if (i == 0 || p[-1] != '\r' || i == 1 || p[-2] == '\n')
			return true;
		p++;
	}
	return false;
}

static size_t request_empty_lines(const char *bytes, size_t len)
{
	size_t n = 0;

	while (len - n >= 2 && bytes[n] == '\r' && bytes[n + 1] == '\n')
		n += 2;
	return n;
}

/* Reads on. False without a status: there is more to come. */
static bool request_head_parse(struct request *r, const struct request_limits *limits,
			       struct request_cursor *c, size_t len, struct request_progress *known)
{
	const char *const bytes = c->p;
	const size_t window = (size_t)(c->end - bytes),
		     seen = known->seen < window ? known->seen : window;
	const bool last = len >= limits->head_max || request_has_end(bytes, window, seen);

	if (request_stranger_begins(bytes, window) && len < limits->head_max)
		return false;
	known->seen = len;
	/* the rest is parsed when it is whole */
	if (known->line && !last)
		return false;
	r->target.n = 0;
	if (request_line_parse(r, c, known) && request_target_parse(r, c)) {
		known->line = true;
		if (last && request_headers_parse(r, limits, c) && request_header_facts(r, c))
			return true;
	} else if (c->status == 400 && request_stranger(bytes, window) != NULL) {
		c->why = request_stranger(bytes, window);
	}
	if (c->status == 0 && len >= limits->head_max) {
		if (c->p == bytes && r->target.n > REQUEST_PATH_MAX)
			request_refuse(c, 414, "request target is too long");
		else
			request_refuse(c, 431, "head is longer than --max-head allows");
	}
	return false;
}

enum request_status request_parse(struct request *r, const struct request_limits *limits,
				  const char *bytes, size_t len, struct request_progress *progress,
				  size_t *used_r, int *status_r, const char **why_r)
{
	const size_t window = len < limits->head_max ? len : limits->head_max;
	struct request_progress fresh = {0}, *const known = progress != NULL ? progress : &fresh;
	struct request_cursor c = {.p = bytes, .end = bytes + window};

	*used_r = request_empty_lines(bytes, len);
	if (*used_r > 0)
		return REQUEST_EMPTY;
	if (len == 1 && bytes[0] == '\r')
		return REQUEST_MORE;
	if (!request_head_parse(r, limits, &c, len, known) && c.status == 0)
		return REQUEST_MORE;
	*known = (struct request_progress){0};
	if (c.status != 0) {
		*status_r = c.status;
		*why_r = c.why;
		return REQUEST_BAD;
	}
	*used_r = (size_t)(c.p - bytes);
	r->head = (struct span){bytes, *used_r};
	r->forwarded_host = r->body = (struct span){"", 0};
	r->secure = false;
	return REQUEST_OK;
}

bool request_parse_kept(struct request *r, struct span head)
{
	static const struct request_limits any = {.head_max = SIZE_MAX,
						  .headers_max = REQUEST_HEADERS_MAX};
	size_t used;
	int status;
	const char *why;

	return request_parse(r, &any, head.p, head.n, NULL, &used, &status, &why) == REQUEST_OK;
}

struct span request_header(const struct request *r, const char *name)
{
	for (unsigned i = 0; i < r->n_headers; i++)
		if (span_eq_nocase(r->headers[i].name, span_of(name)))
			return r->headers[i].value;
	return (struct span){NULL, 0};
}

unsigned request_header_count(const struct request *r, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->n_headers; i++)
		n += span_eq_nocase(r->headers[i].name, span_of(name));
	return n;
}

const char *request_status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {
		{101, "Switching Protocols"},
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{206, "Partial Content"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{304, "Not Modified"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{402, "Payment Required"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{406, "Not Acceptable"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{410, "Gone"},
		{411, "Length Required"},
		{412, "Precondition Failed"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"},
		{417, "Expectation Failed"},
		{418, "I'm a teapot"},
		{421, "Misdirected Request"},
		{422, "Unprocessable Content"},
		{426, "Upgrade Required"},
		{428, "Precondition Required"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{451, "Unavailable For Legal Reasons"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
		{507, "Insufficient Storage"},
		{511, "Network Authentication Required"},
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Status"; /* RFC 9112 4: the phrase says nothing a client relies on */
}
