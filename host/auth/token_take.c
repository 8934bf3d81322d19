/* token_take: finds the token in a request's head, and cuts it out of that. */
#include "auth/token.h"

/* A place in the head that holds a token, and what goes when it goes. */
struct taking {
	const struct request *r;
	struct token_found *found;
	const char *cut, *cut_end;
	unsigned n;
};

static void token_take_found(struct taking *t, enum token_place place, struct span token,
			     const char *cut, const char *cut_end)
{
	t->n++;
	t->cut = cut;
	t->cut_end = cut_end;
	t->found->place = place;
	/* which is too long for token_verify, too */
	t->found->len = token.n <= TOKEN_MAX ? token.n : TOKEN_MAX + 1;
	memcpy(t->found->text, token.p, t->found->len <= TOKEN_MAX ? token.n : 0);
}

/* From the name to behind the line's end. */
static void token_take_line(const struct taking *t, const struct request_header *h,
			    const char **from_r, const char **to_r)
{
	const char *end = t->r->head.p + t->r->head.n;
	const char *lf =
		memchr(h->value.p + h->value.n, '\n', (size_t)(end - h->value.p) - h->value.n);
	*from_r = h->name.p;
	*to_r = lf != NULL ? lf + 1 : end;
}

/* Bearer TOKEN (RFC 6750 2.1). Another scheme is somebody else's business. */
static void token_take_header(struct taking *t, const struct request_header *h)
{
	static const struct span scheme = {"Bearer", 6};
	struct span v = h->value;
	const char *from, *to;
	if (!span_eq_nocase(h->name, SPAN("Authorization")) || v.n < scheme.n ||
	    !span_eq_nocase((struct span){v.p, scheme.n}, scheme) ||
	    (v.n > scheme.n && v.p[scheme.n] != ' '))
		return;
	v.p += scheme.n;
	v.n -= scheme.n;
	for (; v.n > 0 && v.p[0] == ' '; v.p++, v.n--)
		;
	token_take_line(t, h, &from, &to);
	token_take_found(t, TOKEN_IN_HEADER, v, from, to);
}

/* One of the things that a list holds, `item`, from `start` to `end` with the white space about
 * it. */
struct taking_item {
	struct span list, item;
	const char *start, *end;
};

static bool token_take_next(struct taking_item *i, char separator)
{
	const char *stop = i->list.p + i->list.n;
	if (i->end == stop)
		return false;
	i->start = i->end == NULL ? i->list.p : i->end + 1;
	const char *end = memchr(i->start, separator, (size_t)(stop - i->start));
	i->end = end != NULL ? end : stop;
	i->item = span_trim((struct span){i->start, (size_t)(i->end - i->start)});
	return true;
}

/* With the separator behind it, or else the one in front, which of a query may be the '?'. False:
 * it is all there is. */
static bool token_take_item_cut(const struct taking_item *i, const char **from_r, const char **to_r)
{
	const char *stop = i->list.p + i->list.n;
	*from_r = i->end == stop ? i->start - 1 : i->start;
	*to_r = i->end == stop ? stop : i->end + 1;
	return i->start > i->list.p || i->end < stop;
}

/* An item that begins with this, and the token behind it. Without one it is what is left of an old
 * one, such as an emptied cookie. */
static void token_take_list(struct taking *t, enum token_place place,
			    const struct request_header *h, struct span list, char separator,
			    struct span name, char behind)
{
	struct taking_item i = {.list = list};
	const char *from, *to;
	while (list.n > 0 && token_take_next(&i, separator)) {
		if (i.item.n <= name.n + 1 || memcmp(i.item.p, name.p, name.n) != 0 ||
		    i.item.p[name.n] != behind)
			continue;
		if (!token_take_item_cut(&i, &from, &to) && h != NULL)
			token_take_line(t, h, &from, &to);
		token_take_found(t, place,
				 (struct span){i.item.p + name.n + 1, i.item.n - name.n - 1}, from,
				 to);
	}
}

static void token_take_source(struct taking *t, const struct token_source *source)
{
	struct span name = span_of(source->name);
	if (source->place == TOKEN_IN_QUERY)
		token_take_list(t, TOKEN_IN_QUERY, NULL, t->r->query, '&', name, '=');
	for (unsigned i = 0; i < t->r->n_headers; i++) {
		const struct request_header *h = &t->r->headers[i];
		if (source->place == TOKEN_IN_HEADER)
			token_take_header(t, h);
		else if (source->place == TOKEN_IN_COOKIE &&
			 span_eq_nocase(h->name, SPAN("Cookie")))
			token_take_list(t, TOKEN_IN_COOKIE, h, h->value, ';', name, '=');
		else if (source->place == TOKEN_IN_SUBPROTOCOL &&
			 span_eq_nocase(h->name, SPAN("Sec-WebSocket-Protocol")))
			token_take_list(t, TOKEN_IN_SUBPROTOCOL, h, h->value, ',',
					SPAN(TOKEN_SUBPROTOCOL), '.');
	}
}

/* The request without the bytes from cut to cut_end. What lies behind the head in its buffer stays
 * where it is. */
static bool token_take_cut(struct request *r, const char *cut, const char *cut_end)
{
	struct span head = r->head, forwarded = r->forwarded_host;
	bool secure = r->secure;
	memmove((char *)cut, cut_end, (size_t)(head.p + head.n - cut_end));
	head.n -= (size_t)(cut_end - cut);
	if (!request_parse_kept(r, head))
		return false;
	r->secure = secure; /* what a proxy has said stands in no header of the token's */
	r->forwarded_host = forwarded;
	if (forwarded.n > 0 && forwarded.p >= cut_end)
		r->forwarded_host.p -= cut_end - cut;
	return true;
}

const char *token_take(const struct token_policy *policy, struct request *r,
		       struct token_found *found)
{
	struct taking t = {.r = r, .found = found};
	found->len = 0;
	found->place = TOKEN_IN_HEADER;
	for (unsigned i = 0; i < policy->n_sources; i++)
		token_take_source(&t, &policy->sources[i]);
	if (t.n > 1)
		return "more than one token";
	if (t.n == 1 && !token_take_cut(r, t.cut, t.cut_end))
		return "the request is no request without its token";
	return NULL;
}
