/* Lists in header fields. */
#include "ws/request_parts.h"

/* Takes the bytes before the next comma that stands outside of a quoted string, and the comma. */
static struct span request_list_cut(struct span *rest)
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
		*item_r = span_trim(request_list_cut(rest));
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
