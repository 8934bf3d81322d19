#include "ws/forwarded.h"

/* --- a hop ------------------------------------------------------------------------------------ */

/* RFC 7239 6.3: a number, or one made up behind a "_". Returns false for anything else. */
static bool forwarded_port(struct span text, uint16_t *port_r)
{
	*port_r = 0;
	return (text.n > 0 && text.p[0] == '_') || address_port(text, port_r);
}

/* 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1] or [2001:db8::1]:80. Anything else leaves
 * what is known already. */
static bool forwarded_node(struct address *client, struct span text)
{
	struct address a;
	struct span ip = text, port = {NULL, 0};
	const char *end;
	uint16_t number = 0;
	if (text.n > 0 && text.p[0] == '[') {
		end = memchr(text.p, ']', text.n);
		if (end == NULL)
			return false;
		ip = (struct span){text.p + 1, (size_t)(end - text.p) - 1};
		port = (struct span){end + 1, text.n - ip.n - 2};
		if (memchr(ip.p, ':', ip.n) == NULL)
			return false;
	} else {
		end = text.n > 0 ? memchr(text.p, ':', text.n) : NULL;
		if (end != NULL &&
		    memchr(end + 1, ':', text.n - (size_t)(end + 1 - text.p)) == NULL) {
			ip.n = (size_t)(end - text.p);
			port = (struct span){end, text.n - ip.n};
		}
	}
	if (port.n > 0 &&
	    (port.p[0] != ':' || !forwarded_port((struct span){port.p + 1, port.n - 1}, &number)))
		return false;
	if (!address_parse(&a, ip))
		return false;
	a.port = number;
	*client = a;
	return true;
}

/* Takes the last element off a list. From the end, so that what a client has begun and not ended (a
 * quoted string) can not swallow what a proxy has put behind it. False: there is none. */
static bool forwarded_back(struct span *rest, bool quotes, struct span *item_r)
{
	while (rest->n > 0) {
		size_t start = rest->n;
		bool quoted = false;
		for (; start > 0 && (quoted || rest->p[start - 1] != ','); start--)
			if (quotes && rest->p[start - 1] == '"')
				quoted = !quoted;
		struct span item = {rest->p + start, rest->n - start};
		rest->n = start > 0 ? start - 1 : 0;
		for (; item.n > 0 && (*item.p == ' ' || *item.p == '\t'); item.n--)
			item.p++;
		while (item.n > 0 && (item.p[item.n - 1] == ' ' || item.p[item.n - 1] == '\t'))
			item.n--;
		*item_r = item;
		if (item.n > 0)
			return true;
	}
	return false;
}

static bool forwarded_scheme_ok(struct span s)
{
	return span_eq_nocase(s, SPAN("https")) || span_eq_nocase(s, SPAN("http")) ||
	       span_eq_nocase(s, SPAN("wss")) || span_eq_nocase(s, SPAN("ws"));
}

static void forwarded_facts(struct forwarded *f, struct span scheme, struct span host)
{
	f->scheme = forwarded_scheme_ok(scheme) ? scheme : (struct span){"", 0};
	f->host = request_authority_ok(host) ? host : (struct span){"", 0};
}

/* --- X-Forwarded-... -------------------------------------------------------------------------- */

static struct span forwarded_last(const struct request *r, const char *name)
{
	struct span item;
	for (unsigned i = r->n_headers; i-- > 0;) {
		struct span rest = r->headers[i].value;
		if (span_eq_nocase(r->headers[i].name, span_of(name)) &&
		    forwarded_back(&rest, false, &item))
			return item;
	}
	return (struct span){"", 0};
}

static void forwarded_read_x(struct forwarded *f, const struct request *r,
			     const struct address_set *trusted)
{
	bool more = true;
	for (unsigned i = r->n_headers; i-- > 0 && more;) {
		struct span rest = r->headers[i].value, item;
		if (span_eq_nocase(r->headers[i].name, SPAN("X-Forwarded-For")))
			while (more && forwarded_back(&rest, false, &item))
				more = forwarded_node(&f->client, item) &&
				       address_set_has(trusted, &f->client);
	}
	forwarded_facts(f, forwarded_last(r, "X-Forwarded-Proto"),
			forwarded_last(r, "X-Forwarded-Host"));
}

/* --- Forwarded (RFC 7239) --------------------------------------------------------------------- */

struct forwarded_element {
	struct span node, scheme, host;
};

/* A token or a quoted string. An escape in one (5.6.4 of RFC 9110) is in none of the values that
 * are looked at: it spoils the value. */
static bool forwarded_value(struct span *rest, struct span *value_r)
{
	if (rest->n > 0 && rest->p[0] == '"') {
		const char *end = memchr(rest->p + 1, '"', rest->n - 1);
		if (end == NULL)
			return false;
		*value_r = (struct span){rest->p + 1, (size_t)(end - rest->p) - 1};
		rest->n -= value_r->n + 2;
		rest->p = end + 1;
		return value_r->n == 0 || memchr(value_r->p, '\\', value_r->n) == NULL;
	}
	*value_r = (struct span){rest->p, 0};
	while (value_r->n < rest->n && rest->p[value_r->n] != ';')
		value_r->n++;
	rest->p += value_r->n;
	rest->n -= value_r->n;
	return value_r->n > 0 && memchr(value_r->p, '"', value_r->n) == NULL;
}

/* 4: name=value pairs, parted by semicolons, no white space, no name twice. */
static bool forwarded_element(struct forwarded_element *e, struct span rest)
{
	*e = (struct forwarded_element){.node = {NULL, 0}};
	while (rest.n > 0) {
		const char *equals = memchr(rest.p, '=', rest.n);
		struct span name, value, *where, other = {NULL, 0};
		if (equals == NULL)
			return false;
		name = (struct span){rest.p, (size_t)(equals - rest.p)};
		rest.n -= name.n + 1;
		rest.p = equals + 1;
		if (!forwarded_value(&rest, &value) || (rest.n > 0 && rest.p[0] != ';'))
			return false;
		if (rest.n > 0)
			rest.p++, rest.n--;
		where = span_eq_nocase(name, SPAN("for"))     ? &e->node
			: span_eq_nocase(name, SPAN("proto")) ? &e->scheme
			: span_eq_nocase(name, SPAN("host"))  ? &e->host
							      : &other;
		if (where->p != NULL)
			return false;
		*where = value;
	}
	return true;
}

static bool forwarded_take(struct forwarded *f, const struct address_set *trusted, struct span text)
{
	struct forwarded_element e;
	if (!forwarded_element(&e, text) || !forwarded_node(&f->client, e.node))
		return false;
	forwarded_facts(f, e.scheme, e.host);
	return address_set_has(trusted, &f->client);
}

static void forwarded_read_rfc7239(struct forwarded *f, const struct request *r,
				   const struct address_set *trusted)
{
	bool more = true;
	for (unsigned i = r->n_headers; i-- > 0 && more;) {
		struct span rest = r->headers[i].value, item;
		if (span_eq_nocase(r->headers[i].name, SPAN("Forwarded")))
			while (more && forwarded_back(&rest, true, &item))
				more = forwarded_take(f, trusted, item);
	}
}

void forwarded_read(struct forwarded *f, const struct request *r, enum forwarded_kind kind,
		    const struct address_set *trusted)
{
	*f = (struct forwarded){.client.family = AF_UNSPEC};
	if (kind == FORWARDED_X)
		forwarded_read_x(f, r, trusted);
	else if (kind == FORWARDED_RFC7239)
		forwarded_read_rfc7239(f, r, trusted);
}
