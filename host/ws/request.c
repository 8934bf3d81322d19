#include "ws/request.h"

#include "common/utf8.h"

/* Where the parser is, and what it has to say. */
struct cursor {
	const char *p, *end; /* end: of what may belong to the head, never beyond head_max */
	int status;
	const char *why;
};

static bool request_refuse(struct cursor *c, int status, const char *why)
{
	c->status = status;
	c->why = why;
	return false;
}

/* --- characters ------------------------------------------------------------------------------- */

static inline bool request_is_digit(char ch)
{
	return ch >= '0' && ch <= '9';
}

static inline bool request_is_alnum(char ch)
{
	return request_is_digit(ch) || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
}

/* RFC 9110 5.6.2 */
static inline bool request_is_tchar(char ch)
{
	return request_is_alnum(ch) || (ch != '\0' && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}

/* What may stand in a target: no space, no control character, nothing beyond ASCII, and no fragment
 * (RFC 9112 3.2). */
static inline bool request_is_target_char(char ch)
{
	return ch > ' ' && ch < 0x7F && ch != '#';
}

static int request_hex_value(char ch)
{
	if (request_is_digit(ch))
		return ch - '0';
	if ((ch >= 'a' && ch <= 'f') || (ch >= 'A' && ch <= 'F'))
		return (ch | 0x20) - 'a' + 10;
	return -1;
}

long request_decode(struct span raw, char *dst, size_t cap)
{
	size_t n = 0;

	for (size_t i = 0; i < raw.n; i++) {
		char ch = raw.p[i];

		if (ch == '%') {
			const int high = raw.n - i > 2 ? request_hex_value(raw.p[i + 1]) : -1;
			const int low = high >= 0 ? request_hex_value(raw.p[i + 2]) : -1;

			if (low < 0)
				return -1;
			ch = (char)(high << 4 | low);
			i += 2;
		}
		if (ch == '\0' || n == cap)
			return -1;
		dst[n++] = ch;
	}
	return (long)n;
}

/* --- first line ------------------------------------------------------------------------------- */

#define STRANGER_PROXY \
	"a header of the PROXY protocol at a port that takes none: see --listen ...,proxy"

/* How peers begin who take this port for another. */
static const struct {
	size_t n;
	const char *bytes, *why;
} STRANGERS[] = {
	/* RFC 8446 5.1: a record of a handshake */
	{1, "\x16",
	 "TLS at a port that speaks plain HTTP: say ws:// or http:// here, or give the port TLS (--listen ...,tls)"},
	{6, "PROXY ", STRANGER_PROXY},
	/* version 2, behind the two empty lines that it begins with */
	{8, "\0\r\nQUIT\n", STRANGER_PROXY},
	/* the greeting of SP, which nng and what speaks like it begin with */
	{4, "\0SP\0",
	 "a worker's protocol (nng) at a port for clients: workers dial the URL of --attach, or that in their TOVA_URL"},
};

/* What such a peer is told; NULL: it is none that is known. */
static const char *request_stranger(const char *bytes, size_t n)
{
	for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(*STRANGERS); i++)
		if (n >= STRANGERS[i].n && memcmp(bytes, STRANGERS[i].bytes, STRANGERS[i].n) == 0)
			return STRANGERS[i].why;
	return NULL;
}

/* May it be one of those that no request begins like, with a few bytes more? */
static bool request_stranger_begins(const char *bytes, size_t n)
{
	for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(*STRANGERS); i++)
		if (n > 0 && bytes[0] == '\0' && n < STRANGERS[i].n &&
		    memcmp(bytes, STRANGERS[i].bytes, n) == 0)
			return true;
	return false;
}

/* Reads "METHOD SP target SP HTTP/1.x CRLF" as far as it is there (RFC 9112 3), from where it
 * stopped the last time. False without a status: it is not all there, and nothing in it is wrong
 * yet. */
static bool request_line_parse(struct request *r, struct cursor *c, struct request_progress *known)
{
	static const char version[] = "HTTP/d.d\r\n";
	const char *p = c->p + known->method;

	while (p < c->end && request_is_tchar(*p))
		p++;
	known->method = (size_t)(p - c->p);
	if (p < c->end && (*p != ' ' || p == c->p))
		return request_refuse(c, 400, "request line does not begin with a method");
	r->method = (struct span){c->p, known->method};
	if (p < c->end)
		p++;
	r->target.p = p;
	p += known->target;
	while (p < c->end && request_is_target_char(*p))
		p++;
	r->target.n = known->target = (size_t)(p - r->target.p);
	if (p < c->end && (*p != ' ' || r->target.n == 0))
		return request_refuse(
			c, 400,
			"request target with a character that must be escaped, or without a version behind it");
	if (p < c->end)
		p++;
	for (size_t i = 0; i < sizeof(version) - 1; i++, p++) {
		if (p == c->end)
			return false;
		if (version[i] == 'd' ? !request_is_digit(*p) : *p != version[i])
			return request_refuse(
				c, 400,
				"request line without a proper HTTP version and CRLF at its end");
	}
	if (p[-5] != '1' || p[-3] > '1')
		return request_refuse(c, 505, "HTTP version other than 1.0 and 1.1");
	r->minor = (unsigned)(p[-3] - '0');
	c->p = p;
	return true;
}

