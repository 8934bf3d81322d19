/* The first line of a request: method, target, version; and who else may knock. */
#include "common/utf8.h"
#include "ws/request_parts.h"

static int request_target_hex_value(char ch)
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
			const int high =
				raw.n - i > 2 ? request_target_hex_value(raw.p[i + 1]) : -1;
			const int low = high >= 0 ? request_target_hex_value(raw.p[i + 2]) : -1;

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

#define STRANGER_PROXY \
	"a header of the PROXY protocol at a port that takes none: see --listen ...,proxy"

/* How peers begin who take this port for another. */
static const struct {
	size_t n;
	const char *bytes, *why;
} STRANGERS[] = {
	/* RFC 8446 5.1: a record of a handshake */
	{1, "\x16",
	 "TLS at a port that speaks plain HTTP: say ws:// or http:// here, or give the port TLS "
	 "(--listen ...,tls)"},
	{6, "PROXY ", STRANGER_PROXY},
	/* version 2, behind the two empty lines that it begins with */
	{8, "\0\r\nQUIT\n", STRANGER_PROXY},
	/* the greeting of SP, which nng and what speaks like it begin with */
	{4, "\0SP\0",
	 "a worker's protocol (nng) at a port for clients: workers dial the URL of --attach, or "
	 "that in their TOVA_URL"},
};

/* What such a peer is told; NULL: it is none that is known. */
const char *request_stranger(const char *bytes, size_t n)
{
	for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(*STRANGERS); i++)
		if (n >= STRANGERS[i].n && memcmp(bytes, STRANGERS[i].bytes, STRANGERS[i].n) == 0)
			return STRANGERS[i].why;
	return NULL;
}

/* May it be one of those that no request begins like, with a few bytes more? */
bool request_stranger_begins(const char *bytes, size_t n)
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
bool request_line_parse(struct request *r, struct request_cursor *c, struct request_progress *known)
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
			"request target with a character that must be escaped, or without a "
			"version behind it");
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
		for (i = 1; i < s.n && (request_target_hex_value(s.p[i]) >= 0 || s.p[i] == ':' ||
					s.p[i] == '.');
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

static bool request_target_has_dot_segment(struct span path)
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
static bool request_target_absolute_parse(struct request *r, struct request_cursor *c,
					  struct span *raw)
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

static bool request_target_path_parse(struct request *r, struct request_cursor *c, struct span raw)
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
	return request_target_has_dot_segment(r->path)
		       ? request_refuse(c, 400, "path with a \".\" or \"..\" segment")
		       : true;
}

/* Splits the target into path and query (RFC 9112 3.2). "*" and authority form are for other
 * servers than this one. */
bool request_target_parse(struct request *r, struct request_cursor *c)
{
	struct span raw = r->target;
	const char *mark;

	r->host = (struct span){NULL, 0};
	if (raw.p[0] != '/' && !request_target_absolute_parse(r, c, &raw))
		return false;
	mark = raw.n > 0 ? memchr(raw.p, '?', raw.n) : NULL;
	r->query = SPAN("");
	if (mark != NULL) {
		r->query = (struct span){mark + 1, raw.n - (size_t)(mark + 1 - raw.p)};
		raw.n = (size_t)(mark - raw.p);
	}
	return request_target_path_parse(r, c, raw.n > 0 ? raw : SPAN("/"));
}