bool request_authority_ok(struct span s)
{
	size_t i = 0;

	if (s.n > 0 && s.p[0] == '[') {
		for (i = 1;
		     i < s.n && (request_hex_value(s.p[i]) >= 0 || s.p[i] == ':' || s.p[i] == '.');
		     i++)
			;
		if (i == s.n || s.p[i] != ']' || i == 1)
			return false;
		i++;
	} else {
		while (i < s.n && (request_is_alnum(s.p[i]) ||
				   (s.p[i] != '\0' && strchr("-._~!$&'()*+,;=%", s.p[i]) != NULL)))
			i++;
		/* RFC 9110 4.2.1: an http URI with an empty host is invalid */
		if (i == 0)
			return false;
	}
	if (i < s.n && s.p[i] == ':')
		for (i++; i < s.n && request_is_digit(s.p[i]); i++)
			;
	return i == s.n;
}

static bool request_has_dot_segment(struct span path)
{
	for (size_t i = 0, start = 1; i <= path.n; i++) {
		if (i < path.n && path.p[i] != '/')
			continue;
		if (i > start && path.p[start] == '.' &&
		    (i - start == 1 || (i - start == 2 && path.p[start + 1] == '.')))
			return true;
		start = i + 1;
	}
	return false;
}

/* Takes scheme and authority off an absolute target, which stands above Host (RFC 9112 3.2.2). */
static bool request_absolute_parse(struct request *r, struct cursor *c, struct span *raw)
{
	static const struct span schemes[] = {{"http://", 7},
					      {"https://", 8},
					      {"ws://", 5},
					      {"wss://", 6}};
	size_t i = 0, end;

	while (i < 4 && !(raw->n >= schemes[i].n &&
			  span_eq_nocase((struct span){raw->p, schemes[i].n}, schemes[i])))
		i++;
	if (i == 4)
		return request_refuse(c, 400, "request target is neither a path nor an http URL");
	for (end = schemes[i].n; end < raw->n && raw->p[end] != '/' && raw->p[end] != '?'; end++)
		;
	r->host = (struct span){raw->p + schemes[i].n, end - schemes[i].n};
	if (!request_authority_ok(r->host))
		return request_refuse(c, 400, "request target with a bad host");
	raw->p += end;
	raw->n -= end;
	return true;
}

static bool request_path_parse(struct request *r, struct cursor *c, struct span raw)
{
	size_t decoded = 0;
	long n;

	for (size_t i = 0; i < raw.n; i += raw.p[i] == '%' ? 3 : 1)
		decoded++;
	if (decoded > REQUEST_PATH_MAX)
		return request_refuse(c, 414, "path is too long");
	n = request_decode(raw, r->path_bytes, REQUEST_PATH_MAX);
	if (n < 0 || !utf8_valid(r->path_bytes, (size_t)n))
		return request_refuse(c, 400, "path with a bad escape, a NUL or not in UTF-8");
	r->path_bytes[n] = '\0';
	r->path = (struct span){r->path_bytes, (size_t)n};
	return request_has_dot_segment(r->path)
		       ? request_refuse(c, 400, "path with a \".\" or \"..\" segment")
		       : true;
}

/* Splits the target into path and query (RFC 9112 3.2). "*" and authority form are for other
 * servers than this one. */
static bool request_target_parse(struct request *r, struct cursor *c)
{
	struct span raw = r->target;
	const char *mark;

	r->host = (struct span){NULL, 0};
	if (raw.p[0] != '/' && !request_absolute_parse(r, c, &raw))
		return false;
	mark = raw.n > 0 ? memchr(raw.p, '?', raw.n) : NULL;
	r->query = SPAN("");
	if (mark != NULL) {
		r->query = (struct span){mark + 1, raw.n - (size_t)(mark + 1 - raw.p)};
		raw.n = (size_t)(mark - raw.p);
	}
	return request_path_parse(r, c, raw.n > 0 ? raw : SPAN("/"));
}

/* --- headers ---------------------------------------------------------------------------------- */

/* One header line without its CRLF (RFC 9112 5). */
static bool request_header_parse(struct request_header *h, struct cursor *c, struct span line)
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
				  struct cursor *c)
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
static bool request_body_facts(struct request *r, struct cursor *c)
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

static bool request_header_facts(struct request *r, struct cursor *c)
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
			       struct cursor *c, size_t len, struct request_progress *known)
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
	struct cursor c = {.p = bytes, .end = bytes + window};

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

/* --- lists ------------------------------------------------------------------------------------ */

/* Takes the bytes before the next comma that stands outside of a quoted string, and the comma. */
static struct span request_cut(struct span *rest)
{
	struct span item = {rest->p, 0};
	bool quoted = false;

	while (item.n < rest->n && (quoted || rest->p[item.n] != ',')) {
		if (rest->p[item.n] == '"')
			quoted = !quoted;
		else if (quoted && rest->p[item.n] == '\\' && item.n + 1 < rest->n)
			item.n++;
		item.n++;
	}
	rest->p += item.n;
	rest->n -= item.n;
	if (rest->n > 0)
		rest->p++, rest->n--;
	return item;
}

bool request_list_next(struct span *rest, struct span *item_r)
{
	while (rest->n > 0) {
		*item_r = span_trim(request_cut(rest));
		if (item_r->n > 0)
			return true;
	}
	return false;
}

bool request_walk_next(struct request_walk *w, struct span *item_r)
{
	while (!request_list_next(&w->rest, item_r)) {
		while (w->next < w->r->n_headers &&
		       !span_eq_nocase(w->r->headers[w->next].name, w->name))
			w->next++;
		if (w->next == w->r->n_headers)
			return false;
		w->rest = w->r->headers[w->next++].value;
	}
	return true;
}

bool request_has_token(const struct request *r, const char *name, const char *token)
{
	for (unsigned i = 0; i < r->n_headers; i++) {
		struct span rest = r->headers[i].value, item;

		if (!span_eq_nocase(r->headers[i].name, span_of(name)))
			continue;
		while (request_list_next(&rest, &item))
			if (span_eq_nocase(item, span_of(token)))
				return true;
	}
	return false;
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
